#include "engine/text_run.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "engine/module_draft.h"

namespace onnuri {

TextEngine::Run::Run(TextEngine& engine, const PreparedPrompt& prompt, std::string tenant)
    : engine_(engine), prompt_(&prompt), tenant_(std::move(tenant)) {}

void TextEngine::Run::append(std::span<const int32_t> ids) {
  answer_.insert(answer_.end(), ids.begin(), ids.end());
}

void TextEngine::Run::shorten(int64_t num_tokens) {
  answer_.resize(static_cast<size_t>(num_tokens - prompt_tokens()));
  valid_ = std::min(valid_, num_tokens);
}

void TextEngine::Run::want(int64_t first_token, float* out) {
  wanted_from_ = first_token;
  out_ = out;
}

PromptContent TextEngine::Run::content() const {
  PromptContent out;
  out.ids = prompt_->ids;
  out.num_axes = prompt_->positions.num_axes;
  out.positions = prompt_->positions.positions;
  out.spans = prompt_->spans;
  out.keys = prompt_->span_keys;
  out.visible_ends = prompt_->visible_ends;
  out.tenant = tenant_;
  out.prompt_tokens = out.size();
  return out;
}

int64_t TextEngine::Run::open() {
  kv_.reset();
  PromptMemory::Start start;
  if (shares_ && engine_.memory_) start = engine_.memory_->take(content());
  kv_ = start.kv ? std::move(start.kv) : engine_.new_sequence();
  valid_ = kv_->num_tokens();
  branch_ = start.branch;
  if (!opened_once_) {
    opened_at_ = std::chrono::steady_clock::now();
    reused_ = start.reused;
    reuse_note_ = engine_.memory_ ? std::move(start.note)
                  : module_       ? "a prediction module reads every token itself"
                                  : "prefix caching is off";
    if (module_) module_->begin(prompt_->ids, prompt_->positions.positions);
  }
  opened_once_ = true;
  return valid_;
}

void TextEngine::Run::close() { kv_.reset(); }

bool TextEngine::Run::back_to_prompt() {
  answer_.clear();
  valid_ = std::min(valid_, prompt_tokens());
  if (!kv_ || kv_->num_tokens() <= prompt_tokens() || kv_->truncate(prompt_tokens())) return true;
  kv_.reset();  // the rings of window layers have moved on past the prompt's end
  kv_ = engine_.new_sequence();
  valid_ = 0;
  return false;
}

void TextEngine::Run::keep_on_retirement(std::span<const int32_t> answer) {
  if (!shares_ || !engine_.memory_) return;
  kept_ = content();
  const size_t read = answer.empty() ? 0 : answer.size() - 1;
  const int64_t before = kept_.size();
  kept_.ids.insert(kept_.ids.end(), answer.begin(),
                   answer.begin() + static_cast<std::ptrdiff_t>(read));
  std::vector<float> positions;
  for (int64_t axis = 0; axis < kept_.num_axes; ++axis) {
    const auto from = kept_.positions.begin() + axis * before;
    positions.insert(positions.end(), from, from + before);
    for (size_t i = 0; i < read; ++i)
      positions.push_back(prompt_->positions.next_position + static_cast<float>(i));
  }
  kept_.positions = std::move(positions);
  if (!kept_.visible_ends.empty())
    for (int64_t i = before; i < kept_.size(); ++i)
      kept_.visible_ends.push_back(static_cast<int32_t>(i + 1));
  keeps_ = true;
}

// Rows behind `valid_` are guesses that failed.
void TextEngine::Run::retire() {
  const int64_t known = std::min(valid_, kept_.size());
  if (keeps_ && kv_ && (kv_->num_tokens() <= known || kv_->truncate(known)))
    engine_.memory_->keep(*kv_, std::move(kept_), known);
  kv_.reset();
}

// Not inside tokens that see each other, and not across the end of the prompt, behind which rows
// are read as those of an answer.
int64_t TextEngine::Run::chunk_end(int64_t begin, int64_t most_rows) const {
  if (begin >= prompt_tokens()) {
    // Linear layers can take back guesses of a pass that holds nothing else.
    const bool apart = engine_.cache_->has_states() && begin < wanted_from_;
    return std::min(begin + most_rows, apart ? wanted_from_ : num_tokens());
  }
  int64_t end = std::min(begin + most_rows, prompt_tokens());
  if (begin < branch_) end = std::min(end, branch_);  // where it is to be kept
  if (prompt_->visible_ends.empty()) return end;
  const auto reach = [&](int64_t i) { return prompt_->visible_ends[static_cast<size_t>(i)]; };
  int64_t uncut = end;
  while (uncut > begin && reach(uncut - 1) > end) --uncut;
  return uncut > begin ? uncut : reach(begin);
}

void TextEngine::Run::add_prompt_rows(int64_t begin, int64_t end, Pass& pass) const {
  const PreparedPrompt& prompt = *prompt_;
  const int64_t total = prompt_tokens(), hidden = engine_.config_.decoder.hidden_size;
  const int64_t first_row = pass.num_rows();
  pass.ids.insert(pass.ids.end(), prompt.ids.begin() + begin, prompt.ids.begin() + end);
  for (size_t axis = 0; axis < pass.positions.size(); ++axis) {
    const float* of_axis = prompt.positions.positions.data() + static_cast<int64_t>(axis) * total;
    pass.positions[axis].insert(pass.positions[axis].end(), of_axis + begin, of_axis + end);
  }
  for (size_t i = 0; i < prompt.spans.size(); ++i) {
    const MediaSpan& span = prompt.spans[i];
    const int64_t first = std::max(begin, span.first_token);
    const int64_t last = std::min(end, span.first_token + span.num_tokens);
    if (first >= last) continue;
    const int64_t row = first_row + first - begin;
    const int64_t skipped = (first - span.first_token) * hidden;
    pass.overrides.push_back({row, matrix(prompt.rows[i].rows + skipped, last - first, hidden)});
    for (size_t k = 0; k < prompt.rows[i].deep_rows.size(); ++k)
      pass.additions.push_back(
          {static_cast<int64_t>(k), row,
           matrix(prompt.rows[i].deep_rows[k] + skipped, last - first, hidden)});
  }
}

void TextEngine::Run::add_answer_rows(int64_t begin, int64_t end, Pass& pass) const {
  const int64_t before = prompt_tokens();
  pass.ids.insert(pass.ids.end(), answer_.begin() + (begin - before),
                  answer_.begin() + (end - before));
  for (std::vector<float>& axis : pass.positions)
    for (int64_t i = begin - before; i < end - before; ++i)
      axis.push_back(prompt_->positions.next_position + static_cast<float>(i));
}

int64_t TextEngine::Run::fill(int64_t most_rows, bool alone, Pass& pass) {
  if (kv_->num_tokens() > valid_) ONNURI_CHECK(kv_->truncate(valid_));
  const int64_t begin = kv_->num_tokens(), end = chunk_end(begin, most_rows);
  const int64_t count = end - begin, first_row = pass.num_rows();
  ONNURI_CHECK(count > 0);
  engine_.reserve(*kv_, count);
  const bool in_prompt = begin < prompt_tokens();
  SequenceSlice slice{first_row, count, begin, kv_.get(), in_prompt ? prompt_tokens() : 0};
  if (in_prompt && !prompt_->visible_ends.empty())
    slice.visible_ends = prompt_->visible_ends.data() + begin;
  pass.slices.push_back(slice);
  if (in_prompt)
    add_prompt_rows(begin, end, pass);
  else
    add_answer_rows(begin, end, pass);

  const int64_t first_wanted = std::clamp(wanted_from_, begin, end);
  const int64_t vocab = engine_.config_.decoder.vocab_size;
  next_out_ = out_ + (first_wanted - std::min(wanted_from_, first_wanted)) * vocab;
  for (int64_t i = module_ ? begin : first_wanted; i < end; ++i)
    pass.logit_rows.push_back(first_row + i - begin);
  if (alone) pass.logits = next_out_;
  if (module_) {
    ONNURI_CHECK(alone);
    pass.hidden_out = module_->rows_to_come(count);
    pass.num_logits = end - first_wanted;
  }
  return count;
}

// What has been read of the prompt is of use to others at once.
void TextEngine::Run::share_prompt() {
  if (!shares_ || !engine_.memory_ || (valid_ != branch_ && valid_ != prompt_tokens())) return;
  try {
    // The same prompt once more leaves its last token to be computed.
    engine_.memory_->keep(*kv_, content(), std::min(valid_, prompt_tokens() - 1));
  } catch (const std::bad_alloc&) {
    // Then not: the request itself needs nothing of it.
  }
}

void TextEngine::Run::take(ConstMatrixView logits) {
  valid_ = kv_->num_tokens();
  int64_t& peak = valid_ > prompt_tokens() ? decode_bytes_ : prefill_bytes_;
  peak = std::max(peak, engine_.pass_bytes(valid_));
  share_prompt();
  for (int64_t i = 0; i < logits.rows; ++i)
    std::memcpy(next_out_ + i * logits.cols, logits.row(i),
                static_cast<size_t>(logits.cols) * sizeof(float));
}

TextEngine::Place::Place(TextEngine& engine, std::unique_ptr<Run> run,
                         const ScheduledRequest& request)
    : engine_(engine), run_(std::move(run)) {
  engine.loop_->join(*run_, request);
}

TextEngine::Place::~Place() { engine_.loop_->leave(std::move(run_)); }

bool TextEngine::Place::advance(const StepLoop::Idle& idle) {
  if (num_missing() == 0) return false;
  num_rows_ = engine_.loop_->advance(*run_, idle);
  return true;
}

int64_t TextEngine::Place::num_missing() const { return engine_.loop_->num_missing(*run_); }

void TextEngine::Place::append(std::span<const int32_t> ids) {
  run_->append(ids);
  engine_.loop_->append_tokens(*run_, static_cast<int64_t>(ids.size()));
}

void TextEngine::Place::shorten(int64_t num_tokens) {
  run_->shorten(num_tokens);
  engine_.loop_->rewind(*run_, num_tokens, num_tokens);
}

void TextEngine::Place::exclusive(const std::function<void()>& work) {
  engine_.loop_->exclusive(*run_, work);
}

void TextEngine::Place::back_to_prompt() {
  engine_.loop_->exclusive(*run_, [this] {
    const int64_t prompt = run_->prompt_tokens();
    const bool kept = run_->back_to_prompt();
    engine_.loop_->rewind(*run_, kept ? prompt : 0, prompt);
  });
}

}  // namespace onnuri
