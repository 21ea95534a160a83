// Grids lie as rows of channels, one row per cell, so that a convolution over one cell is a product
// and a norm over channels is a norm of rows.
#include "fusion/conv_abstractor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "fusion/table_resample.h"

namespace onnuri {
namespace {

constexpr float kNormEps = 1e-5f;

struct NormWeights {
  std::vector<float> weight, bias;
};

struct Product {
  PackedMatrix weight;
  std::vector<float> bias;  // empty: none
  NormWeights norm;         // behind it; empty: none
};

struct BlockWeights {
  Product conv1, conv3, shortcut;
  std::vector<float> dw;  // (3 * 3, group_size, inner_size): the channel last
  NormWeights dw_norm;
  Product gate1, gate2;
};

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

/// `count` grids of h x w cells.
struct Grids {
  int64_t count, h, w;
  int64_t cells() const { return h * w; }
  int64_t rows() const { return count * h * w; }
};

Tensor apply(Backend& backend, const Product& p, ConstMatrixView x) {
  Tensor out(DType::kF32, Shape{x.rows, p.weight.rows()});
  const MatrixView y = matrix(out.f32(), x.rows, p.weight.rows());
  linear(backend, x, p.weight, p.bias.empty() ? nullptr : p.bias.data(), y);
  if (!p.norm.weight.empty())
    layer_norm(backend, y, p.norm.weight.data(), p.norm.bias.data(), kNormEps, y);
  return out;
}

MatrixView view(Tensor& t) { return matrix(t.f32(), t.shape()[0], t.shape()[1]); }

void silu(Backend& backend, Tensor& t) { activate(backend, Activation::kSilu, view(t), view(t)); }

/// Every cell with its eight neighbours, zeros beyond the border.
Tensor neighbours(Backend& backend, const AbstractorBlock& shape, const std::vector<float>& dw,
                  const Grids& g, const Tensor& x) {
  const int64_t channels = shape.inner_size;
  const int64_t group = shape.group_size;
  Tensor out(DType::kF32, x.shape());
  backend.pool().run(g.rows(), [&](int64_t cell, int) {
    const int64_t row = cell % g.cells() / g.w;
    const int64_t col = cell % g.w;
    float* to = out.f32() + cell * channels;
    std::fill_n(to, channels, 0.0f);
    for (int64_t k = 0; k < 9; ++k) {
      const int64_t dy = k / 3 - 1, dx = k % 3 - 1;
      if (row + dy < 0 || row + dy >= g.h || col + dx < 0 || col + dx >= g.w) continue;
      const float* from = x.f32() + (cell + dy * g.w + dx) * channels;
      const float* weight = dw.data() + k * group * channels;
      if (group == 1) {
        for (int64_t c = 0; c < channels; ++c) to[c] += weight[c] * from[c];
        continue;
      }
      for (int64_t i = 0; i < group; ++i)
        for (int64_t c = 0; c < channels; ++c)
          to[c] += weight[i * channels + c] * from[c / group * group + i];
    }
  });
  return out;
}

/// Channels of each grid times a gate made of their means.
void squeeze(Backend& backend, const BlockWeights& w, const Grids& g, Tensor& x) {
  const int64_t channels = x.shape()[1];
  Tensor means(DType::kF32, Shape{g.count, channels});
  backend.pool().run(g.count, [&](int64_t i, int) {
    float* to = means.f32() + i * channels;
    std::fill_n(to, channels, 0.0f);
    const float* from = x.f32() + i * g.cells() * channels;
    for (int64_t cell = 0; cell < g.cells(); ++cell, from += channels)
      for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
    for (int64_t c = 0; c < channels; ++c) to[c] /= static_cast<float>(g.cells());
  });
  Tensor hidden = apply(backend, w.gate1, view(means));
  silu(backend, hidden);
  Tensor gates = apply(backend, w.gate2, view(hidden));
  for (int64_t i = 0; i < gates.shape().num_elements(); ++i)
    gates.f32()[i] = 1.0f / (1.0f + std::exp(-gates.f32()[i]));
  backend.pool().run(g.rows(), [&](int64_t cell, int) {
    const float* gate = gates.f32() + cell / g.cells() * channels;
    float* to = x.f32() + cell * channels;
    for (int64_t c = 0; c < channels; ++c) to[c] *= gate[c];
  });
}

Tensor run_block(Backend& backend, const AbstractorBlock& shape, const BlockWeights& w,
                 const Grids& g, ConstMatrixView x) {
  Tensor h = apply(backend, w.conv1, x);
  silu(backend, h);
  h = neighbours(backend, shape, w.dw, g, h);
  layer_norm(backend, view(h), w.dw_norm.weight.data(), w.dw_norm.bias.data(), kNormEps, view(h));
  silu(backend, h);
  squeeze(backend, w, g, h);
  Tensor out = apply(backend, w.conv3, view(h));
  if (w.shortcut.weight.empty()) {
    add_scaled(backend, x, 1.0f, view(out));
  } else {
    Tensor straight = apply(backend, w.shortcut, x);
    add_scaled(backend, view(straight), 1.0f, view(out));
  }
  silu(backend, out);
  return out;
}

/// Means over side x side areas of each grid; areas overlap where the side does not divide it.
Tensor pool_means(Backend& backend, const Grids& g, int64_t side, const Tensor& x) {
  const int64_t channels = x.shape()[1];
  Tensor out(DType::kF32, Shape{g.count * side * side, channels});
  const auto begin = [side](int64_t i, int64_t size) { return i * size / side; };
  const auto end = [side](int64_t i, int64_t size) { return ((i + 1) * size + side - 1) / side; };
  backend.pool().run(g.count * side * side, [&](int64_t i, int) {
    const int64_t y = i / side % side;
    const int64_t x0 = i % side;
    float* to = out.f32() + i * channels;
    std::fill_n(to, channels, 0.0f);
    const float* grid = x.f32() + i / (side * side) * g.cells() * channels;
    for (int64_t row = begin(y, g.h); row < end(y, g.h); ++row)
      for (int64_t col = begin(x0, g.w); col < end(x0, g.w); ++col)
        for (int64_t c = 0; c < channels; ++c) to[c] += grid[(row * g.w + col) * channels + c];
    const int64_t area = (end(y, g.h) - begin(y, g.h)) * (end(x0, g.w) - begin(x0, g.w));
    for (int64_t c = 0; c < channels; ++c) to[c] /= static_cast<float>(area);
  });
  return out;
}

/// merge x merge cells side by side: channel c of cell (y, x) lands at (c * merge + y) * merge + x.
Tensor join_cells(Backend& backend, const Grids& g, int64_t merge, const Tensor& x) {
  const int64_t channels = x.shape()[1];
  const int64_t h = g.h / merge, w = g.w / merge;
  Tensor out(DType::kF32, Shape{g.count * h * w, channels * merge * merge});
  backend.pool().run(g.count * h * w, [&](int64_t i, int) {
    const int64_t row = i / w % h * merge;
    const int64_t col = i % w * merge;
    const float* grid = x.f32() + i / (h * w) * g.cells() * channels;
    float* to = out.f32() + i * channels * merge * merge;
    for (int64_t y = 0; y < merge; ++y)
      for (int64_t k = 0; k < merge; ++k) {
        const float* from = grid + ((row + y) * g.w + col + k) * channels;
        for (int64_t c = 0; c < channels; ++c) to[(c * merge + y) * merge + k] = from[c];
      }
  });
  return out;
}

/// Loads products and blocks, name by name.
class AbstractorLoader {
 public:
  AbstractorLoader(TensorSource& source, Backend& backend, ComputeType compute)
      : source_(source), backend_(backend), compute_(compute) {}

  NormWeights norm(const std::string& name, int64_t size) {
    return {read_floats(source_, name + ".weight", Shape{size}),
            read_floats(source_, name + ".bias", Shape{size})};
  }

  /// A convolution over one cell; with a norm behind it, else with a bias.
  Product conv(const std::string& name, int64_t out, int64_t in, bool normed) {
    const TensorView stored = source_.get(name + ".weight", Shape{out, in, 1, 1});
    Product p{pack_matrix(backend_, stored.reshaped(Shape{out, in}), compute_), {}, {}};
    if (normed)
      p.norm = norm(name + ".norm", out);
    else
      p.bias = read_floats(source_, name + ".bias", Shape{out});
    return p;
  }

  Product product(const std::string& name, int64_t out, int64_t in) {
    return {pack_matrix(backend_, source_.get(name + ".weight", Shape{out, in}), compute_),
            read_floats(source_, name + ".bias", Shape{out}),
            {}};
  }

  BlockWeights block(const std::string& name, const AbstractorBlock& shape) {
    BlockWeights w;
    const int64_t inner = shape.inner_size;
    w.conv1 = conv(name + "conv1", inner, shape.in_size, true);
    const std::vector<float> dw =
        read_floats(source_, name + "dw.weight", Shape{inner, shape.group_size, 3, 3});
    w.dw.resize(dw.size());
    for (int64_t c = 0; c < inner; ++c)
      for (int64_t i = 0; i < shape.group_size; ++i)
        for (int64_t k = 0; k < 9; ++k)
          w.dw[static_cast<size_t>((k * shape.group_size + i) * inner + c)] =
              dw[static_cast<size_t>((c * shape.group_size + i) * 9 + k)];
    w.dw_norm = norm(name + "dw.norm", inner);
    w.gate1 = conv(name + "gate1", shape.gate_size, inner, false);
    w.gate2 = conv(name + "gate2", inner, shape.gate_size, false);
    w.conv3 = conv(name + "conv3", shape.out_size, inner, true);
    if (shape.in_size != shape.out_size)
      w.shortcut = conv(name + "shortcut", shape.out_size, shape.in_size, true);
    return w;
  }

 private:
  TensorSource& source_;
  Backend& backend_;
  ComputeType compute_;
};

void check_blocks(const std::vector<AbstractorBlock>& blocks, int64_t in_size) {
  for (const AbstractorBlock& b : blocks) {
    if (b.in_size != in_size || b.out_size <= 0 || b.inner_size <= 0 || b.gate_size <= 0 ||
        b.group_size <= 0 || b.inner_size % b.group_size != 0)
      fail(ErrorCode::kCorruptData,
           "expected positive sizes that fit each other in the abstractor's blocks, found ",
           b.in_size, " to ", b.inner_size, " to ", b.out_size, ", groups of ", b.group_size,
           ", a gate of ", b.gate_size);
    in_size = b.out_size;
  }
}

void check_config(const ConvAbstractorConfig& c) {
  constexpr int64_t kMaxSide = 4096;
  const bool pooled = c.pool == AbstractorPool::kMean ? c.side > 0 && c.side <= kMaxSide
                                                      : c.merge > 0 && c.merge <= 64;
  if (c.in_size <= 0 || c.out_size <= 0 || c.before.empty() || c.after.empty() ||
      c.num_products <= 0 || c.position_side < 0 || c.position_side > kMaxSide || !pooled)
    fail(ErrorCode::kCorruptData, "expected positive sizes and blocks on both sides of the pool ",
         "in the abstractor, found ", c.in_size, " to ", c.out_size, ", a pool of ",
         c.pool == AbstractorPool::kMean ? c.side : c.merge, ", ", c.num_products, " products");
  check_blocks(c.before, c.in_size);
  const int64_t joined = c.pool == AbstractorPool::kJoin ? c.merge * c.merge : 1;
  check_blocks(c.after, c.before.back().out_size * joined);
}

}  // namespace

struct ConvAbstractor::Weights {
  NormWeights norm;
  std::vector<float> positions;  // (position_side^2, in_size) or empty
  std::vector<BlockWeights> before, after;
  std::vector<Product> products;
};

ConvAbstractor::ConvAbstractor(const ConvAbstractorConfig& config, Backend& backend)
    : config_(config), backend_(&backend), weights_(std::make_unique<Weights>()) {}

ConvAbstractor::~ConvAbstractor() = default;

std::unique_ptr<ConvAbstractor> ConvAbstractor::load(const ConvAbstractorConfig& config,
                                                     TensorSource& source,
                                                     const std::string& prefix, Backend& backend,
                                                     ComputeType compute) {
  check_config(config);
  std::unique_ptr<ConvAbstractor> model(new ConvAbstractor(config, backend));
  Weights& w = *model->weights_;
  AbstractorLoader loader(source, backend, compute);
  if (config.prenorm) w.norm = loader.norm(prefix + "norm", config.in_size);
  const int64_t side = config.position_side;
  if (side > 0)
    w.positions = read_floats(source, prefix + "positions", Shape{1, side * side, config.in_size});
  const auto load_blocks = [&](const char* stage, const std::vector<AbstractorBlock>& shapes,
                               std::vector<BlockWeights>& blocks) {
    for (size_t b = 0; b < shapes.size(); ++b)
      blocks.push_back(loader.block(prefix + stage + "." + std::to_string(b + 1) + ".", shapes[b]));
  };
  load_blocks("before", config.before, w.before);
  load_blocks("after", config.after, w.after);
  int64_t in = config.after.back().out_size;
  for (int64_t p = 0; p < config.num_products; ++p, in = config.out_size)
    w.products.push_back(
        loader.product(prefix + "fc." + std::to_string(2 * p), config.out_size, in));
  return model;
}

void ConvAbstractor::add_positions(int64_t count, int64_t h, int64_t w, MatrixView x) const {
  const std::vector<float>& table = weights_->positions;
  if (table.empty()) return;
  const int64_t side = config_.position_side;
  const Tensor seen = resample_table(matrix(table.data(), side * side, x.cols), side, h, w);
  for (int64_t i = 0; i < count; ++i)
    add_scaled(*backend_, matrix(seen.f32(), h * w, x.cols), 1.0f,
               matrix(x.row(i * h * w), h * w, x.cols));
}

Tensor ConvAbstractor::forward(ConstMatrixView rows, int64_t count, int64_t h, int64_t w,
                               int64_t side) const {
  Grids grids{count, h, w};
  ONNURI_CHECK(rows.rows == grids.rows() && rows.cols == config_.in_size &&
               rows.stride == rows.cols);
  Tensor x(DType::kF32, Shape{rows.rows, rows.cols});
  std::memcpy(x.f32(), rows.data, static_cast<size_t>(rows.rows * rows.cols) * sizeof(float));
  if (config_.prenorm)
    layer_norm(*backend_, view(x), weights_->norm.weight.data(), weights_->norm.bias.data(),
               config_.prenorm_eps, view(x));
  add_positions(count, h, w, view(x));
  const auto run = [&](const std::vector<AbstractorBlock>& shapes,
                       const std::vector<BlockWeights>& blocks) {
    for (size_t b = 0; b < blocks.size(); ++b)
      x = run_block(*backend_, shapes[b], blocks[b], grids, view(x));
  };
  run(config_.before, weights_->before);
  if (config_.pool == AbstractorPool::kMean) {
    const int64_t pooled = side > 0 ? side : config_.side;
    x = pool_means(*backend_, grids, pooled, x);
    grids = {count, pooled, pooled};
  } else {
    ONNURI_CHECK(h % config_.merge == 0 && w % config_.merge == 0);
    x = join_cells(*backend_, grids, config_.merge, x);
    grids = {count, h / config_.merge, w / config_.merge};
  }
  run(config_.after, weights_->after);
  for (size_t p = 0; p < weights_->products.size(); ++p) {
    if (p > 0) silu(*backend_, x);
    x = apply(*backend_, weights_->products[p], view(x));
  }
  return x;
}

}  // namespace onnuri
