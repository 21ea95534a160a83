#include "engine/gguf_target.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "core/printable.h"
#include "onnuri/quantize.h"

namespace onnuri {
namespace {

constexpr unsigned kLlama = kGgufOutputBias | kGgufFfnBias | kGgufRopeFactors | kGgufTiedHead;
constexpr unsigned kGranite = kLlama | kGgufScalars;

const std::array<GgufTarget, 14>& targets() {
  const NormNames pre = {"attn_norm", "", "ffn_norm", ""};
  const NormNames late = {"attn_norm", "", "post_attention_norm", ""};
  const NormNames post = {"", "post_attention_norm", "", "post_ffw_norm"};
  const NormNames both = {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"};
  constexpr RopeLayout kHalf = RopeLayout::kHalf, kPairs = RopeLayout::kPairs;
  static const std::array<GgufTarget, 14> kTargets = {{
      {"llama", "llama", pre, kPairs, kLlama, 10000.0},
      {"mistral", "llama", pre, kPairs, kLlama, 10000.0},
      {"qwen2", "qwen2", pre, kHalf, kGgufTiedHead, 0},
      {"qwen3", "qwen3", pre, kHalf, kGgufQkNorm | kGgufTiedHead, 0},
      {"qwen3_moe", "qwen3moe", pre, kHalf, kGgufQkNorm | kGgufExperts | kGgufTiedHead, 0},
      {"gemma3", "gemma3", both, kHalf,
       kGgufQkNorm | kGgufWindows | kGgufRootScale | kGgufTiedHead | kGgufFoldedScale, 1e6},
      {"exaone4", "exaone4", post, kHalf,
       kGgufQkNorm | kGgufWindows | kGgufBareFull | kGgufRopeFactors | kGgufTiedHead, 0},
      {"exaone_moe", "exaone-moe", pre, kHalf,
       kGgufQkNorm | kGgufWindows | kGgufBareFull | kGgufExperts | kGgufDenseLayers |
           kGgufRopeFactors,
       0},
      {"gpt_oss", "gpt-oss", late, kHalf,
       kGgufOutputBias | kGgufWindows | kGgufSinks | kGgufExperts, 150000.0},
      {"deepseek_v3", "deepseek2", pre, kPairs,
       kGgufLatent | kGgufExperts | kGgufDenseLayers | kGgufTiedHead, 0},
      {"granite", "granite", pre, kPairs, kGranite, 10000.0},
      {"hyperclovax", "granite", pre, kPairs, kGranite, 10000.0},
      {"ernie4_5", "ernie4_5", pre, kPairs, kGgufOutputBias | kGgufTiedHead, 500000.0},
      {"solar_open", "glm4moe", late, kHalf, kGgufQkNorm | kGgufExperts | kGgufTiedHead, 1e6},
  }};
  return kTargets;
}

/// One sentence per thing that an architecture has no place for.
class Check {
 public:
  Check(const GgufTarget& target, const DecoderConfig& decoder) : target_(target), c_(decoder) {}

  void run() {
    for (const LayerSpec& layer : c_.layers) width_ = std::max(width_, layer.window);
    whole();
    for (const LayerSpec& layer : c_.layers) one(layer);
    if (c_.moe.num_experts > 0) experts();
  }

 private:
  void require(bool fits, const char* what) const {
    if (fits) return;
    fail(ErrorCode::kUnsupported, "expected a decoder that the GGUF architecture ", target_.arch,
         " has a place for, found ", what);
  }
  bool has(unsigned feature) const { return target_.has(feature); }

  void whole() const {
    require(c_.long_skips.empty(), "long skips");
    require(c_.norm_form != NormForm::kGated, "gated norms");
    const float root = std::sqrt(static_cast<float>(c_.hidden_size));
    const float usual = has(kGgufRootScale) ? root : 1.0f;
    if (!has(kGgufScalars)) {
      require(c_.embed_scale == usual, "a scale of embeddings");
      require(c_.residual_scale == 1.0f, "a scale of residual sums");
      require(c_.logit_scale == 1.0f, "a scale of logits");
      const float scale = gguf_attention_scale(target_, c_);
      const bool same = std::fabs(c_.attention_scale - scale) <= 1e-5f * scale;
      require(same || has(kGgufFoldedScale) || has(kGgufLatent), "a scale of attention scores");
    }
    require(c_.rope_tables.size() <= (has(kGgufFoldedScale) ? 2u : 1u),
            "a second table of positions");
    for (const RopeTable& table : c_.rope_tables) {
      require(table.mrope_sections.empty(), "positions of several axes");
      require(table.layout == target_.rope || !has(kGgufLatent), "another layout of positions");
    }
  }

  void one(const LayerSpec& layer) const {
    require(layer.mixer == (has(kGgufLatent) ? MixerKind::kMla : MixerKind::kGqa),
            has(kGgufLatent) ? "attention without latents" : "another kind of attention");
    require(!layer.output_gate && !layer.sparse_index, "gates or an indexer in attention");
    require(!layer.pre_mixer_norm_gate && !layer.pre_ffn_norm_gate, "gated norms");
    require(layer.window == 0 || has(kGgufWindows), "sliding windows");
    require(layer.window == 0 || layer.window == width_, "windows of several widths");
    const bool bare = has(kGgufBareFull) && layer.window == 0 && (width_ > 0 || has(kGgufExperts));
    require((layer.rope < 0) == bare,
            bare ? "full layers with positions" : "layers without positions");
    require(layer.qk_norm == has(kGgufQkNorm) || target_.arch == "glm4moe",
            layer.qk_norm ? "norms of queries and keys" : "no norms of queries and keys");
    const bool latent_bias = has(kGgufLatent) && (layer.q_bias || layer.k_bias);
    require(!latent_bias && (!layer.o_bias || has(kGgufOutputBias)), "biases of attention");
    const bool needs_output_bias = has(kGgufSinks);  // of the one reader that has sinks
    require(layer.o_bias || !needs_output_bias, "attention without biases");
    require(!layer.ffn_bias || has(kGgufFfnBias), "biases of the feed-forward layers");
    require(layer.sinks == has(kGgufSinks), layer.sinks ? "attention sinks" : "no attention sinks");
    const bool sparse = layer.ffn == FfnKind::kMoe;
    require(!sparse || has(kGgufExperts), "experts");
    require(sparse || !has(kGgufExperts) || has(kGgufDenseLayers), "layers without experts");
    norms(layer);
    activation(layer.activation);
  }

  void norms(const LayerSpec& layer) const {
    const NormNames& n = target_.norms;
    require(layer.pre_mixer_norm != n.pre_mixer.empty() &&
                layer.post_mixer_norm != n.post_mixer.empty() &&
                layer.pre_ffn_norm != n.pre_ffn.empty() &&
                layer.post_ffn_norm != n.post_ffn.empty(),
            "norms at other places");
  }

  void activation(const GluParams& found) const {
    const GluKind kind = has(kGgufSinks)       ? GluKind::kSwigluPlus1
                         : has(kGgufRootScale) ? GluKind::kGeluTanh
                                               : GluKind::kSilu;
    require(found.kind == kind, "another activation");
    require(kind != GluKind::kSwigluPlus1 || (found.alpha == 1.702f && found.limit == 7.0f),
            "an activation with numbers other than 1.702 and 7");
  }

  void experts() const {
    const RouterSpec& router = c_.moe.router;
    bool seen = false;
    for (const LayerSpec& layer : c_.layers) {
      const bool sparse = layer.ffn == FfnKind::kMoe;
      require(sparse || !seen, "a layer without experts behind one with them");
      seen = seen || sparse;
    }
    require(c_.moe.expert_bias == has(kGgufSinks), "biases of experts");
    require(router.logit_bias == has(kGgufSinks), "a bias of the router");
    const bool soft = target_.arch == "qwen3moe";
    const RouterScore score = has(kGgufSinks) ? RouterScore::kSoftmaxAfterTopk
                              : soft          ? RouterScore::kSoftmax
                                              : RouterScore::kSigmoid;
    require(router.score == score, "another score of experts");
    require(!soft || router.renormalize, "weights of experts that do not sum to one");
    require(!soft || router.scale == 1.0f, "a scale of experts");
    require(!router.mask_with_zero, "groups of experts that are masked with zero");
    require(router.num_groups == 1 || target_.arch == "deepseek2" || target_.arch == "glm4moe",
            "groups of experts");
    require(c_.moe.shared_intermediate_size % std::max<int64_t>(c_.moe.intermediate_size, 1) == 0,
            "shared experts of another width");
    require(
        c_.moe.shared_intermediate_size > 0 || soft || has(kGgufSinks) || target_.arch == "glm4moe",
        "no shared expert");
  }

  const GgufTarget& target_;
  const DecoderConfig& c_;
  int64_t width_ = 0;  // of the windows
};

}  // namespace

std::vector<std::string> gguf_families() {
  std::vector<std::string> names;
  for (const GgufTarget& target : targets()) names.emplace_back(target.family);
  return names;
}

const GgufTarget& find_gguf_target(std::string_view family) {
  std::string known;
  for (const GgufTarget& target : targets()) {
    if (target.family == family) return target;
    known += (known.empty() ? "" : ", ") + std::string(target.family);
  }
  fail(ErrorCode::kUnsupported, "expected a folder of a family that GGUF has a place for (", known,
       "), found ", in_quotes(family));
}

void check_gguf_target(const GgufTarget& target, const DecoderConfig& decoder) {
  Check(target, decoder).run();
}

float gguf_attention_scale(const GgufTarget& target, const DecoderConfig& decoder) {
  // The one model of 62 layers divides by hidden_size / heads instead.
  if (target.has(kGgufRootScale) && decoder.num_layers() == 62) {
    return 1.0f / std::sqrt(static_cast<float>(decoder.hidden_size) /
                            static_cast<float>(decoder.num_heads));
  }
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(decoder.head_dim)));
}

}  // namespace onnuri
