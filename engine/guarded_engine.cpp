#include "engine/guarded_engine.h"

#include "engine/load_support.h"

namespace onnuri {
namespace {

class GuardedEngine final : public Engine {
 public:
  explicit GuardedEngine(std::unique_ptr<Engine> inner) : inner_(std::move(inner)) {}

  FloatMatrix logits(std::span<const int32_t> ids, std::span<const Image> images,
                     std::span<const Waveform> audios, std::span<const Video> videos,
                     const GoOn& go_on) override {
    return guard_memory("compute logits",
                        [&] { return inner_->logits(ids, images, audios, videos, go_on); });
  }
  PromptLayout prepare(std::span<const ChatMessage> messages,
                       const std::string& template_kwargs_json) override {
    return guard_memory("prepare a conversation",
                        [&] { return inner_->prepare(messages, template_kwargs_json); });
  }
  double mean_nll(std::span<const int32_t> ids, const GoOn& go_on) override {
    return guard_memory("score a text", [&] { return inner_->mean_nll(ids, go_on); });
  }
  std::vector<double> token_nll(std::span<const int32_t> ids, const GoOn& go_on) override {
    return guard_memory("score a text", [&] { return inner_->token_nll(ids, go_on); });
  }
  SamplingParams model_sampling() const override { return inner_->model_sampling(); }
  GenerateResult generate(const GenerateRequest& request, const TokenCallback& on_token) override {
    return guard_memory("generate", [&] { return inner_->generate(request, on_token); });
  }
  Transcript transcribe(const Waveform& audio, const TranscribeOptions& options) override {
    return guard_memory("transcribe", [&] { return inner_->transcribe(audio, options); });
  }
  FloatMatrix encode_image(const Image& image) override {
    return guard_memory("encode a picture", [&] { return inner_->encode_image(image); });
  }
  FloatMatrix encode_audio(const Waveform& audio) override {
    return guard_memory("encode a sound", [&] { return inner_->encode_audio(audio); });
  }
  std::vector<float> embed_image(const Image& image) override {
    return guard_memory("embed a picture", [&] { return inner_->embed_image(image); });
  }
  std::vector<float> embed_text(const std::string& text) override {
    return guard_memory("embed a text", [&] { return inner_->embed_text(text); });
  }
  std::vector<float> embed_tokens(std::span<const int32_t> ids) override {
    return guard_memory("embed a text", [&] { return inner_->embed_tokens(ids); });
  }
  std::vector<int32_t> tokenize(const std::string& text, bool add_special_tokens,
                                bool parse_special_tokens) override {
    return guard_memory("tokenize", [&] {
      return inner_->tokenize(text, add_special_tokens, parse_special_tokens);
    });
  }
  std::string detokenize(std::span<const int32_t> ids, bool skip_special_tokens) override {
    return guard_memory("detokenize", [&] { return inner_->detokenize(ids, skip_special_tokens); });
  }
  std::string render_chat(std::span<const ChatMessage> messages,
                          const std::string& template_kwargs_json) override {
    return guard_memory("render a conversation",
                        [&] { return inner_->render_chat(messages, template_kwargs_json); });
  }
  std::string describe_json() const override {
    return guard_memory("describe the model", [&] { return inner_->describe_json(); });
  }
  void save(const std::string& path, const std::string& tenant) override {
    guard_memory("save a conversation", [&] { inner_->save(path, tenant); });
  }
  void restore(const std::string& path) override {
    guard_memory("restore a conversation", [&] { inner_->restore(path); });
  }
  std::string metrics_json() override {
    return guard_memory("count", [&] { return inner_->metrics_json(); });
  }

 private:
  std::unique_ptr<Engine> inner_;
};

}  // namespace

std::unique_ptr<Engine> make_guarded_engine(std::unique_ptr<Engine> inner) {
  return std::make_unique<GuardedEngine>(std::move(inner));
}

}  // namespace onnuri
