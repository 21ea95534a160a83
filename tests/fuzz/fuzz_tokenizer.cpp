// tokenizer.json: what loads must encode and decode a text of many scripts.
#include "fusion/tokenizer.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  static InputFile file(".json");
  const std::string& path = file.write(data, size);
  expect_error_or_nothing([&] {
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(path);
    const std::vector<int32_t> ids =
        tokenizer->encode(" Hello, 안녕 <s> 你好 123\n\t don't \xF0\x9F\x98\x80", true, true);
    tokenizer->decode(ids, true);
    for (const int32_t id : ids) tokenizer->token_bytes(id);
  });
  return 0;
}
