#include "engine/embed_engine.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <mutex>

#include "core/check.h"
#include "core/tensor_meter.h"
#include "encoders/vision/tiling.h"
#include "encoders/vision/vision_encoder.h"
#include "engine/engine_lock.h"
#include "engine/load_support.h"
#include "engine/memory_use.h"
#include "kernels/backend.h"
#include "kernels/kernel_table.h"

namespace onnuri {
namespace {

[[noreturn]] void only_vectors(const char* wanted) {
  fail(ErrorCode::kUnsupported,
       "expected embed_image(), embed_text() or encode_image() on a model of vectors, found ",
       wanted);
}

/// Scaled to unit length.
std::vector<float> unit(std::vector<float> x) {
  double squares = 0;
  for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
  const double length = std::sqrt(squares);
  for (float& v : x) v = static_cast<float>(static_cast<double>(v) / length);
  return x;
}

/// ASCII letters small; punctuation away and spaces single where the family was trained so.
std::string canonical_text(const std::string& text, const EmbedConfig& config) {
  if (!config.lower_case) return text;
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (config.drop_punctuation && byte < 128 && std::ispunct(byte) != 0) continue;
    if (config.drop_punctuation && c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += byte < 128 ? static_cast<char>(std::tolower(byte)) : c;
  }
  while (config.drop_punctuation && !out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

class EmbedEngine final : public Engine, public MeasuredEngine {
 public:
  EmbedEngine(const ModelFiles& files, ModelConfig config, const EngineOptions& options)
      : files_(files),
        config_(std::move(config)),
        backend_(options.num_threads, chosen_isa(options), backend_mode(files)) {
    const auto report = [&](double fraction, const char* stage) {
      if (options.progress) options.progress(fraction, stage);
    };
    report(0.0, "reading the tokenizer");
    try {
      tokenizer_ = load_tokenizer(files_.path);
      if (config_.embed->pad_id >= 0)  // the tokenizer knows better than old configs
        if (const auto pad = tokenizer_->token_to_id("<pad>")) config_.embed->pad_id = *pad;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound && error.code() != ErrorCode::kUnsupported) throw;
      tokenizer_error_ = error.what();
    }
    const ComputeType compute = parse_compute_type(options.compute_dtype);
    TensorSource source = open_tensors(files_, config_);
    report(0.1, "loading the vision encoder");
    vision_ = VisionEncoder::load(*config_.vision, source, "vision.", backend_, compute);
    pool_ = VisionPool::load(config_.embed->pool, source, "pool.", backend_, compute);
    report(0.6, "loading the text encoder");
    text_ = TextTower::load(config_.embed->text, source, "text.", backend_, compute);
    scale_ = std::exp(read_scalar(source, "logit_scale"));
    if (config_.embed->sigmoid) bias_ = read_scalar(source, "logit_bias");
    require_all_used(source, files_.path);
    report(1.0, "ready");
  }

  std::vector<float> embed_image(const Image& image) override {
    const std::lock_guard lock(mutex_);
    return unit(pool_->forward(features_of(image)));
  }

  std::vector<float> embed_tokens(std::span<const int32_t> ids) override {
    const std::lock_guard lock(mutex_);
    return unit(text_->embed(ids));
  }

  std::vector<float> embed_text(const std::string& text) override {
    std::vector<int32_t> ids =
        tokenizer().encode(canonical_text(text, *config_.embed), true, false);
    const EmbedConfig& e = *config_.embed;
    const auto room = static_cast<size_t>(e.text.max_positions);
    if (ids.size() > room) {  // the end stays
      const int32_t last = ids.back();
      ids.resize(room);
      ids.back() = last;
    }
    if (e.pad_id >= 0) ids.resize(room, e.pad_id);
    return embed_tokens(ids);
  }

  FloatMatrix encode_image(const Image& image) override {
    const std::lock_guard lock(mutex_);
    const VisionFeatures features = features_of(image);
    FloatMatrix out{features.rows.shape()[0], features.rows.shape()[1], {}};
    out.values.assign(features.rows.f32(), features.rows.f32() + out.rows * out.cols);
    return out;
  }

  std::vector<int32_t> tokenize(const std::string& text, bool add_special_tokens,
                                bool parse_special_tokens) override {
    return tokenizer().encode(text, add_special_tokens, parse_special_tokens);
  }
  std::string detokenize(std::span<const int32_t> ids, bool skip_special_tokens) override {
    return tokenizer().decode(ids, skip_special_tokens);
  }

  FloatMatrix logits(std::span<const int32_t>, std::span<const Image>, std::span<const Waveform>,
                     std::span<const Video>, const GoOn&) override {
    only_vectors("logits()");
  }
  Transcript transcribe(const Waveform&, const TranscribeOptions&) override {
    only_vectors("transcribe()");
  }
  FloatMatrix encode_audio(const Waveform&) override { only_vectors("encode_audio()"); }
  GenerateResult generate(const GenerateRequest&, const TokenCallback&) override {
    only_vectors("generate()");
  }
  std::string render_chat(std::span<const ChatMessage>, const std::string&) override {
    only_vectors("a conversation");
  }

  MemoryUse memory_use() const override {
    MemoryUse use;
    use.weights = backend_.packed_bytes();
    use.scratch = backend_.scratch_bytes();
    use.encoder_scratch = peak_;
    return use;
  }
  void rehearse(const LargestPass& pass) override {
    const std::lock_guard lock(mutex_);
    if (pass.image_width == 0 || pass.image_height == 0) return;
    const TensorMeter meter;
    features_of(grey_picture(pass.image_width, pass.image_height));
    peak_ = meter.peak_bytes();
  }
  int64_t context_size() const override { return config_.embed->text.max_positions; }
  MemoryUse kv_use(int64_t) const override { return {}; }
  JsonValue kv_facts() const override { return JsonValue::Array{}; }

  std::string describe_json() const override {
    const EmbedConfig& e = *config_.embed;
    JsonValue out;
    out.set("family", config_.family);
    out.set("path", files_.path);
    out.set("kind", "embedding");
    out.set("vision_layers", config_.vision->transformer.num_layers);
    out.set("text_layers", e.text.transformer.num_layers);
    out.set("embedding_size", e.text.out_size);
    if (config_.vision->tiling) {
      out.set("image_height", config_.vision->tiling->tile.height);
      out.set("image_width", config_.vision->tiling->tile.width);
    } else {
      out.set("max_patches", config_.vision->processor.max_patches);
    }
    out.set("max_text_tokens", e.text.max_positions);
    out.set("vocab_size", e.text.vocab_size);
    // similarity = logit_scale * cosine + logit_bias, turned into shares by this function
    out.set("similarity", e.sigmoid ? "sigmoid" : "softmax");
    out.set("logit_scale", static_cast<double>(scale_));
    out.set("logit_bias", static_cast<double>(bias_));
    out.set("kernels", std::string(backend_.table().name));
    out.set("threads", backend_.num_threads());
    return out.dump();
  }

 private:
  VisionFeatures features_of(const Image& image) {
    if (!config_.vision->tiling) return vision_->forward(image);
    const TileConfig& tiling = *config_.vision->tiling;
    const TilePlan plan = plan_tiling(tiling, {image.height, image.width});
    return vision_->forward(
        cut_tiles(tiling, plan, config_.vision->processor.filter, image, &backend_.pool()));
  }

  /// A number, stored with one extent or none.
  float read_scalar(TensorSource& source, const std::string& name) const {
    float value = 0;
    dequantize(source.get(name, config_.embed->sigmoid ? Shape{1} : Shape{}), &value);
    return value;
  }

  const Tokenizer& tokenizer() const {
    if (!tokenizer_)
      fail(ErrorCode::kUnsupported, "expected a tokenizer with ", files_.path, ": ",
           tokenizer_error_);
    return *tokenizer_;
  }

  ModelFiles files_;
  ModelConfig config_;
  Backend backend_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string tokenizer_error_;  // why there is none
  std::unique_ptr<VisionEncoder> vision_;
  std::unique_ptr<VisionPool> pool_;
  std::unique_ptr<TextTower> text_;
  float scale_ = 1.0f;
  float bias_ = 0.0f;
  int64_t peak_ = 0;  // of the rehearsal, tensors
  EngineMutex mutex_;
};

}  // namespace

std::unique_ptr<Engine> make_embed_engine(const ModelFiles& files, ModelConfig config,
                                          const EngineOptions& options) {
  ONNURI_CHECK(config.vision && config.embed);
  return std::make_unique<EmbedEngine>(files, std::move(config), options);
}

}  // namespace onnuri
