// Errors, tokenizers, templates and the questions that need no model.
#include "onnuri/error.h"
#include "onnuri/text.h"
#include "python/bindings.h"

namespace onnuri::python {

namespace {

// A str, or bytes that need not be UTF-8.
std::vector<int32_t> encode_text(const TextTokenizer& self, const py::object& text,
                                 bool add_special_tokens, bool parse_special_tokens) {
  const bool is_bytes = py::isinstance<py::bytes>(text) || py::isinstance<py::bytearray>(text);
  if (!is_bytes && !py::isinstance<py::str>(text))
    throw py::type_error("expected str or bytes for text, found " + shown(text));
  // Halves of surrogate pairs raise Python's own UnicodeEncodeError.
  if (py::isinstance<py::str>(text) && PyUnicode_AsUTF8(text.ptr()) == nullptr)
    throw py::error_already_set();
  const auto copy = text.cast<std::string>();
  const WithoutGil release;
  return is_bytes ? self.encode_bytes(copy, add_special_tokens, parse_special_tokens)
                  : self.encode(copy, add_special_tokens, parse_special_tokens);
}

}  // namespace

void bind_errors(py::module_& module) {
  // Made here rather than by py::register_exception, because instances carry a code.
  const py::object error = py::reinterpret_steal<py::object>(
      PyErr_NewExceptionWithDoc("onnuri.Error", "A call that failed; `code` says why in one word.",
                                PyExc_RuntimeError, nullptr));
  error.attr("code") = "internal";
  module.attr("Error") = error;
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& failure) {
      const py::object type = py::module_::import("onnuri._onnuri").attr("Error");
      const py::object instance = type(py::str(failure.what()));
      instance.attr("code") = std::string(error_code_name(failure.code()));
      PyErr_SetObject(type.ptr(), instance.ptr());
    }
  });
}

void bind_text(py::module_& module) {
  py::class_<TextTokenizer>(module, "Tokenizer")
      .def(py::init([](const py::object& path) { return TextTokenizer::load(path_from(path)); }),
           py::arg("path"))
      .def("encode", &encode_text, py::arg("text"), py::arg("add_special_tokens") = false,
           py::arg("parse_special_tokens") = true)
      .def(
          "encode_batch",
          [](const TextTokenizer& self, const py::object& texts, bool add_special_tokens,
             bool parse_special_tokens) {
            std::vector<std::vector<int32_t>> out;
            for (const py::handle text : items_from("texts", "texts", texts))
              out.push_back(encode_text(self, py::reinterpret_borrow<py::object>(text),
                                        add_special_tokens, parse_special_tokens));
            return out;
          },
          py::arg("texts"), py::arg("add_special_tokens") = false,
          py::arg("parse_special_tokens") = true)
      .def(
          "decode",
          [](const TextTokenizer& self, const py::object& ids, bool skip_special_tokens) {
            return self.decode(ids_from(ids), skip_special_tokens);
          },
          py::arg("ids"), py::arg("skip_special_tokens") = false)
      .def_property_readonly("vocab_size", &TextTokenizer::vocab_size);
  module.def(
      "render_chat_template",
      [](const std::string& source, const py::kwargs& variables) {
        return render_chat_template(source, json_text("variables", variables));
      },
      py::arg("template"));
  module.def(
      "inspect",
      [](const py::object& path) { return json_object(inspect_model_json(path_from(path))); },
      py::arg("path"));
  module.def("devices", [] { return json_object(devices_json()); });
}

}  // namespace onnuri::python
