#include "python/arguments.h"

#include "onnuri/error.h"

namespace onnuri::python {
namespace {

constexpr size_t kMostShown = 80;

// Whether `object` is a str with a character that UTF-8 cannot hold.
bool has_surrogates(const py::handle& object) {
  if (!PyUnicode_Check(object.ptr()) || PyUnicode_AsUTF8(object.ptr()) != nullptr) return false;
  PyErr_Clear();
  return true;
}

std::string type_name(const py::handle& object) { return Py_TYPE(object.ptr())->tp_name; }

}  // namespace

void refuse(const std::string& message) { throw Error(ErrorCode::kInvalidArgument, message); }

std::string shown(const py::handle& object) {
  const py::str text = py::repr(object);
  if (has_surrogates(text)) return type_name(object);
  const auto out = text.cast<std::string>();
  const bool fits = out.size() <= kMostShown && out.find('\n') == std::string::npos;
  return fits ? out : type_name(object);
}

std::string text_from(const std::string& name, const py::handle& object) {
  if (has_surrogates(object))
    refuse("expected Unicode text for " + name + ", found half of a surrogate pair in it");
  return value_from<std::string>(name, "text", object);
}

std::vector<std::string> texts_from(const std::string& name, const py::object& object) {
  if (py::isinstance<py::str>(object)) return {text_from(name, object)};
  std::vector<std::string> out;
  for (const py::handle item : items_from(name, "texts", object))
    out.push_back(text_from(name, item));
  return out;
}

std::string checked_path(std::string path) {
  if (path.find('\0') != std::string::npos)
    refuse("expected a path, found one with a NUL character in it");
  return path;
}

std::string path_from(const py::handle& object) {
  const py::bytes bytes = py::module_::import("os").attr("fsencode")(object);
  return checked_path(bytes);
}

py::iterable items_from(const std::string& name, const char* expected, const py::object& object) {
  if (py::isinstance<py::str>(object) || py::isinstance<py::bytes>(object) ||
      py::isinstance<py::dict>(object) || !py::isinstance<py::iterable>(object))
    refuse("expected a list of " + std::string(expected) + " for " + name + ", found " +
           shown(object));
  return py::reinterpret_borrow<py::iterable>(object);
}

std::string json_text(const std::string& name, const py::object& object) {
  const py::module_ json = py::module_::import("json");
  return text_from(name, json.attr("dumps")(object, py::arg("ensure_ascii") = false));
}

py::object json_object(const std::string& text) {
  return py::module_::import("json").attr("loads")(text);
}

}  // namespace onnuri::python
