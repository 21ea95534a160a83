// Files of requests: a job that may be stopped and goes on.
#include <chrono>

#include "onnuri/batch.h"
#include "python/bindings.h"

namespace onnuri::python {
namespace {

py::dict progress_dict(const BatchProgress& p) {
  py::dict out;
  out["done"] = p.done;
  out["total"] = p.total;
  out["failed"] = p.failed;
  out["resumed"] = p.resumed;
  out["prompt_tokens"] = p.prompt_tokens;
  out["completion_tokens"] = p.completion_tokens;
  return out;
}

py::dict run(Engine& engine, const py::object& input, const py::object& output,
             const std::string& model_name, bool restart, bool allow_files, int64_t concurrency,
             const py::object& progress) {
  BatchOptions options;
  options.model_name = model_name;
  options.restart = restart;
  options.allow_files = allow_files;
  options.concurrency = concurrency;
  int64_t reported = -1;
  options.on_progress = [&](const BatchProgress& p) {
    throw_if_must_stop();
    const WithGil acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (progress.is_none() || p.done == reported) return true;
    reported = p.done;
    const py::object answer = progress(progress_dict(p));
    return answer.is_none() || answer.cast<bool>();
  };
  const std::string from = path_from(input), to = path_from(output);
  BatchProgress result;
  {
    const WithoutGil release;
    result = run_batch(engine, from, to, options);
  }
  return progress_dict(result);
}

}  // namespace

void bind_batch(py::module_& module) {
  module.def("run_batch", &run, py::arg("engine"), py::arg("input"), py::arg("output"),
             py::kw_only(), py::arg("model_name") = "", py::arg("restart") = false,
             py::arg("allow_files") = false, py::arg("concurrency") = 0,
             py::arg("progress") = py::none());
}

}  // namespace onnuri::python
