// One answer from token ids to what is shown: whole characters, stop strings, and where the prompt
// was a conversation, thoughts and tool calls apart from the text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/output_parser.h"
#include "engine/stop_matcher.h"
#include "fusion/tokenizer.h"
#include "onnuri/chat.h"

namespace onnuri {

class AnswerReader {
 public:
  /// What one token added.
  struct Step {
    std::string text;
    std::string reasoning;
    std::vector<ToolCall> tool_calls;
    std::vector<ToolCallDelta> tool_call_deltas;
    bool empty() const {
      return text.empty() && reasoning.empty() && tool_calls.empty() && tool_call_deltas.empty();
    }
  };

  /// `grammar`: null shows everything as text. `prompt` and what follows it as in OutputParser. The
  /// tokenizer must outlive this.
  AnswerReader(Detokenizer detokenizer, const Tokenizer& tokenizer, std::vector<std::string> stops,
               const OutputGrammar* grammar, std::string_view prompt, bool has_tools,
               ToolSchemas tools = {});

  /// Whether the answer ends with this token; `is_eos` is what the checkpoint says.
  bool ends_with(int32_t id, bool is_eos) const;
  /// Takes one token; `end`: it is the last and shows nothing itself.
  Step push(int32_t id, bool end);
  /// What was held back, when the answer ends without an end token.
  Step finish();
  /// A stop string was met.
  bool stopped() const { return stops_.stopped(); }

 private:
  void read(std::string_view text, Step& step);
  void sort(std::vector<OutputPiece> pieces, Step& step);

  const Tokenizer* tokenizer_;
  Detokenizer detokenizer_;
  StopMatcher stops_;
  std::optional<OutputParser> parser_;
};

}  // namespace onnuri
