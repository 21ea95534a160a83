// Random weights of every type and their products in double precision.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"
#include "kernels/linear.h"

namespace onnuri::testing_linear {

struct Weights {
  DType dtype;
  int64_t rows;
  int64_t cols;
  std::vector<uint8_t> bytes;
  std::vector<float> values;  // decoded
  TensorView view() const { return {bytes.data(), dtype, {rows, cols}}; }
};

inline void put_half(uint8_t* at, std::mt19937& rng) {
  // Finite halves near 0.05, either sign.
  const uint16_t half = static_cast<uint16_t>(0x2800u + rng() % 0x800u + (rng() % 2 ? 0x8000u : 0));
  std::memcpy(at, &half, 2);
}

inline Weights random_weights(DType dtype, int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 rng(seed);
  Weights w{dtype, rows, cols, {}, {}};
  w.bytes.resize(static_cast<size_t>(dtype_bytes(dtype, rows * cols)));
  w.values.resize(static_cast<size_t>(rows * cols));
  for (uint8_t& b : w.bytes) b = static_cast<uint8_t>(rng());
  const DTypeInfo& info = dtype_info(dtype);
  for (size_t i = 0; i < w.bytes.size(); i += static_cast<size_t>(info.block_bytes)) {
    uint8_t* at = w.bytes.data() + i;
    switch (dtype) {
      case DType::kF32: {
        const float value = static_cast<float>(static_cast<int>(rng() % 2001) - 1000) / 500.0f;
        std::memcpy(at, &value, 4);
        break;
      }
      case DType::kF16: put_half(at, rng); break;
      case DType::kBF16: {
        const uint16_t value = static_cast<uint16_t>(0x3e00u + rng() % 0x100u + (rng() % 2 << 15));
        std::memcpy(at, &value, 2);
        break;
      }
      case DType::kF8E4M3: *at = static_cast<uint8_t>(*at & 0xbfu); break;
      case DType::kQ6_K: put_half(at + 208, rng); break;
      case DType::kQ2_K:
        put_half(at + 80, rng);
        put_half(at + 82, rng);
        break;
      case DType::kQ3_K: put_half(at + 108, rng); break;
      case DType::kMXFP4: *at = static_cast<uint8_t>(118 + *at % 8); break;
      case DType::kNVFP4:
        for (int j = 0; j < 4; ++j) at[j] = static_cast<uint8_t>(at[j] & 0x3f);
        break;
      case DType::kQ4_1:
      case DType::kQ5_1:
      case DType::kQ4_K:
      case DType::kQ5_K: put_half(at + 2, rng); [[fallthrough]];
      default: put_half(at, rng);
    }
  }
  dequantize(w.view(), w.values.data());
  return w;
}

inline std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(rng);
  return values;
}

/// x (M, K) as int8 quantisation leaves it: 32 values share max / 127.
inline std::vector<float> rounded_inputs(const std::vector<float>& x, int64_t cols) {
  std::vector<float> out(x.size());
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(cols)) {
    for (int64_t begin = 0; begin < cols; begin += 32) {
      const int64_t end = begin + 32 < cols ? begin + 32 : cols;
      float max = 0.0f;
      for (int64_t k = begin; k < end; ++k) {
        max = std::max(max, std::fabs(x[row + static_cast<size_t>(k)]));
      }
      const float inverse = max > 0 ? 127.0f / max : 0.0f;
      for (int64_t k = begin; k < end; ++k) {
        const size_t i = row + static_cast<size_t>(k);
        out[i] = std::nearbyint(x[i] * inverse) * (max / 127.0f);
      }
    }
  }
  return out;
}

struct Exact {
  std::vector<double> y;     // (M, N)
  std::vector<double> size;  // sum of |w x|: the scale of rounding errors
};

inline Exact exact_product(const std::vector<float>& x, const Weights& w, int64_t num_rows) {
  Exact out;
  for (int64_t m = 0; m < num_rows; ++m) {
    for (int64_t n = 0; n < w.rows; ++n) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < w.cols; ++k) {
        const double p = static_cast<double>(x[static_cast<size_t>(m * w.cols + k)]) *
                         static_cast<double>(w.values[static_cast<size_t>(n * w.cols + k)]);
        sum += p;
        size += std::fabs(p);
      }
      out.y.push_back(sum);
      out.size.push_back(size);
    }
  }
  return out;
}

}  // namespace onnuri::testing_linear
