// Arrays across the border. Python owns what comes in; numpy owns what goes out.
#include <cstdint>
#include <utility>

#include "onnuri/error.h"
#include "python/bindings.h"

namespace onnuri::python {

py::array numpy_from(const py::object& object) {
  if (py::isinstance<py::array>(object)) return py::reinterpret_borrow<py::array>(object);
  const py::module_ numpy = py::module_::import("numpy");
  if (py::hasattr(object, "__dlpack__") && !py::hasattr(object, "__array__"))
    return numpy.attr("from_dlpack")(object);
  return numpy.attr("asarray")(object);
}

namespace {

template <typename Wide>
std::vector<int32_t> narrowed(const py::array& array) {
  const auto wide = py::array_t<Wide, py::array::c_style | py::array::forcecast>::ensure(array);
  std::vector<int32_t> ids(static_cast<size_t>(wide.size()));
  for (size_t i = 0; i < ids.size(); ++i) {
    const Wide id = wide.data()[i];
    if (!std::in_range<int32_t>(id) || std::cmp_less(id, 0))
      refuse("expected token ids in [0, 2^31), found " + std::to_string(id));
    ids[i] = static_cast<int32_t>(id);
  }
  return ids;
}

}  // namespace

std::vector<int32_t> ids_from(const py::object& object) {
  const py::array array = numpy_from(object);
  const char kind = array.dtype().kind();
  if (array.size() == 0) return {};
  if (kind != 'i' && kind != 'u')
    throw Error(ErrorCode::kInvalidArgument, "expected token ids as integers, found dtype " +
                                                 py::str(array.dtype()).cast<std::string>());
  if (array.ndim() != 1 && !(array.ndim() == 2 && array.shape(0) == 1))
    throw Error(ErrorCode::kInvalidArgument, "expected token ids of shape (tokens,), found " +
                                                 std::to_string(array.ndim()) + " axes");
  return kind == 'u' ? narrowed<uint64_t>(array) : narrowed<int64_t>(array);
}

py::array_t<float> array_from(FloatMatrix matrix) {
  auto* values = new std::vector<float>(std::move(matrix.values));
  const py::capsule owner(values, [](void* p) { delete static_cast<std::vector<float>*>(p); });
  return py::array_t<float>({matrix.rows, matrix.cols}, values->data(), owner);
}

}  // namespace onnuri::python
