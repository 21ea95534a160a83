// Encoders of the block formats.
//
// Every block solves a small least-squares problem: for a trial grid the values are rounded to
// codes, for these codes the best scale (and minimum) has a closed form, and the trial with the
// least weighted error wins. Scales that are stored as halves or integers are rounded first and the
// codes are then chosen against what is stored.
#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "kernels/float_bits.h"
#include "kernels/quant_types.h"
#include "kernels/ref/convert.h"

namespace onnuri {
namespace {

constexpr int kMaxBlock = 256;

int round_to(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  if (!(value < static_cast<float>(high))) return high;
  return static_cast<int>(std::nearbyint(value));
}

void store_half(float value, uint8_t* out) {
  const uint16_t bits = ref::f32_to_f16(value);
  std::memcpy(out, &bits, sizeof(bits));
}

// Stores as a half and returns what was stored.
float stored_half(float value, uint8_t* out) {
  store_half(std::clamp(value, -65504.0f, 65504.0f), out);
  return float_from_half(load_half_bits(out));
}

float inverse(float value) { return value != 0.0f ? 1.0f / value : 0.0f; }

// Large weights move outputs most: errors count by size, with a floor so that small ones matter.
void fill_importance(const float* x, int64_t count, float* weights) {
  float squares = 0.0f;
  for (int64_t i = 0; i < count; ++i) squares += x[i] * x[i];
  const float mean = std::sqrt(squares / static_cast<float>(count));
  for (int64_t i = 0; i < count; ++i) weights[i] = mean + std::fabs(x[i]);
}

struct Affine {
  float scale = 0.0f;
  float min = 0.0f;
};

// Best scale and minimum for given codes; the minimum may be kept at or below zero.
Affine solve_affine(const float* x, const float* w, const int* q, int count, bool min_below_zero) {
  float sw = 0, sq = 0, sqq = 0, sx = 0, sxq = 0;
  for (int i = 0; i < count; ++i) {
    const float code = static_cast<float>(q[i]);
    sw += w[i];
    sq += w[i] * code;
    sqq += w[i] * code * code;
    sx += w[i] * x[i];
    sxq += w[i] * x[i] * code;
  }
  const float determinant = sw * sqq - sq * sq;
  if (!(determinant > 0.0f)) return {0.0f, min_below_zero ? std::min(sx / sw, 0.0f) : sx / sw};
  Affine out{(sw * sxq - sq * sx) / determinant, (sqq * sx - sq * sxq) / determinant};
  if (min_below_zero && out.min > 0.0f) out = {sqq > 0.0f ? sxq / sqq : 0.0f, 0.0f};
  return out;
}

float affine_error(const float* x, const float* w, const int* q, int count, Affine a) {
  float error = 0;
  for (int i = 0; i < count; ++i) {
    const float e = a.scale * static_cast<float>(q[i]) + a.min - x[i];
    error += w[i] * e * e;
  }
  return error;
}

// w = scale q + min with q in [0, levels].
Affine fit_affine(const float* x, int count, int levels, bool min_below_zero) {
  float w[kMaxBlock];
  fill_importance(x, count, w);
  float min = *std::min_element(x, x + count);
  const float max = *std::max_element(x, x + count);
  if (min_below_zero) min = std::min(min, 0.0f);
  if (!(max > min)) return {0.0f, min};
  Affine best{(max - min) / static_cast<float>(levels), min};
  float best_error = -1.0f;
  for (int step = -10; step <= 8; ++step) {
    const float grid = (static_cast<float>(levels) + 0.1f * static_cast<float>(step)) / (max - min);
    int q[kMaxBlock];
    for (int i = 0; i < count; ++i) q[i] = round_to((x[i] - min) * grid, 0, levels);
    const Affine found = solve_affine(x, w, q, count, min_below_zero);
    if (!(found.scale > 0.0f)) continue;
    const float error = affine_error(x, w, q, count, found);
    if (best_error < 0.0f || error < best_error) {
      best_error = error;
      best = found;
    }
  }
  return best;
}

void encode(const float* x, BlockQ8_0* b) {
  float max = 0.0f;
  for (int i = 0; i < 32; ++i) max = std::max(max, std::fabs(x[i]));
  const float scale = inverse(stored_half(max / 127.0f, b->d));
  for (int i = 0; i < 32; ++i) b->qs[i] = static_cast<int8_t>(round_to(x[i] * scale, -127, 127));
}

// Nibbles, and fifth bits where the format has them.
template <typename Block>
void store_codes(const int* q, Block* b) {
  for (int i = 0; i < 16; ++i) {
    b->qs[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
  }
  if constexpr (requires { b->qh; }) {
    std::memset(b->qh, 0, sizeof(b->qh));
    for (int i = 0; i < 32; ++i) {
      b->qh[i / 8] = static_cast<uint8_t>(b->qh[i / 8] | (q[i] >> 4 & 1) << (i % 8));
    }
  }
}

template <typename Block>
void encode_small(const float* x, Block* b) {
  constexpr int kLevels = requires { b->qh; }
  ? 32 : 16;
  int q[32];
  if constexpr (requires { b->m; }) {
    const Affine fit = fit_affine(x, 32, kLevels - 1, false);
    const float scale = inverse(stored_half(fit.scale, b->d));
    const float min = stored_half(fit.min, b->m);
    for (int i = 0; i < 32; ++i) q[i] = round_to((x[i] - min) * scale, 0, kLevels - 1);
  } else {
    constexpr int kHalf = kLevels / 2;
    const float scale =
        inverse(stored_half(fit_symmetric(x, 32, -kHalf, kHalf - 1, nullptr), b->d));
    for (int i = 0; i < 32; ++i) q[i] = round_to(x[i] * scale, -kHalf, kHalf - 1) + kHalf;
  }
  store_codes(q, b);
}

void store_scale_min(int b, int scale, int min, uint8_t* packed) {
  if (b < 4) {
    packed[b] = static_cast<uint8_t>(packed[b] | scale);
    packed[b + 4] = static_cast<uint8_t>(packed[b + 4] | min);
  } else {
    packed[b + 4] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
    packed[b - 4] = static_cast<uint8_t>(packed[b - 4] | (scale >> 4) << 6);
    packed[b] = static_cast<uint8_t>(packed[b] | (min >> 4) << 6);
  }
}

// Q4_K and Q5_K: 8 sub-blocks whose scales and minima are 6-bit multiples of d and dmin.
template <typename Block>
void encode_k(const float* x, Block* b) {
  constexpr bool kHasFifthBit = requires { b->qh; };
  constexpr int kMaxCode = kHasFifthBit ? 31 : 15;
  std::memset(b, 0, sizeof(*b));
  Affine fits[8];
  float max_scale = 0.0f, max_min = 0.0f;
  for (int s = 0; s < 8; ++s) {
    fits[s] = fit_affine(x + s * 32, 32, kMaxCode, true);
    max_scale = std::max(max_scale, fits[s].scale);
    max_min = std::max(max_min, -fits[s].min);
  }
  const float d = stored_half(max_scale / 63.0f, b->d);
  const float dmin = stored_half(max_min / 63.0f, b->dmin);
  for (int s = 0; s < 8; ++s) {
    const int scale = round_to(fits[s].scale * inverse(d), 0, 63);
    const int min = round_to(-fits[s].min * inverse(dmin), 0, 63);
    store_scale_min(s, scale, min, b->scales);
    const float ds = d * static_cast<float>(scale);
    const float dm = dmin * static_cast<float>(min);
    for (int i = 0; i < 32; ++i) {
      const int q = round_to((x[s * 32 + i] + dm) * inverse(ds), 0, kMaxCode);
      uint8_t& byte = b->qs[s / 2 * 32 + i];
      byte = static_cast<uint8_t>(byte | (q & 15) << (s % 2 * 4));
      if constexpr (kHasFifthBit) b->qh[i] = static_cast<uint8_t>(b->qh[i] | (q >> 4) << s);
    }
  }
}

// Two bits of weight i (0..31) of sub-block b.
void store_two_bits(int b, int i, int q, uint8_t* qs) {
  uint8_t& byte = qs[b / 4 * 32 + i];
  byte = static_cast<uint8_t>(byte | (q & 3) << (b % 4 * 2));
}

// 16 sub-blocks of 16 whose scales and minima are 4-bit multiples of d and dmin. With so few steps
// the common factors matter: several are tried.
struct Q2Scales {
  int scale[16] = {};
  int min[16] = {};
};

float q2_error(const float* x, const float* w, float d, float dmin, const Q2Scales& s, int* codes) {
  float error = 0.0f;
  for (int i = 0; i < 256; ++i) {
    const float ds = d * static_cast<float>(s.scale[i / 16]);
    const float dm = dmin * static_cast<float>(s.min[i / 16]);
    codes[i] = round_to((x[i] + dm) * inverse(ds), 0, 3);
    const float e = ds * static_cast<float>(codes[i]) - dm - x[i];
    error += w[i] * e * e;
  }
  return error;
}

// The best scale and minimum of one sub-block for given factors: neighbours of the rounded ones.
void choose_q2_scales(const float* x, const float* w, const Affine& fit, float d, float dmin,
                      int* scale, int* min) {
  const int near_scale = round_to(fit.scale * inverse(d), 0, 15);
  const int near_min = round_to(-fit.min * inverse(dmin), 0, 15);
  float best = -1.0f;
  for (int s = std::max(near_scale - 1, 0); s <= std::min(near_scale + 1, 15); ++s) {
    for (int m = std::max(near_min - 1, 0); m <= std::min(near_min + 1, 15); ++m) {
      const Affine trial{d * static_cast<float>(s), -dmin * static_cast<float>(m)};
      int q[16];
      for (int i = 0; i < 16; ++i) {
        q[i] = round_to((x[i] - trial.min) * inverse(trial.scale), 0, 3);
      }
      const float error = affine_error(x, w, q, 16, trial);
      if (best < 0.0f || error < best) {
        best = error;
        *scale = s;
        *min = m;
      }
    }
  }
}

void encode(const float* x, BlockQ2K* b) {
  std::memset(b, 0, sizeof(*b));
  float w[256];
  Affine fits[16];
  float max_scale = 0.0f, max_min = 0.0f;
  for (int s = 0; s < 16; ++s) {
    fill_importance(x + s * 16, 16, w + s * 16);
    fits[s] = fit_affine(x + s * 16, 16, 3, true);
    max_scale = std::max(max_scale, fits[s].scale);
    max_min = std::max(max_min, -fits[s].min);
  }
  Q2Scales best_scales;
  float best_error = -1.0f;
  int codes[256];
  for (const float stretch : {0.85f, 0.92f, 1.0f, 1.08f}) {
    uint8_t half[2];
    const float d = stored_half(max_scale * stretch / 15.0f, half);
    const float dmin = stored_half(max_min * stretch / 15.0f, half);
    Q2Scales scales;
    for (int s = 0; s < 16; ++s) {
      choose_q2_scales(x + s * 16, w + s * 16, fits[s], d, dmin, scales.scale + s, scales.min + s);
    }
    const float error = q2_error(x, w, d, dmin, scales, codes);
    if (best_error >= 0.0f && error >= best_error) continue;
    best_error = error;
    best_scales = scales;
    stored_half(d, b->d);
    stored_half(dmin, b->dmin);
  }
  q2_error(x, w, float_from_half(load_half_bits(b->d)), float_from_half(load_half_bits(b->dmin)),
           best_scales, codes);
  for (int s = 0; s < 16; ++s) {
    b->scales[s] = static_cast<uint8_t>(best_scales.scale[s] | best_scales.min[s] << 4);
  }
  for (int i = 0; i < 256; ++i) store_two_bits(i / 32, i % 32, codes[i], b->qs);
}

// Stores scale s (0..63) of sixteen: four low bits, and two high ones further on.
void store_q3_scale(int s, int scale, uint8_t* packed) {
  uint8_t& low = packed[s % 8];
  uint8_t& high = packed[8 + s % 4];
  low = static_cast<uint8_t>(low | (scale & 15) << (s / 8 * 4));
  high = static_cast<uint8_t>(high | (scale >> 4) << (s / 4 * 2));
}

void encode(const float* x, BlockQ3K* b) {
  std::memset(b, 0, sizeof(*b));
  float scales[16];
  float largest = 0.0f;  // with its sign: scales have one more step below zero
  for (int s = 0; s < 16; ++s) {
    scales[s] = fit_symmetric(x + s * 16, 16, -4, 3, nullptr);
    if (std::fabs(scales[s]) > std::fabs(largest)) largest = scales[s];
  }
  const float d = stored_half(largest / -32.0f, b->d);
  for (int s = 0; s < 16; ++s) {
    const int scale = round_to(scales[s] * inverse(d), -32, 31);
    store_q3_scale(s, scale + 32, b->scales);
    const float step = inverse(d * static_cast<float>(scale));
    for (int i = s * 16; i < s * 16 + 16; ++i) {
      const int q = round_to(x[i] * step, -4, 3) + 4;
      store_two_bits(i / 32, i % 32, q, b->qs);
      b->hmask[i % 32] = static_cast<uint8_t>(b->hmask[i % 32] | (q >> 2) << (i / 32));
    }
  }
}

void encode(const float* x, BlockQ6K* b) {
  std::memset(b, 0, sizeof(*b));
  float scales[16];
  float largest = 0.0f;  // with its sign: the scales have one more step below zero
  for (int s = 0; s < 16; ++s) {
    scales[s] = fit_symmetric(x + s * 16, 16, -32, 31, nullptr);
    if (std::fabs(scales[s]) > std::fabs(largest)) largest = scales[s];
  }
  const float d = stored_half(largest / -128.0f, b->d);
  for (int s = 0; s < 16; ++s) {
    b->scales[s] = static_cast<int8_t>(round_to(scales[s] * inverse(d), -128, 127));
    const float step = inverse(d * static_cast<float>(b->scales[s]));
    for (int i = 0; i < 16; ++i) {
      const int q = round_to(x[s * 16 + i] * step, -32, 31) + 32;
      const int sub = s / 2, at = s % 2 * 16 + i;  // position in the sub-block of 32
      uint8_t& low = b->ql[sub / 4 * 64 + sub % 2 * 32 + at];
      uint8_t& high = b->qh[sub / 4 * 32 + at];
      low = static_cast<uint8_t>(low | (q & 15) << (sub % 4 < 2 ? 0 : 4));
      high = static_cast<uint8_t>(high | (q >> 4) << (sub % 4 * 2));
    }
  }
}

// Index of the nearest of 16 levels.
int nearest_level(float value, const int8_t* levels) {
  int best = 0;
  float best_distance = std::fabs(value - static_cast<float>(levels[0]));
  for (int i = 1; i < 16; ++i) {
    const float distance = std::fabs(value - static_cast<float>(levels[i]));
    if (distance < best_distance) {
      best = i;
      best_distance = distance;
    }
  }
  return best;
}

// Codes of 32 values for one scale, and their squared error.
float level_codes(const float* x, const float* w, float scale, const int8_t* levels, int* q) {
  float error = 0.0f;
  for (int i = 0; i < 32; ++i) {
    q[i] = nearest_level(x[i] * inverse(scale), levels);
    const float e = scale * static_cast<float>(levels[q[i]]) - x[i];
    error += w[i] * e * e;
  }
  return error;
}

// The scale of 32 values with the levels of IQ4 that leaves the least error.
float fit_levels(const float* x, const float* w) {
  float largest = 0.0f;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  }
  int q[32];
  float best = largest / -127.0f;
  float best_error = level_codes(x, w, best, kIq4Values, q);
  for (int step = -8; step <= 8; ++step) {
    for (const float end : {-127.0f, 113.0f}) {
      // The best scale for the codes of a trial scale.
      level_codes(x, w, largest / (end * (1.0f + 0.02f * static_cast<float>(step))), kIq4Values, q);
      float sxl = 0, sll = 0;
      for (int i = 0; i < 32; ++i) {
        const float level = static_cast<float>(kIq4Values[q[i]]);
        sxl += w[i] * x[i] * level;
        sll += w[i] * level * level;
      }
      const float scale = sxl * inverse(sll);
      const float error = level_codes(x, w, scale, kIq4Values, q);
      if (error < best_error) {
        best_error = error;
        best = scale;
      }
    }
  }
  return best;
}

void encode(const float* x, BlockIQ4NL* b) {
  float w[32];
  fill_importance(x, 32, w);
  int q[32];
  level_codes(x, w, stored_half(fit_levels(x, w), b->d), kIq4Values, q);
  store_codes(q, b);
}

void encode(const float* x, BlockIQ4XS* b) {
  std::memset(b, 0, sizeof(*b));
  float w[256], scales[8];
  float largest = 0.0f;  // with its sign: scales have one more step below zero
  for (int s = 0; s < 8; ++s) {
    fill_importance(x + s * 32, 32, w + s * 32);
    scales[s] = fit_levels(x + s * 32, w + s * 32);
    if (std::fabs(scales[s]) > std::fabs(largest)) largest = scales[s];
  }
  const float d = stored_half(largest / -32.0f, b->d);
  unsigned high = 0;
  for (int s = 0; s < 8; ++s) {
    const int near = round_to(scales[s] * inverse(d), -32, 31);
    int scale = near, q[32];
    float best_error = -1.0f;
    for (int trial = std::max(near - 1, -32); trial <= std::min(near + 1, 31); ++trial) {
      const float error =
          level_codes(x + s * 32, w + s * 32, d * static_cast<float>(trial), kIq4Values, q);
      if (best_error >= 0.0f && error >= best_error) continue;
      best_error = error;
      scale = trial;
    }
    level_codes(x + s * 32, w + s * 32, d * static_cast<float>(scale), kIq4Values, q);
    const auto stored = static_cast<unsigned>(scale + 32);
    b->scales_l[s / 2] = static_cast<uint8_t>(b->scales_l[s / 2] | (stored & 15) << (s % 2 * 4));
    high |= (stored >> 4) << (s * 2);
    for (int i = 0; i < 16; ++i) {
      b->qs[s * 16 + i] = static_cast<uint8_t>(q[i] | q[i + 16] << 4);
    }
  }
  b->scales_h[0] = static_cast<uint8_t>(high & 255);
  b->scales_h[1] = static_cast<uint8_t>(high >> 8);
}

void encode(const float* x, BlockMXFP4* b) {
  float w[32];
  fill_importance(x, 32, w);
  float max = 0.0f;
  for (int i = 0; i < 32; ++i) max = std::max(max, std::fabs(x[i]));
  int exponent = 0;
  std::frexp(max, &exponent);  // max < 2^exponent, and 6 is the largest value
  int q[32];
  float best_error = -1.0f;
  b->e = 0;
  for (int e = exponent + 123; max > 0.0f && e <= exponent + 125; ++e) {
    const auto stored = static_cast<uint8_t>(std::clamp(e, 0, 254));
    const float error = level_codes(x, w, half_of_e8m0(stored), kFp4Values, q);
    if (best_error < 0.0f || error < best_error) {
      best_error = error;
      b->e = stored;
    }
  }
  level_codes(x, w, half_of_e8m0(b->e), kFp4Values, q);
  store_codes(q, b);
}

void encode(const float* x, BlockQ4_0* b) { encode_small(x, b); }
void encode(const float* x, BlockQ4_1* b) { encode_small(x, b); }
void encode(const float* x, BlockQ5_0* b) { encode_small(x, b); }
void encode(const float* x, BlockQ5_1* b) { encode_small(x, b); }
void encode(const float* x, BlockQ4K* b) { encode_k(x, b); }
void encode(const float* x, BlockQ5K* b) { encode_k(x, b); }

template <typename Block>
void encode_blocks(const float* values, int64_t count, int64_t block_elements, void* out) {
  Block* blocks = static_cast<Block*>(out);
  for (int64_t i = 0; i < count / block_elements; ++i) {
    encode(values + i * block_elements, blocks + i);
  }
}

}  // namespace

bool is_encodable(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ8_0:
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
    case DType::kMXFP4: return true;
    default: return false;
  }
}

float fit_symmetric(const float* x, int64_t count, int low, int high, int8_t* codes) {
  ONNURI_CHECK(count >= 1);
  float largest = 0.0f, squares = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
    squares += x[i] * x[i];
  }
  const float mean = std::sqrt(squares / static_cast<float>(count));
  float best = 0.0f, best_gain = 0.0f;
  for (int step = -9; step <= 9 && largest != 0.0f; ++step) {
    for (const int end : {low, high}) {
      const float grid = static_cast<float>(end) *
                         (1.0f + 0.1f * static_cast<float>(step) / static_cast<float>(-low)) /
                         largest;
      float sxq = 0, sqq = 0;
      for (int64_t i = 0; i < count; ++i) {
        const float q = static_cast<float>(round_to(x[i] * grid, low, high));
        const float weight = mean + std::fabs(x[i]);
        sxq += weight * x[i] * q;
        sqq += weight * q * q;
      }
      // The error of the best scale sxq / sqq is a constant less this gain.
      const float gain = sqq > 0.0f ? sxq * sxq / sqq : 0.0f;
      if (gain > best_gain) {
        best_gain = gain;
        best = sxq / sqq;
      }
    }
  }
  for (int64_t i = 0; codes != nullptr && i < count; ++i) {
    codes[i] = static_cast<int8_t>(round_to(x[i] * inverse(best), low, high));
  }
  return best;
}

AffineFit fit_affine_codes(const float* x, int64_t count, int top) {
  ONNURI_CHECK(count >= 1 && top >= 1);
  const auto n = static_cast<size_t>(count);
  std::vector<float> w(n);
  fill_importance(x, count, w.data());
  const float low = std::min(*std::min_element(x, x + count), 0.0f);
  const float high = std::max(*std::max_element(x, x + count), 0.0f);
  AffineFit best;
  if (!(high > low)) return best;
  float best_gain = -1.0f;
  for (int step = 0; step <= 20; ++step) {
    const float levels = static_cast<float>(top) + 0.15f * static_cast<float>(step) - 1.0f;
    const float grid = levels / (high - low);
    const int near = round_to(-low * grid, 0, top);
    for (int zero = std::max(near - 1, 0); zero <= std::min(near + 1, top); ++zero) {
      float sxq = 0, sqq = 0;
      for (size_t i = 0; i < n; ++i) {
        const float code = static_cast<float>(round_to(x[i] * grid, -zero, top - zero));
        sxq += w[i] * x[i] * code;
        sqq += w[i] * code * code;
      }
      // The error of the best scale sxq / sqq is a constant less this gain.
      const float gain = sqq > 0.0f && sxq > 0.0f ? sxq * sxq / sqq : 0.0f;
      if (gain > best_gain) {
        best_gain = gain;
        best = {sqq > 0.0f ? sxq / sqq : 0.0f, zero};
      }
    }
  }
  return best;
}

void quantize_row(DType dtype, const float* values, int64_t count, void* out) {
  ONNURI_CHECK(count % dtype_info(dtype).block_elements == 0);
  switch (dtype) {
    case DType::kF32: std::memcpy(out, values, static_cast<size_t>(count) * 4); return;
    case DType::kF16:
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) {
        static_cast<uint16_t*>(out)[i] =
            dtype == DType::kF16 ? ref::f32_to_f16(values[i]) : bfloat16_from_float(values[i]);
      }
      return;
    case DType::kQ4_0: return encode_blocks<BlockQ4_0>(values, count, 32, out);
    case DType::kQ4_1: return encode_blocks<BlockQ4_1>(values, count, 32, out);
    case DType::kQ5_0: return encode_blocks<BlockQ5_0>(values, count, 32, out);
    case DType::kQ5_1: return encode_blocks<BlockQ5_1>(values, count, 32, out);
    case DType::kQ8_0: return encode_blocks<BlockQ8_0>(values, count, 32, out);
    case DType::kQ2_K: return encode_blocks<BlockQ2K>(values, count, 256, out);
    case DType::kQ3_K: return encode_blocks<BlockQ3K>(values, count, 256, out);
    case DType::kIQ4_XS: return encode_blocks<BlockIQ4XS>(values, count, 256, out);
    case DType::kQ4_K: return encode_blocks<BlockQ4K>(values, count, 256, out);
    case DType::kQ5_K: return encode_blocks<BlockQ5K>(values, count, 256, out);
    case DType::kQ6_K: return encode_blocks<BlockQ6K>(values, count, 256, out);
    case DType::kIQ4_NL: return encode_blocks<BlockIQ4NL>(values, count, 32, out);
    case DType::kMXFP4: return encode_blocks<BlockMXFP4>(values, count, 32, out);
    default:
      fail(ErrorCode::kUnsupported, "expected a type that can be encoded, found ",
           dtype_name(dtype));
  }
}

}  // namespace onnuri
