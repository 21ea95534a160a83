// Python values as C++ ones. What does not fit is an onnuri::Error that names the argument.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

namespace onnuri::python {

namespace py = pybind11;

[[noreturn]] void refuse(const std::string& message);

/// "int", or for short values what they look like.
std::string shown(const py::handle& object);

/// Unicode throughout: Python's texts may hold halves of surrogate pairs.
std::string text_from(const std::string& name, const py::handle& object);
std::vector<std::string> texts_from(const std::string& name, const py::object& object);

/// A str, bytes or os.PathLike as the system spells it, names that are no Unicode included. Throws
/// TypeError for others; a NUL would cut the name short and is refused.
std::string path_from(const py::handle& object);
std::string checked_path(std::string path);

/// What can be iterated over as a list is; texts and dicts, which would fall apart, are refused.
py::iterable items_from(const std::string& name, const char* expected, const py::object& object);

/// Anything that pybind11 can cast: "expected <expected> for <name>, found ...".
template <typename T>
T value_from(const std::string& name, const char* expected, const py::handle& object) {
  try {
    return object.cast<T>();
  } catch (const py::cast_error&) {
    refuse(std::string("expected ") + expected + " for " + name + ", found " + shown(object));
  }
}

inline bool flag_from(const std::string& name, const py::handle& object) {
  return value_from<bool>(name, "True or False", object);
}

/// json.dumps and json.loads.
std::string json_text(const std::string& name, const py::object& object);
py::object json_object(const std::string& text);

}  // namespace onnuri::python
