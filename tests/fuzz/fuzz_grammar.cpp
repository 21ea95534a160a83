// Grammars of structured output: the first byte says whether the rest is a JSON schema (s), a
// regular expression (r) or EBNF rules (e). What is read is also compiled.
#include "fusion/grammar.h"
#include "fusion/grammar_automaton.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  expect_error_or_nothing([&] {
    switch (data[0]) {
      case 's': compile_grammar(grammar_from_json_schema(text)); break;
      case 'r': compile_grammar(grammar_from_regex(text)); break;
      case 'e': compile_grammar(grammar_from_ebnf(text)); break;
      default: break;
    }
  });
  return 0;
}
