// Errors, tokenizers, templates and the questions that need no model.
#include "onnuri/error.h"
#include "onnuri/plan.h"
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
      [](const py::object& source, const py::kwargs& variables) {
        return render_chat_template(text_from("template", source),
                                    json_text("variables", variables));
      },
      py::arg("template"));
  module.def(
      "inspect",
      [](const py::object& path) { return json_object(inspect_model_json(path_from(path))); },
      py::arg("path"));
  module.def(
      "plan",
      [](const py::object& path, int64_t context_size, int64_t concurrency,
         const std::string& compute_dtype, const std::string& kv_dtype, int num_threads,
         int64_t memory_bytes, const std::pair<int64_t, int64_t>& image_size, double sound_s,
         bool check, const std::string& device, int64_t tensor_parallel) {
        PlanOptions options;
        options.engine.context_size = context_size;
        options.engine.compute_dtype = compute_dtype;
        options.engine.kv_dtype = kv_dtype;
        options.engine.num_threads = num_threads;
        options.concurrency = concurrency;
        options.memory_bytes = memory_bytes;
        options.image_width = image_size.first;
        options.image_height = image_size.second;
        options.sound_s = sound_s;
        options.device = device;
        options.tensor_parallel = tensor_parallel;
        const std::string where = path_from(path);
        std::string text;
        {
          const WithoutGil release;
          text = check ? check_plan_json(where, options) : plan_model_json(where, options);
        }
        return json_object(text);
      },
      py::arg("path"), py::kw_only(), py::arg("context_size") = 0, py::arg("concurrency") = 1,
      py::arg("compute_dtype") = "auto", py::arg("kv_dtype") = "", py::arg("num_threads") = 0,
      py::arg("memory_bytes") = 0, py::arg("image_size") = py::make_tuple(1920, 1080),
      py::arg("sound_s") = 30.0, py::arg("check") = false, py::arg("device") = "cpu",
      py::arg("tensor_parallel") = 1);
  module.def("devices", [] { return json_object(devices_json()); });
}

}  // namespace onnuri::python
