// The keys that readers of GGUF files build a decoder from, out of the decoder's own numbers.
// Names: llama.cpp, src/llama-arch.cpp.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/check.h"
#include "core/printable.h"
#include "engine/gguf_export.h"

namespace onnuri {
namespace {

class Keys {
 public:
  Keys(const ModelFiles& files, const ModelConfig& model, const GgufTarget& target, GgufExport& out)
      : files_(files), c_(model.decoder), target_(target), out_(out) {}

  void write() {
    text("general.architecture", std::string(target_.arch));
    text("general.type", "model");
    text("general.name",
         std::filesystem::path(files_.path + "/.").parent_path().filename().string());
    u32("block_count", c_.num_layers());
    u32("context_length", c_.max_position);
    u32("embedding_length", c_.hidden_size);
    u32("feed_forward_length", dense_width());
    u32("vocab_size", c_.vocab_size);
    f32("attention.layer_norm_rms_epsilon", c_.norm_eps);
    target_.has(kGgufLatent) ? write_latent() : write_heads();
    write_windows();
    if (c_.moe.num_experts > 0) write_experts();
    if (target_.has(kGgufScalars)) write_scalars();
    write_rope();
  }

 private:
  std::string key(const char* name) const { return std::string(target_.arch) + "." + name; }
  void text(const char* name, const std::string& value) {
    out_.pairs.push_back(gguf_string(name, value));
  }
  void u32(const char* name, int64_t value) {
    if (value < 0 || value > UINT32_MAX) {
      fail(ErrorCode::kCorruptData, "config.json: expected 32 bits for ", name, ", found ", value);
    }
    out_.pairs.push_back(gguf_u32(key(name), static_cast<uint32_t>(value)));
  }
  void f32(const char* name, double value) {
    out_.pairs.push_back(gguf_f32(key(name), static_cast<float>(value)));
  }

  // Readers want a width even where every layer has experts.
  int64_t dense_width() const {
    for (const LayerSpec& layer : c_.layers) {
      if (layer.ffn == FfnKind::kDense) return layer.intermediate_size;
    }
    return c_.moe.intermediate_size;
  }

  void write_heads() {
    u32("attention.head_count", c_.num_heads);
    u32("attention.head_count_kv", c_.num_kv_heads);
    u32("attention.key_length", c_.head_dim);
    u32("attention.value_length", c_.v_dim);
    u32("rope.dimension_count", c_.rope_tables.at(0).rotary_dim);
  }

  // Latents are one key head to the reader; the heads behind them have keys of their own.
  void write_latent() {
    const MlaSpec& m = c_.mla;
    u32("attention.head_count", c_.num_heads);
    u32("attention.head_count_kv", 1);
    u32("attention.key_length", m.key_row());
    u32("attention.value_length", m.kv_lora_rank);
    u32("attention.key_length_mla", m.qk_nope_dim + m.qk_rope_dim);
    u32("attention.value_length_mla", m.v_dim);
    if (m.q_lora_rank > 0) u32("attention.q_lora_rank", m.q_lora_rank);
    u32("attention.kv_lora_rank", m.kv_lora_rank);
    u32("rope.dimension_count", m.qk_rope_dim);
  }

  void write_windows() {
    std::vector<bool> slides;
    int64_t width = 0;
    for (const LayerSpec& layer : c_.layers) {
      slides.push_back(layer.window > 0);
      width = std::max(width, layer.window);
    }
    if (width == 0) return;
    u32("attention.sliding_window", width);
    out_.pairs.push_back(gguf_bools(key("attention.sliding_window_pattern"), slides));
  }

  void write_experts() {
    const MoeSpec& moe = c_.moe;
    const auto first = std::find_if(c_.layers.begin(), c_.layers.end(), [](const LayerSpec& layer) {
      return layer.ffn == FfnKind::kMoe;
    });
    u32("expert_count", moe.num_experts);
    u32("expert_used_count", moe.num_experts_per_token);
    u32("expert_feed_forward_length", moe.intermediate_size);
    u32("leading_dense_block_count", first - c_.layers.begin());
    const bool is_weighted = moe.router.score == RouterScore::kSigmoid || target_.has(kGgufLatent);
    if (!is_weighted) return;  // these readers know the rule
    u32("expert_shared_count",
        moe.shared_intermediate_size / std::max<int64_t>(moe.intermediate_size, 1));
    if (moe.shared_intermediate_size > 0) {
      u32("expert_shared_feed_forward_length", moe.shared_intermediate_size);
    }
    f32("expert_weights_scale", moe.router.scale);
    out_.pairs.push_back(gguf_bool(key("expert_weights_norm"), moe.router.renormalize));
    u32("expert_gating_func",
        static_cast<int64_t>(moe.router.score == RouterScore::kSigmoid ? GgufGating::kSigmoid
                                                                       : GgufGating::kSoftmax));
    if (moe.router.num_groups > 1) {
      u32("expert_group_count", moe.router.num_groups);
      u32("expert_group_used_count", moe.router.num_groups_kept);
    }
  }

  // The reader divides logits.
  void write_scalars() {
    f32("embedding_scale", c_.embed_scale);
    f32("residual_scale", c_.residual_scale);
    f32("attention.scale", c_.attention_scale);
    f32("logit_scale", 1.0 / static_cast<double>(c_.logit_scale));
  }

  void write_rope() {
    const ConfigReader config = text_config(files_);
    const bool two = c_.rope_tables.size() > 1;
    const int64_t width = target_.has(kGgufLatent) ? c_.mla.qk_rope_dim : c_.head_dim;
    const RopeSettings rope = read_rope(config, width, two ? "full_attention" : "", target_.theta);
    f32("rope.freq_base", rope.theta);
    if (two) {
      f32("rope.freq_base_swa", config.has("rope_parameters")
                                    ? read_rope(config, width, "sliding_attention", 10000.0).theta
                                    : config.number_or("rope_local_base_freq", 10000.0));
    }
    const RopeScaling& scaling = rope.scaling;
    if (scaling.kind == RopeScaling::Kind::kNone) return;
    if (scaling.kind == RopeScaling::Kind::kByWavelength) return write_factors(rope);
    const bool yarn = scaling.kind == RopeScaling::Kind::kYarn;
    text(key("rope.scaling.type").c_str(), yarn ? "yarn" : "linear");
    f32("rope.scaling.factor", scaling.factor);
    if (!yarn) return;
    u32("rope.scaling.original_context_length",
        static_cast<int64_t>(scaling.original_max_position));
    f32("rope.scaling.yarn_beta_fast", scaling.beta_fast);
    f32("rope.scaling.yarn_beta_slow", scaling.beta_slow);
    if (scaling.attention_factor != 0.0) {
      f32("rope.scaling.yarn_attn_factor", scaling.attention_factor);
    }
    if (target_.has(kGgufLatent)) write_mscale(scaling);
  }

  // Readers scale scores by the square of one multiplier and leave cosines alone.
  void write_mscale(const RopeScaling& scaling) {
    if (scaling.mscale != scaling.mscale_all_dim || scaling.attention_factor != 0.0) {
      fail(ErrorCode::kUnsupported,
           "config.json: expected mscale as large as mscale_all_dim, found ", scaling.mscale,
           " and ", scaling.mscale_all_dim);
    }
    if (scaling.mscale_all_dim != 0.0) {
      f32("rope.scaling.yarn_log_multiplier", 0.1 * scaling.mscale_all_dim);
    }
  }

  // What each frequency is divided by.
  void write_factors(const RopeSettings& rope) {
    if (!target_.has(kGgufRopeFactors)) {
      fail(ErrorCode::kUnsupported,
           "config.json: expected no rope scaling by wavelength, which the "
           "GGUF architecture ",
           target_.arch, " has no place for");
    }
    const std::vector<float>& scaled = c_.rope_tables.at(0).inv_freq;
    auto factors =
        std::make_shared<Tensor>(DType::kF32, Shape{static_cast<int64_t>(scaled.size())});
    for (size_t i = 0; i < scaled.size(); ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(rope.rotary_dim);
      factors->f32()[i] =
          static_cast<float>(std::pow(rope.theta, exponent) / static_cast<double>(scaled[i]));
    }
    PlannedTensor tensor = plan_view("rope_freqs.weight", factors->view());
    tensor.open = [factors] {
      SourceParts parts;
      parts.views = {factors->view()};
      return parts;
    };
    out_.tensors.push_back(std::move(tensor));
  }

  const ModelFiles& files_;
  const DecoderConfig& c_;
  const GgufTarget& target_;
  GgufExport& out_;
};

}  // namespace

void export_keys(const ModelFiles& files, const ModelConfig& model, const GgufTarget& target,
                 GgufExport& out) {
  Keys(files, model, target, out).write();
}

}  // namespace onnuri
