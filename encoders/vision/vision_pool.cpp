#include "encoders/vision/vision_pool.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

}  // namespace

std::unique_ptr<VisionPool> VisionPool::load(const VisionPoolConfig& config, TensorSource& source,
                                             const std::string& prefix, Backend& backend,
                                             ComputeType compute) {
  std::unique_ptr<VisionPool> pool(new VisionPool(config, backend));
  const int64_t width = config.shape.hidden_size;
  const auto load_linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    Linear layer{
        pack_matrix(backend, source.get(prefix + name + ".weight", Shape{out, in}), compute), {}};
    if (bias) layer.bias = read_floats(source, prefix + name + ".bias", Shape{out});
    return layer;
  };
  pool->norm_weight_ = read_floats(source, prefix + "norm.weight", Shape{width});
  pool->norm_bias_ = read_floats(source, prefix + "norm.bias", Shape{width});
  if (config.kind == PoolKind::kClassToken) {
    pool->out_ = load_linear("out", config.out_size, width, false);
    return pool;
  }
  ONNURI_CHECK(config.out_size == width);
  const std::vector<float> probe = read_floats(source, prefix + "probe", Shape{1, 1, width});
  const Linear q = load_linear("q", width, width, true);
  pool->question_ = pool->apply(matrix(probe.data(), 1, width), q);
  pool->k_ = load_linear("k", width, width, true);
  pool->v_ = load_linear("v", width, width, true);
  pool->o_ = load_linear("o", width, width, true);
  pool->fc1_ = load_linear("fc1", config.shape.intermediate_size, width, true);
  pool->fc2_ = load_linear("fc2", width, config.shape.intermediate_size, true);
  return pool;
}

Tensor VisionPool::apply(ConstMatrixView x, const Linear& layer) const {
  Tensor y(DType::kF32, Shape{x.rows, layer.weight.rows()});
  linear(*backend_, x, layer.weight, layer.bias.empty() ? nullptr : layer.bias.data(),
         matrix(y.f32(), x.rows, layer.weight.rows()));
  return y;
}

/// One query row against all rows, head by head: (1, D).
Tensor VisionPool::attend(ConstMatrixView rows) const {
  const Tensor keys = apply(rows, k_);
  const Tensor values = apply(rows, v_);
  const int64_t dim = config_.shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  Tensor out(DType::kF32, Shape{1, rows.cols});
  std::vector<float> weight(static_cast<size_t>(rows.rows));
  const MatrixView weights = matrix(weight.data(), 1, rows.rows);
  for (int64_t head = 0; head < config_.shape.num_heads; ++head) {
    const float* q = question_.f32() + head * dim;
    for (int64_t i = 0; i < rows.rows; ++i) {
      const float* k = keys.f32() + i * rows.cols + head * dim;
      float dot = 0;
      for (int64_t d = 0; d < dim; ++d) dot += q[d] * k[d];
      weight[static_cast<size_t>(i)] = dot * scale;
    }
    softmax_rows(*backend_, weights);
    float* to = out.f32() + head * dim;
    std::fill_n(to, dim, 0.0f);
    for (int64_t i = 0; i < rows.rows; ++i) {
      const float* v = values.f32() + i * rows.cols + head * dim;
      for (int64_t d = 0; d < dim; ++d) to[d] += weight[static_cast<size_t>(i)] * v[d];
    }
  }
  return out;
}

std::vector<float> VisionPool::forward(const VisionFeatures& features) const {
  const int64_t width = config_.shape.hidden_size;
  const float eps = config_.shape.norm_eps;
  std::vector<float> normed(static_cast<size_t>(width));
  const MatrixView n = matrix(normed.data(), 1, width);
  Tensor out;
  if (config_.kind == PoolKind::kClassToken) {
    ONNURI_CHECK(features.class_rows.shape() == (Shape{1, width}));
    layer_norm(*backend_, matrix(features.class_rows.f32(), 1, width), norm_weight_.data(),
               norm_bias_.data(), eps, n);
    out = apply(n, out_);
  } else {
    const Tensor mixed = attend(matrix(features.rows.f32(), features.rows.shape()[0], width));
    out = apply(matrix(mixed.f32(), 1, width), o_);
    layer_norm(*backend_, matrix(out.f32(), 1, width), norm_weight_.data(), norm_bias_.data(), eps,
               n);
    Tensor wide = apply(n, fc1_);
    const MatrixView w = matrix(wide.f32(), 1, wide.shape()[1]);
    activate(*backend_, config_.shape.activation, w, w);
    const Tensor more = apply(w, fc2_);
    for (int64_t c = 0; c < width; ++c) out.f32()[c] += more.f32()[c];
  }
  return {out.f32(), out.f32() + config_.out_size};
}

}  // namespace onnuri
