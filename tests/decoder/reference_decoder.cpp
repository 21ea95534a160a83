#include "tests/decoder/reference_decoder.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace onnuri {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

struct Reference {
  const DecoderConfig& c;
  const RandomDecoderCheckpoint& w;
  std::span<const float> positions;
  size_t length;

  Row times(const std::string& name, const Row& x, bool bias) const {
    const std::vector<float>& m = w.values(name + ".weight");
    Row y(m.size() / x.size());
    for (size_t r = 0; r < y.size(); ++r) {
      for (size_t i = 0; i < x.size(); ++i) y[r] += static_cast<double>(m[r * x.size() + i]) * x[i];
      if (bias) y[r] += static_cast<double>(w.values(name + ".bias")[r]);
    }
    return y;
  }

  void norm(const std::string& name, double* x, size_t n) const {
    const std::vector<float>& weight = w.values(name + ".weight");
    double mean = 0;
    for (size_t i = 0; i < n; ++i) mean += x[i] * x[i] / static_cast<double>(n);
    const double offset = c.norm_form == NormForm::kOnePlusWeight ? 1.0 : 0.0;
    for (size_t i = 0; i < n; ++i) {
      x[i] *= (offset + static_cast<double>(weight[i])) /
              std::sqrt(mean + static_cast<double>(c.norm_eps));
    }
  }

  void rope(const RopeTable& table, size_t t, double* head) const {
    const size_t half = table.inv_freq.size();
    for (size_t j = 0; j < half; ++j) {
      size_t axis = 0;
      if (!table.mrope_sections.empty()) {
        const auto h = static_cast<size_t>(table.mrope_sections[1]);
        const auto v = static_cast<size_t>(table.mrope_sections[2]);
        const auto first = static_cast<size_t>(table.mrope_sections[0]);
        if (table.mrope_interleaved) {
          if (j % 3 == 1 && j < 3 * h) axis = 1;
          if (j % 3 == 2 && j < 3 * v) axis = 2;
        } else {
          axis = j < first ? 0 : j < first + h ? 1 : 2;
        }
      }
      const double angle = static_cast<double>(positions[axis * length + t]) *
                           static_cast<double>(table.inv_freq[j]);
      const double cosine = std::cos(angle) * static_cast<double>(table.attention_factor);
      const double sine = std::sin(angle) * static_cast<double>(table.attention_factor);
      double& a = table.layout == RopeLayout::kHalf ? head[j] : head[2 * j];
      double& b = table.layout == RopeLayout::kHalf ? head[j + half] : head[2 * j + 1];
      const double old_a = a;
      a = a * cosine - b * sine;
      b = b * cosine + old_a * sine;
    }
  }

  Rows attention(const LayerSpec& spec, const std::string& prefix, const Rows& x) const {
    if (spec.is_linear()) return linear_attention(prefix, x);
    if (spec.mixer != MixerKind::kGqa) return differential(spec, prefix, x);
    Rows q, k, v, gates;
    const auto dim = static_cast<size_t>(c.head_dim);
    const auto v_dim = static_cast<size_t>(c.v_dim);
    const auto turn = [&](const std::string& name, size_t t, Row& heads) {
      for (size_t h = 0; h < heads.size() / dim; ++h) {
        double* head = heads.data() + h * dim;
        if (spec.qk_norm) norm(prefix + name, head, dim);
        if (spec.rope >= 0) rope(c.rope_tables[static_cast<size_t>(spec.rope)], t, head);
      }
    };
    for (size_t t = 0; t < x.size(); ++t) {
      q.push_back(times(prefix + "q", x[t], spec.q_bias));
      k.push_back(times(prefix + "k", x[t], spec.k_bias));
      v.push_back(times(prefix + "v", x[t], spec.v_bias));
      if (spec.output_gate) {  // per head its query, then its gate
        Row query, gate;
        for (size_t i = 0; i < q[t].size(); ++i)
          (i / dim % 2 == 0 ? query : gate).push_back(q[t][i]);
        q[t] = query;
        gates.push_back(gate);
      }
      turn("q_norm", t, q[t]);
      turn("k_norm", t, k[t]);
    }
    const size_t group = static_cast<size_t>(c.num_heads / c.num_kv_heads);
    Rows out;
    for (size_t t = 0; t < x.size(); ++t) {
      Row mixed(static_cast<size_t>(c.num_heads) * v_dim);
      for (size_t h = 0; h < static_cast<size_t>(c.num_heads); ++h) {
        size_t first = 0;
        const auto window = static_cast<size_t>(spec.window);
        if (window > 0 && t + 1 > window) first = t + 1 - window;
        Row p;
        for (size_t s = first; s <= t; ++s) {
          double dot = 0;
          for (size_t i = 0; i < dim; ++i) dot += q[t][h * dim + i] * k[s][h / group * dim + i];
          p.push_back(dot * static_cast<double>(c.attention_scale));
        }
        double sink = -1e300;
        if (spec.sinks) sink = static_cast<double>(w.values(prefix + "sinks")[h]);
        const double top = std::max(sink, *std::max_element(p.begin(), p.end()));
        double sum = std::exp(sink - top);
        for (double& value : p) sum += value = std::exp(value - top);
        for (size_t s = first; s <= t; ++s) {
          for (size_t i = 0; i < v_dim; ++i) {
            mixed[h * v_dim + i] += p[s - first] / sum * v[s][h / group * v_dim + i];
          }
        }
      }
      for (size_t i = 0; spec.output_gate && i < mixed.size(); ++i)
        mixed[i] *= sigmoid(gates[t][i]);
      out.push_back(times(prefix + "o", mixed, spec.o_bias));
    }
    return out;
  }

  // Token by token, as the recurrence is written.
  Rows linear_attention(const std::string& prefix, const Rows& x) const {
    const DeltaSpec& d = c.delta;
    const auto taps = static_cast<size_t>(d.conv_taps), k_dim = static_cast<size_t>(d.k_dim);
    const auto v_dim = static_cast<size_t>(d.v_dim), heads = static_cast<size_t>(d.num_v_heads);
    const auto k_heads = static_cast<size_t>(d.num_k_heads), group = heads / k_heads;
    const std::vector<float>& conv = w.values(prefix + "delta.conv.weight");
    std::vector<Rows> states(heads, Rows(k_dim, Row(v_dim)));
    Rows inputs, out;
    for (size_t t = 0; t < x.size(); ++t) {
      inputs.push_back(times(prefix + "delta.qkv", x[t], false));
      Row qkv(inputs[t].size());
      for (size_t i = 0; i < qkv.size(); ++i) {
        for (size_t j = 0; j < taps; ++j)
          if (t + j + 1 >= taps)
            qkv[i] += static_cast<double>(conv[i * taps + j]) * inputs[t + j + 1 - taps][i];
        qkv[i] *= sigmoid(qkv[i]);
      }
      const auto unit = [&](size_t first) {
        Row head(qkv.begin() + static_cast<std::ptrdiff_t>(first),
                 qkv.begin() + static_cast<std::ptrdiff_t>(first + k_dim));
        double squares = 1e-6;
        for (const double value : head) squares += value * value;
        for (double& value : head) value /= std::sqrt(squares);
        return head;
      };
      const Row b = times(prefix + "delta.b", x[t], false),
                a = times(prefix + "delta.a", x[t], false);
      const Row z = times(prefix + "delta.z", x[t], false);
      Row mixed;
      for (size_t h = 0; h < heads; ++h) {
        const Row q = unit(h / group * k_dim), k = unit((k_heads + h / group) * k_dim);
        const double* v = qkv.data() + 2 * k_heads * k_dim + h * v_dim;
        const double dt = a[h] + static_cast<double>(w.values(prefix + "delta.dt_bias")[h]);
        const double rate = std::exp(static_cast<double>(w.values(prefix + "delta.a_log")[h]));
        const double decay = std::exp(-rate * std::log1p(std::exp(dt)));
        Rows& state = states[h];
        Row head(v_dim);
        for (size_t j = 0; j < v_dim; ++j) {
          double known = 0;
          for (size_t i = 0; i < k_dim; ++i) known += (state[i][j] *= decay) * k[i];
          for (size_t i = 0; i < k_dim; ++i) {
            state[i][j] += k[i] * sigmoid(b[h]) * (v[j] - known);
            head[j] += state[i][j] * q[i] / std::sqrt(static_cast<double>(k_dim));
          }
        }
        double mean = 0;
        for (const double value : head) mean += value * value / static_cast<double>(v_dim);
        for (size_t j = 0; j < v_dim; ++j) {
          const double gate = z[h * v_dim + j];
          mixed.push_back(head[j] / std::sqrt(mean + static_cast<double>(c.norm_eps)) *
                          static_cast<double>(w.values(prefix + "head_norm.weight")[j]) * gate *
                          sigmoid(gate));
        }
      }
      out.push_back(times(prefix + "o", mixed, false));
    }
    return out;
  }

  void turn(const LayerSpec& spec, RopeLayout layout, size_t t, double* head) const {
    if (spec.rope < 0) return;
    RopeTable table = c.rope_tables[static_cast<size_t>(spec.rope)];
    table.layout = layout;
    rope(table, t, head);
  }
  RopeLayout layout_of(const LayerSpec& spec) const {
    return spec.rope < 0 ? RopeLayout::kHalf : c.rope_tables[static_cast<size_t>(spec.rope)].layout;
  }
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

  void latent_norm(const std::string& name, double* x, size_t n) const {
    const double old = static_cast<double>(c.norm_eps);
    const double eps = static_cast<double>(c.mla.norm_eps);
    double mean = 0;
    for (size_t i = 0; i < n; ++i) mean += x[i] * x[i] / static_cast<double>(n);
    norm(name, x, n);
    for (size_t i = 0; i < n; ++i) x[i] *= std::sqrt((mean + old) / (mean + eps));
  }

  // What the indexer thinks of key s for query t.
  double index_score(const Row& q, const Row& weights, const Row& k) const {
    double score = 0;
    for (size_t h = 0; h < weights.size(); ++h) {
      double dot = 0;
      for (size_t i = 0; i < k.size(); ++i) dot += q[h * k.size() + i] * k[i];
      score += weights[h] * std::max(dot, 0.0);
    }
    return score;
  }

  // Keys and values expanded per head, as the paper writes them before absorbing.
  Rows latent_attention(const LayerSpec& spec, const std::string& prefix, const Rows& x) const {
    const MlaSpec& m = c.mla;
    const auto heads = static_cast<size_t>(c.num_heads);
    const auto rank = static_cast<size_t>(m.kv_lora_rank);
    const auto nope = static_cast<size_t>(m.qk_nope_dim);
    const auto turned = static_cast<size_t>(m.qk_rope_dim);
    const auto v_dim = static_cast<size_t>(m.v_dim);
    const auto index_dim = static_cast<size_t>(m.index.head_dim);
    const size_t width = nope + turned + (spec.output_gate ? v_dim : 0);
    Rows expanded, shared, index_keys, out;
    for (size_t t = 0; t < x.size(); ++t) {
      Row latent = times(prefix + "kv_a", x[t], spec.k_bias);
      turn(spec, layout_of(spec), t, latent.data() + rank);
      shared.emplace_back(latent.begin() + static_cast<std::ptrdiff_t>(rank), latent.end());
      latent.resize(rank);
      latent_norm(prefix + "kv_a_norm", latent.data(), rank);
      expanded.push_back(times(prefix + "kv_b", latent, false));
      Row q, query_latent;
      if (m.q_lora_rank == 0) {
        q = times(prefix + "q", x[t], false);
      } else {
        const Row plain = times(prefix + "q_a", x[t], spec.q_bias);
        query_latent = plain;
        latent_norm(prefix + "q_a_norm", query_latent.data(), plain.size());
        Row both = query_latent;
        if (spec.output_gate) both.insert(both.end(), plain.begin(), plain.end());
        q = times(prefix + "q_b", both, false);
      }
      size_t first = 0;
      const auto window = static_cast<size_t>(spec.window);
      if (window > 0 && t + 1 > window) first = t + 1 - window;
      std::vector<size_t> seen;
      for (size_t s = first; s <= t; ++s) seen.push_back(s);
      if (spec.sparse_index) {
        Row k = times(prefix + "index.k", x[t], false);
        const auto n = static_cast<double>(index_dim);
        double mean = 0, variance = 0;
        for (const double value : k) mean += value / n;
        for (const double value : k) variance += (value - mean) * (value - mean) / n;
        for (size_t i = 0; i < index_dim; ++i) {
          k[i] = (k[i] - mean) / std::sqrt(variance + static_cast<double>(m.index.norm_eps)) *
                     static_cast<double>(w.values(prefix + "index.k_norm.weight")[i]) +
                 static_cast<double>(w.values(prefix + "index.k_norm.bias")[i]);
        }
        turn(spec, RopeLayout::kHalf, t, k.data());
        index_keys.push_back(k);
        Row index_q = times(prefix + "index.q", query_latent, false);
        for (size_t h = 0; h < static_cast<size_t>(m.index.num_heads); ++h) {
          turn(spec, RopeLayout::kHalf, t, index_q.data() + h * index_dim);
        }
        const Row weights = times(prefix + "index.weights", x[t], false);
        std::vector<std::pair<double, size_t>> scored;
        for (size_t s = 0; s <= t; ++s) {
          scored.emplace_back(-index_score(index_q, weights, index_keys[s]), s);
        }
        std::sort(scored.begin(), scored.end());
        scored.resize(std::min(scored.size(), static_cast<size_t>(m.index.top_k)));
        seen.clear();
        for (const auto& each : scored) seen.push_back(each.second);
      }
      Row mixed(heads * v_dim);
      for (size_t h = 0; h < heads; ++h) {
        double* query = q.data() + h * width;
        turn(spec, layout_of(spec), t, query + nope);
        Row p;
        for (const size_t s : seen) {
          const double* key = expanded[s].data() + h * (nope + v_dim);
          double dot = 0;
          for (size_t i = 0; i < nope; ++i) dot += query[i] * key[i];
          for (size_t i = 0; i < turned; ++i) dot += query[nope + i] * shared[s][i];
          p.push_back(dot * static_cast<double>(c.attention_scale));
        }
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& value : p) sum += value = std::exp(value - top);
        for (size_t i = 0; i < v_dim; ++i) {
          double& value = mixed[h * v_dim + i];
          for (size_t j = 0; j < seen.size(); ++j) {
            value += p[j] / sum * expanded[seen[j]][h * (nope + v_dim) + nope + i];
          }
          if (spec.output_gate) value *= sigmoid(query[nope + turned + i]);
        }
      }
      out.push_back(times(prefix + "o", mixed, spec.o_bias));
    }
    return out;
  }

  double dot(const std::string& a, const std::string& b) const {
    double sum = 0;
    for (size_t i = 0; i < w.values(a).size(); ++i) {
      sum += static_cast<double>(w.values(a)[i]) * static_cast<double>(w.values(b)[i]);
    }
    return sum;
  }

  // One head of q against one head of k over the values of a pair: (T, 2 * head_dim).
  Rows attend(const LayerSpec& spec, const Rows& q, size_t q_head, const Rows& k, size_t k_head,
              const Rows& v, size_t pair) const {
    const auto dim = static_cast<size_t>(c.head_dim);
    Rows out;
    for (size_t t = 0; t < q.size(); ++t) {
      const auto window = static_cast<size_t>(spec.window);
      const size_t first = window > 0 && t + 1 > window ? t + 1 - window : 0;
      Row mixed(2 * dim);
      double sum = 0;
      for (size_t s = first; s <= t; ++s) {
        double score = 0;
        for (size_t i = 0; i < dim; ++i) score += q[t][q_head * dim + i] * k[s][k_head * dim + i];
        const double p = std::exp(score * static_cast<double>(c.attention_scale));
        sum += p;
        for (size_t i = 0; i < 2 * dim; ++i) mixed[i] += p * v[s][pair * 2 * dim + i];
      }
      for (double& value : mixed) value /= sum;
      out.push_back(mixed);
    }
    return out;
  }

  Rows differential(const LayerSpec& spec, const std::string& prefix, const Rows& x) const {
    const auto dim = static_cast<size_t>(c.head_dim);
    Rows q, k, v;
    for (size_t t = 0; t < x.size(); ++t) {
      q.push_back(times(prefix + "q", x[t], spec.q_bias));
      k.push_back(times(prefix + "k", x[t], spec.k_bias));
      v.push_back(times(prefix + "v", x[t], spec.v_bias));
      if (spec.rope < 0) continue;
      const RopeTable& table = c.rope_tables[static_cast<size_t>(spec.rope)];
      for (size_t h = 0; h < q[t].size() / dim; ++h) rope(table, t, q[t].data() + h * dim);
      for (size_t h = 0; h < k[t].size() / dim; ++h) rope(table, t, k[t].data() + h * dim);
    }
    const auto groups = static_cast<size_t>(c.differential.num_noise_heads);
    const size_t group = static_cast<size_t>(c.num_heads) / groups;
    const size_t groups_per_pair = groups / static_cast<size_t>(c.num_kv_heads / 2);
    const auto init = static_cast<double>(spec.lambda_init);
    const double lambda = std::exp(dot(prefix + "lambda_q1", prefix + "lambda_k1")) -
                          std::exp(dot(prefix + "lambda_q2", prefix + "lambda_k2")) + init;
    const std::vector<float>& weight = w.values(prefix + "head_norm.weight");
    Rows heads(x.size());
    for (size_t g = 0; g < groups; ++g) {
      const size_t pair = g / groups_per_pair;
      const Rows noise = attend(spec, q, g * group + group - 1, k, 2 * pair + 1, v, pair);
      for (size_t s = 0; s + 1 < group; ++s) {
        Rows signal = attend(spec, q, g * group + s, k, 2 * pair, v, pair);
        for (size_t t = 0; t < x.size(); ++t) {
          double mean = 0;
          for (size_t i = 0; i < 2 * dim; ++i) {
            signal[t][i] -= lambda * noise[t][i];
            mean += signal[t][i] * signal[t][i] / static_cast<double>(2 * dim);
          }
          const double root = std::sqrt(mean + static_cast<double>(c.differential.norm_eps));
          for (size_t i = 0; i < 2 * dim; ++i) {
            heads[t].push_back(signal[t][i] / root * static_cast<double>(weight[i]) * (1 - init));
          }
        }
      }
    }
    for (Row& row : heads) row = times(prefix + "o", row, spec.o_bias);
    return heads;
  }

  static Row power_normed(const Row& g, int power) {
    Row out(g.size());
    double mean = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      out[i] = std::pow(g[i], power);
      mean += out[i] * out[i] / static_cast<double>(g.size());
    }
    for (double& value : out) value /= std::sqrt(mean + 1e-6);
    return out;
  }

  void poly_norm(const std::string& prefix, Row& g, const Row& u) const {
    const std::vector<float>& p = w.values(prefix + "poly.weight");
    const auto bias = static_cast<double>(w.values(prefix + "poly.bias")[0]);
    const Row cubes = power_normed(g, 3), squares = power_normed(g, 2), plain = power_normed(g, 1);
    for (size_t i = 0; i < g.size(); ++i) {
      g[i] = (static_cast<double>(p[0]) * cubes[i] + static_cast<double>(p[1]) * squares[i] +
              static_cast<double>(p[2]) * plain[i] + bias) *
             u[i];
    }
  }

  static double gate(const GluParams& p, double g, double u) {
    const double limit = static_cast<double>(p.limit);
    const double alpha = static_cast<double>(p.alpha);
    if (p.kind == GluKind::kGeluErf) return 0.5 * g * (1 + std::erf(g / std::sqrt(2.0))) * u;
    if (p.kind == GluKind::kGeluTanh) {
      return 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * u;
    }
    if (p.kind != GluKind::kSilu) {
      g = std::min(g, limit);
      u = std::clamp(u, -limit, limit);
    }
    if (p.kind == GluKind::kSwigluPlus1) return g / (1 + std::exp(-alpha * g)) * (u + 1);
    return g / (1 + std::exp(-g)) * u;
  }

  Row ffn(const GluParams& activation, const std::string& prefix, const Row& x, bool bias) const {
    Row g = times(prefix + "gate", x, bias);
    const Row u = times(prefix + "up", x, bias);
    if (activation.kind == GluKind::kPolyNorm) {
      poly_norm(prefix, g, u);
    } else {
      for (size_t i = 0; i < g.size(); ++i) g[i] = gate(activation, g[i], u[i]);
    }
    return times(prefix + "down", g, bias);
  }

  Row experts(const LayerSpec& spec, const std::string& prefix, const Row& x) const {
    const RouterSpec& router = c.moe.router;
    Row s = times(prefix + "router", x, router.logit_bias);
    const size_t count = s.size();
    if (router.score == RouterScore::kSigmoid) {
      for (double& z : s) z = 1 / (1 + std::exp(-z));
    } else if (router.score == RouterScore::kSoftmax) {
      double sum = 0;
      for (double& z : s) sum += z = std::exp(z);
      for (double& z : s) z /= sum;
    }
    Row choice = s;
    if (router.correction_bias) {
      for (size_t e = 0; e < count; ++e) {
        choice[e] += static_cast<double>(w.values(prefix + "router.correction")[e]);
      }
    }
    const size_t groups = static_cast<size_t>(router.num_groups);
    const size_t size = count / groups;
    std::vector<std::pair<double, size_t>> ranked;
    for (size_t g = 0; g < groups; ++g) {
      Row members(choice.begin() + static_cast<std::ptrdiff_t>(g * size),
                  choice.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
      std::sort(members.rbegin(), members.rend());
      const bool pair = router.group_score == GroupScore::kSumOfTop2 && size > 1;
      ranked.emplace_back(-(members[0] + (pair ? members[1] : 0.0)), g);
    }
    std::sort(ranked.begin(), ranked.end());
    for (size_t r = static_cast<size_t>(router.num_groups_kept); r < groups; ++r) {
      for (size_t i = 0; i < size; ++i) {
        choice[ranked[r].second * size + i] = router.mask_with_zero ? 0.0 : -1e300;
      }
    }
    std::vector<std::pair<double, size_t>> best;
    for (size_t e = 0; e < count; ++e) best.emplace_back(-choice[e], e);
    std::sort(best.begin(), best.end());
    best.resize(static_cast<size_t>(c.moe.num_experts_per_token));
    Row weights;
    double sum = 0;
    const bool late = router.score == RouterScore::kSoftmaxAfterTopk;
    for (const auto& b : best) {
      weights.push_back(late ? std::exp(s[b.second]) : s[b.second]);
      sum += weights.back();
    }
    Row y(x.size());
    for (size_t j = 0; j < best.size(); ++j) {
      const std::string name = prefix + "experts." + std::to_string(best[j].second) + ".";
      const Row part = ffn(spec.activation, name, x, c.moe.expert_bias);
      const double scale = (late || router.renormalize ? weights[j] / sum : weights[j]) *
                           static_cast<double>(router.scale);
      for (size_t i = 0; i < y.size(); ++i) y[i] += scale * part[i];
    }
    if (c.moe.shared_intermediate_size > 0) {
      const Row shared = ffn(spec.activation, prefix + "shared.", x, false);
      const double gate =
          c.moe.shared_gate ? sigmoid(times(prefix + "shared_gate", x, false)[0]) : 1;
      for (size_t i = 0; i < y.size(); ++i) y[i] += gate * shared[i];
    }
    return y;
  }

  void add(Rows& h, Rows branch, bool post, const std::string& name) const {
    for (size_t t = 0; t < h.size(); ++t) {
      if (post) norm(name, branch[t].data(), branch[t].size());
      for (size_t i = 0; i < h[t].size(); ++i) {
        h[t][i] += static_cast<double>(c.residual_scale) * branch[t][i];
      }
    }
  }

  Rows normed(const Rows& h, bool pre, bool gated, const std::string& name) const {
    Rows x = h;
    if (!pre) return x;
    for (Row& row : x) {
      norm(name, row.data(), row.size());
      if (!gated) continue;
      Row narrow = times(name + ".gate_down", row, false);
      for (double& z : narrow) z *= sigmoid(z);
      const Row wide = times(name + ".gate_up", narrow, false);
      for (size_t i = 0; i < row.size(); ++i) row[i] *= sigmoid(wide[i]);
    }
    return x;
  }
};

}  // namespace

std::vector<double> reference_logits(const DecoderConfig& config,
                                     const RandomDecoderCheckpoint& checkpoint,
                                     std::span<const int32_t> ids,
                                     std::span<const float> positions) {
  const Reference r{config, checkpoint, positions, ids.size()};
  const auto hidden = static_cast<size_t>(config.hidden_size);
  Rows h;
  for (const int32_t id : ids) {
    Row row(hidden);
    for (size_t i = 0; i < hidden; ++i) {
      row[i] = static_cast<double>(
                   checkpoint.values("embed.weight")[static_cast<size_t>(id) * hidden + i]) *
               static_cast<double>(config.embed_scale);
    }
    h.push_back(row);
  }
  std::vector<Rows> saved(config.long_skips.size());
  for (size_t l = 0; l < config.layers.size(); ++l) {
    for (size_t s = 0; s < config.long_skips.size(); ++s) {
      const LongSkip& skip = config.long_skips[s];
      const double weight = static_cast<double>(skip.saved_weight);
      if (skip.save_before_layer == static_cast<int64_t>(l)) saved[s] = h;
      if (skip.blend_before_layer != static_cast<int64_t>(l)) continue;
      for (size_t t = 0; t < h.size(); ++t) {
        for (size_t i = 0; i < hidden; ++i) {
          h[t][i] = saved[s][t][i] * weight + h[t][i] * (1 - weight);
        }
      }
    }
    const LayerSpec& spec = config.layers[l];
    const std::string prefix = "layers." + std::to_string(l) + ".";
    Rows x = r.normed(h, spec.pre_mixer_norm, spec.pre_mixer_norm_gate, prefix + "pre_mixer_norm");
    const bool latent = spec.mixer == MixerKind::kMla;
    r.add(h, latent ? r.latent_attention(spec, prefix, x) : r.attention(spec, prefix, x),
          spec.post_mixer_norm, prefix + "post_mixer_norm");
    x = r.normed(h, spec.pre_ffn_norm, spec.pre_ffn_norm_gate, prefix + "pre_ffn_norm");
    for (Row& row : x) {
      row = spec.ffn == FfnKind::kMoe ? r.experts(spec, prefix, row)
                                      : r.ffn(spec.activation, prefix, row, spec.ffn_bias);
    }
    r.add(h, x, spec.post_ffn_norm, prefix + "post_ffn_norm");
  }
  std::vector<double> logits;
  for (Row& row : h) {
    r.norm("norm", row.data(), hidden);
    for (const double z : r.times(config.tied_head ? "embed" : "head", row, false)) {
      logits.push_back(z * static_cast<double>(config.logit_scale));
    }
  }
  return logits;
}

}  // namespace onnuri
