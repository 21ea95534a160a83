#include "engine/speech_engine.h"

#include <chrono>
#include <mutex>

#include "core/check.h"
#include "core/tensor_meter.h"
#include "engine/engine_lock.h"
#include "engine/load_support.h"
#include "engine/memory_use.h"
#include "engine/sound_encoder.h"
#include "engine/speech_transcriber.h"
#include "engine/voiced_sound.h"
#include "kernels/backend.h"
#include "kernels/kernel_table.h"

namespace onnuri {
namespace {

CrossDecoderConfig decoder_config(const ModelConfig& model) {
  const SpeechDecoderConfig& s = *model.speech_decoder;
  CrossDecoderConfig d;
  d.vocab_size = s.vocab_size;
  d.hidden_size = s.hidden_size;
  d.num_layers = s.num_layers;
  d.num_heads = s.num_heads;
  d.intermediate_size = s.intermediate_size;
  d.max_positions = s.max_positions;
  d.max_features = model.audio->max_positions;
  return d;
}

[[noreturn]] void only_speech(const char* wanted) {
  fail(ErrorCode::kUnsupported, "expected transcribe() or logits() on a speech model, found ",
       wanted);
}

class SpeechEngine final : public Engine, public MeasuredEngine {
 public:
  SpeechEngine(const ModelFiles& files, ModelConfig config, const EngineOptions& options)
      : files_(files),
        config_(std::move(config)),
        backend_(options.num_threads, chosen_isa(options), backend_mode(files)),
        mel_(config_.audio->mel),
        tokenizer_(load_tokenizer(files_.path)) {
    const auto report = [&](double fraction, const char* stage) {
      if (options.progress) options.progress(fraction, stage);
    };
    const ComputeType compute = parse_compute_type(options.compute_dtype);
    TensorSource source = open_tensors(files_, config_);
    report(0.0, "loading the audio encoder");
    encoder_ = AudioEncoder::load(*config_.audio, source, backend_, compute);
    decoder_ =
        CrossDecoder::load(decoder_config(config_), source, backend_, compute,
                           [&](double f) { report(0.5 + 0.5 * f, "loading the text decoder"); });
    require_all_used(source, files_.path);
    const TensorMeter meter;
    state_ = decoder_->new_state();
    state_bytes_ = meter.live_bytes();
    report(1.0, "ready");
  }

  FloatMatrix logits(std::span<const int32_t> ids, std::span<const Image> images,
                     std::span<const Waveform> audios, std::span<const Video> videos,
                     const GoOn& go_on) override {
    const std::lock_guard lock(mutex_);
    if (!images.empty() || !videos.empty() || audios.size() != 1 || ids.empty()) {
      fail(ErrorCode::kInvalidArgument, "expected token ids and one sound, found ", ids.size(),
           " ids, ", audios.size(), " sounds and ", images.size(), " images");
    }
    const FloatMatrix features = encode(audios[0]);
    if (go_on && !go_on()) fail(ErrorCode::kCancelled, "stopped by the caller");
    decoder_->attend_to(state_, matrix(features.values.data(), features.rows, features.cols));
    FloatMatrix out{static_cast<int64_t>(ids.size()), config_.speech_decoder->vocab_size, {}};
    out.values.resize(static_cast<size_t>(out.rows * out.cols));
    decoder_->forward(state_, ids, matrix(out.values.data(), out.rows, out.cols));
    return out;
  }

  Transcript transcribe(const Waveform& audio, const TranscribeOptions& options) override {
    const std::lock_guard lock(mutex_);
    const SpeechParts parts{&backend_,      &*config_.speech_decoder, &mel_,
                            encoder_.get(), decoder_.get(),           tokenizer_.get()};
    SpeechTranscriber transcriber(parts, state_, thresholds_of(options));
    if (!options.skip_silence) return transcriber.run(audio, options);
    check_sound(audio, config_.audio->mel.sample_rate_hz);
    const VoicedSound voiced(audio);
    Transcript out;
    if (!voiced.empty()) out = transcriber.run(voiced.sound(), options);
    voiced.restore_times(out);
    return out;
  }

  FloatMatrix encode_audio(const Waveform& audio) override {
    const std::lock_guard lock(mutex_);
    return encode(audio);
  }

  GenerateResult generate(const GenerateRequest&, const TokenCallback&) override {
    only_speech("generate()");
  }
  FloatMatrix encode_image(const Image&) override { only_speech("encode_image()"); }
  std::string render_chat(std::span<const ChatMessage>, const std::string&) override {
    only_speech("a conversation");
  }

  std::vector<int32_t> tokenize(const std::string& text, bool add_special_tokens,
                                bool parse_special_tokens) override {
    return tokenizer_->encode(text, add_special_tokens, parse_special_tokens);
  }
  std::string detokenize(std::span<const int32_t> ids, bool skip_special_tokens) override {
    return tokenizer_->decode(ids, skip_special_tokens);
  }

  MemoryUse memory_use() const override {
    MemoryUse use = kv_use(context_size());
    use.weights = backend_.packed_bytes();
    use.scratch = backend_.scratch_bytes();
    use.encoder_scratch = peak_;
    return use;
  }
  // A window of sound, whatever the length of the recording.
  void rehearse(const LargestPass&) override {
    const std::lock_guard lock(mutex_);
    const TensorMeter meter;
    Waveform window;
    window.samples.assign(static_cast<size_t>(config_.audio->mel.padded_samples), 0.0f);
    const FloatMatrix features = encode(window);
    decoder_->attend_to(state_, matrix(features.values.data(), features.rows, features.cols));
    peak_ = meter.peak_bytes() + static_cast<int64_t>(features.values.size() * sizeof(float));
  }
  int64_t context_size() const override { return config_.speech_decoder->max_positions; }
  MemoryUse kv_use(int64_t) const override {
    MemoryUse use;
    use.kv_full = state_bytes_;
    return use;
  }
  JsonValue kv_facts() const override { return JsonValue::Array{}; }

  std::string describe_json() const override {
    const TransformerConfig& t = config_.audio->transformer;
    const SpeechDecoderConfig& d = *config_.speech_decoder;
    JsonValue out;
    out.set("family", config_.family);
    out.set("path", files_.path);
    out.set("kind", "speech");
    out.set("encoder_layers", t.num_layers);
    out.set("decoder_layers", d.num_layers);
    out.set("hidden_size", t.hidden_size);
    out.set("vocab_size", d.vocab_size);
    out.set("languages", static_cast<int64_t>(d.languages.size()));
    out.set("window_s", static_cast<double>(config_.audio->mel.padded_samples) /
                            static_cast<double>(config_.audio->mel.sample_rate_hz));
    out.set("decoder_weight_bytes", decoder_->weight_bytes());
    out.set("kernels", std::string(backend_.table().name));
    out.set("threads", backend_.num_threads());
    return out.dump();
  }

 private:
  // The encoder's output for one window, (max_positions, hidden_size). Holds the lock.
  FloatMatrix encode(const Waveform& audio) {
    const AudioConfig& a = *config_.audio;
    check_sound(audio, a.mel.sample_rate_hz);
    const std::vector<float> mel = mel_.compute(backend_.pool(), audio.samples);
    const auto frames = static_cast<int64_t>(mel.size()) / a.mel.num_mels;
    FloatMatrix out{encoder_->num_rows(frames), a.transformer.hidden_size, {}};
    out.values.resize(static_cast<size_t>(out.rows * out.cols));
    encoder_->encode({matrix(mel.data(), frames, a.mel.num_mels), frames},
                     matrix(out.values.data(), out.rows, out.cols));
    return out;
  }

  ModelFiles files_;
  ModelConfig config_;
  Backend backend_;
  LogMel mel_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<AudioEncoder> encoder_;
  std::unique_ptr<CrossDecoder> decoder_;
  CrossDecoder::State state_;
  int64_t state_bytes_ = 0;
  int64_t peak_ = 0;  // of the rehearsal, tensors
  EngineMutex mutex_;
};

}  // namespace

std::unique_ptr<Engine> make_speech_engine(const ModelFiles& files, ModelConfig config,
                                           const EngineOptions& options) {
  ONNURI_CHECK(config.audio && config.speech_decoder);
  return std::make_unique<SpeechEngine>(files, std::move(config), options);
}

}  // namespace onnuri
