#include "fusion/projector.h"

#include "core/check.h"

namespace onnuri {

namespace {

std::vector<float> read_vector(TensorSource& source, const std::string& name, int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  dequantize(source.get(name, Shape{size}), values.data());
  return values;
}

}  // namespace

std::unique_ptr<Projector> Projector::load(const ProjectorConfig& config, TensorSource& source,
                                           const std::string& prefix, Backend& backend,
                                           ComputeType compute) {
  if (config.in_size <= 0 || config.group_rows <= 0 || config.intermediate_size <= 0 ||
      config.fc2_size <= 0 || config.out_size <= 0 ||
      (!config.out_linear && config.fc2_size != config.out_size))
    fail(ErrorCode::kCorruptData, "expected positive sizes that fit each other in the projector, ",
         "found ", config.in_size, " x ", config.group_rows, " to ", config.intermediate_size,
         " to ", config.fc2_size, " to ", config.out_size);
  std::unique_ptr<Projector> p(new Projector(config, backend));
  const auto load_linear = [&](const std::string& name, int64_t out, int64_t in) {
    return Linear{
        pack_matrix(backend, source.get(prefix + name + ".weight", Shape{out, in}), compute),
        read_vector(source, prefix + name + ".bias", out)};
  };
  p->norm_weight_ = read_vector(source, prefix + "norm.weight", config.in_size);
  if (config.norm == ProjectorNorm::kLayerNorm)
    p->norm_bias_ = read_vector(source, prefix + "norm.bias", config.in_size);
  p->fc1_ = load_linear("fc1", config.intermediate_size, config.in_size * config.group_rows);
  p->fc2_ = load_linear("fc2", config.fc2_size, config.intermediate_size);
  if (config.out_linear) p->out_ = load_linear("out", config.out_size, config.fc2_size);
  return p;
}

Tensor Projector::apply(ConstMatrixView x, const Linear& layer) const {
  Tensor y(DType::kF32, Shape{x.rows, layer.weight.rows()});
  linear(*backend_, x, layer.weight, layer.bias.data(),
         matrix(y.f32(), x.rows, layer.weight.rows()));
  return y;
}

Tensor Projector::forward(MatrixView features) const {
  ONNURI_CHECK(features.cols == config_.in_size && features.stride == features.cols);
  ONNURI_CHECK(features.rows % config_.group_rows == 0);
  if (config_.norm == ProjectorNorm::kLayerNorm)
    layer_norm(*backend_, features, norm_weight_.data(), norm_bias_.data(), config_.norm_eps,
               features);
  else
    rms_norm(*backend_, features, norm_weight_.data(), 0.0f, config_.norm_eps, features);

  const int64_t n = features.rows / config_.group_rows;
  Tensor hidden = apply(matrix(features.data, n, features.cols * config_.group_rows), fc1_);
  const MatrixView h = matrix(hidden.f32(), n, config_.intermediate_size);
  activate(*backend_, config_.activation, h, h);
  Tensor y = apply(h, fc2_);
  if (!config_.out_linear) return y;
  return apply(matrix(y.f32(), n, config_.fc2_size), out_);
}

}  // namespace onnuri
