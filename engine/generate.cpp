// One request from prompt to last token: prefill in chunks, then one row at a time. Several choices
// continue the same prompt one after another.
#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "core/check.h"
#include "decoder/sampler.h"
#include "encoders/media/media_decode.h"
#include "engine/answer_reader.h"
#include "engine/load_support.h"
#include "engine/lookup_draft.h"
#include "engine/module_draft.h"
#include "engine/text_engine.h"

namespace onnuri {

/// The growing answers of one request.
class TextEngine::Generation {
 public:
  Generation(TextEngine& engine, const GenerateRequest& request, const TokenCallback& on_token)
      : engine_(engine), request_(request), on_token_(on_token), trace_(request.trace) {
    const StopMatcher checked(request.stop);  // refuses an empty stop string before the work begins
    if (engine.draft_cache_) module_.emplace(*engine.decoder_, *engine.draft_cache_);
  }

  /// The prompt is known; the first answer may begin.
  void begin(const PreparedPrompt& prompt) {
    prompt_ = &prompt;
    start_text();
  }

  /// Takes one token; false when the answer has ended with it.
  bool accept(int32_t id, std::optional<StepLogProbs> logprobs) {
    choice_.token_ids.push_back(id);
    if (logprobs) choice_.logprobs.push_back(*logprobs);
    const bool is_eos = engine_.is_end(id);
    const bool end = !request_.ignore_eos && (reader_ ? reader_->ends_with(id, is_eos) : is_eos);
    AnswerReader::Step step;
    if (reader_) {
      const Trace::Span span(&trace_, "detokenise");
      step = reader_->push(id, end);
    }
    read_whole_ = end || (reader_ && reader_->stopped());
    if (read_whole_) stop();
    emit(id, std::move(step), std::move(logprobs));
    return choice_.finish_reason.empty();
  }

  /// Between chunks of a long prompt: false when the caller wants to stop.
  bool go_on() {
    emit(-1, {}, std::nullopt);
    return choice_.finish_reason.empty();
  }

  /// Ends an answer that has reached its length. `complete`: its format was complete there.
  void finish_choice(bool complete) {
    if (cancelled() && reader_ && !read_whole_) add(reader_->finish());  // nobody listens any more
    if (!choice_.finish_reason.empty()) return;
    choice_.finish_reason = complete ? "stop" : "length";
    if (!reader_) return;
    AnswerReader::Step rest = reader_->finish();
    if (reader_->stopped()) choice_.finish_reason = "stop";
    if (!rest.empty()) emit(-1, std::move(rest), std::nullopt);
  }

  /// Puts the finished answer away and begins the next one.
  void next_choice() {
    done_.push_back(std::exchange(choice_, {}));
    start_text();
  }

  GenerateResult finish() {
    done_.push_back(std::move(choice_));
    GenerateResult result;
    static_cast<Choice&>(result) = std::move(done_.front());
    done_.erase(done_.begin());
    result.more_choices = std::move(done_);
    result.usage = usage_;
    result.trace_json = trace_.json();
    return result;
  }

  const std::vector<int32_t>& token_ids() const { return choice_.token_ids; }
  bool cancelled() const { return choice_.finish_reason == "cancelled"; }
  int64_t index() const { return static_cast<int64_t>(done_.size()); }
  Usage& usage() { return usage_; }
  Trace& trace() { return trace_; }
  /// Null without a module that predicts further tokens.
  ModuleDraft* module() { return module_ ? &*module_ : nullptr; }

 private:
  void start_text() {
    read_whole_ = false;
    if (!engine_.tokenizer_) return;
    // A format rules over the whole answer: it is one text, and every byte of it counts.
    const bool free = request_.format.empty();
    const bool split = prompt_->is_chat && request_.split_output && free;
    reader_.emplace(Detokenizer(*engine_.tokenizer_, true, free), *engine_.tokenizer_,
                    request_.stop, split ? &engine_.chat_->grammar() : nullptr, prompt_->text,
                    prompt_->has_tools, prompt_->tools);
  }

  void stop() { choice_.finish_reason = "stop"; }

  void add(const AnswerReader::Step& step) {
    choice_.text += step.text;
    choice_.reasoning += step.reasoning;
    choice_.tool_calls.insert(choice_.tool_calls.end(), step.tool_calls.begin(),
                              step.tool_calls.end());
  }

  void emit(int32_t id, AnswerReader::Step step, std::optional<StepLogProbs> logprobs) {
    add(step);
    if (choice_.finish_reason == "stop" && !choice_.tool_calls.empty())
      choice_.finish_reason = "tool_calls";
    if (on_token_ &&
        !on_token_({id, std::move(step.text), std::move(step.reasoning), std::move(step.tool_calls),
                    index(), std::move(logprobs), std::move(step.tool_call_deltas)}))
      choice_.finish_reason = "cancelled";
  }

  TextEngine& engine_;
  const GenerateRequest& request_;
  const TokenCallback& on_token_;
  const PreparedPrompt* prompt_ = nullptr;
  std::optional<AnswerReader> reader_;
  bool read_whole_ = false;  // the reader has seen the answer's end
  Choice choice_;
  std::vector<Choice> done_;
  Usage usage_;
  Trace trace_;
  std::optional<ModuleDraft> module_;
};

namespace {

std::optional<StepLogProbs> step_logprobs(std::span<const float> logits, int32_t id, int64_t top) {
  if (top < 0) return std::nullopt;
  StepLogProbs step;
  step.chosen = {id, log_probability(logits, id)};
  for (const auto& [token, logprob] : top_log_probabilities(logits, top))
    step.top.push_back({token, logprob});
  return step;
}

/// The tokens that a format allows next: those that go on, and the end where the text is whole.
class AllowedTokens {
 public:
  AllowedTokens(TokenConstraint* constraint, std::span<const int32_t> ends, bool ignore_end)
      : constraint_(constraint), ends_(ignore_end ? std::span<const int32_t>() : ends) {}

  /// False when nothing can follow a text that is whole. Throws when the text is stuck: the
  /// vocabulary cannot spell what the format wants.
  bool update() {
    if (!constraint_) return true;
    if (!constraint_->can_continue()) {
      if (constraint_->complete()) return false;
      fail(ErrorCode::kUnsupported,
           "expected a vocabulary that can spell the requested format, found "
           "no token that goes on");
    }
    const std::span<const uint64_t> mask = constraint_->mask();
    bits_.assign(mask.begin(), mask.end());
    if (constraint_->complete())
      for (const int32_t id : ends_)
        if (static_cast<size_t>(id) < bits_.size() * 64)
          bits_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
    return true;
  }
  /// True when the text is whole and nothing can follow.
  bool ended() { return constraint_ && constraint_->complete() && !constraint_->can_continue(); }
  void accept(int32_t id) {
    if (!constraint_) return;
    if (!constraint_->accept(id))
      ONNURI_CHECK(std::find(ends_.begin(), ends_.end(), id) != ends_.end());
  }
  std::span<const uint64_t> bits() const { return bits_; }

 private:
  TokenConstraint* constraint_;
  std::span<const int32_t> ends_;
  std::vector<uint64_t> bits_;
};

}  // namespace

PreparedPrompt TextEngine::prepare(const GenerateRequest& request, Trace& trace) {
  const Trace::Span whole(&trace, "prepare");
  const int given = (request.input_ids.empty() ? 0 : 1) + (request.prompt.empty() ? 0 : 1) +
                    (request.messages.empty() ? 0 : 1);
  if (given != 1)
    fail(ErrorCode::kInvalidArgument,
         "expected exactly one of input_ids, prompt and messages, found ", given);
  if (request.messages.empty() && (!request.tools_json.empty() || !request.reasoning.empty()))
    fail(ErrorCode::kInvalidArgument, "expected tools and reasoning only with messages");
  if (!request.input_ids.empty())
    return prepare(request.input_ids, {request.images, request.audios, request.videos}, &trace);
  if (!request.images.empty() || !request.audios.empty() || !request.videos.empty())
    fail(ErrorCode::kInvalidArgument,
         "expected images, audios and videos only with input_ids, found them beside text");
  if (!request.prompt.empty()) {
    std::vector<int32_t> ids;
    {
      const Trace::Span span(&trace, "tokenise");
      ids = tokenizer().encode(request.prompt, true, true);
    }
    check_tokenizer_ids(ids, config_.decoder.vocab_size, path_);
    return prepare(std::move(ids));
  }
  // Media first: a text-only template would fail on them with a message about itself.
  DecodedMedia media;
  {
    const Trace::Span span(&trace, "decode media");
    media = decode_media(request.messages);
  }
  ChatInput input;
  input.messages = request.messages;
  input.tools_json = request.tools_json;
  input.kwargs_json = request.template_kwargs_json;
  input.reasoning = request.reasoning;
  input.trust_special_tokens = request.trust_special_tokens;
  ChatPrompt chat;
  {
    const Trace::Span span(&trace, "tokenise");
    chat = encode_chat(std::move(input), media);
  }
  PreparedPrompt prompt = prepare(std::move(chat.ids), media, &trace);
  prompt.is_chat = true;
  prompt.has_tools = chat.has_tools;
  prompt.tools = std::move(chat.tools);
  prompt.text = std::move(chat.text);
  return prompt;
}

bool TextEngine::is_end(int32_t id) const {
  return std::find(eos_.begin(), eos_.end(), id) != eos_.end();
}

void TextEngine::check_request(const GenerateRequest& request) const {
  constexpr int64_t kMaxChoices = 1024;
  const auto in_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high)
      fail(ErrorCode::kInvalidArgument, "expected ", name, " in [", low, ", ", high, "], found ",
           value);
  };
  if (request.max_new_tokens < 0)
    fail(ErrorCode::kInvalidArgument, "expected max_new_tokens of at least 0, found ",
         request.max_new_tokens);
  in_range("num_choices", request.num_choices, 1, kMaxChoices);
  in_range("lookup_tokens", request.lookup_tokens, 0, 64);
  in_range("top_logprobs", request.top_logprobs, -1, config_.decoder.vocab_size);
  for (const auto& entry : request.sampling.logit_bias)
    in_range("a token id of logit_bias", entry.first, 0, config_.decoder.vocab_size - 1);
}

namespace {

PromptContent content_of(const PreparedPrompt& prompt, const std::string& tenant) {
  PromptContent out;
  out.ids = prompt.ids;
  out.num_axes = prompt.positions.num_axes;
  out.positions = prompt.positions.positions;
  out.spans = prompt.spans;
  out.keys = prompt.span_keys;
  out.visible_ends = prompt.visible_ends;
  out.tenant = tenant;
  out.prompt_tokens = out.size();
  return out;
}

}  // namespace

std::unique_ptr<KvSequence> TextEngine::begin_sequence(const PreparedPrompt& prompt,
                                                       const GenerateRequest& request,
                                                       Generation& generation) {
  if (!memory_) {
    generation.usage().reuse_note = decoder_->has_draft()
                                        ? "a prediction module reads every token itself"
                                        : "prefix caching is off";
    return new_sequence();
  }
  PromptMemory::Start start = memory_->take(content_of(prompt, request.tenant));
  generation.usage().reused_tokens = start.reused;
  generation.usage().reuse_note = std::move(start.note);
  return start.kv ? std::move(start.kv) : new_sequence();
}

// The last token of an answer was never read.
void TextEngine::keep_sequence(std::unique_ptr<KvSequence> kv, const PreparedPrompt& prompt,
                               const GenerateRequest& request, std::span<const int32_t> answer) {
  if (!memory_ || !kv) return;
  PromptContent content = content_of(prompt, request.tenant);
  const size_t read = answer.empty() ? 0 : answer.size() - 1;
  const auto before = content.size();
  content.ids.insert(content.ids.end(), answer.begin(),
                     answer.begin() + static_cast<std::ptrdiff_t>(read));
  std::vector<float> positions;
  for (int64_t axis = 0; axis < content.num_axes; ++axis) {
    const auto from = content.positions.begin() + axis * before;
    positions.insert(positions.end(), from, from + before);
    for (size_t i = 0; i < read; ++i)
      positions.push_back(prompt.positions.next_position + static_cast<float>(i));
  }
  content.positions = std::move(positions);
  if (!content.visible_ends.empty())
    for (int64_t i = before; i < content.size(); ++i)
      content.visible_ends.push_back(static_cast<int32_t>(i + 1));
  memory_->keep(std::move(kv), std::move(content));
}

// The rest of the prompt behind what `kv` holds; false when the caller stopped it.
bool TextEngine::prefill(const PreparedPrompt& prompt, KvSequence& kv, std::span<float> logits,
                         Generation& generation) {
  const auto total = static_cast<int64_t>(prompt.ids.size());
  ModuleDraft* const module = generation.module();
  if (module) module->begin(prompt.ids, prompt.positions.positions);
  for (int64_t begin = kv.num_tokens(), end = 0; begin < total; begin = end) {
    end = chunk_end(prompt, begin);
    const Rows rows = end == total ? Rows::kLast : Rows::kNone;
    float* const hidden = module ? module->rows_to_come(end - begin) : nullptr;
    const Trace::Span span(&generation.trace(), "prefill", end - begin);
    forward_chunk(prompt, kv, begin, end - begin, rows, logits.data(), hidden);
    if (module) module->take_rows(end - begin);
    if (rows == Rows::kNone && !generation.go_on()) return false;
  }
  return true;
}

// One answer; `after_prompt` are the logits there. Guesses that a draft makes are computed along
// with the token before them: as the bits of a row do not hang on its neighbours, the answer is the
// same.
void TextEngine::run_choice(const GenerateRequest& request, const PreparedPrompt& prompt,
                            KvSequence& kv, std::span<const float> after_prompt,
                            TokenConstraint* constraint, Generation& generation) {
  SamplingParams params = request.sampling;
  params.seed = choice_seed(params.seed, generation.index());
  Sampler sampler(params);
  if (constraint) constraint->reset();
  AllowedTokens allowed(constraint, eos_, request.ignore_eos);
  LookupDraft draft(request.lookup_tokens);
  draft.append(prompt.ids);
  ModuleDraft* const module = generation.module();
  if (module) module->restart();
  const auto prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  const int64_t limit = std::min(request.max_new_tokens, context_size_ - prompt_tokens + 1);
  const int64_t max_drafts = kv.max_chunk() - 1;
  const auto vocab = static_cast<size_t>(config_.decoder.vocab_size);
  std::vector<float> computed;  // (1 + guesses, vocab_size)
  std::vector<int32_t> step;    // the last token and the guesses after it
  size_t row = 0;               // of `computed`: what follows step[row]
  std::span<const float> logits = after_prompt;
  int64_t produced = 0;
  bool whole = !allowed.update();
  while (produced < limit && !whole) {
    const int32_t id = sampler.sample(logits, prompt.ids, generation.token_ids(), allowed.bits());
    ++produced;
    if (!generation.accept(id, step_logprobs(logits, id, request.top_logprobs))) break;
    allowed.accept(id);
    whole = produced == limit ? allowed.ended() : !allowed.update();
    if (produced == limit || whole) break;
    draft.append(id);
    const auto position = prompt.positions.next_position + static_cast<float>(produced - 1);
    if (module) module->append(id, position);
    if (row + 1 < step.size() && step[row + 1] == id) {
      ++row;
      ++generation.usage().accepted_tokens;
    } else {
      if (!step.empty())
        draft.report(static_cast<int64_t>(step.size()) - 1, static_cast<int64_t>(row));
      ONNURI_CHECK(kv.truncate(prompt_tokens + produced - 1));  // without the guesses that failed
      if (module && !step.empty()) module->take_rows(static_cast<int64_t>(row) + 1);
      const int64_t room = std::min(limit - produced - 1, max_drafts);
      std::span<const int32_t> guesses = draft.propose(room);
      if (guesses.empty() && module) guesses = module->propose(room);
      step.assign(1, id);
      step.insert(step.end(), guesses.begin(), guesses.end());
      generation.usage().draft_tokens += static_cast<int64_t>(guesses.size());
      computed.resize(step.size() * vocab);
      float* const hidden =
          module ? module->rows_to_come(static_cast<int64_t>(step.size())) : nullptr;
      const Trace::Span span(&generation.trace(), "decode", static_cast<int64_t>(step.size()));
      forward_tokens(kv, step, position, computed.data(), hidden);
      row = 0;
    }
    logits = std::span(computed).subspan(row * vocab, vocab);
  }
  generation.usage().completion_tokens += produced;
  generation.finish_choice(whole);
}

GenerateResult TextEngine::generate(const GenerateRequest& request, const TokenCallback& on_token) {
  const std::lock_guard lock(mutex_);
  check_request(request);
  const Sampler checked(request.sampling);  // refuses bad parameters before the work begins
  Generation generation(*this, request, on_token);
  auto start = std::chrono::steady_clock::now();
  const PreparedPrompt prompt = prepare(request, generation.trace());
  generation.begin(prompt);
  const auto prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  generation.usage().prompt_tokens = prompt_tokens;
  TokenConstraint* const constraint =
      request.format.empty()
          ? nullptr
          : formats_.get(request.format, tokenizer(), config_.decoder.vocab_size, eos_);
  if (!prompt.features.empty()) generation.usage().encode_ms = milliseconds_since(start);
  generation.usage().encoder_passes = prompt.work.passes;
  generation.usage().encoder_reused = prompt.work.reused;
  generation.usage().encoder_chunks = prompt.work.chunks;
  generation.usage().encoder_chunks_reused = prompt.work.chunks_reused;
  if (request.max_new_tokens == 0) {
    generation.finish_choice(false);
    return generation.finish();
  }

  start = std::chrono::steady_clock::now();
  std::unique_ptr<KvSequence> kv = begin_sequence(prompt, request, generation);
  std::vector<float> logits(static_cast<size_t>(config_.decoder.vocab_size));
  if (!prefill(prompt, *kv, logits, generation)) {
    keep_sequence(std::move(kv), prompt, request, {});
    return generation.finish();
  }
  generation.usage().prefill_ms = milliseconds_since(start);

  start = std::chrono::steady_clock::now();
  for (int64_t choice = 0; choice < request.num_choices; ++choice) {
    if (choice > 0) {
      generation.next_choice();
      if (!kv->truncate(prompt_tokens)) {
        kv.reset();  // the rings of window layers have moved on past the prompt's end
        kv = new_sequence();
        if (!prefill(prompt, *kv, logits, generation)) break;
      }
    }
    run_choice(request, prompt, *kv, logits, constraint, generation);
    if (generation.cancelled()) break;
  }
  generation.usage().decode_ms = milliseconds_since(start);
  keep_sequence(std::move(kv), prompt, request, generation.token_ids());
  return generation.finish();
}

}  // namespace onnuri
