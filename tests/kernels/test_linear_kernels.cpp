// Every table's product against double precision, over odd shapes. AVX-512 code also runs emulated.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "kernels/linear_kernels.h"
#include "tests/kernels/linear_cases.h"

namespace onnuri {
#ifdef ONNURI_HAVE_EMULATED_AVX512
namespace avx512_emulated {
const LinearKernels& linear_kernels();
}
#endif
namespace {

using testing_linear::exact_product;
using testing_linear::random_floats;
using testing_linear::random_weights;
using testing_linear::rounded_inputs;
using testing_linear::Weights;

struct Table {
  std::string name;
  const LinearKernels* kernels;
};

std::vector<Table> tables() {
  std::vector<Table> out = {{"ref", &ref::linear_kernels()}};
#if defined(__x86_64__)
  const CpuFeatures f = detect_cpu_features();
  if (f.avx2_fma_f16c) out.push_back({"avx2", &avx2::linear_kernels()});
  if (f.avx512 && f.avx512_vnni && f.avx512_bf16) {
    out.push_back({"avx512", &avx512::linear_kernels()});
  }
#endif
#ifdef ONNURI_HAVE_EMULATED_AVX512
  // Only its products are emulated: the inputs are prepared by the AVX2 code.
  if (detect_cpu_features().avx2_fma_f16c)
    out.push_back({"avx512_emulated", &avx512_emulated::linear_kernels()});
#endif
  return out;
}

struct FreeBytes {
  void operator()(std::byte* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<std::byte[], FreeBytes>;

Bytes aligned_bytes(int64_t count) {
  return Bytes(static_cast<std::byte*>(
      std::aligned_alloc(64, static_cast<size_t>(count + 63) / 64 * 64 + 64)));
}

/// Prepares `num_rows` input rows and multiplies them with the weights of `c`.
std::vector<float> run_chunk(const LinearKernels& kernels, LinearChunk c,
                             const std::vector<float>& x, int64_t num_rows) {
  c.num_rows = num_rows;
  const ActivationKind kind = kernels.activation_kind(c.format);
  const int64_t bytes = kernels.activation_bytes(kind, c.cols);
  const Bytes prepared = aligned_bytes(bytes * num_rows);
  for (int64_t m = 0; m < num_rows && bytes > 0; ++m) {
    kernels.prepare(kind, x.data() + m * c.cols, c.cols, prepared.get() + m * bytes);
  }
  c.x = bytes > 0 ? prepared.get() : reinterpret_cast<const std::byte*>(x.data());
  c.x_stride_bytes = bytes > 0 ? bytes : c.cols * 4;
  std::vector<float> y(static_cast<size_t>(num_rows * c.num_outputs), -1.0f);
  c.y = y.data();
  c.y_stride = c.num_outputs;
  const Bytes workspace = aligned_bytes(kLinearWorkspaceBytes);
  c.workspace = workspace.get();
  kernels.product(c);
  return y;
}

std::vector<float> product(const LinearKernels& kernels, const Weights& w,
                           const std::vector<float>& x, int64_t num_rows) {
  LinearChunk c;
  c.format = exact_weight_format(w.dtype, kernels.bfloat16_format);
  c.cols = w.cols;
  c.group_bytes = packed_group_bytes(c.format, w.cols);
  c.num_groups = (w.rows + kGroupRows - 1) / kGroupRows;
  c.num_outputs = w.rows;
  const Bytes packed = aligned_bytes(c.group_bytes * c.num_groups);
  std::vector<float> scratch(static_cast<size_t>(kGroupRows * w.cols));
  const int64_t row_bytes = dtype_bytes(w.dtype, w.cols);
  for (int64_t g = 0; g < c.num_groups; ++g) {
    pack_group(c.format, w.dtype,
               reinterpret_cast<const std::byte*>(w.bytes.data()) + g * kGroupRows * row_bytes,
               row_bytes, std::min(kGroupRows, w.rows - g * kGroupRows), w.cols, scratch.data(),
               packed.get() + g * c.group_bytes);
  }
  c.weights = packed.get();
  return run_chunk(kernels, c, x, num_rows);
}

void check(const LinearKernels& kernels, DType dtype, int64_t n, int64_t k, int64_t m) {
  const Weights w = random_weights(dtype, n, k, static_cast<uint32_t>(n * 1000 + k));
  std::vector<float> x = random_floats(m * k, static_cast<uint32_t>(m));
  const std::vector<float> y = product(kernels, w, x, m);
  // With the inputs rounded as the kernels round them, what is left is float32 summation.
  const ActivationKind kind =
      kernels.activation_kind(exact_weight_format(dtype, kernels.bfloat16_format));
  double tolerance = 3e-6;
  if (kind == ActivationKind::kInt8) x = rounded_inputs(x, k);
  if (kind == ActivationKind::kBfloat16) tolerance = 0x1p-8;  // half a unit of the last place
  const auto exact = exact_product(x, w, m);
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_NEAR(y[i], exact.y[i], exact.size[i] * tolerance + 1e-6)
        << dtype_name(dtype) << " N " << n << " K " << k << " M " << m << " at " << i;
  }
}

class LinearTable : public testing::TestWithParam<Table> {};

INSTANTIATE_TEST_SUITE_P(All, LinearTable, testing::ValuesIn(tables()),
                         [](const auto& param) { return param.param.name; });

TEST_P(LinearTable, OddShapesOfEveryType) {
  const DType plain[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
  const DType small[] = {DType::kQ4_0, DType::kQ4_1,   DType::kQ5_0, DType::kQ5_1,
                         DType::kQ8_0, DType::kIQ4_NL, DType::kMXFP4};
  const DType super[] = {DType::kQ2_K, DType::kQ3_K,   DType::kQ4_K, DType::kQ5_K,
                         DType::kQ6_K, DType::kIQ4_XS, DType::kNVFP4};
  for (const int64_t m : {1, 2, 3, 5, 17, 64}) {
    for (const int64_t n : {1, 7, 8, 33, 72}) {
      for (const DType d : plain) {
        for (const int64_t k : {1, 3, 72, 100, 257}) check(*GetParam().kernels, d, n, k, m);
      }
      for (const DType d : small) {
        for (const int64_t k : {32, 64, 96}) check(*GetParam().kernels, d, n, k, m);
      }
      for (const DType d : super) check(*GetParam().kernels, d, n, 512, m);
    }
  }
}

TEST_P(LinearTable, SeveralPanelsOfColumns) {
  for (const DType d :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kQ4_0, DType::kQ5_1,
        DType::kQ8_0, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ6_K, DType::kIQ4_NL,
        DType::kIQ4_XS, DType::kMXFP4, DType::kNVFP4}) {
    check(*GetParam().kernels, d, 20, 1280, 7);
    check(*GetParam().kernels, d, 20, 1280, 1);
  }
}

TEST_P(LinearTable, OneRowHasTheBitsOfMany) {
  for (const DType d :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kQ4_0, DType::kQ4_1,
        DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K,
        DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4, DType::kNVFP4}) {
    const int64_t k = 768, m = 15, n = 40;
    const Weights w = random_weights(d, n, k, 60);
    const std::vector<float> x = random_floats(m * k, 61);
    const std::vector<float> all = product(*GetParam().kernels, w, x, m);
    for (int64_t row = 0; row < m; ++row) {
      const std::vector<float> single(x.begin() + row * k, x.begin() + (row + 1) * k);
      const std::vector<float> y = product(*GetParam().kernels, w, single, 1);
      ASSERT_TRUE(std::equal(y.begin(), y.end(), all.begin() + row * n)) << dtype_name(d) << row;
    }
  }
}

// Extreme values everywhere: 16-bit sums may wrap on the way but must end right.
TEST_P(LinearTable, LargestSumsDoNotOverflow) {
  for (const DType d :
       {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K,
        DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS}) {
    for (const int fill : {0x00, 0x80, 0x7f, 0xff}) {
      Weights w = random_weights(d, 16, 256, 77);
      const Weights halves = w;
      for (uint8_t& b : w.bytes) b = static_cast<uint8_t>(fill);
      const auto bytes = static_cast<size_t>(dtype_info(d).block_bytes);
      const size_t at = d == DType::kQ6_K   ? 208
                        : d == DType::kQ3_K ? 108
                        : d == DType::kQ2_K ? 80
                                            : 0;
      const bool two = d == DType::kQ4_1 || d == DType::kQ5_1 || d == DType::kQ2_K ||
                       d == DType::kQ4_K || d == DType::kQ5_K;
      for (size_t i = 0; i < w.bytes.size(); i += bytes) {
        std::memcpy(w.bytes.data() + i + at, halves.bytes.data() + i + at, two ? 4 : 2);
      }
      dequantize(w.view(), w.values.data());
      for (const float sign : {1.0f, -1.0f}) {
        for (const int64_t m : {1, 3}) {
          const std::vector<float> x(static_cast<size_t>(m) * 256, sign);
          const auto y = product(*GetParam().kernels, w, x, m);
          const auto exact = exact_product(x, w, m);
          for (size_t i = 0; i < y.size(); ++i) {
            // A minimum may cancel against the centre of the range: errors scale with both.
            ASSERT_NEAR(y[i], exact.y[i], exact.size[i] * 3e-6 + 4e-3) << dtype_name(d) << fill;
          }
        }
      }
    }
  }
}

// Records with float32 scales, which packers of scaled codes write.
TEST_P(LinearTable, CodesWithFloatScales) {
  const struct {
    WeightFormat format;
    int num_codes, zero;
  } cases[] = {
      {WeightFormat::kQ4S, 16, 8}, {WeightFormat::kQ5S, 32, 16}, {WeightFormat::kQ8S, 256, 0}};
  for (const auto& t : cases) {
    const int64_t cols = 96, rows = 21, m = 4;
    const RecordLayout layout = record_layout(t.format);
    LinearChunk c;
    c.format = t.format;
    c.cols = cols;
    c.group_bytes = packed_group_bytes(t.format, cols);
    c.num_groups = 2;
    const Bytes packed = aligned_bytes(c.group_bytes * 2);
    std::fill_n(packed.get(), c.group_bytes * 2, std::byte{0});
    Weights w{DType::kF32, rows, cols, {}, std::vector<float>(static_cast<size_t>(rows * cols))};
    const std::vector<float> scales = random_floats(rows * 3, 8);
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t b = 0; b < 3; ++b) {
        uint8_t codes[32];
        const float scale = scales[static_cast<size_t>(n * 3 + b)];
        for (int64_t k = 0; k < 32; ++k) {
          codes[k] = static_cast<uint8_t>((n * 7 + b * 5 + k * 11) % t.num_codes);
          const int level = t.zero != 0 ? codes[k] - t.zero : static_cast<int8_t>(codes[k]);
          w.values[static_cast<size_t>(n * cols + b * 32 + k)] = scale * static_cast<float>(level);
        }
        uint8_t* record = reinterpret_cast<uint8_t*>(packed.get()) + n / 16 * c.group_bytes +
                          b / 2 * layout.bytes();
        std::memcpy(record + (b % 2 * 16 + n % 16) * 4, &scale, 4);
        put_codes(t.format, codes, n % 16,
                  record + layout.block_begin + b % 2 * layout.block_bytes);
      }
    }
    c.weights = packed.get();
    c.num_outputs = rows;
    const std::vector<float> x = random_floats(m * cols, 9);
    const auto exact = exact_product(rounded_inputs(x, cols), w, m);
    for (const int64_t count : {int64_t{1}, m}) {
      const auto y = run_chunk(*GetParam().kernels, c, x, count);
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_NEAR(y[i], exact.y[i], exact.size[i] * 3e-6 + 1e-6);
    }
  }
}

TEST_P(LinearTable, Int8InputsMatchTheReferenceBitForBit) {
  for (const int64_t k : {1, 31, 32, 100, 896}) {
    const LinearKernels& kernels = *GetParam().kernels;
    const std::vector<float> x = random_floats(k, static_cast<uint32_t>(k));
    const int64_t bytes = kernels.activation_bytes(ActivationKind::kInt8, k);
    ASSERT_EQ(bytes, ref::linear_kernels().activation_bytes(ActivationKind::kInt8, k));
    const Bytes a = aligned_bytes(bytes), b = aligned_bytes(bytes);
    kernels.prepare(ActivationKind::kInt8, x.data(), k, a.get());
    ref::linear_kernels().prepare(ActivationKind::kInt8, x.data(), k, b.get());
    ASSERT_EQ(std::memcmp(a.get(), b.get(), static_cast<size_t>(bytes)), 0) << k;
  }
}

}  // namespace
}  // namespace onnuri
