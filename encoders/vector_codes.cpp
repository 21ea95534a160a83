#include "encoders/vector_codes.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxSize = 1 << 20;
constexpr int64_t kRowsAtOnce = 64;  // bounds the table of distances

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

MatrixView view(Tensor& t) { return matrix(t.f32(), t.shape()[0], t.shape()[1]); }

float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void to_unit_length(ThreadPool& pool, MatrixView x) {
  pool.run(x.rows, [&](int64_t i, int) {
    float* row = x.row(i);
    const float length = std::max(std::sqrt(dot(row, row, x.cols)), 1e-12f);
    for (int64_t c = 0; c < x.cols; ++c) row[c] /= length;
  });
}

}  // namespace

std::unique_ptr<VectorCodes> VectorCodes::load(const VectorCodesConfig& config,
                                               TensorSource& source, const std::string& prefix,
                                               Backend& backend) {
  for (const int64_t size : {config.in_size, config.code_size, config.num_codes})
    if (size <= 0 || size > kMaxSize)
      fail(ErrorCode::kCorruptData, "expected sizes of 1 to 2^20 in the codebook \"", prefix,
           "\", found ", size);
  std::unique_ptr<VectorCodes> codes(new VectorCodes(config, backend));
  const auto product = [&](const std::string& name, int64_t out, int64_t in) {
    return Product{pack_matrix(backend, source.get(prefix + name + ".weight", Shape{out, in}),
                               ComputeType::kFloat32),
                   read_floats(source, prefix + name + ".bias", Shape{out})};
  };
  codes->task_ = product("task", config.in_size, config.in_size);
  codes->in_ = product("in", config.code_size, config.in_size);
  const Product project = product("project", config.code_size, config.code_size);
  const std::vector<float> table =
      read_floats(source, prefix + "table", Shape{config.num_codes, config.code_size});
  Tensor rows = codes->apply(matrix(table.data(), config.num_codes, config.code_size), project);
  if (config.unit_length) to_unit_length(backend.pool(), view(rows));
  for (int64_t i = 0; i < config.num_codes; ++i) {
    const float* row = rows.f32() + i * config.code_size;
    codes->half_squares_.push_back(dot(row, row, config.code_size) / 2);
  }
  codes->codebook_ = pack_matrix(backend, rows.view(), ComputeType::kFloat32);
  return codes;
}

Tensor VectorCodes::apply(ConstMatrixView x, const Product& product) const {
  Tensor y(DType::kF32, Shape{x.rows, product.weight.rows()});
  linear(*backend_, x, product.weight, product.bias.data(), view(y));
  return y;
}

std::vector<int32_t> VectorCodes::forward(ConstMatrixView x) const {
  ONNURI_CHECK(x.cols == config_.in_size);
  Tensor features = apply(x, task_);
  for (int64_t i = 0; i < features.shape().num_elements(); ++i)
    features.f32()[i] = std::tanh(features.f32()[i]);
  Tensor z = apply(view(features), in_);
  if (config_.unit_length) to_unit_length(backend_->pool(), view(z));
  std::vector<int32_t> out(static_cast<size_t>(x.rows));
  for (int64_t begin = 0; begin < x.rows; begin += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, x.rows - begin);
    Tensor scores(DType::kF32, Shape{count, config_.num_codes});
    linear(*backend_, matrix(z.f32() + begin * config_.code_size, count, config_.code_size),
           codebook_, nullptr, view(scores));
    backend_->pool().run(count, [&](int64_t i, int) {
      const float* row = scores.f32() + i * config_.num_codes;
      int64_t best = 0;
      float most = row[0] - half_squares_[0];
      for (int64_t c = 1; c < config_.num_codes; ++c) {
        const float score = row[c] - half_squares_[static_cast<size_t>(c)];
        if (score <= most) continue;
        most = score;
        best = c;
      }
      out[static_cast<size_t>(begin + i)] = static_cast<int32_t>(best);
    });
  }
  return out;
}

std::vector<int32_t> ternary_codes(ConstMatrixView x) {
  ONNURI_CHECK(x.cols > 0 && x.cols <= 19);
  constexpr float kShrink = 0.9990000128746033f;
  std::vector<int32_t> out;
  for (int64_t i = 0; i < x.rows; ++i) {
    int32_t code = 0;
    for (int64_t c = x.cols - 1; c >= 0; --c)
      code = code * 3 + static_cast<int32_t>(std::nearbyint(std::tanh(x.row(i)[c]) * kShrink)) + 1;
    out.push_back(code);
  }
  return out;
}

}  // namespace onnuri
