// See answer_reader.h.
#include "engine/answer_reader.h"

#include <iterator>
#include <utility>

namespace onnuri {

AnswerReader::AnswerReader(Detokenizer detokenizer, const Tokenizer& tokenizer,
                           std::vector<std::string> stops, const OutputGrammar* grammar,
                           std::string_view prompt, bool has_tools, ToolSchemas tools)
    : tokenizer_(&tokenizer), detokenizer_(std::move(detokenizer)), stops_(std::move(stops)) {
  if (grammar != nullptr && grammar->shape != OutputShape::kPlain)
    parser_.emplace(*grammar, prompt, has_tools, std::move(tools));
}

bool AnswerReader::ends_with(int32_t id, bool is_eos) const {
  if (!parser_ || !tokenizer_->is_special(id)) return is_eos;
  return parser_->ends_with(tokenizer_->id_to_token(id)).value_or(is_eos);
}

AnswerReader::Step AnswerReader::push(int32_t id, bool end) {
  Step step;
  if (!end) read(stops_.push(detokenizer_.push(id)), step);
  if (parser_ && tokenizer_->is_special(id) && !stops_.stopped()) {
    read(stops_.finish(), step);  // no stop string goes on behind a special token
    const std::string spelling = tokenizer_->id_to_token(id);
    if (!end || parser_->is_marker(spelling)) sort(parser_->push_special(spelling), step);
  }
  if (!end && !stops_.stopped()) return step;
  Step rest = finish();
  step.text += rest.text;
  step.reasoning += rest.reasoning;
  step.tool_calls.insert(step.tool_calls.end(), std::make_move_iterator(rest.tool_calls.begin()),
                         std::make_move_iterator(rest.tool_calls.end()));
  step.tool_call_deltas.insert(step.tool_call_deltas.end(),
                               std::make_move_iterator(rest.tool_call_deltas.begin()),
                               std::make_move_iterator(rest.tool_call_deltas.end()));
  return step;
}

AnswerReader::Step AnswerReader::finish() {
  Step step;
  read(stops_.push(detokenizer_.finish()), step);
  read(stops_.finish(), step);
  if (parser_) sort(parser_->finish(), step);
  return step;
}

void AnswerReader::read(std::string_view text, Step& step) {
  if (!parser_)
    step.text += text;
  else if (!text.empty())
    sort(parser_->push(text), step);
}

void AnswerReader::sort(std::vector<OutputPiece> pieces, Step& step) {
  for (OutputPiece& piece : pieces) {
    if (piece.kind == OutputPiece::Kind::kText) step.text += piece.source;
    if (piece.kind == OutputPiece::Kind::kReasoning) step.reasoning += piece.source;
    for (ToolCall& call : piece.calls) step.tool_calls.push_back(std::move(call));
  }
  for (ToolCallDelta& delta : parser_->take_deltas())
    step.tool_call_deltas.push_back(std::move(delta));
}

}  // namespace onnuri
