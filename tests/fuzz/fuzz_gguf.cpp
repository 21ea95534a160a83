// GGUF files: key-value pairs, tensors, the vocabulary in them, and the model that they describe.
#include "engine/model_config.h"
#include "fusion/tokenizer.h"
#include "tests/fuzz/fuzz_checkpoint.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  static InputFile file(".gguf");
  const std::string& path = file.write(data, size);
  expect_error_or_nothing([&] {
    const ModelFiles files = open_model_files(path);
    touch_tensors(*files.checkpoint);
    expect_error_or_nothing([&] { load_tokenizer_from_gguf(files.checkpoint->metadata()); });
    map_model(files).decoder.num_parameters();
  });
  return 0;
}
