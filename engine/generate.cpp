// One request from prompt to last token: prefill in chunks, then one row at a time, each in a pass
// that other requests may share. Several choices continue the same prompt one after another.
#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/tensor_meter.h"
#include "decoder/sampler.h"
#include "encoders/media/media_decode.h"
#include "engine/answer_reader.h"
#include "engine/load_support.h"
#include "engine/lookup_draft.h"
#include "engine/model_draft.h"
#include "engine/module_draft.h"
#include "engine/text_run.h"

namespace onnuri {

/// The growing answers of one request.
class TextEngine::Generation {
 public:
  Generation(TextEngine& engine, const GenerateRequest& request, const TokenCallback& on_token)
      : engine_(engine),
        request_(request),
        on_token_(on_token),
        start_(std::chrono::steady_clock::now()),
        trace_(request.trace) {
    const StopMatcher checked(request.stop);  // refuses an empty stop string before the work begins
    if (engine.draft_cache_) module_.emplace(*engine.decoder_, *engine.draft_cache_);
    if (engine.draft_model_)
      model_.emplace(*engine.draft_model_, engine.config_.decoder.vocab_size,
                     engine.options_.draft_tokens);
  }

  /// The prompt is known; the first answer may begin.
  void begin(const PreparedPrompt& prompt) {
    prompt_ = &prompt;
    start_text();
  }

  /// Takes one token; false when the answer has ended with it.
  bool accept(int32_t id, std::optional<StepLogProbs> logprobs) {
    if (usage_.time_to_first_token_ms == 0)
      usage_.time_to_first_token_ms = milliseconds_since(start_);
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
    if (usage_.completion_tokens > 1 && usage_.decode_ms > 0)
      usage_.tokens_per_second =
          static_cast<double>(usage_.completion_tokens - 1) * 1000 / usage_.decode_ms;
    engine_.count(usage_);
    result.usage = usage_;
    result.trace_json = trace_.json();
    return result;
  }

  std::chrono::steady_clock::time_point start() const { return start_; }
  const std::vector<int32_t>& token_ids() const { return choice_.token_ids; }
  bool cancelled() const { return choice_.finish_reason == "cancelled"; }
  int64_t index() const { return static_cast<int64_t>(done_.size()); }
  Usage& usage() { return usage_; }
  Trace& trace() { return trace_; }
  /// Null without a module that predicts further tokens.
  ModuleDraft* module() { return module_ ? &*module_ : nullptr; }
  /// Null without a draft model, and for prompts with media, which it cannot see.
  ModelDraft* model() { return model_ && prompt_->spans.empty() ? &*model_ : nullptr; }

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
  const std::chrono::steady_clock::time_point start_;
  const PreparedPrompt* prompt_ = nullptr;
  std::optional<AnswerReader> reader_;
  bool read_whole_ = false;  // the reader has seen the answer's end
  Choice choice_;
  std::vector<Choice> done_;
  Usage usage_;
  Trace trace_;
  std::optional<ModuleDraft> module_;
  std::optional<ModelDraft> model_;
};

namespace {

constexpr int64_t kMostGuesses = 64;

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

LaidOutPrompt TextEngine::plan_prompt(const GenerateRequest& request, Trace& trace) const {
  const Trace::Span whole(&trace, "prepare");
  const int given = (request.input_ids.empty() ? 0 : 1) + (request.prompt.empty() ? 0 : 1) +
                    (request.messages.empty() ? 0 : 1);
  if (given != 1)
    fail(ErrorCode::kInvalidArgument,
         "expected exactly one of input_ids, prompt and messages, found ", given);
  if (request.messages.empty() && (!request.tools_json.empty() || !request.reasoning.empty()))
    fail(ErrorCode::kInvalidArgument, "expected tools and reasoning only with messages");
  if (!request.input_ids.empty())
    return plan_prompt(request.input_ids, {request.images, request.audios, request.videos});
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
    return plan_prompt(std::move(ids));
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
  LaidOutPrompt out = plan_prompt(std::move(chat.ids), media);
  out.decoded = std::move(media);
  out.prompt.is_chat = true;
  out.prompt.has_tools = chat.has_tools;
  out.prompt.tools = std::move(chat.tools);
  out.prompt.text = std::move(chat.text);
  return out;
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
  in_range("lookup_tokens", request.lookup_tokens, 0, kMostGuesses);
  if (!(request.deadline_ms >= 0))
    fail(ErrorCode::kInvalidArgument, "expected deadline_ms of at least 0, found ",
         request.deadline_ms);
  in_range("top_logprobs", request.top_logprobs, -1, config_.decoder.vocab_size);
  for (const auto& entry : request.sampling.logit_bias)
    in_range("a token id of logit_bias", entry.first, 0, config_.decoder.vocab_size - 1);
}

ScheduledRequest TextEngine::request_of(const LaidOutPrompt& laid) {
  ScheduledRequest out;
  out.prompt_tokens = static_cast<int64_t>(laid.prompt.ids.size());
  out.encoder_tokens = laid.encoder_tokens();
  return out;
}

// The rest of the prompt; false when the caller stopped it.
bool TextEngine::prefill(Place& place, std::span<float> logits, Generation& generation) {
  ModuleDraft* const module = generation.module();
  place.run().want(place.run().prompt_tokens() - 1, logits.data());
  const auto idle = [&] { return generation.go_on(); };
  while (place.num_missing() > 0) {
    {
      Trace::Span span(&generation.trace(), "prefill");
      place.advance(idle);
      span.set_tokens(place.num_rows());
    }
    if (module) place.exclusive([&] { module->take_rows(place.num_rows()); });
    if (place.num_missing() > 0 && !generation.go_on()) return false;
  }
  Usage& usage = generation.usage();
  const int64_t reused = usage.reused_tokens = place.run().reused_tokens();
  for (const LayerSpec& layer : config_.decoder.layers) {
    const bool is_latent = layer.mixer == MixerKind::kMla;
    (is_latent           ? usage.reused_latent
     : layer.is_linear() ? usage.reused_linear
     : layer.window > 0  ? usage.reused_window
                         : usage.reused_full) = reused;
  }
  generation.usage().reuse_note = place.run().reuse_note();
  return true;
}

// One answer; `after_prompt` are the logits there. Guesses that a draft makes are computed along
// with the token before them: as the bits of a row do not hang on its neighbours, the answer is the
// same.
void TextEngine::run_choice(const GenerateRequest& request, const PreparedPrompt& prompt,
                            Place& place, std::span<const float> after_prompt,
                            TokenConstraint* constraint, Generation& generation) {
  SamplingParams params = request.sampling;
  params.seed = choice_seed(params.seed, generation.index());
  Sampler sampler(params);
  if (constraint) constraint->reset();
  AllowedTokens allowed(constraint, eos_, request.ignore_eos);
  LookupDraft draft(request.lookup_tokens);
  draft.append(prompt.ids);
  ModuleDraft* const module = generation.module();
  if (module) place.exclusive([&] { module->restart(); });
  ModelDraft* const model = generation.model();
  if (model) {
    model->begin(prompt.ids);
    for (bool more = true; more;) place.exclusive([&] { more = model->catch_up(); });
  }
  bool by_model = false;  // who made the guesses of `step`
  const auto prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  const int64_t limit = std::min(request.max_new_tokens, context_size_ - prompt_tokens + 1);
  const int64_t max_drafts = std::min(cache_->has_states() ? KvSequence::kMaxGuesses : kMostGuesses,
                                      cache_->options().max_chunk - 1);
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
    if (model) model->append(id);
    if (row + 1 < step.size() && step[row + 1] == id) {
      ++row;
      ++generation.usage().accepted_tokens;
    } else {
      const auto guessed = static_cast<int64_t>(step.size()) - 1;
      if (by_model)
        model->report(guessed, static_cast<int64_t>(row));
      else if (!step.empty())
        draft.report(guessed, static_cast<int64_t>(row));
      const int64_t read = prompt_tokens + produced - 1;
      place.shorten(read);  // without the guesses that failed
      const int64_t room = std::min(limit - produced - 1, max_drafts);
      std::span<const int32_t> guesses = draft.propose(room);
      if (module) {
        place.exclusive([&] {
          if (!step.empty()) module->take_rows(static_cast<int64_t>(row) + 1);
          if (guesses.empty()) guesses = module->propose(room);
        });
      }
      by_model = guesses.empty() && model;
      if (by_model) place.exclusive([&] { guesses = model->propose(room); });
      step.assign(1, id);
      step.insert(step.end(), guesses.begin(), guesses.end());
      generation.usage().draft_tokens += static_cast<int64_t>(guesses.size());
      computed.resize(step.size() * vocab);
      place.run().want(read, computed.data());
      place.append(step);
      const Trace::Span span(&generation.trace(), "decode", static_cast<int64_t>(step.size()));
      while (place.advance([&] { return generation.go_on(); })) {
      }
      row = 0;
    }
    logits = std::span(computed).subspan(row * vocab, vocab);
  }
  generation.usage().completion_tokens += produced;
  generation.finish_choice(whole);
}

namespace {

/// Gives back what a draft holds while the request still has its place.
template <typename Place>
class DraftEnd {
 public:
  DraftEnd(Place& place, ModelDraft* draft) : place_(place), draft_(draft) {}
  ~DraftEnd() {
    if (draft_) place_.exclusive([this] { draft_->end(); });
  }
  DraftEnd(const DraftEnd&) = delete;
  DraftEnd& operator=(const DraftEnd&) = delete;

 private:
  Place& place_;
  ModelDraft* draft_;
};

}  // namespace

namespace {

int64_t num_bytes(const RequestMedia& media) {
  int64_t bytes = 0;
  const auto add = [&](const auto& values) {
    bytes += static_cast<int64_t>(values.size() * sizeof(values[0]));
  };
  for (const Image& image : media.images) add(image.rgb);
  for (const Waveform& sound : media.sounds) add(sound.samples);
  for (const Video& video : media.videos) {
    add(video.rgb);
    add(video.sound.samples);
  }
  return bytes;
}

}  // namespace

GenerateResult TextEngine::generate(const GenerateRequest& request, const TokenCallback& on_token) {
  check_request(request);
  const Sampler checked(request.sampling);  // refuses bad parameters before the work begins
  Generation generation(*this, request, on_token);
  LaidOutPrompt laid;
  {
    const TensorMeter meter;
    laid = plan_prompt(request, generation.trace());
    generation.usage().prepare_bytes = num_bytes(laid.media()) + meter.peak_bytes();
  }
  const PreparedPrompt& prompt = laid.prompt;
  generation.begin(prompt);
  generation.usage().prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  std::unique_ptr<TokenConstraint> constraint;
  if (!request.format.empty())
    constraint = formats_.take(request.format, tokenizer(), config_.decoder.vocab_size, eos_);
  ScheduledRequest scheduled = request_of(laid);
  scheduled.priority = request.priority;
  scheduled.tenant = request.tenant;
  if (request.deadline_ms > 0)
    scheduled.deadline_ms = request.deadline_ms - milliseconds_since(generation.start());
  auto run = std::make_unique<Run>(*this, prompt, request.tenant);
  run->share();
  run->follow_with(generation.module());
  Place place(*this, std::move(run), scheduled);
  const DraftEnd draft_end(place, generation.model());
  try {
    answer(request, laid, place, constraint.get(), generation);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCancelled || !generation.cancelled()) throw;
    generation.usage().completion_tokens += static_cast<int64_t>(generation.token_ids().size());
    generation.finish_choice(false);
    place.run().keep_on_retirement(generation.token_ids());
  }
  formats_.keep(request.format, std::move(constraint));
  return generation.finish();
}

// From the media to the last token. What is known by then stays for the next prompt.
void TextEngine::answer(const GenerateRequest& request, LaidOutPrompt& laid, Place& place,
                        TokenConstraint* constraint, Generation& generation) {
  const PreparedPrompt& prompt = laid.prompt;
  Usage& usage = generation.usage();
  auto start = std::chrono::steady_clock::now();
  {
    const TensorMeter meter;
    encode_media(
        place, [&] { return generation.go_on(); }, laid, &generation.trace());
    if (!prompt.features.empty()) {
      usage.encode_ms = milliseconds_since(start);
      usage.encode_bytes = num_bytes(laid.media()) + meter.peak_bytes();
    }
  }
  usage.encoder_passes = prompt.work.passes;
  usage.encoder_reused = prompt.work.reused;
  usage.encoder_chunks = prompt.work.chunks;
  usage.encoder_chunks_reused = prompt.work.chunks_reused;
  if (request.max_new_tokens == 0) return generation.finish_choice(false);

  start = std::chrono::steady_clock::now();
  std::vector<float> logits(static_cast<size_t>(config_.decoder.vocab_size));
  if (!prefill(place, logits, generation)) return place.run().keep_on_retirement({});
  usage.prefill_ms = milliseconds_since(start);
  usage.queue_ms = std::max(
      0.0, std::chrono::duration<double, std::milli>(place.run().opened_at() - start).count());
  usage.prefill_bytes = place.run().prefill_bytes();

  start = std::chrono::steady_clock::now();
  for (int64_t choice = 0; choice < request.num_choices; ++choice) {
    if (choice > 0) {
      generation.next_choice();
      place.back_to_prompt();
    }
    run_choice(request, prompt, place, logits, constraint, generation);
    if (generation.cancelled()) break;
  }
  usage.decode_ms = milliseconds_since(start);
  usage.decode_bytes = place.run().decode_bytes();
  place.run().keep_on_retirement(generation.token_ids());
}

}  // namespace onnuri
