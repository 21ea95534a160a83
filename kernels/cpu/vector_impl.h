// The row kernels of vector_kernels.h over the lanes of one instruction set.
//
// Each including .cpp names its set as ONNURI_ISA and includes that set's vec.h first. Tails run
// through the same lanes with a mask, so a value never depends on where a row ends.
#pragma once

#include "kernels/cpu/vec_math.h"
#include "kernels/vector_kernels.h"

namespace onnuri::ONNURI_ISA {
namespace {

// Calls f(i, n) for every group of lanes of [0, cols); n < kLanes only in the last.
template <typename F>
inline void for_lanes(int64_t cols, F f) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) f(i, kLanes);
  if (i < cols) f(i, cols - i);
}
inline Vec load_part(const float* p, int64_t n) { return n == kLanes ? v_load(p) : v_load_n(p, n); }
inline void store_part(float* p, Vec v, int64_t n) {
  if (n == kLanes) {
    v_store(p, v);
  } else {
    v_store_n(p, v, n);
  }
}

// Sums f over a row with four accumulators, in an order fixed by cols.
template <typename F>
inline float sum_lanes(int64_t cols, F f) {
  Vec s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
  int64_t i = 0;
  for (; i + 4 * kLanes <= cols; i += 4 * kLanes) {
    s0 = f(s0, i, kLanes);
    s1 = f(s1, i + kLanes, kLanes);
    s2 = f(s2, i + 2 * kLanes, kLanes);
    s3 = f(s3, i + 3 * kLanes, kLanes);
  }
  for (; i + kLanes <= cols; i += kLanes) s0 = f(s0, i, kLanes);
  if (i < cols) s1 = f(s1, i, cols - i);
  return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

inline float inverse_root(float x) { return 1.0f / __builtin_sqrtf(x); }

void rms_norm_row(const float* x, int64_t cols, const float* weight, float weight_offset, float eps,
                  float* y) {
  const float squares = sum_lanes(cols, [&](Vec s, int64_t i, int64_t n) {
    const Vec v = load_part(x + i, n);
    return v_fma(v, v, s);
  });
  const Vec inverse = v_set(inverse_root(squares / static_cast<float>(cols) + eps));
  const Vec offset = v_set(weight_offset);
  for_lanes(cols, [&](int64_t i, int64_t n) {
    Vec v = v_mul(load_part(x + i, n), inverse);
    if (weight != nullptr) v = v_mul(v, v_add(offset, load_part(weight + i, n)));
    store_part(y + i, v, n);
  });
}

void rms_norm(ConstMatrixView x, const float* weight, float weight_offset, float eps,
              MatrixView y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    rms_norm_row(x.row(r), x.cols, weight, weight_offset, eps, y.row(r));
  }
}

void layer_norm(ConstMatrixView x, const float* weight, const float* bias, float eps,
                MatrixView y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    const float* in = x.row(r);
    float* out = y.row(r);
    const auto cols = static_cast<float>(x.cols);
    const float sum = sum_lanes(
        x.cols, [&](Vec s, int64_t i, int64_t n) { return v_add(s, load_part(in + i, n)); });
    const float mean = sum / cols;
    // Lanes past the end hold zero, not the mean: they are masked out of the sum by hand.
    const float squares = sum_lanes(x.cols, [&](Vec s, int64_t i, int64_t n) {
      const Vec m = n == kLanes ? v_set(mean) : v_set_n(mean, n);
      const Vec d = v_sub(load_part(in + i, n), m);
      return v_fma(d, d, s);
    });
    const Vec inverse = v_set(inverse_root(squares / cols + eps));
    const Vec center = v_set(mean);
    for_lanes(x.cols, [&](int64_t i, int64_t n) {
      Vec v = v_mul(v_sub(load_part(in + i, n), center), inverse);
      const Vec b = bias != nullptr ? load_part(bias + i, n) : v_zero();
      v = weight != nullptr ? v_fma(v, load_part(weight + i, n), b) : v_add(v, b);
      store_part(out + i, v, n);
    });
  }
}

void add_scaled(ConstMatrixView x, float scale, MatrixView y) {
  const Vec s = v_set(scale);
  for (int64_t r = 0; r < x.rows; ++r) {
    for_lanes(x.cols, [&](int64_t i, int64_t n) {
      const Vec v = v_fma(s, load_part(x.row(r) + i, n), load_part(y.row(r) + i, n));
      store_part(y.row(r) + i, v, n);
    });
  }
}

void scale_rows(float scale, MatrixView x) {
  const Vec s = v_set(scale);
  for (int64_t r = 0; r < x.rows; ++r) {
    for_lanes(x.cols, [&](int64_t i, int64_t n) {
      store_part(x.row(r) + i, v_mul(s, load_part(x.row(r) + i, n)), n);
    });
  }
}

template <typename F>
inline void map_rows(ConstMatrixView x, MatrixView y, F f) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for_lanes(x.cols, [&](int64_t i, int64_t n) {
      store_part(y.row(r) + i, f(load_part(x.row(r) + i, n)), n);
    });
  }
}

void activate(Activation kind, ConstMatrixView x, MatrixView y) {
  switch (kind) {
    case Activation::kSilu: map_rows(x, y, [](Vec v) { return v_silu(v); }); break;
    case Activation::kGeluErf: map_rows(x, y, [](Vec v) { return v_gelu_erf(v); }); break;
    case Activation::kGeluTanh: map_rows(x, y, [](Vec v) { return v_gelu_tanh(v); }); break;
    case Activation::kQuickGelu:
      map_rows(x, y, [](Vec v) { return v_mul(v, v_sigmoid(v_mul(v, v_set(1.702f)))); });
      break;
    case Activation::kRelu: map_rows(x, y, [](Vec v) { return v_max(v_zero(), v); }); break;
  }
}

template <typename F>
inline void map_pairs(ConstMatrixView gate, ConstMatrixView up, MatrixView y, F f) {
  for (int64_t r = 0; r < y.rows; ++r) {
    const float* g = gate.row(r);
    const float* u = up.row(r);
    for_lanes(y.cols, [&](int64_t i, int64_t n) {
      store_part(y.row(r) + i, f(load_part(g + i, n), load_part(u + i, n)), n);
    });
  }
}

// Three sums over the row, then one polynomial per element.
void poly_norm_row(const float* p, const float* g, const float* u, int64_t cols, float* y) {
  Vec scale[3];
  for (int power = 1; power <= 3; ++power) {
    const float squares = sum_lanes(cols, [&](Vec s, int64_t i, int64_t n) {
      const Vec x = load_part(g + i, n);
      const Vec z = power == 1 ? x : power == 2 ? v_mul(x, x) : v_mul(v_mul(x, x), x);
      return v_fma(z, z, s);
    });
    const float inverse = inverse_root(squares / static_cast<float>(cols) + kPolyNormEps);
    scale[3 - power] = v_set(p[3 - power] * inverse);
  }
  const Vec bias = v_set(p[3]);
  for_lanes(cols, [&](int64_t i, int64_t n) {
    const Vec x = load_part(g + i, n);
    const Vec inner = v_fma(v_fma(scale[0], x, scale[1]), x, scale[2]);
    store_part(y + i, v_mul(v_fma(inner, x, bias), load_part(u + i, n)), n);
  });
}

void glu(const GluParams& params, ConstMatrixView gate, ConstMatrixView up, MatrixView y) {
  const Vec high = v_set(params.limit);
  const Vec low = v_set(-params.limit);
  const Vec alpha = v_set(params.alpha);
  switch (params.kind) {
    case GluKind::kSilu:
      map_pairs(gate, up, y, [](Vec g, Vec u) { return v_mul(v_silu(g), u); });
      break;
    case GluKind::kGeluTanh:
      map_pairs(gate, up, y, [](Vec g, Vec u) { return v_mul(v_gelu_tanh(g), u); });
      break;
    case GluKind::kGeluErf:
      map_pairs(gate, up, y, [](Vec g, Vec u) { return v_mul(v_gelu_erf(g), u); });
      break;
    case GluKind::kClampedSilu:
      map_pairs(gate, up, y, [=](Vec g, Vec u) {
        return v_mul(v_silu(v_min(high, g)), v_max(low, v_min(high, u)));
      });
      break;
    case GluKind::kSigmoid:
      map_pairs(gate, up, y, [](Vec g, Vec u) { return v_mul(v_sigmoid(g), u); });
      break;
    case GluKind::kSwigluPlus1:
      map_pairs(gate, up, y, [=](Vec g, Vec u) {
        g = v_min(high, g);
        u = v_max(low, v_min(high, u));
        return v_mul(v_mul(g, v_sigmoid(v_mul(alpha, g))), v_add(u, v_set(1.0f)));
      });
      break;
    case GluKind::kPolyNorm:
      for (int64_t r = 0; r < y.rows; ++r) {
        poly_norm_row(params.poly, gate.row(r), up.row(r), y.cols, y.row(r));
      }
      break;
  }
}

inline void rope_half(float* head, int64_t half, const float* cos, const float* sin) {
  for_lanes(half, [&](int64_t i, int64_t n) {
    const Vec a = load_part(head + i, n);
    const Vec b = load_part(head + half + i, n);
    const Vec c = load_part(cos + i, n);
    const Vec s = load_part(sin + i, n);
    store_part(head + i, v_fnma(b, s, v_mul(a, c)), n);
    store_part(head + half + i, v_fma(a, s, v_mul(b, c)), n);
  });
}

inline void rope_pairs(float* head, int64_t half, const float* cos, const float* sin) {
  int64_t i = 0;
  for (; i + kLanes / 2 <= half; i += kLanes / 2) {
    const Vec x = v_load(head + 2 * i);
    const Vec s = v_mul(v_load_twice(sin + i), v_pair_signs());
    v_store(head + 2 * i, v_fma(v_swap_pairs(x), s, v_mul(x, v_load_twice(cos + i))));
  }
  for (; i < half; ++i) {
    const float a = head[2 * i];
    const float b = head[2 * i + 1];
    head[2 * i] = a * cos[i] - b * sin[i];
    head[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

inline void rope_head(RopeLayout layout, float* head, int64_t half, const float* cos,
                      const float* sin) {
  if (layout == RopeLayout::kHalf) {
    rope_half(head, half, cos, sin);
  } else {
    rope_pairs(head, half, cos, sin);
  }
}

void apply_rope(RopeLayout layout, int64_t num_heads, int64_t head_dim, int64_t rotary_dim,
                const float* cos, const float* sin, MatrixView x) {
  const int64_t half = rotary_dim / 2;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t h = 0; h < num_heads; ++h) {
      rope_head(layout, x.row(r) + h * head_dim, half, cos + r * half, sin + r * half);
    }
  }
}

void qk_norm_rope(const QkNormRope& params, int64_t num_heads, int64_t head_dim, MatrixView x) {
  const int64_t half = params.cos != nullptr ? params.rotary_dim / 2 : 0;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t h = 0; h < num_heads; ++h) {
      float* head = x.row(r) + h * head_dim;
      rms_norm_row(head, head_dim, params.norm_weight, params.norm_weight_offset, params.eps, head);
      if (half > 0) {
        rope_head(params.layout, head, half, params.cos + r * half, params.sin + r * half);
      }
    }
  }
}

void softmax_rows(MatrixView x) {
  const float lowest = -__builtin_inff();
  for (int64_t r = 0; r < x.rows; ++r) {
    float* row = x.row(r);
    float max = lowest;
    int64_t i = 0;
    Vec m = v_set(lowest);
    for (; i + kLanes <= x.cols; i += kLanes) m = v_max(m, v_load(row + i));
    max = v_max_lane(m);
    for (; i < x.cols; ++i) max = row[i] > max ? row[i] : max;
    const Vec shift = v_set(max);
    for_lanes(x.cols, [&](int64_t c, int64_t n) {
      store_part(row + c, v_exp(v_sub(load_part(row + c, n), shift)), n);
    });
    const float sum = sum_lanes(
        x.cols, [&](Vec s, int64_t c, int64_t n) { return v_add(s, load_part(row + c, n)); });
    const Vec inverse = v_set(1.0f / sum);
    for_lanes(x.cols, [&](int64_t c, int64_t n) {
      store_part(row + c, v_mul(load_part(row + c, n), inverse), n);
    });
  }
}

void convert_row(DType dtype, const float* source, int64_t n, void* target) {
  if (dtype == DType::kF32) {
    if (n > 0) memcpy(target, source, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  auto* out = static_cast<uint16_t*>(target);
  for_lanes(n, [&](int64_t i, int64_t count) {
    uint16_t tail[kLanes];
    uint16_t* to = count == kLanes ? out + i : tail;
    const Vec v = load_part(source + i, count);
    if (dtype == DType::kF16) {
      v_store_f16(to, v);
    } else {
      v_store_bf16(to, v);
    }
    if (count < kLanes) memcpy(out + i, tail, static_cast<size_t>(count) * sizeof(uint16_t));
  });
}

}  // namespace
}  // namespace onnuri::ONNURI_ISA

#include "kernels/cpu/delta_rule_impl.h"

namespace onnuri::ONNURI_ISA {
namespace {

constexpr VectorKernels kVectorKernels{
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add_scaled = add_scaled,
    .scale_rows = scale_rows,
    .activate = activate,
    .glu = glu,
    .apply_rope = apply_rope,
    .qk_norm_rope = qk_norm_rope,
    .softmax_rows = softmax_rows,
    .convert_row = convert_row,
    .conv_silu = conv_silu,
    .delta_rule = delta_rule,
};

}  // namespace
}  // namespace onnuri::ONNURI_ISA
