#include "tests/support/random_decoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

namespace onnuri {
namespace {

// Normal float16 range only, round to nearest even: enough for test weights.
uint16_t to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const float magnitude = std::fabs(value);
  if (magnitude < 6.2e-5f) return static_cast<uint16_t>(sign);
  const uint32_t m = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = m + 0xfffu + ((m >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float from_half(uint16_t half) {
  if ((half & 0x7fffu) == 0) return 0.0f;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  return std::bit_cast<float>(sign | ((static_cast<uint32_t>(half & 0x7fffu) << 13) + 0x38000000u));
}

uint16_t to_bfloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Stores `values` as `dtype` into `bytes` and rounds `values` to what was stored.
void encode(DType dtype, std::vector<float>& values, std::vector<uint8_t>& bytes) {
  bytes.resize(static_cast<size_t>(dtype_bytes(dtype, static_cast<int64_t>(values.size()))));
  if (dtype == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return;
  }
  if (dtype == DType::kQ8_0) {  // per 32: float16 scale, then int8
    uint8_t* out = bytes.data();
    for (size_t i = 0; i < values.size(); i += 32, out += 34) {
      float top = 0;
      for (size_t j = 0; j < 32; ++j) top = std::max(top, std::fabs(values[i + j]));
      const uint16_t half = to_half(std::max(top / 127.0f, 1e-4f));
      const float scale = from_half(half);
      std::memcpy(out, &half, 2);
      for (size_t j = 0; j < 32; ++j) {
        const float q = std::clamp(std::round(values[i + j] / scale), -127.0f, 127.0f);
        const auto stored = static_cast<int8_t>(q);
        std::memcpy(out + 2 + j, &stored, 1);
        values[i + j] = scale * q;
      }
    }
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const bool half = dtype == DType::kF16;
    const uint16_t bits = half ? to_half(values[i]) : to_bfloat(values[i]);
    std::memcpy(bytes.data() + 2 * i, &bits, 2);
    values[i] = half ? from_half(bits) : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
}

}  // namespace

RandomDecoderCheckpoint::RandomDecoderCheckpoint(const DecoderConfig& config, uint64_t seed,
                                                 DType matrix_dtype)
    : state_(seed * 2 + 1), matrix_dtype_(matrix_dtype) {
  const int64_t hidden = config.hidden_size;
  add("embed.weight", {config.vocab_size, hidden}, 0.0f, 1.0f, matrix_dtype);
  add("norm.weight", {hidden}, 0.6f, 0.3f, DType::kF32);
  if (!config.tied_head) add_matrix("head.weight", config.vocab_size, hidden);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    add_layer(config, config.layers[i], "layers." + std::to_string(i) + ".");
  }
  for (const auto& entry : entries_) names_.push_back(entry.first);
}

void RandomDecoderCheckpoint::add_layer(const DecoderConfig& c, const LayerSpec& layer,
                                        const std::string& prefix) {
  const int64_t hidden = c.hidden_size;
  const auto vector = [&](const std::string& name, int64_t size, float mean, float deviation) {
    add(prefix + name, {size}, mean, deviation, DType::kF32);
  };
  const auto projection = [&](const std::string& name, int64_t rows, int64_t cols, bool bias) {
    add_matrix(prefix + name + ".weight", rows, cols);
    if (bias) vector(name + ".bias", rows, 0.0f, 0.5f);
  };
  if (layer.pre_mixer_norm) vector("pre_mixer_norm.weight", hidden, 0.6f, 0.3f);
  if (layer.post_mixer_norm) vector("post_mixer_norm.weight", hidden, 0.6f, 0.3f);
  if (layer.pre_ffn_norm) vector("pre_ffn_norm.weight", hidden, 0.6f, 0.3f);
  if (layer.post_ffn_norm) vector("post_ffn_norm.weight", hidden, 0.6f, 0.3f);
  for (const std::string site : {"pre_mixer_norm", "pre_ffn_norm"}) {
    if (site == "pre_mixer_norm" ? !layer.pre_mixer_norm_gate : !layer.pre_ffn_norm_gate) continue;
    add_matrix(prefix + site + ".gate_down.weight", c.norm_gate_rank, hidden);
    add_matrix(prefix + site + ".gate_up.weight", hidden, c.norm_gate_rank);
  }
  if (layer.mixer == MixerKind::kMla) {
    add_latent(c, layer, prefix);
  } else if (layer.is_linear()) {
    const DeltaSpec& d = c.delta;
    const int64_t values = d.num_v_heads * d.v_dim;
    const int64_t inputs = 2 * d.num_k_heads * d.k_dim + values;
    add_matrix(prefix + "delta.qkv.weight", inputs, hidden);
    add_matrix(prefix + "delta.z.weight", values, hidden);
    add_matrix(prefix + "delta.b.weight", d.num_v_heads, hidden);
    add_matrix(prefix + "delta.a.weight", d.num_v_heads, hidden);
    add(prefix + "delta.conv.weight", {inputs, 1, d.conv_taps}, 0.0f, 0.6f, DType::kF32);
    vector("delta.a_log", d.num_v_heads, 0.0f, 0.5f);
    vector("delta.dt_bias", d.num_v_heads, 0.0f, 1.0f);
    vector("head_norm.weight", d.v_dim, 0.8f, 0.3f);
    add_matrix(prefix + "o.weight", hidden, values);
  } else {
    projection("q", c.num_heads * c.head_dim * (layer.output_gate ? 2 : 1), hidden, layer.q_bias);
    projection("k", c.num_kv_heads * c.head_dim, hidden, layer.k_bias);
    projection("v", c.num_kv_heads * c.v_dim, hidden, layer.v_bias);
  }
  const bool differential =
      layer.mixer == MixerKind::kDifferential || layer.mixer == MixerKind::kGroupedDifferential;
  const int64_t signal_heads = c.num_heads - c.differential.num_noise_heads;
  if (!layer.is_linear()) {
    projection("o", hidden, differential ? 2 * signal_heads * c.v_dim : c.num_heads * c.v_dim,
               layer.o_bias);
  }
  if (differential) {
    for (const char* name : {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"}) {
      vector(name, c.head_dim, 0.0f, 0.3f);
    }
    vector("head_norm.weight", 2 * c.head_dim, 0.8f, 0.3f);
  }
  if (layer.qk_norm) {
    vector("q_norm.weight", c.head_dim, 0.8f, 0.3f);
    vector("k_norm.weight", c.head_dim, 0.8f, 0.3f);
  }
  if (layer.sinks) vector("sinks", c.num_heads, 0.0f, 2.0f);
  if (layer.ffn == FfnKind::kDense) {
    add_ffn(prefix, hidden, layer.intermediate_size, layer.ffn_bias);
    if (layer.activation.kind == GluKind::kPolyNorm) {
      vector("poly.weight", 3, 0.3f, 0.5f);
      vector("poly.bias", 1, 0.0f, 0.5f);
    }
    return;
  }
  add_matrix(prefix + "router.weight", c.moe.num_experts, hidden);
  if (c.moe.router.logit_bias) vector("router.bias", c.moe.num_experts, 0.0f, 0.5f);
  if (c.moe.router.correction_bias) vector("router.correction", c.moe.num_experts, 0.0f, 0.3f);
  for (int64_t e = 0; e < c.moe.num_experts; ++e) {
    add_ffn(prefix + "experts." + std::to_string(e) + ".", hidden, c.moe.intermediate_size,
            c.moe.expert_bias);
  }
  if (c.moe.shared_intermediate_size > 0) {
    add_ffn(prefix + "shared.", hidden, c.moe.shared_intermediate_size, false);
    if (c.moe.shared_gate) add_matrix(prefix + "shared_gate.weight", 1, hidden);
  }
}

void RandomDecoderCheckpoint::add_latent(const DecoderConfig& c, const LayerSpec& layer,
                                         const std::string& prefix) {
  const MlaSpec& m = c.mla;
  const int64_t q_rows = c.num_heads * (c.head_dim + (layer.output_gate ? m.v_dim : 0));
  const auto vector = [&](const std::string& name, int64_t size, float mean) {
    add(prefix + name, {size}, mean, 0.3f, DType::kF32);
  };
  if (m.q_lora_rank == 0) {
    add_matrix(prefix + "q.weight", q_rows, c.hidden_size);
  } else {
    add_matrix(prefix + "q_a.weight", m.q_lora_rank, c.hidden_size);
    if (layer.q_bias) vector("q_a.bias", m.q_lora_rank, 0.0f);
    vector("q_a_norm.weight", m.q_lora_rank, 0.8f);
    add_matrix(prefix + "q_b.weight", q_rows, m.q_lora_rank * (layer.output_gate ? 2 : 1));
  }
  add_matrix(prefix + "kv_a.weight", m.key_row(), c.hidden_size);
  if (layer.k_bias) vector("kv_a.bias", m.key_row(), 0.0f);
  vector("kv_a_norm.weight", m.kv_lora_rank, 0.8f);
  add_matrix(prefix + "kv_b.weight", c.num_heads * (m.qk_nope_dim + m.v_dim), m.kv_lora_rank);
  if (!layer.sparse_index) return;
  add_matrix(prefix + "index.q.weight", m.index.num_heads * m.index.head_dim, m.q_lora_rank);
  add_matrix(prefix + "index.k.weight", m.index.head_dim, c.hidden_size);
  add_matrix(prefix + "index.weights.weight", m.index.num_heads, c.hidden_size);
  vector("index.k_norm.weight", m.index.head_dim, 0.8f);
  vector("index.k_norm.bias", m.index.head_dim, 0.0f);
}

void RandomDecoderCheckpoint::add_ffn(const std::string& prefix, int64_t hidden,
                                      int64_t intermediate, bool bias) {
  add_matrix(prefix + "gate.weight", intermediate, hidden);
  add_matrix(prefix + "up.weight", intermediate, hidden);
  add_matrix(prefix + "down.weight", hidden, intermediate);
  if (!bias) return;
  add(prefix + "gate.bias", {intermediate}, 0.0f, 0.5f, DType::kF32);
  add(prefix + "up.bias", {intermediate}, 0.0f, 0.5f, DType::kF32);
  add(prefix + "down.bias", {hidden}, 0.0f, 0.5f, DType::kF32);
}

// Deviation 1.5 / sqrt(cols) keeps activations of order one through the layers.
void RandomDecoderCheckpoint::add_matrix(const std::string& name, int64_t rows, int64_t cols) {
  add(name, {rows, cols}, 0.0f, 1.5f / std::sqrt(static_cast<float>(cols)), matrix_dtype_);
}

void RandomDecoderCheckpoint::add(const std::string& name, const Shape& shape, float mean,
                                  float deviation, DType dtype) {
  Entry& entry = entries_[name];
  entry.shape = shape;
  entry.dtype = dtype;
  entry.values.resize(static_cast<size_t>(shape.num_elements()));
  for (float& v : entry.values) v = mean + deviation * normal();
  encode(dtype, entry.values, entry.bytes);
}

// Box-Muller over SplitMix64, so that tests see the same weights with every standard library.
float RandomDecoderCheckpoint::normal() {
  const auto uniform = [&] {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) * 0x1.0p-53;
  };
  const double radius = std::sqrt(-2.0 * std::log(uniform()));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * uniform()));
}

const std::vector<float>& RandomDecoderCheckpoint::values(const std::string& name) const {
  static const std::vector<float> kNone;
  const auto it = entries_.find(name);
  return it == entries_.end() ? kNone : it->second.values;
}

TensorView RandomDecoderCheckpoint::find(std::string_view name) const {
  const auto it = entries_.find(std::string(name));
  if (it == entries_.end()) return {};
  return {it->second.bytes.data(), it->second.dtype, it->second.shape};
}

TensorSource source_of(std::shared_ptr<const RandomDecoderCheckpoint> checkpoint) {
  return TensorSource(std::move(checkpoint), [](const std::string& canonical) {
    TensorRef ref;
    ref.name = canonical;
    return std::vector<TensorRef>{ref};
  });
}

DecoderConfig tiny_decoder_config() {
  DecoderConfig config;
  config.vocab_size = 96;
  config.hidden_size = 64;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.v_dim = 16;
  config.max_position = 512;
  config.norm_eps = 1e-5f;
  config.attention_scale = 0.25f;
  RopeTable table;
  table.rotary_dim = 16;
  for (int i = 0; i < 8; ++i) {
    table.inv_freq.push_back(std::pow(10000.0f, static_cast<float>(-i) / 8.0f));
  }
  config.rope_tables.push_back(table);
  LayerSpec layer;
  layer.rope = 0;
  layer.intermediate_size = 96;
  config.layers.assign(4, layer);
  return config;
}

}  // namespace onnuri
