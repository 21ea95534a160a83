#include "fusion/projector.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {

namespace {

std::vector<float> read_vector(TensorSource& source, const std::string& name, int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  dequantize(source.get(name, Shape{size}), values.data());
  return values;
}

void check_config(const ProjectorConfig& c) {
  const int64_t last = c.out_linear || !c.has_fc2 ? c.out_size : c.fc2_size;
  if (c.in_size <= 0 || c.group_rows <= 0 || c.intermediate_size <= 0 ||
      (c.has_fc2 && c.fc2_size <= 0) || c.out_size <= 0 || last != c.out_size ||
      (!c.has_fc2 && (c.out_linear || c.intermediate_size != c.out_size)))
    fail(ErrorCode::kCorruptData, "expected positive sizes that fit each other in the projector, ",
         "found ", c.in_size, " x ", c.group_rows, " to ", c.intermediate_size, " to ", c.fc2_size,
         " to ", c.out_size);
}

/// Means of `group` neighbouring rows, (rows / group, cols).
Tensor mean_rows(Backend& backend, ConstMatrixView x, int64_t group) {
  Tensor out(DType::kF32, Shape{x.rows / group, x.cols});
  const float scale = 1.0f / static_cast<float>(group);
  backend.pool().run(x.rows / group, [&](int64_t i, int) {
    float* to = out.f32() + i * x.cols;
    std::fill_n(to, x.cols, 0.0f);
    for (int64_t r = i * group; r < (i + 1) * group; ++r)
      for (int64_t c = 0; c < x.cols; ++c) to[c] += x.row(r)[c];
    for (int64_t c = 0; c < x.cols; ++c) to[c] *= scale;
  });
  return out;
}

}  // namespace

std::unique_ptr<Projector> Projector::load(const ProjectorConfig& config, TensorSource& source,
                                           const std::string& prefix, Backend& backend,
                                           ComputeType compute) {
  check_config(config);
  std::unique_ptr<Projector> p(new Projector(config, backend));
  const auto load_linear = [&](const std::string& name, int64_t out, int64_t in) {
    Linear layer{
        pack_matrix(backend, source.get(prefix + name + ".weight", Shape{out, in}), compute), {}};
    if (config.bias) layer.bias = read_vector(source, prefix + name + ".bias", out);
    return layer;
  };
  const int64_t joined = config.join == ProjectorJoin::kConcat ? config.group_rows : 1;
  const int64_t normed = config.in_size * (config.norm_joined ? joined : 1);
  if (config.norm != ProjectorNorm::kNone)
    p->norm_weight_ = read_vector(source, prefix + "norm.weight", normed);
  if (config.norm == ProjectorNorm::kLayerNorm)
    p->norm_bias_ = read_vector(source, prefix + "norm.bias", normed);
  p->fc1_ = load_linear("fc1", config.intermediate_size, config.in_size * joined);
  if (config.has_fc2) p->fc2_ = load_linear("fc2", config.fc2_size, config.intermediate_size);
  if (config.out_linear) p->out_ = load_linear("out", config.out_size, config.fc2_size);
  return p;
}

Tensor Projector::apply(ConstMatrixView x, const Linear& layer) const {
  Tensor y(DType::kF32, Shape{x.rows, layer.weight.rows()});
  linear(*backend_, x, layer.weight, layer.bias.empty() ? nullptr : layer.bias.data(),
         matrix(y.f32(), x.rows, layer.weight.rows()));
  return y;
}

void Projector::normalize(MatrixView x) const {
  switch (config_.norm) {
    case ProjectorNorm::kNone: return;
    case ProjectorNorm::kLayerNorm:
      layer_norm(*backend_, x, norm_weight_.data(), norm_bias_.data(), config_.norm_eps, x);
      return;
    case ProjectorNorm::kRmsNorm:
      rms_norm(*backend_, x, norm_weight_.data(), config_.norm_weight_offset, config_.norm_eps, x);
      return;
  }
}

Tensor Projector::forward(MatrixView features) const {
  ONNURI_CHECK(features.cols == config_.in_size && features.stride == features.cols);
  ONNURI_CHECK(features.rows % config_.group_rows == 0);
  const int64_t n = features.rows / config_.group_rows;
  Tensor means;
  MatrixView joined = matrix(features.data, n, features.cols * config_.group_rows);
  if (config_.join == ProjectorJoin::kMean) {
    means = mean_rows(*backend_, features, config_.group_rows);
    joined = matrix(means.f32(), n, features.cols);
    normalize(joined);
  } else {
    normalize(config_.norm_joined ? joined : features);
  }
  Tensor hidden = apply(joined, fc1_);
  if (!config_.has_fc2) return hidden;
  const MatrixView h = matrix(hidden.f32(), n, config_.intermediate_size);
  activate(*backend_, config_.activation, h, h);
  Tensor y = apply(h, fc2_);
  if (!config_.out_linear) return y;
  return apply(matrix(y.f32(), n, config_.fc2_size), out_);
}

}  // namespace onnuri
