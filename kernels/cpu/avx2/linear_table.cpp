// The AVX2 matrix products and the quantisation of their inputs.
#include "kernels/cpu/avx2/linear_avx2.h"
#include "kernels/kernel_table.h"
#include "kernels/ref/linear.h"

namespace onnuri::avx2 {
namespace {

// Of magnitudes, as integers of the same order: there NaN is the largest.
float max_lane(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

// The same arithmetic as ref::quantize_block on 32 values.
void quantize_full_block(const float* x, Int8Block* block) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256 v[4];
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + i * 8);
    largest = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(v[i]), magnitude), largest);
  }
  const float max = max_lane(largest);
  const __m256 inverse = _mm256_set1_ps(max > 0.0f ? 127.0f / max : 0.0f);
  const __m256 limit = _mm256_set1_ps(127.0f);
  const __m256 minus_limit = _mm256_set1_ps(-127.0f);
  __m256i n[4];
  for (int i = 0; i < 4; ++i) {
    const __m256 scaled = _mm256_mul_ps(v[i], inverse);
    n[i] = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(scaled, limit), minus_limit));
  }
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
  const __m256i q = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_store_si256(reinterpret_cast<__m256i*>(block->q), q);

  // Pairs of neighbours, then across the four pairs of equal parity in each 16-value half.
  __m256i s = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0x4e));
  s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0xb1));
  const __m128i low = _mm256_castsi256_si128(s);  // lane sums of the first half
  const __m128i high = _mm256_extracti128_si256(s, 1);
  const __m128i both = _mm_add_epi16(low, high);
  const __m128i zero = _mm_setzero_si128();
  const int eight = _mm_cvtsi128_si32(_mm_sub_epi16(zero, _mm_slli_epi16(both, 3)));
  const int sixteen = _mm_cvtsi128_si32(_mm_sub_epi16(zero, _mm_slli_epi16(both, 4)));
  const int low32 = _mm_cvtsi128_si32(_mm_sub_epi16(zero, _mm_slli_epi16(low, 5)));
  const int high32 = _mm_cvtsi128_si32(_mm_sub_epi16(zero, _mm_slli_epi16(high, 5)));
  __builtin_memcpy(block->minus_8, &eight, 4);
  __builtin_memcpy(block->minus_16, &sixteen, 4);
  __builtin_memcpy(block->minus_32[0], &low32, 4);
  __builtin_memcpy(block->minus_32[1], &high32, 4);
  const __m128i ones = _mm_set1_epi16(1);
  const int sum0 = _mm_cvtsi128_si32(_mm_madd_epi16(low, ones));
  const int sum1 = _mm_cvtsi128_si32(_mm_madd_epi16(high, ones));
  const float d = max / 127.0f;
  block->d = d;
  block->sum = d * static_cast<float>(sum0 + sum1);
  block->half_sum[0] = d * static_cast<float>(sum0);
  block->half_sum[1] = d * static_cast<float>(sum1);
}

void prepare(ActivationKind, const float* x, int64_t cols, std::byte* out) {
  prepare_int8(x, cols, reinterpret_cast<Int8Block*>(out));
}

void product(const LinearChunk& c) {
  if (is_quantized(c.format)) {
    product_int8(c);
  } else {
    product_float(c);
  }
}

}  // namespace

void prepare_int8(const float* x, int64_t cols, Int8Block* blocks) {
  const int64_t num_blocks = int8_blocks(cols);
  for (int64_t b = 0; b < num_blocks; ++b) {
    const int64_t left = cols - b * kBlockCols;
    if (left >= kBlockCols) {
      quantize_full_block(x + b * kBlockCols, blocks + b);
    } else {
      ref::quantize_block(left > 0 ? x + b * kBlockCols : x, left > 0 ? left : 0, blocks + b);
    }
  }
}

const LinearKernels& linear_kernels() {
  static constexpr LinearKernels kKernels = {ref::activation_kind, ref::activation_bytes, prepare,
                                             product, WeightFormat::kBF16};
  return kKernels;
}

}  // namespace onnuri::avx2
