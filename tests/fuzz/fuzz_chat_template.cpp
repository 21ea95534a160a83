// Jinja templates: parsed, then rendered with a short conversation.
#include "fusion/chat_template.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

constexpr std::string_view kVariables = R"({
  "messages": [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "안녕"}, {"type": "image"}]},
    {"role": "assistant", "content": null, "tool_calls": [
      {"id": "1", "function": {"name": "f", "arguments": {"x": 1.5, "y": [true, null]}}}]},
    {"role": "tool", "content": "{}"}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
  "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "n": 3})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  static const JsonValue variables = parse_json(kVariables, "variables");
  expect_error_or_nothing([&] {
    ChatTemplate::parse({reinterpret_cast<const char*>(data), size})->render(variables);
  });
  return 0;
}
