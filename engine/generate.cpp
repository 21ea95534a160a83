// One request from prompt to last token: prefill in chunks, then one row at a time.
#include <algorithm>
#include <chrono>

#include "core/check.h"
#include "decoder/sampler.h"
#include "encoders/media/media_decode.h"
#include "engine/load_support.h"
#include "engine/stop_matcher.h"
#include "engine/text_engine.h"

namespace onnuri {

/// The growing answer of one request.
class TextEngine::Generation {
 public:
  Generation(TextEngine& engine, const GenerateRequest& request, const TokenCallback& on_token)
      : engine_(engine), request_(request), on_token_(on_token), stops_(request.stop) {
    if (engine.tokenizer_) detokenizer_.emplace(*engine.tokenizer_);
  }

  /// Takes one token; false when the answer has ended with it.
  bool accept(int32_t id) {
    result_.token_ids.push_back(id);
    const bool end = !request_.ignore_eos &&
                     std::find(engine_.eos_.begin(), engine_.eos_.end(), id) != engine_.eos_.end();
    std::string text;
    if (detokenizer_) text = stops_.push(end ? detokenizer_->finish() : detokenizer_->push(id));
    if (end) {
      text += stops_.finish();
      result_.finish_reason = "stop";
    } else if (stops_.stopped()) {
      result_.finish_reason = "stop";
    }
    emit(id, text);
    return result_.finish_reason.empty();
  }

  /// Between chunks of a long prompt: false when the caller wants to stop.
  bool go_on() {
    emit(-1, {});
    return result_.finish_reason.empty();
  }

  /// Ends an answer that has reached its length.
  GenerateResult finish() {
    if (result_.finish_reason.empty()) {
      result_.finish_reason = "length";
      if (detokenizer_) {
        const std::string rest = stops_.push(detokenizer_->finish()) + stops_.finish();
        if (stops_.stopped()) result_.finish_reason = "stop";
        if (!rest.empty()) emit(-1, rest);
      }
    }
    return std::move(result_);
  }

  const std::vector<int32_t>& token_ids() const { return result_.token_ids; }
  Usage& usage() { return result_.usage; }

 private:
  void emit(int32_t id, const std::string& text) {
    result_.text += text;
    if (on_token_ && !on_token_({id, text})) result_.finish_reason = "cancelled";
  }

  TextEngine& engine_;
  const GenerateRequest& request_;
  const TokenCallback& on_token_;
  StopMatcher stops_;
  std::optional<Detokenizer> detokenizer_;
  GenerateResult result_;
};

std::vector<Image> TextEngine::decode_images(std::span<const ChatMessage> messages) const {
  std::vector<Image> images;
  for (const ChatMessage& message : messages) {
    for (const ContentPart& part : message.content) {
      if (!part.is_media) continue;
      if (part.media.kind != MediaKind::kImage || !image_encoder_)
        fail(ErrorCode::kUnsupported, "expected messages that family ", config_.family,
             " can take, found ", part.media.kind == MediaKind::kImage ? "a picture" : "sound or video");
      images.push_back(decode_image(part.media));
    }
  }
  return images;
}

PreparedPrompt TextEngine::prepare(const GenerateRequest& request) {
  const int given = (request.input_ids.empty() ? 0 : 1) + (request.prompt.empty() ? 0 : 1) +
                    (request.messages.empty() ? 0 : 1);
  if (given != 1)
    fail(ErrorCode::kInvalidArgument,
         "expected exactly one of input_ids, prompt and messages, found ", given);
  if (!request.audios.empty())
    fail(ErrorCode::kUnsupported, "expected no sound: family ", config_.family, " has no ears");
  if (!request.input_ids.empty()) return prepare(request.input_ids, request.images);
  if (!request.images.empty())
    fail(ErrorCode::kInvalidArgument, "expected images only with input_ids, found them beside text");
  if (!request.prompt.empty()) {
    std::vector<int32_t> ids = tokenizer().encode(request.prompt, true, true);
    check_tokenizer_ids(ids, config_.decoder.vocab_size, path_);
    return prepare(std::move(ids), {});
  }
  // Media first: a text-only template would fail on them with a message about itself.
  const std::vector<Image> images = decode_images(request.messages);
  tokenizer();
  std::vector<int32_t> ids = chat_->encode(request.messages, request.template_kwargs_json);
  check_tokenizer_ids(ids, config_.decoder.vocab_size, path_);
  if (!images.empty()) {
    std::vector<MediaGrid> grids;
    for (const Image& image : images) grids.push_back(image_encoder_->grid(image));
    ids = expand_placeholders(ids, config_.special.image_placeholder, grids);
  }
  return prepare(std::move(ids), images);
}

GenerateResult TextEngine::generate(const GenerateRequest& request, const TokenCallback& on_token) {
  const std::lock_guard lock(mutex_);
  if (request.max_new_tokens < 0)
    fail(ErrorCode::kInvalidArgument, "expected max_new_tokens of at least 0, found ",
         request.max_new_tokens);
  Sampler sampler(request.sampling);
  Generation generation(*this, request, on_token);
  auto start = std::chrono::steady_clock::now();
  const PreparedPrompt prompt = prepare(request);
  const auto prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  generation.usage().prompt_tokens = prompt_tokens;
  if (!prompt.features.empty()) generation.usage().encode_ms = milliseconds_since(start);
  if (request.max_new_tokens == 0) return generation.finish();

  start = std::chrono::steady_clock::now();
  const std::unique_ptr<KvSequence> kv = new_sequence();
  std::vector<float> logits(static_cast<size_t>(config_.decoder.vocab_size));
  for (int64_t begin = 0; begin < prompt_tokens; begin += options_.prefill_chunk) {
    const int64_t count = std::min(options_.prefill_chunk, prompt_tokens - begin);
    const Rows rows = begin + count == prompt_tokens ? Rows::kLast : Rows::kNone;
    forward_chunk(prompt, *kv, begin, count, rows, logits.data());
    if (rows == Rows::kNone && !generation.go_on()) return generation.finish();
  }
  std::vector<int32_t> history = prompt.ids;  // for the repetition penalty
  int32_t id = sampler.sample(logits, history);
  generation.usage().prefill_ms = milliseconds_since(start);

  start = std::chrono::steady_clock::now();
  int32_t position = prompt.positions.next_position;
  const int64_t room = context_size_ - prompt_tokens;
  const int64_t limit = std::min(request.max_new_tokens, room + 1);
  int64_t produced = 1;
  while (generation.accept(id) && produced < limit) {
    forward_token(*kv, id, position++, logits.data());
    history.push_back(id);
    id = sampler.sample(logits, history);
    ++produced;
  }
  generation.usage().completion_tokens = produced;
  generation.usage().decode_ms = milliseconds_since(start);
  return generation.finish();
}

}  // namespace onnuri
