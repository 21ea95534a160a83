// The packed-segment encoder against plain loops in double precision.
#include <gtest/gtest.h>

#include <cmath>

#include "encoders/transformer.h"
#include "onnuri/error.h"
#include "tests/support/memory_checkpoint.h"

namespace onnuri {
namespace {

using Rows = std::vector<std::vector<double>>;

/// The same layers as nested loops over one row at a time.
class NaiveTransformer {
 public:
  NaiveTransformer(const TransformerConfig& config, const MemoryCheckpoint& weights)
      : c_(config), weights_(weights) {}

  void forward(Rows& h, const std::vector<std::vector<int64_t>>& segments_of_layer,
               const std::vector<float>& cos, const std::vector<float>& sin) const {
    for (int64_t i = 0; i < c_.num_layers; ++i) {
      const std::string p = "enc.layers." + std::to_string(i) + ".";
      attention(h, p, segments_of_layer[static_cast<size_t>(i)], cos, sin);
      ffn(h, p);
    }
  }

 private:
  std::vector<double> vec(const std::string& name) const {
    const auto& v = weights_.values(name);
    return {v.begin(), v.end()};
  }

  std::vector<double> norm(const std::vector<double>& x, const std::string& name) const {
    const auto w = vec(name + ".weight");
    const size_t n = x.size();
    std::vector<double> y(n);
    double mean = 0, var = 0;
    if (c_.norm == EncoderNorm::kLayerNorm) {
      for (double v : x) mean += v / static_cast<double>(n);
    }
    for (double v : x) var += (v - mean) * (v - mean) / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      y[i] = (x[i] - mean) / std::sqrt(var + static_cast<double>(c_.norm_eps)) * w[i];
      if (c_.norm == EncoderNorm::kLayerNorm) y[i] += vec(name + ".bias")[i];
    }
    return y;
  }

  std::vector<double> linear(const std::vector<double>& x, const std::string& name,
                             bool bias) const {
    const auto& w = weights_.values(name + ".weight");
    const size_t n = w.size() / x.size();
    std::vector<double> y(n, 0.0);
    for (size_t o = 0; o < n; ++o) {
      for (size_t i = 0; i < x.size(); ++i) y[o] += static_cast<double>(w[o * x.size() + i]) * x[i];
      if (bias) y[o] += static_cast<double>(weights_.values(name + ".bias")[o]);
    }
    return y;
  }

  void rope(std::vector<double>& x, size_t row, const std::vector<float>& cos,
            const std::vector<float>& sin) const {
    const size_t half = static_cast<size_t>(c_.head_dim) / 2;
    for (size_t head = 0; head < static_cast<size_t>(c_.num_heads); ++head) {
      double* p = x.data() + head * 2 * half;
      for (size_t i = 0; i < half; ++i) {
        const double cosine = static_cast<double>(cos[row * half + i]);
        const double sine = static_cast<double>(sin[row * half + i]);
        const double a = p[i], b = p[i + half];
        p[i] = a * cosine - b * sine;
        p[i + half] = b * cosine + a * sine;
      }
    }
  }

  void attention(Rows& h, const std::string& p, const std::vector<int64_t>& segments,
                 const std::vector<float>& cos, const std::vector<float>& sin) const {
    Rows q, k, v;
    for (size_t t = 0; t < h.size(); ++t) {
      const auto x = norm(h[t], p + "norm1");
      q.push_back(linear(x, p + "q", c_.q_bias));
      k.push_back(linear(x, p + "k", c_.k_bias));
      v.push_back(linear(x, p + "v", c_.v_bias));
      if (c_.rope) {
        rope(q.back(), t, cos, sin);
        rope(k.back(), t, cos, sin);
      }
    }
    const size_t d = static_cast<size_t>(c_.head_dim);
    for (size_t s = 0; s + 1 < segments.size(); ++s) {
      const size_t begin = static_cast<size_t>(segments[s]),
                   end = static_cast<size_t>(segments[s + 1]);
      for (size_t t = begin; t < end; ++t) {
        std::vector<double> out(q[t].size(), 0.0);
        for (size_t head = 0; head < static_cast<size_t>(c_.num_heads); ++head) {
          double total = 0;
          for (size_t u = begin; u < end; ++u) {
            double score = 0;
            for (size_t i = 0; i < d; ++i) score += q[t][head * d + i] * k[u][head * d + i];
            const double e = std::exp(score / std::sqrt(static_cast<double>(d)));
            total += e;
            for (size_t i = 0; i < d; ++i) out[head * d + i] += e * v[u][head * d + i];
          }
          for (size_t i = 0; i < d; ++i) out[head * d + i] /= total;
        }
        const auto y = linear(out, p + "o", c_.o_bias);
        for (size_t i = 0; i < y.size(); ++i) h[t][i] += y[i];
      }
    }
  }

  double act(double x) const {
    switch (c_.activation) {
      case Activation::kSilu: return x / (1 + std::exp(-x));
      case Activation::kGeluErf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
      case Activation::kGeluTanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case Activation::kQuickGelu: return x / (1 + std::exp(-1.702 * x));
      case Activation::kRelu: return x > 0 ? x : 0;
    }
    return 0;
  }

  void ffn(Rows& h, const std::string& p) const {
    for (auto& row : h) {
      const auto x = norm(row, p + "norm2");
      auto z = linear(x, p + (c_.gated_ffn ? "gate" : "fc1"), c_.ffn_bias);
      for (double& value : z) value = act(value);
      if (c_.gated_ffn) {
        const auto up = linear(x, p + "up", c_.ffn_bias);
        for (size_t i = 0; i < z.size(); ++i) z[i] *= up[i];
      }
      const auto y = linear(z, p + (c_.gated_ffn ? "down" : "fc2"), c_.ffn_bias);
      for (size_t i = 0; i < y.size(); ++i) row[i] += y[i];
    }
  }

  const TransformerConfig& c_;
  const MemoryCheckpoint& weights_;
};

void add_weights(MemoryCheckpoint& w, const TransformerConfig& c) {
  const int64_t width = c.num_heads * c.head_dim;
  const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    w.add_random(name + ".weight", Shape{out, in}, 1.0f / std::sqrt(static_cast<float>(in)));
    if (bias) w.add_random(name + ".bias", Shape{out}, 0.3f);
  };
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const std::string p = "enc.layers." + std::to_string(i) + ".";
    for (const char* norm : {"norm1", "norm2"}) {
      w.add_random(p + norm + ".weight", Shape{c.hidden_size}, 0.2f, 1.0f);
      if (c.norm == EncoderNorm::kLayerNorm)
        w.add_random(p + norm + ".bias", Shape{c.hidden_size}, 0.2f);
    }
    linear(p + "q", width, c.hidden_size, c.q_bias);
    linear(p + "k", width, c.hidden_size, c.k_bias);
    linear(p + "v", width, c.hidden_size, c.v_bias);
    linear(p + "o", c.hidden_size, width, c.o_bias);
    if (c.gated_ffn) {
      linear(p + "gate", c.intermediate_size, c.hidden_size, c.ffn_bias);
      linear(p + "up", c.intermediate_size, c.hidden_size, c.ffn_bias);
      linear(p + "down", c.hidden_size, c.intermediate_size, c.ffn_bias);
    } else {
      linear(p + "fc1", c.intermediate_size, c.hidden_size, c.ffn_bias);
      linear(p + "fc2", c.hidden_size, c.intermediate_size, c.ffn_bias);
    }
  }
}

TransformerConfig small_config() {
  TransformerConfig c;
  c.num_layers = 3;
  c.hidden_size = 20;
  c.num_heads = 3;
  c.head_dim = 8;
  c.intermediate_size = 28;
  return c;
}

/// Runs both on the same rows and compares; layer 1 sees all rows, the others `segments`.
void expect_agreement(const TransformerConfig& c, const std::vector<int64_t>& segments) {
  auto weights = std::make_shared<MemoryCheckpoint>();
  add_weights(*weights, c);
  const int64_t rows = segments.back();
  const auto whole = std::vector<int64_t>{0, rows};
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> h(static_cast<size_t>(rows * c.hidden_size));
  for (float& v : h) v = normal(random);
  std::vector<float> cos, sin;
  for (int64_t i = 0; i < rows * c.head_dim / 2; ++i) {
    const float angle = normal(random);
    cos.push_back(std::cos(angle));
    sin.push_back(std::sin(angle));
  }
  Rows expected;
  for (int64_t t = 0; t < rows; ++t)
    expected.emplace_back(h.begin() + t * c.hidden_size, h.begin() + (t + 1) * c.hidden_size);
  NaiveTransformer(c, *weights).forward(expected, {segments, whole, segments}, cos, sin);

  Backend backend(2, "ref");
  TensorSource source = identity_source(weights);
  const auto model = Transformer::load(c, source, "enc.", backend, ComputeType::kFloat32);
  EXPECT_TRUE(source.unused().empty());
  std::vector<int64_t> seen;
  model->forward(
      matrix(h.data(), rows, c.hidden_size),
      [&](int64_t layer) -> const Transformer::Segments& { return layer == 1 ? whole : segments; },
      cos.data(), sin.data(), [&](int64_t layer, ConstMatrixView) { seen.push_back(layer); });
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2}));
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < c.hidden_size; ++i)
      ASSERT_NEAR(static_cast<double>(h[static_cast<size_t>(t * c.hidden_size + i)]),
                  expected[static_cast<size_t>(t)][static_cast<size_t>(i)], 2e-4)
          << "row " << t << " column " << i;
}

TEST(Transformer, LayerNormPlainFfn) {
  TransformerConfig c = small_config();
  c.k_bias = false;
  expect_agreement(c, {0, 5, 12});
}

TEST(Transformer, RmsNormGatedFfnRope) {
  TransformerConfig c = small_config();
  c.norm = EncoderNorm::kRmsNorm;
  c.gated_ffn = true;
  c.activation = Activation::kSilu;
  c.rope = true;
  expect_agreement(c, {0, 1, 4, 4, 9});
}

TEST(Transformer, GeluTanhWithoutBiases) {
  TransformerConfig c = small_config();
  c.activation = Activation::kGeluTanh;
  c.q_bias = c.k_bias = c.v_bias = c.o_bias = c.ffn_bias = false;
  c.rope = true;
  expect_agreement(c, {0, 7});
}

TEST(Transformer, FeedForwardInBlocksOfRows) {
  TransformerConfig c = small_config();
  c.activation = Activation::kQuickGelu;
  expect_agreement(c, {0, 100, 260, 300});
}

TEST(Transformer, MissingTensorNamesIt) {
  auto weights = std::make_shared<MemoryCheckpoint>();
  TransformerConfig c = small_config();
  c.num_layers = 1;
  add_weights(*weights, c);
  c.num_layers = 2;
  Backend backend(1, "ref");
  TensorSource source = identity_source(weights);
  try {
    Transformer::load(c, source, "enc.", backend, ComputeType::kFloat32);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(e.what()).find("enc.layers.1.norm1.weight"), std::string::npos);
  }
}

}  // namespace
}  // namespace onnuri
