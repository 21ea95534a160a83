#include "encoders/text/text_tower.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {
namespace {

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

}  // namespace

std::unique_ptr<TextTower> TextTower::load(const TextTowerConfig& config, TensorSource& source,
                                           const std::string& prefix, Backend& backend,
                                           ComputeType compute) {
  std::unique_ptr<TextTower> tower(new TextTower(config, backend));
  const int64_t hidden = config.transformer.hidden_size;
  if (config.vocab_size <= 0 || config.max_positions <= 0 || config.out_size <= 0 || hidden <= 0)
    fail(ErrorCode::kCorruptData, "expected positive sizes of the text encoder, found ",
         config.vocab_size, " tokens, ", config.max_positions, " positions, width ", hidden, " to ",
         config.out_size);
  tower->embeddings_ =
      read_floats(source, prefix + "embed.weight", Shape{config.vocab_size, hidden});
  tower->positions_ =
      read_floats(source, prefix + "positions", Shape{config.max_positions, hidden});
  tower->norm_weight_ = read_floats(source, prefix + "norm.weight", Shape{hidden});
  tower->norm_bias_ = read_floats(source, prefix + "norm.bias", Shape{hidden});
  tower->transformer_ = Transformer::load(config.transformer, source, prefix, backend, compute);
  tower->out_ = pack_matrix(
      backend, source.get(prefix + "out.weight", Shape{config.out_size, hidden}), compute);
  if (config.out_bias)
    tower->out_bias_ = read_floats(source, prefix + "out.bias", Shape{config.out_size});
  return tower;
}

int64_t TextTower::chosen_row(std::span<const int32_t> ids) const {
  switch (config_.row) {
    case TextRow::kLast: break;
    case TextRow::kLargestId: return std::max_element(ids.begin(), ids.end()) - ids.begin();
    case TextRow::kFirstEnd: {
      const auto end = std::find(ids.begin(), ids.end(), config_.end_id);
      if (end == ids.end())
        fail(ErrorCode::kInvalidArgument, "expected a text that ends with token ", config_.end_id,
             ", found none among ", ids.size(), " tokens");
      return end - ids.begin();
    }
  }
  return static_cast<int64_t>(ids.size()) - 1;
}

std::vector<float> TextTower::embed(std::span<const int32_t> ids) const {
  const auto count = static_cast<int64_t>(ids.size());
  if (count < 1 || count > config_.max_positions)
    fail(ErrorCode::kInvalidArgument, "expected a text of 1 to ", config_.max_positions,
         " tokens, found ", count);
  const int64_t width = config_.transformer.hidden_size;
  Tensor hidden(DType::kF32, Shape{count, width});
  const MatrixView h = matrix(hidden.f32(), count, width);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = ids[static_cast<size_t>(i)];
    if (id < 0 || id >= config_.vocab_size)
      fail(ErrorCode::kInvalidArgument, "expected token ids below ", config_.vocab_size,
           ", the model's vocabulary, found ", id, " at position ", i);
    const float* word = embeddings_.data() + id * width;
    const float* place = positions_.data() + i * width;
    for (int64_t c = 0; c < width; ++c) h.row(i)[c] = word[c] + place[c];
  }
  const Transformer::Segments whole = {0, count};
  transformer_->forward(
      h, [&](int64_t) -> const Transformer::Segments& { return whole; }, nullptr, nullptr);
  const MatrixView row{h.row(chosen_row(ids)), 1, width, width};
  layer_norm(*backend_, row, norm_weight_.data(), norm_bias_.data(), config_.transformer.norm_eps,
             row);
  std::vector<float> out(static_cast<size_t>(config_.out_size));
  linear(*backend_, row, out_, out_bias_.empty() ? nullptr : out_bias_.data(),
         matrix(out.data(), 1, config_.out_size));
  return out;
}

}  // namespace onnuri
