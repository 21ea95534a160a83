// Safetensors files: header, extents, and every byte of every tensor.
#include "tests/fuzz/fuzz_checkpoint.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static onnuri::InputFile file(".safetensors");
  const std::string& path = file.write(data, size);
  onnuri::expect_error_or_nothing([&] { onnuri::touch_tensors(*onnuri::Checkpoint::open(path)); });
  return 0;
}
