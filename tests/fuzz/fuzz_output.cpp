// The parser of models' streams. The first byte chooses a family's markers and prompt, the second
// how the rest is cut: whole and in pieces, the same must come out, and nothing may be lost.
#include <cstdlib>

#include "engine/output_parser.h"
#include "fusion/utf8.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/output_cases.h"

namespace {

using namespace onnuri;

OutputRead read(const OutputCase& how, const std::string& stream, unsigned step) {
  using Kind = OutputPiece::Kind;
  OutputParser parser(find_output_grammar(how.chat_template), how.prompt, how.has_tools);
  OutputRead out;
  CallAssembly assembly;
  std::vector<std::string> ids;
  const auto take = [&](const std::vector<OutputPiece>& pieces) {
    for (const OutputPiece& piece : pieces) {
      out.whole += piece.source;
      if (piece.kind == Kind::kText) out.text += piece.source;
      if (piece.kind == Kind::kReasoning) out.reasoning += piece.source;
      for (const ToolCall& call : piece.calls) {
        ids.push_back(call.id);
        out.calls += call.name + "(" + call.arguments_json + ");";
      }
    }
    assembly.add(parser.take_deltas());
  };
  unsigned seed = step;
  for (size_t at = 0; at < stream.size();) {
    size_t end = stream.size();
    if (step > 0) {  // some characters at a time
      seed = seed * 1664525u + 1013904223u;
      end = at;
      for (unsigned i = 0; i <= (seed >> 16) % step && end < stream.size(); ++i)
        utf8::next(stream, end);
    }
    take(parser.push(std::string_view(stream).substr(at, end - at)));
    at = end;
  }
  take(parser.finish());
  assembly.finish(out, ids);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<OutputCase> cases = all_cases();
  if (size < 2) return 0;
  const OutputCase& how = cases[data[0] % cases.size()];
  const std::string stream(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (utf8::valid_prefix(stream) != stream.size()) return 0;
  const OutputRead whole = read(how, stream, 0);
  if (whole.whole != stream) std::abort();
  for (const unsigned step : {1u, 1u + data[1] % 16u}) {
    if (read(how, stream, step) != whole) std::abort();
  }
  return 0;
}
