// Vocabularies that are not tokenizer.json. The first byte chooses: 's' a sentencepiece model, else
// GGUF metadata, written as JSON.
#include "fusion/tokenizer.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  if (size == 0) return 0;
  static InputFile file(".model");
  const bool pieces = data[0] == 's';
  expect_error_or_nothing([&] {
    std::unique_ptr<Tokenizer> tokenizer;
    if (pieces) {
      tokenizer = load_tokenizer(file.write(data + 1, size - 1));
    } else {
      const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
      tokenizer = load_tokenizer_from_gguf(parse_json(text, "metadata"));
    }
    const std::vector<int32_t> ids =
        tokenizer->encode(" Hello, 안녕 <s> 你好 123\n\t \xF0\x9F\x98\x80", true, true);
    tokenizer->decode(ids, true);
  });
  return 0;
}
