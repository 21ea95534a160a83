// Loading a text model and everything that needs one forward pass over a prompt.
#include "engine/text_engine.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/check.h"
#include "core/machine_memory.h"
#include "decoder/sampler.h"
#include "engine/load_support.h"
#include "engine/model_facts.h"
#include "engine/model_sampling.h"
#include "engine/text_run.h"
#include "kernels/kernel_table.h"

namespace onnuri {
namespace {

constexpr int64_t kDefaultContext = 32768;
constexpr int64_t kLongestRun = 1024;  // tokens of adjacent pictures that see each other

}  // namespace

TextEngine::TextEngine(const ModelFiles& files, ModelConfig config, const EngineOptions& options)
    : config_(std::move(config)),
      options_(options),
      compute_(parse_compute_type(options.compute_dtype)),
      path_(files.path),
      backend_(options.num_threads, chosen_isa(options), backend_mode(files)),
      checkpoint_(files.checkpoint),
      encoder_cache_(options.encoder_cache_bytes) {
  const auto start = std::chrono::steady_clock::now();
  load(files);
  load_ms_ = milliseconds_since(start);
}

void TextEngine::load(const ModelFiles& files) {
  auto report = [&](double fraction, const std::string& stage) {
    if (options_.progress) options_.progress(fraction, stage);
  };
  report(0.0, "reading the tokenizer");
  try {
    if (!files.is_gguf())
      tokenizer_ = load_tokenizer(files.path);
    else if (checkpoint_->metadata().find("tokenizer.ggml.model"))
      tokenizer_ = load_tokenizer_from_gguf(checkpoint_->metadata());
    else
      tokenizer_error_ = "the file has no tokenizer.ggml.model";
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound && error.code() != ErrorCode::kUnsupported) throw;
    tokenizer_error_ = error.what();
  }
  eos_ = config_.special.eos;
  model_sampling_ = read_model_sampling(files);
  if (tokenizer_) {
    std::string own_template = config_.chat_template;
    if (const auto& spellings = config_.special.image_spellings; !spellings.empty()) {
      constexpr std::string_view kPicture = "<image>";  // as the family's template writes it
      const size_t at = own_template.find(kPicture);
      if (at != std::string::npos && spellings.back() >= 0)
        own_template.replace(at, kPicture.size(), tokenizer_->id_to_token(spellings.back()));
    }
    chat_ = std::make_unique<ChatRenderer>(files, *tokenizer_, own_template);
    add_end_tokens(*tokenizer_, files.is_gguf(), eos_);
    for (const std::string& stop : chat_->grammar().stops)
      if (const auto id = tokenizer_->token_to_id(stop); id && !is_end(*id)) eos_.push_back(*id);
  }
  TensorSource source = open_tensors(files, config_);
  if (!options_.load_draft_module) {
    for (const std::string& prefix : config_.mtp_prefixes) source.ignore_prefix(prefix);
  } else if (config_.mtp.num_layers == 0) {
    fail(ErrorCode::kUnsupported, "expected a module that predicts further tokens in ", path_,
         ", found none that family ", config_.family, " knows");
  } else {
    config_.decoder.mtp = config_.mtp;
    config_.decoder.validate();
  }
  if (config_.decoder.tied_head)
    for (const TensorRef& ref : config_.names("head.weight")) source.ignore_prefix(ref.name);
  image_encoder_ = make_image_encoder(files, config_, source, backend_, compute_);
  sound_encoder_ = make_sound_encoder(config_, path_, source, backend_, compute_);
  if (config_.video_sound)
    video_sound_ =
        SequenceCompressor::load(*config_.video_sound, source, "video_sound.", backend_, compute_);
  code_encoder_ = make_code_encoder(config_, source, backend_);
  decoder_ = Decoder::load(config_.decoder, source, backend_, compute_, [&](double fraction) {
    report(0.05 + 0.9 * fraction, "loading weights");
  });
  require_all_used(source, path_);

  const int64_t longest = config_.decoder.max_position;
  if (options_.context_size < 0)
    fail(ErrorCode::kInvalidArgument, "expected a context size of at least 1, found ",
         options_.context_size);
  context_size_ =
      options_.context_size > 0 ? options_.context_size : std::min(longest, kDefaultContext);
  if (context_size_ > longest)
    fail(ErrorCode::kInvalidArgument, "expected a context size of at most ", longest,
         " tokens, the model's own, found ", context_size_);
  if (options_.after_video == "maximum")
    config_.video_tokens.after = AfterVideo::kMaximum;
  else if (options_.after_video == "longest_side")
    config_.video_tokens.after = AfterVideo::kLongestSide;
  else if (!options_.after_video.empty())
    fail(ErrorCode::kInvalidArgument,
         "expected \"longest_side\" or \"maximum\" as the rule after a video, found \"",
         options_.after_video, "\"");
  if (options_.prefill_chunk < 1)
    fail(ErrorCode::kInvalidArgument, "expected a prefill chunk of at least 1 token, found ",
         options_.prefill_chunk);
  make_cache(files.measure);
  report(1.0, "ready");
  options_.progress = nullptr;  // it may look into the caller
}

const Tokenizer& TextEngine::tokenizer() const {
  if (!tokenizer_)
    fail(ErrorCode::kUnsupported, "expected a tokenizer with ", path_, ": ", tokenizer_error_);
  return *tokenizer_;
}

void TextEngine::check_ids(std::span<const int32_t> ids) const {
  if (ids.empty()) fail(ErrorCode::kInvalidArgument, "expected at least one token, found none");
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= config_.decoder.vocab_size)
      fail(ErrorCode::kInvalidArgument, "expected token ids below ", config_.decoder.vocab_size,
           ", the model's vocabulary, found ", ids[i], " at position ", i);
}

void TextEngine::make_cache(bool without_rows) {
  const auto at_least = [](const char* name, int64_t value, int64_t low) {
    if (value < low)
      fail(ErrorCode::kInvalidArgument, "expected ", name, " of at least ", low, ", found ", value);
  };
  at_least("max_sequences", options_.max_sequences, 1);
  at_least("max_queue", options_.max_queue, 1);
  at_least("kv_cache_tokens", options_.kv_cache_tokens, 0);
  at_least("prefix_snapshot_bytes", options_.prefix_snapshot_bytes, 0);
  at_least("encoder_step_tokens", options_.encoder_step_tokens, 1);
  at_least("kv_ram_bytes", options_.kv_ram_bytes, 0);
  if (options_.kv_disk.empty() && options_.kv_ram_bytes > 0)
    fail(ErrorCode::kInvalidArgument, "expected kv_disk, a folder, with kv_ram_bytes, found none");
  if (decoder_->has_draft()) options_.max_sequences = 1;  // the module follows one text
  KvCacheOptions kv;
  kv.dtype = kv_dtype_of(options_);
  kv.without_rows = without_rows;
  kv.max_tokens = std::max(context_size_, options_.kv_cache_tokens);
  kv.max_sequences = options_.max_sequences;
  kv.max_chunk = options_.prefill_chunk = std::min(options_.prefill_chunk, context_size_);
  if (image_encoder_ && config_.media_sees_ahead)  // a run of tokens is not cut
    kv.max_chunk = std::min(context_size_, std::max(kv.max_chunk, kLongestRun));
  KvCacheOptions main_kv = kv;  // those that guess ahead stay in memory
  main_kv.disk_directory = options_.kv_disk;
  main_kv.ram_bytes = options_.kv_ram_bytes > 0 ? options_.kv_ram_bytes : available_bytes() / 2;
  cache_ = std::make_unique<KvCache>(config_.decoder, main_kv);
  if (options_.prefix_caching && !decoder_->has_draft())
    memory_ =
        std::make_unique<PromptMemory>(config_.decoder, *cache_, options_.prefix_snapshot_bytes);
  if (decoder_->has_draft()) draft_cache_ = std::make_unique<KvCache>(decoder_->draft_config(), kv);

  if (!options_.draft_model.empty()) {
    if (options_.draft_tokens < 1 || options_.draft_tokens > 64)
      fail(ErrorCode::kInvalidArgument, "expected draft_tokens in [1, 64], found ",
           options_.draft_tokens);
    draft_model_ = std::make_unique<DraftModel>(options_.draft_model, tokenizer_.get(),
                                                config_.decoder.vocab_size, backend_, compute_, kv);
  }
  SchedulerOptions steps;
  steps.max_sequences = options_.max_sequences;
  steps.max_queue = options_.max_queue;
  steps.max_chunk = options_.prefill_chunk;
  steps.decoder_rows = std::max(options_.prefill_chunk, options_.max_sequences);
  steps.encoder_tokens = options_.encoder_step_tokens;
  steps.page_rows = kv.page_rows;
  steps.num_pages = cache_->num_free_pages();
  loop_ = std::make_unique<StepLoop>(*decoder_, steps);
}

std::unique_ptr<KvSequence> TextEngine::new_sequence() {
  std::unique_ptr<KvSequence> sequence = cache_->new_sequence();
  ONNURI_CHECK(sequence != nullptr);
  return sequence;
}

void TextEngine::reserve(KvSequence& kv, int64_t count) {
  while (!kv.reserve(count)) {
    if (memory_ && memory_->make_room()) continue;
    fail(ErrorCode::kOutOfMemory, "expected room for ", kv.num_tokens() + count,
         " tokens in the memory of ", cache_->options().max_tokens, ", found it full");
  }
}

const SoundEncoder& TextEngine::sound_encoder() const {
  if (!sound_encoder_)
    fail(ErrorCode::kUnsupported, "expected no sound: family ", config_.family, " has no ears");
  return *sound_encoder_;
}

namespace {

StepLoop::Idle or_cancelled(const GoOn& go_on) {
  return [&go_on] { return !go_on || go_on(); };
}

void check_go_on(const GoOn& go_on) {
  if (go_on && !go_on()) fail(ErrorCode::kCancelled, "stopped by the caller");
}

}  // namespace

FloatMatrix TextEngine::logits(std::span<const int32_t> input_ids, std::span<const Image> images,
                               std::span<const Waveform> audios, std::span<const Video> videos,
                               const GoOn& go_on) {
  LaidOutPrompt laid = plan_prompt({input_ids.begin(), input_ids.end()}, {images, audios, videos});
  FloatMatrix out;
  out.rows = static_cast<int64_t>(laid.prompt.ids.size());
  out.cols = config_.decoder.vocab_size;
  try {
    out.values.resize(static_cast<size_t>(out.rows * out.cols));
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kOutOfMemory, "logits of ", out.rows, " tokens need ", out.rows * out.cols * 4,
         " bytes");
  }
  const StepLoop::Idle idle = or_cancelled(go_on);
  Place place(*this, std::make_unique<Run>(*this, laid.prompt, ""), request_of(laid));
  encode_media(place, idle, laid, nullptr);
  place.run().want(0, out.values.data());
  while (place.num_missing() > 0) {
    check_go_on(go_on);
    place.advance(idle);
  }
  return out;
}

double TextEngine::mean_nll(std::span<const int32_t> input_ids, const GoOn& go_on) {
  const std::vector<double> nll = token_nll(input_ids, go_on);
  return std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());
}

std::vector<double> TextEngine::token_nll(std::span<const int32_t> input_ids, const GoOn& go_on) {
  if (input_ids.size() < 2)
    fail(ErrorCode::kInvalidArgument, "expected at least two tokens, found ", input_ids.size());
  LaidOutPrompt laid = plan_prompt({input_ids.begin(), input_ids.end()});
  const std::vector<int32_t>& ids = laid.prompt.ids;
  const auto total = static_cast<int64_t>(ids.size());
  const auto vocab = static_cast<size_t>(config_.decoder.vocab_size);
  std::vector<float> logits(static_cast<size_t>(std::min(options_.prefill_chunk, total)) * vocab);
  std::vector<double> nll;
  nll.reserve(input_ids.size() - 1);
  Place place(*this, std::make_unique<Run>(*this, laid.prompt, ""), request_of(laid));
  for (int64_t begin = 0; begin < total;) {
    check_go_on(go_on);
    place.run().want(begin, logits.data());
    place.advance(or_cancelled(go_on));
    const int64_t end = total - place.num_missing();  // less than before after a preemption
    for (int64_t i = begin; i < end && i + 1 < total; ++i)
      nll.push_back(
          -log_probability(std::span(logits).subspan(static_cast<size_t>(i - begin) * vocab, vocab),
                           ids[static_cast<size_t>(i + 1)]));
    begin = std::max(begin, end);
  }
  return nll;
}

Transcript TextEngine::transcribe(const Waveform&, const TranscribeOptions&) {
  fail(ErrorCode::kUnsupported, "expected a speech model: family ", config_.family,
       " does not transcribe");
}

FloatMatrix TextEngine::encode_image(const Image& image) {
  if (!image_encoder_)
    fail(ErrorCode::kUnsupported, "expected a vision model: family ", config_.family,
         " has no eyes", missing_for_eyes(path_));
  FloatMatrix out;
  loop_->exclusive([&] {
    const Tensor rows = image_encoder_->encode(image, PictureView::kAlone, nullptr).rows;
    out = {rows.shape()[0], rows.shape()[1], {}};
    out.values.assign(rows.f32(), rows.f32() + out.rows * out.cols);
  });
  return out;
}

FloatMatrix TextEngine::encode_audio(const Waveform& audio) {
  FloatMatrix out{0, config_.decoder.hidden_size, {}};
  const SoundEncoder& encoder = sound_encoder();
  loop_->exclusive([&] {
    EncoderCache nothing(0);
    FeatureStore store(nothing);
    const SharedMedia heard = encoder.encode(std::vector<SoundView>{audio}, store)[0];
    if (heard->rows.empty()) return;
    out.rows = heard->rows.shape()[0];
    out.values.assign(heard->rows.f32(), heard->rows.f32() + out.rows * out.cols);
  });
  return out;
}

std::vector<int32_t> TextEngine::tokenize(const std::string& text, bool add_special_tokens,
                                          bool parse_special_tokens) {
  return tokenizer().encode(text, add_special_tokens, parse_special_tokens);
}

std::string TextEngine::detokenize(std::span<const int32_t> ids, bool skip_special_tokens) {
  return tokenizer().decode(ids, skip_special_tokens);
}

std::string TextEngine::render_chat(std::span<const ChatMessage> messages,
                                    const std::string& template_kwargs_json) {
  tokenizer();
  return chat_->render({.messages = messages, .kwargs_json = template_kwargs_json});
}

std::string TextEngine::describe_json() const {
  JsonValue facts = model_facts(config_, *checkpoint_);
  facts.set("kind", config_.audio ? "audio" : config_.vision ? "vision" : "text");
  facts.set("kernels", std::string(backend_.table().name));
  facts.set("compute_dtype", compute_ == ComputeType::kFloat32 ? "float32" : "auto");
  facts.set("num_threads", backend_.num_threads());
  facts.set("context_size", context_size_);
  facts.set("prefill_chunk", options_.prefill_chunk);
  facts.set("max_sequences", options_.max_sequences);
  facts.set("kv_cache_tokens", cache_->options().max_tokens);
  facts.set("weight_bytes", decoder_->weight_bytes());
  facts.set("streamed_bytes_per_token", decoder_->streamed_bytes_per_token());
  facts.set("kv_dtype", kv_dtype_name(cache_->options().dtype));
  facts.set("kv_bytes_per_token",
            KvCache::bytes_per_token(config_.decoder, cache_->options().dtype));
  facts.set("kv_window_bytes", kv_use(context_size_).kv_window);
  facts.set("kv_state_bytes", kv_use(context_size_).kv_state);
  facts.set("kv_disk_bytes", KvCache::disk_bytes(config_.decoder, cache_->options()));
  if (draft_model_) facts.set("draft_weight_bytes", draft_model_->decoder().weight_bytes());
  facts.set("has_tokenizer", tokenizer_ != nullptr);
  facts.set("has_chat_template", chat_ && chat_->has_template());
  if (chat_ && chat_->has_template()) facts.set("chat", chat_->describe());
  JsonValue::Array eos;
  for (int32_t id : eos_) eos.emplace_back(static_cast<int64_t>(id));
  facts.set("eos_token_ids", std::move(eos));
  facts.set("load_ms", load_ms_);
  return facts.dump();
}

int64_t TextEngine::pass_bytes(int64_t num_tokens) const {
  const KvCacheOptions& options = cache_->options();
  const int64_t pages = (num_tokens + options.page_rows - 1) / options.page_rows;
  return pages * options.page_rows * KvCache::bytes_per_token(config_.decoder, options.dtype) +
         (KvCache::window_bytes(config_.decoder, options) +
          KvCache::state_bytes(config_.decoder, options)) /
             options.max_sequences +
         backend_.scratch_bytes() + decoder_->workspace_bytes();
}

void TextEngine::count(const Usage& usage) {
  const std::lock_guard lock(totals_mutex_);
  ++totals_.answered;
  totals_.prompt_tokens += usage.prompt_tokens;
  totals_.completion_tokens += usage.completion_tokens;
  totals_.reused_tokens += usage.reused_tokens;
  totals_.prepare_bytes = std::max(totals_.prepare_bytes, usage.prepare_bytes);
  totals_.encode_bytes = std::max(totals_.encode_bytes, usage.encode_bytes);
  totals_.prefill_bytes = std::max(totals_.prefill_bytes, usage.prefill_bytes);
  totals_.decode_bytes = std::max(totals_.decode_bytes, usage.decode_bytes);
}

std::string TextEngine::metrics_json() {
  JsonValue facts;
  loop_->exclusive([&] {
    const StepLoop::Stats stats = loop_->stats();
    facts.set("passes", stats.passes);
    facts.set("rows", stats.rows);
    facts.set("largest_batch", stats.largest_batch);
    facts.set("encoder_turns", stats.encoder_turns);
    facts.set("preemptions", stats.preemptions);
    facts.set("requests", loop_->num_requests());
    cache_->check_integrity();
    loop_->check_integrity();
    facts.set("kv_pages", (cache_->options().max_tokens + cache_->options().page_rows - 1) /
                              cache_->options().page_rows);
    facts.set("kv_pages_free", cache_->num_free_pages());
    facts.set("kv_memory_bytes", cache_->num_bytes());
    facts.set("kv_disk_read_bytes", cache_->disk_read_bytes());
    facts.set("kv_disk_written_bytes", cache_->disk_written_bytes());
    if (memory_) {
      const PromptMemory::Stats kept = memory_->stats();
      facts.set("prefix_entries", kept.entries);
      facts.set("prefix_pages", kept.pages);
      facts.set("prefix_snapshot_bytes", kept.snapshot_bytes);
    }
    const EncoderCacheStats encoders = encoder_cache_.stats();
    facts.set("encoder_cache_entries", encoders.entries);
    facts.set("encoder_cache_bytes", encoders.bytes);
  });
  {
    const std::lock_guard lock(totals_mutex_);
    facts.set("answered", totals_.answered);
    facts.set("prompt_tokens", totals_.prompt_tokens);
    facts.set("completion_tokens", totals_.completion_tokens);
    facts.set("reused_tokens", totals_.reused_tokens);
    facts.set("prepare_peak_bytes", totals_.prepare_bytes);
    facts.set("encode_peak_bytes", totals_.encode_bytes);
    facts.set("prefill_peak_bytes", totals_.prefill_bytes);
    facts.set("decode_peak_bytes", totals_.decode_bytes);
  }
  facts.set("memory_bytes", anonymous_bytes());
  return facts.dump();
}

std::unique_ptr<Engine> make_text_engine(const ModelFiles& files, ModelConfig config,
                                         const EngineOptions& options) {
  return std::make_unique<TextEngine>(files, std::move(config), options);
}

}  // namespace onnuri
