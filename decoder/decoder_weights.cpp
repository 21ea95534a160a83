#include "decoder/decoder_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/check.h"
#include "kernels/ref/convert.h"

namespace onnuri {
namespace {

// Reads the tensors of one prefix ("layers.3.") and turns them into their run-time form.
class Loader {
 public:
  Loader(TensorSource& source, Backend& backend, ComputeType compute)
      : source_(source), backend_(backend), compute_(compute) {}

  Tensor vector(const std::string& name, int64_t size) {
    const TensorView view = source_.get(name, {size});
    Tensor values(DType::kF32, {size});
    dequantize(view, values.f32());
    source_.release_copies();
    return values;
  }

  PackedMatrix pack(const std::string& name, int64_t rows, int64_t cols) {
    return pack_as(compute_, name, rows, cols);
  }
  PackedMatrix pack_float32(const std::string& name, int64_t rows, int64_t cols) {
    return pack_as(ComputeType::kFloat32, name, rows, cols);
  }

  PackedMatrix pack(const TensorView& view) { return pack_matrix(backend_, view, compute_); }
  void release_copies() { source_.release_copies(); }
  bool has(const std::string& name) const { return source_.has(name); }
  TensorView view(const std::string& name, const Shape& shape) { return source_.get(name, shape); }
  ComputeType compute() const { return compute_; }

  struct Part {
    std::string name;
    int64_t rows;
    bool bias;
  };
  PackedMatrix pack(const std::vector<Part>& parts, int64_t cols) {
    std::vector<TensorView> views;
    for (const Part& p : parts) views.push_back(source_.get(p.name + ".weight", {p.rows, cols}));
    PackedMatrix packed = pack_matrices(backend_, views, compute_);
    source_.release_copies();
    return packed;
  }

  PackedMatrix pack_views(const std::vector<TensorView>& views) {
    PackedMatrix packed = pack_matrices(backend_, views, compute_);
    source_.release_copies();
    return packed;
  }

  // The biases of the parts one after the other, zeros where a part has none; empty without any.
  Tensor bias(const std::vector<Part>& parts) {
    int64_t size = 0;
    bool any = false;
    for (const Part& p : parts) {
      size += p.rows;
      any = any || p.bias;
    }
    if (!any) return {};
    Tensor values = Tensor::zeros(DType::kF32, {size});
    float* out = values.f32();
    for (const Part& p : parts) {
      if (p.bias) dequantize(source_.get(p.name + ".bias", {p.rows}), out);
      out += p.rows;
    }
    source_.release_copies();
    return values;
  }

  FfnWeights ffn(const std::string& prefix, int64_t hidden, int64_t intermediate, bool bias_terms) {
    const std::vector<Part> gate_up = {{prefix + "gate", intermediate, bias_terms},
                                       {prefix + "up", intermediate, bias_terms}};
    FfnWeights w;
    w.gate_up = pack(gate_up, hidden);
    w.gate_up_bias = bias(gate_up);
    w.down = pack(prefix + "down.weight", hidden, intermediate);
    if (bias_terms) w.down_bias = vector(prefix + "down.bias", hidden);
    return w;
  }

 private:
  PackedMatrix pack_as(ComputeType compute, const std::string& name, int64_t rows, int64_t cols) {
    PackedMatrix packed = pack_matrix(backend_, source_.get(name, {rows, cols}), compute);
    source_.release_copies();
    return packed;
  }

  TensorSource& source_;
  Backend& backend_;
  ComputeType compute_;
};

// A matrix turned around, in its own type where that has one value per element.
Tensor transposed(const TensorView& view, ComputeType compute) {
  const int64_t rows = view.shape[0];
  const int64_t cols = view.shape[1];
  const bool plain =
      view.dtype == DType::kF32 || view.dtype == DType::kF16 || view.dtype == DType::kBF16;
  if (plain && view.dtype != DType::kF32) {
    Tensor out(view.dtype, {cols, rows});
    auto* to = reinterpret_cast<uint16_t*>(out.bytes());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) to[c * rows + r] = view.read<uint16_t>(r * cols + c);
    }
    return out;
  }
  std::vector<float> values(static_cast<size_t>(rows * cols));
  dequantize(view, values.data());
  // Quantised blocks do not survive turning; halves hold what eight bits and a scale express.
  const bool half = !plain && compute == ComputeType::kAuto;
  Tensor out(half ? DType::kF16 : DType::kF32, {cols, rows});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const float value = values[static_cast<size_t>(r * cols + c)];
      if (half) {
        reinterpret_cast<uint16_t*>(out.bytes())[c * rows + r] = ref::f32_to_f16(value);
      } else {
        out.f32()[c * rows + r] = value;
      }
    }
  }
  return out;
}

void load_kv_b(Loader& load, const DecoderConfig& c, const std::string& prefix, LatentWeights& w) {
  const MlaSpec& m = c.mla;
  if (load.has(prefix + "k_b.weight")) {  // the key half is stored turned around
    const TensorView k =
        load.view(prefix + "k_b.weight", {c.num_heads, m.kv_lora_rank, m.qk_nope_dim});
    const TensorView v = load.view(prefix + "v_b.weight", {c.num_heads, m.v_dim, m.kv_lora_rank});
    for (int64_t h = 0; h < c.num_heads; ++h) {
      const Tensor key = transposed(k.slice(h), load.compute());
      w.key_up.push_back(load.pack(k.slice(h)));
      w.key_down.push_back(load.pack(key.view()));
      w.value_up.push_back(load.pack(v.slice(h)));
    }
  } else {
    const int64_t rows = m.qk_nope_dim + m.v_dim;
    const TensorView kv = load.view(prefix + "kv_b.weight", {c.num_heads * rows, m.kv_lora_rank});
    for (int64_t h = 0; h < c.num_heads; ++h) {
      const Tensor key = transposed(kv.rows(h * rows, m.qk_nope_dim), load.compute());
      w.key_up.push_back(load.pack(key.view()));
      w.key_down.push_back(load.pack(kv.rows(h * rows, m.qk_nope_dim)));
      w.value_up.push_back(load.pack(kv.rows(h * rows + m.qk_nope_dim, m.v_dim)));
    }
  }
  load.release_copies();
  for (const PackedMatrix& matrix : w.key_up) w.key_up_list.push_back(&matrix);
  for (const PackedMatrix& matrix : w.value_up) w.value_up_list.push_back(&matrix);
}

void load_latent(Loader& load, const DecoderConfig& c, const LayerSpec& spec,
                 const std::string& prefix, LatentWeights& w) {
  const MlaSpec& m = c.mla;
  const int64_t q_rows = c.num_heads * (c.head_dim + (spec.output_gate ? m.v_dim : 0));
  if (m.q_lora_rank == 0) {
    w.q_up = load.pack(prefix + "q.weight", q_rows, c.hidden_size);
  } else {
    w.q_a = load.pack(prefix + "q_a.weight", m.q_lora_rank, c.hidden_size);
    if (spec.q_bias) w.q_a_bias = load.vector(prefix + "q_a.bias", m.q_lora_rank);
    w.q_a_norm = load.vector(prefix + "q_a_norm.weight", m.q_lora_rank);
    w.q_up = load.pack(prefix + "q_b.weight", q_rows, m.q_lora_rank * (spec.output_gate ? 2 : 1));
  }
  w.kv_a = load.pack(prefix + "kv_a.weight", m.key_row(), c.hidden_size);
  if (spec.k_bias) w.kv_a_bias = load.vector(prefix + "kv_a.bias", m.key_row());
  w.kv_a_norm = load.vector(prefix + "kv_a_norm.weight", m.kv_lora_rank);
  load_kv_b(load, c, prefix, w);
  if (!spec.sparse_index) return;
  const int64_t dim = m.index.head_dim;
  const std::string index = prefix + "index.";
  w.index_q = load.pack(index + "q.weight", m.index.num_heads * dim, m.q_lora_rank);
  w.index_k = load.pack(index + "k.weight", dim, c.hidden_size);
  w.index_weights = load.pack(index + "weights.weight", m.index.num_heads, c.hidden_size);
  w.index_k_norm = load.vector(index + "k_norm.weight", dim);
  w.index_k_norm_bias = load.vector(index + "k_norm.bias", dim);
}

// Rows of a matrix of heads, (heads * dim, ...): for each group, its heads [begin, end).
void add_heads(const TensorView& heads, int64_t dim, int64_t group, int64_t begin, int64_t end,
               std::vector<TensorView>& parts) {
  for (int64_t first = 0; first < heads.shape[0] / dim; first += group) {
    parts.push_back(heads.rows((first + begin) * dim, (end - begin) * dim));
  }
}

// Signal heads before noise heads, so that each kind is one run of columns of qkv.
std::vector<TensorView> differential_parts(const DecoderConfig& c, const TensorView& q,
                                           const TensorView& k, const TensorView& v) {
  const int64_t group = c.num_heads / c.differential.num_noise_heads;
  std::vector<TensorView> parts;
  add_heads(q, c.head_dim, group, 0, group - 1, parts);
  add_heads(q, c.head_dim, group, group - 1, group, parts);
  add_heads(k, c.head_dim, 2, 0, 1, parts);
  add_heads(k, c.head_dim, 2, 1, 2, parts);
  parts.push_back(v);
  return parts;
}

// Rows of q, k, v, then b and a, then z, each in the order of heads.
std::vector<TensorView> delta_parts(Loader& load, const DecoderConfig& c,
                                    const std::string& prefix) {
  const DeltaSpec& d = c.delta;
  const int64_t k = d.num_k_heads * d.k_dim, v = d.num_v_heads * d.v_dim, h = c.hidden_size;
  if (load.has(prefix + "qkv.weight"))
    return {load.view(prefix + "qkv.weight", {2 * k + v, h}),
            load.view(prefix + "b.weight", {d.num_v_heads, h}),
            load.view(prefix + "a.weight", {d.num_v_heads, h}),
            load.view(prefix + "z.weight", {v, h})};
  const TensorView qkvz = load.view(prefix + "qkvz.weight", {2 * (k + v), h});
  const TensorView ba = load.view(prefix + "ba.weight", {2 * d.num_v_heads, h});
  const int64_t group = d.num_v_heads / d.num_k_heads;  // value heads of a key head
  const int64_t width = group * d.v_dim;
  std::vector<TensorView> parts;
  const auto add = [&](const TensorView& all, int64_t stride, int64_t begin, int64_t count) {
    for (int64_t head = 0; head < d.num_k_heads; ++head)
      parts.push_back(all.rows(head * stride + begin, count));
  };
  const int64_t stride = 2 * (d.k_dim + width);
  add(qkvz, stride, 0, d.k_dim);
  add(qkvz, stride, d.k_dim, d.k_dim);
  add(qkvz, stride, 2 * d.k_dim, width);
  add(ba, 2 * group, 0, group);
  add(ba, 2 * group, group, group);
  add(qkvz, stride, 2 * d.k_dim + width, width);
  return parts;
}

void load_delta(Loader& load, const DecoderConfig& c, const std::string& prefix, LayerWeights& w) {
  const DeltaSpec& d = c.delta;
  const int64_t inputs = 2 * d.num_k_heads * d.k_dim + d.num_v_heads * d.v_dim;
  const std::string delta = prefix + "delta.";
  w.delta.in = load.pack_views(delta_parts(load, c, delta));
  const TensorView taps = load.view(delta + "conv.weight", {inputs, 1, d.conv_taps});
  std::vector<float> by_input(static_cast<size_t>(inputs * d.conv_taps));
  dequantize(taps, by_input.data());
  w.delta.conv = Tensor(DType::kF32, {d.conv_taps, inputs});
  for (int64_t i = 0; i < inputs; ++i)
    for (int64_t j = 0; j < d.conv_taps; ++j)
      w.delta.conv.f32()[j * inputs + i] = by_input[static_cast<size_t>(i * d.conv_taps + j)];
  w.delta.rate = load.vector(delta + "a_log", d.num_v_heads);
  for (int64_t i = 0; i < d.num_v_heads; ++i) {
    float& rate = w.delta.rate.f32()[i];
    rate = -std::exp(rate);
  }
  w.delta.dt_bias = load.vector(delta + "dt_bias", d.num_v_heads);
  w.delta.q_scale = Tensor(DType::kF32, {d.k_dim});
  w.delta.k_scale = Tensor(DType::kF32, {d.k_dim});
  const auto dim = static_cast<float>(d.k_dim);
  std::fill_n(w.delta.q_scale.f32(), d.k_dim, 1.0f / dim);
  std::fill_n(w.delta.k_scale.f32(), d.k_dim, 1.0f / std::sqrt(dim));
  w.head_norm = load.vector(prefix + "head_norm.weight", d.v_dim);
  w.o = load.pack(prefix + "o.weight", c.hidden_size, d.num_v_heads * d.v_dim);
}

// Rows of q, of k, of v, and of the gate, which is stored with q, head by head.
void load_gated(Loader& load, const DecoderConfig& c, const LayerSpec& spec,
                const std::string& prefix, LayerWeights& w) {
  const int64_t h = c.hidden_size, dim = c.head_dim;
  const auto parts_of = [&](const TensorView& q, const TensorView& k, const TensorView& v) {
    std::vector<TensorView> parts;
    add_heads(q, dim, 2, 0, 1, parts);
    parts.push_back(k);
    parts.push_back(v);
    add_heads(q, dim, 2, 1, 2, parts);
    return parts;
  };
  const int64_t q = 2 * c.num_heads * dim, kv = c.num_kv_heads * dim;
  w.qkv = load.pack_views(parts_of(load.view(prefix + "q.weight", {q, h}),
                                   load.view(prefix + "k.weight", {kv, h}),
                                   load.view(prefix + "v.weight", {kv, h})));
  if (!spec.q_bias && !spec.k_bias && !spec.v_bias) return;
  const Tensor biases = load.bias({{prefix + "q", q, spec.q_bias},
                                   {prefix + "k", kv, spec.k_bias},
                                   {prefix + "v", kv, spec.v_bias}});
  const TensorView all = biases.view();
  w.qkv_bias = Tensor(DType::kF32, all.shape);
  float* out = w.qkv_bias.f32();
  for (const TensorView& part : parts_of(all.rows(0, q), all.rows(q, kv), all.rows(q + kv, kv)))
    out = std::copy_n(part.as<float>(), part.num_elements(), out);
}

float dot(const Tensor& a, const Tensor& b) {
  const int64_t size = a.shape()[0];
  return std::inner_product(a.f32(), a.f32() + size, b.f32(), 0.0f);
}

void load_differential(Loader& load, const DecoderConfig& c, const LayerSpec& spec,
                       const std::string& prefix, LayerWeights& w) {
  const int64_t h = c.hidden_size;
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  w.qkv = load.pack_views(differential_parts(c, load.view(prefix + "q.weight", {q, h}),
                                             load.view(prefix + "k.weight", {kv, h}),
                                             load.view(prefix + "v.weight", {kv, h})));
  if (spec.q_bias || spec.k_bias || spec.v_bias) {
    const Tensor biases = load.bias({{prefix + "q", q, spec.q_bias},
                                     {prefix + "k", kv, spec.k_bias},
                                     {prefix + "v", kv, spec.v_bias}});
    const TensorView all = biases.view();
    w.qkv_bias = Tensor(DType::kF32, all.shape);
    float* out = w.qkv_bias.f32();
    for (const TensorView& part :
         differential_parts(c, all.rows(0, q), all.rows(q, kv), all.rows(q + kv, kv))) {
      out = std::copy_n(part.as<float>(), part.num_elements(), out);
    }
  }
  const int64_t signal = c.num_heads - c.differential.num_noise_heads;
  w.o = load.pack(prefix + "o.weight", h, signal * 2 * c.v_dim);
  const auto exp_of = [&](const char* a, const char* b) {
    return std::exp(dot(load.vector(prefix + a, c.head_dim), load.vector(prefix + b, c.head_dim)));
  };
  w.lambda = exp_of("lambda_q1", "lambda_k1") - exp_of("lambda_q2", "lambda_k2") + spec.lambda_init;
  if (!std::isfinite(w.lambda)) {
    fail(ErrorCode::kCorruptData, "expected a finite lambda of ", prefix,
         "lambda_q1 to lambda_k2, found ", w.lambda);
  }
  w.head_norm = load.vector(prefix + "head_norm.weight", 2 * c.head_dim);
  for (int64_t i = 0; i < 2 * c.head_dim; ++i) w.head_norm.f32()[i] *= 1.0f - spec.lambda_init;
}

void load_mixer(Loader& load, const DecoderConfig& c, const LayerSpec& spec,
                const std::string& prefix, LayerWeights& w) {
  if (spec.o_bias) w.o_bias = load.vector(prefix + "o.bias", c.hidden_size);
  if (spec.sinks) w.sinks = load.vector(prefix + "sinks", c.num_heads);
  if (spec.mixer == MixerKind::kDifferential || spec.mixer == MixerKind::kGroupedDifferential) {
    load_differential(load, c, spec, prefix, w);
    return;
  }
  if (spec.mixer == MixerKind::kGatedDelta) {
    load_delta(load, c, prefix, w);
    return;
  }
  w.o = load.pack(prefix + "o.weight", c.hidden_size, c.num_heads * c.v_dim);
  if (spec.mixer == MixerKind::kMla) {
    load_latent(load, c, spec, prefix, w.latent);
    return;
  }
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t k = c.num_kv_heads * c.head_dim;
  const int64_t v = c.num_kv_heads * c.v_dim;
  const std::vector<Loader::Part> parts = {{prefix + "q", q, spec.q_bias},
                                           {prefix + "k", k, spec.k_bias},
                                           {prefix + "v", v, spec.v_bias}};
  if (spec.output_gate) {
    load_gated(load, c, spec, prefix, w);
  } else {
    w.qkv = load.pack(parts, c.hidden_size);
    w.qkv_bias = load.bias(parts);
  }
  if (spec.qk_norm) {
    w.q_norm = load.vector(prefix + "q_norm.weight", c.head_dim);
    w.k_norm = load.vector(prefix + "k_norm.weight", c.head_dim);
  }
}

void load_moe(Loader& load, const DecoderConfig& c, const std::string& prefix, MoeWeights& w) {
  const MoeSpec& spec = c.moe;
  w.router = load.pack_float32(prefix + "router.weight", spec.num_experts, c.hidden_size);
  if (spec.router.logit_bias) w.router_bias = load.vector(prefix + "router.bias", spec.num_experts);
  if (spec.router.correction_bias) {
    w.correction = load.vector(prefix + "router.correction", spec.num_experts);
  }
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    w.experts.push_back(load.ffn(prefix + "experts." + std::to_string(e) + ".", c.hidden_size,
                                 spec.intermediate_size, spec.expert_bias));
  }
  for (const FfnWeights& expert : w.experts) {
    w.gate_up.push_back(&expert.gate_up);
    w.down.push_back(&expert.down);
    w.gate_up_bias.push_back(expert.gate_up_bias.f32());
    w.down_bias.push_back(expert.down_bias.f32());
  }
  if (spec.shared_intermediate_size > 0) {
    w.shared = load.ffn(prefix + "shared.", c.hidden_size, spec.shared_intermediate_size, false);
    if (spec.shared_gate)
      w.shared.row_gate = load.pack_float32(prefix + "shared_gate.weight", 1, c.hidden_size);
  }
}

LayerWeights load_layer(Loader& load, const DecoderConfig& c, const LayerSpec& spec,
                        const std::string& prefix) {
  LayerWeights w;
  const auto norm = [&](bool present, const char* name) {
    return present ? load.vector(prefix + name + ".weight", c.hidden_size) : Tensor();
  };
  w.pre_mixer_norm = norm(spec.pre_mixer_norm, "pre_mixer_norm");
  w.post_mixer_norm = norm(spec.post_mixer_norm, "post_mixer_norm");
  w.pre_ffn_norm = norm(spec.pre_ffn_norm, "pre_ffn_norm");
  w.post_ffn_norm = norm(spec.post_ffn_norm, "post_ffn_norm");
  const auto gate = [&](bool present, const char* name, NormGate& out) {
    if (!present) return;
    out.down = load.pack(prefix + name + ".gate_down.weight", c.norm_gate_rank, c.hidden_size);
    out.up = load.pack(prefix + name + ".gate_up.weight", c.hidden_size, c.norm_gate_rank);
  };
  gate(spec.pre_mixer_norm && spec.pre_mixer_norm_gate, "pre_mixer_norm", w.pre_mixer_gate);
  gate(spec.pre_ffn_norm && spec.pre_ffn_norm_gate, "pre_ffn_norm", w.pre_ffn_gate);
  load_mixer(load, c, spec, prefix, w);
  if (spec.ffn == FfnKind::kMoe) {
    load_moe(load, c, prefix, w.moe);
  } else {
    w.ffn = load.ffn(prefix, c.hidden_size, spec.intermediate_size, spec.ffn_bias);
    if (spec.activation.kind == GluKind::kPolyNorm) {
      w.ffn.poly = Tensor(DType::kF32, {4});
      dequantize(load.view(prefix + "poly.weight", {3}), w.ffn.poly.f32());
      dequantize(load.view(prefix + "poly.bias", {1}), w.ffn.poly.f32() + 3);
    }
  }
  return w;
}

std::unique_ptr<MtpWeights> load_module(Loader& load, const DecoderConfig& c) {
  const std::string prefix = "mtp.";
  auto w = std::make_unique<MtpWeights>();
  w->embed_norm = load.vector(prefix + "embed_norm.weight", c.hidden_size);
  w->hidden_norm = load.vector(prefix + "hidden_norm.weight", c.hidden_size);
  w->norm = load.vector(prefix + "norm.weight", c.hidden_size);
  w->join = load.pack(prefix + "join.weight", c.hidden_size, 2 * c.hidden_size);
  w->layer = load_layer(load, c, c.mtp.layer, prefix);
  return w;
}

// Where the module stores an embedding or a head of its own: copies, not counted as parameters.
void load_module_copies(Loader& load, const DecoderConfig& c, MtpWeights& w) {
  if (load.has("mtp.embed.weight"))
    w.embed = load.view("mtp.embed.weight", {c.vocab_size, c.hidden_size});
  if (load.has("mtp.head.weight"))
    w.head = load.pack("mtp.head.weight", c.vocab_size, c.hidden_size);
}

int64_t bytes_of(const PackedMatrix& m) {
  return m.empty() ? 0 : std::max(m.resident_bytes(), m.streamed_bytes());
}
int64_t bytes_of(const FfnWeights& w) {
  return bytes_of(w.gate_up) + bytes_of(w.down) + bytes_of(w.row_gate);
}
int64_t bytes_of(const NormGate& g) { return bytes_of(g.down) + bytes_of(g.up); }
int64_t bytes_of(const LatentWeights& w) {
  int64_t bytes = bytes_of(w.q_a) + bytes_of(w.q_up) + bytes_of(w.kv_a) + bytes_of(w.index_q) +
                  bytes_of(w.index_k) + bytes_of(w.index_weights);
  for (const PackedMatrix& m : w.key_up) bytes += bytes_of(m);
  for (const PackedMatrix& m : w.key_down) bytes += bytes_of(m);
  for (const PackedMatrix& m : w.value_up) bytes += bytes_of(m);
  return bytes;
}

int64_t bytes_of(const LayerWeights& w) {
  int64_t bytes = bytes_of(w.qkv) + bytes_of(w.latent) + bytes_of(w.delta.in) + bytes_of(w.o) +
                  bytes_of(w.pre_mixer_gate) + bytes_of(w.pre_ffn_gate) + bytes_of(w.ffn) +
                  bytes_of(w.moe.router) + bytes_of(w.moe.shared);
  for (const FfnWeights& expert : w.moe.experts) bytes += bytes_of(expert);
  return bytes;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One device's part of the products of a layer.
class RankBytes {
 public:
  RankBytes(const DecoderConfig& config, int64_t num_ranks) : c_(config), ranks_(num_ranks) {}

  int64_t split(const PackedMatrix& m) const { return ceil_div(bytes_of(m), ranks_); }
  int64_t split(const FfnWeights& w) const {
    return split(w.gate_up) + split(w.down) + bytes_of(w.row_gate);
  }
  int64_t of(const LayerWeights& w) const {
    int64_t bytes = qkv(w.qkv) + split(w.delta.in) + split(w.o) + bytes_of(w.pre_mixer_gate) +
                    bytes_of(w.pre_ffn_gate) + split(w.ffn) + bytes_of(w.moe.router) +
                    split(w.moe.shared);
    for (const FfnWeights& expert : w.moe.experts) bytes += split(expert);
    const LatentWeights& l = w.latent;
    bytes += bytes_of(l.q_a) + split(l.q_up) + bytes_of(l.kv_a) + bytes_of(l.index_q) +
             bytes_of(l.index_k) + bytes_of(l.index_weights);
    int64_t by_head = 0;
    for (const auto* heads : {&l.key_up, &l.key_down, &l.value_up})
      for (const PackedMatrix& m : *heads) by_head += bytes_of(m);
    return bytes + ceil_div(by_head, ranks_);
  }

 private:
  int64_t qkv(const PackedMatrix& m) const {
    if (m.empty()) return 0;
    const int64_t kv_rows = c_.num_kv_heads * (c_.head_dim + c_.v_dim);
    const int64_t q = m.rows() - kv_rows;  // with their gates
    const int64_t kv_head = c_.head_dim + c_.v_dim;
    const int64_t rows = q + c_.num_kv_heads * kv_head;
    return ceil_div(bytes_of(m) * (q / ranks_ + ceil_div(c_.num_kv_heads, ranks_) * kv_head), rows);
  }
  const DecoderConfig& c_;
  int64_t ranks_;
};

int64_t streamed(const PackedMatrix& m) { return m.empty() ? 0 : m.streamed_bytes(); }
int64_t streamed(const FfnWeights& w) {
  return streamed(w.gate_up) + streamed(w.down) + streamed(w.row_gate);
}

}  // namespace

int64_t DecoderWeights::num_bytes() const {
  int64_t bytes = embed.num_bytes() + bytes_of(head);
  for (const LayerWeights& w : layers) bytes += bytes_of(w);
  if (mtp) bytes += bytes_of(mtp->join) + bytes_of(mtp->layer) + bytes_of(mtp->head);
  return bytes;
}

int64_t DecoderWeights::rank_bytes(const DecoderConfig& config, int64_t num_ranks) const {
  const RankBytes rank(config, num_ranks);
  int64_t bytes = rank.split(head);
  for (const LayerWeights& w : layers) bytes += rank.of(w);
  if (mtp) bytes += bytes_of(mtp->join) + rank.of(mtp->layer) + rank.split(mtp->head);
  return bytes;
}

int64_t DecoderWeights::streamed_bytes_per_token(const DecoderConfig& config) const {
  int64_t bytes = streamed(head);
  for (const LayerWeights& w : layers) {
    bytes += bytes_of(w.latent) + bytes_of(w.pre_mixer_gate) + bytes_of(w.pre_ffn_gate);
    for (const PackedMatrix& m : w.latent.key_down) bytes -= bytes_of(m);  // of prompts only
    bytes += streamed(w.qkv) + streamed(w.delta.in) + streamed(w.o) + streamed(w.ffn) +
             streamed(w.moe.router) + streamed(w.moe.shared);
    if (!w.moe.experts.empty()) {
      bytes += streamed(w.moe.experts[0]) * config.moe.num_experts_per_token;
    }
  }
  return bytes;
}

std::unique_ptr<DecoderWeights> load_decoder_weights(const DecoderConfig& config,
                                                     TensorSource& source, Backend& backend,
                                                     ComputeType compute,
                                                     const std::function<void(double)>& progress) {
  Loader load(source, backend, compute);
  auto weights = std::make_unique<DecoderWeights>();
  weights->checkpoint = source.checkpoint();
  const int64_t read_before = source.num_elements_read();
  weights->embed = source.get("embed.weight", {config.vocab_size, config.hidden_size});
  weights->norm = load.vector("norm.weight", config.hidden_size);
  weights->layers.reserve(config.layers.size());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (progress) progress(static_cast<double>(i) / static_cast<double>(config.layers.size() + 1));
    weights->layers.push_back(
        load_layer(load, config, config.layers[i], "layers." + std::to_string(i) + "."));
  }
  const char* head = config.tied_head ? "embed.weight" : "head.weight";
  weights->head = config.float32_head
                      ? load.pack_float32(head, config.vocab_size, config.hidden_size)
                      : load.pack(head, config.vocab_size, config.hidden_size);
  if (config.mtp.num_layers > 0) weights->mtp = load_module(load, config);
  const int64_t num_read = source.num_elements_read() - read_before;
  const int64_t num_expected = config.num_parameters() - config.unused_parameters;
  if (num_read != num_expected) {
    fail(ErrorCode::kCorruptData, "expected ", num_expected,
         " parameters by the config, found tensors of ", num_read);
  }
  if (weights->mtp) load_module_copies(load, config, *weights->mtp);
  if (progress) progress(1.0);
  return weights;
}

}  // namespace onnuri
