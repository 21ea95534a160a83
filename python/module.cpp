// The extension module onnuri._onnuri.
#include "python/bindings.h"

PYBIND11_MODULE(_onnuri, module) {
  module.doc() = "Onnuri: text, pictures and sound in, text out.";
  onnuri::python::bind_errors(module);
  onnuri::python::bind_shutdown(module);
  onnuri::python::bind_chat(module);
  onnuri::python::bind_text(module);
  onnuri::python::bind_engine(module);
}
