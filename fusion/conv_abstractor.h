// A grid of features to fewer rows of the decoder's width, by convolutions that keep neighbours
// together.
//
//   x [normed] + positions -> blocks -> pool -> blocks -> fc1 -> SiLU -> fc2 ...
//   block(x) = silu(conv3(se(silu(dw(silu(conv1 x))))) + shortcut(x))      a norm behind each conv
//
// conv1 and conv3 see one cell, dw 3 x 3 cells of a few channels; se scales channels by a gate made
// of their means over the grid. The pool is a mean over a side x side grid of areas, or the join of
// merge x merge cells.
// Sources: Cha et al. 2024 (arXiv 2312.06742); Radosavovic et al. 2020 (the blocks).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

namespace onnuri {

enum class AbstractorPool { kMean, kJoin };

struct AbstractorBlock {
  int64_t in_size = 0;
  int64_t out_size = 0;
  int64_t inner_size = 0;  // between conv1 and conv3
  int64_t group_size = 1;  // channels that dw mixes
  int64_t gate_size = 0;   // between the two products of the gate
};

struct ConvAbstractorConfig {
  int64_t in_size = 0;                         // width of one encoder row
  int64_t out_size = 0;                        // hidden size of the decoder
  std::vector<AbstractorBlock> before, after;  // the pool
  AbstractorPool pool = AbstractorPool::kMean;
  int64_t side = 0;   // kMean: rows and columns after the pool
  int64_t merge = 0;  // kJoin: cells on each axis that become one
  int64_t num_products = 2;
  bool prenorm = false;
  float prenorm_eps = 1e-6f;
  int64_t position_side = 0;  // of the table of positions, which grids of other sizes resample;
                              // 0: none
};

// Canonical names under `prefix` (s: "before" or "after" the pool; b: block, from 1; p: product):
//   norm.{weight,bias} (in_size)   positions (1, position_side^2, in_size)
//   s.b.{conv1,conv3,shortcut}.weight (out, in, 1, 1)   s.b.dw.weight (C, group_size, 3, 3)
//   s.b.{conv1,dw,conv3,shortcut}.norm.{weight,bias}
//   s.b.{gate1,gate2}.weight (out, in, 1, 1)   s.b.{gate1,gate2}.bias   fc.{2p}.{weight,bias}
// A shortcut is stored where the width changes.
class ConvAbstractor {
 public:
  static std::unique_ptr<ConvAbstractor> load(const ConvAbstractorConfig& config,
                                              TensorSource& source, const std::string& prefix,
                                              Backend& backend, ComputeType compute);
  ~ConvAbstractor();

  const ConvAbstractorConfig& config() const { return config_; }
  /// Rows that a grid of h x w cells becomes, on one axis each.
  int64_t out_h(int64_t h) const { return config_.side > 0 ? config_.side : h / config_.merge; }
  int64_t out_w(int64_t w) const { return out_h(w); }

  /// rows (count * h * w, in_size): `count` grids in raster order, one after the other; returns
  /// (count * out_h * out_w, out_size). `side` replaces config().side where it is given.
  Tensor forward(ConstMatrixView rows, int64_t count, int64_t h, int64_t w, int64_t side = 0) const;

 private:
  struct Weights;
  ConvAbstractor(const ConvAbstractorConfig& config, Backend& backend);
  void add_positions(int64_t count, int64_t h, int64_t w, MatrixView x) const;
  ConvAbstractorConfig config_;
  Backend* backend_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace onnuri
