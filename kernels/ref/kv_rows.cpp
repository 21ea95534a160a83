#include "kernels/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/ref/convert.h"
#include "kernels/ref/vector_ref.h"

namespace onnuri::ref {
namespace {

constexpr float kLargestByte = 127.0f;
constexpr float kLargestFloat8 = 448.0f;  // of e4m3

bool all_finite(const float* values, int64_t n) {
  return std::all_of(values, values + n, [](float x) { return std::isfinite(x); });
}

// Four exponent bits of bias 7, three of mantissa, to nearest with ties to even; |x| <= 448.
uint8_t f32_to_e4m3(float x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const float magnitude = std::fabs(x);
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude in [2^(exponent - 1), 2^exponent)
  exponent = std::max(exponent - 1, -6);
  const float unit = std::ldexp(1.0f, exponent - 3);
  // Up to 16 units: the carry into the next exponent comes by itself.
  const int units = static_cast<int>(std::nearbyint(magnitude / unit));
  return static_cast<uint8_t>(sign | (((exponent + 6) << 3) + units));
}

float e4m3_to_f32(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

// Scale and codes; a scale that is not a number where one of the values is not finite.
void encode_scaled(DType dtype, const float* values, int64_t n, uint8_t* row) {
  float largest = 0.0f;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float top = dtype == DType::kI8 ? kLargestByte : kLargestFloat8;
  const bool finite = all_finite(values, n);
  const float scale = finite ? largest / top : std::nanf("");
  std::memcpy(row, &scale, sizeof(scale));
  uint8_t* codes = row + kKvScaleBytes;
  std::memset(codes, 0, static_cast<size_t>(kv_row_bytes(dtype, n) - kKvScaleBytes));
  if (!finite || scale == 0.0f) return;
  for (int64_t i = 0; i < n; ++i) {
    const float x = std::clamp(values[i] / scale, -top, top);
    codes[i] = dtype == DType::kI8 ? static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(x)))
                                   : f32_to_e4m3(x);
  }
}

void encode_group(const float* values, int64_t n, uint8_t* group) {
  const auto [least, largest] = std::minmax_element(values, values + n);
  const bool finite = all_finite(values, n);
  const float span = finite ? *largest - *least : std::nanf("");
  const uint16_t scale_bits = f32_to_f16(span / 15.0f);
  const uint16_t least_bits = f32_to_f16(finite ? *least : 0.0f);
  std::memcpy(group, &scale_bits, 2);
  std::memcpy(group + 2, &least_bits, 2);
  std::memset(group + 4, 0, kKvGroup / 2);
  const float scale = f16_to_f32(scale_bits);
  const float floor = f16_to_f32(least_bits);
  if (!(scale > 0.0f)) return;
  for (int64_t i = 0; i < n; ++i) {
    const float code = std::clamp(std::nearbyint((values[i] - floor) / scale), 0.0f, 15.0f);
    const auto bits = static_cast<uint8_t>(code);
    group[4 + i % 16] |= static_cast<uint8_t>(i < 16 ? bits : bits << 4);
  }
}

}  // namespace

void encode_kv_row(DType dtype, const float* values, int64_t n, void* row) {
  if (!is_coded_kv(dtype)) return convert_row(dtype, values, n, row);
  auto* out = static_cast<uint8_t*>(row);
  if (dtype != DType::kQ4_1) return encode_scaled(dtype, values, n, out);
  for (int64_t i = 0; i < n; i += kKvGroup)
    encode_group(values + i, std::min(kKvGroup, n - i), out + i / kKvGroup * kKvGroupBytes);
}

void decode_kv_row(DType dtype, const void* row, int64_t n, float* values) {
  const auto* bytes = static_cast<const uint8_t*>(row);
  const auto* halves = static_cast<const uint16_t*>(row);
  float scale = 0.0f;
  if (dtype == DType::kI8 || dtype == DType::kF8E4M3) std::memcpy(&scale, bytes, sizeof(scale));
  for (int64_t i = 0; i < n; ++i) {
    switch (dtype) {
      case DType::kF16: values[i] = f16_to_f32(halves[i]); break;
      case DType::kBF16: values[i] = bf16_to_f32(halves[i]); break;
      case DType::kI8:
        values[i] = scale * static_cast<float>(static_cast<int8_t>(bytes[kKvScaleBytes + i]));
        break;
      case DType::kF8E4M3: values[i] = scale * e4m3_to_f32(bytes[kKvScaleBytes + i]); break;
      case DType::kQ4_1: {
        const uint8_t* group = bytes + i / kKvGroup * kKvGroupBytes;
        const int64_t place = i % kKvGroup;
        uint16_t bits[2];
        std::memcpy(bits, group, sizeof(bits));
        const int code = place < 16 ? group[4 + place] & 15 : group[4 + place - 16] >> 4;
        values[i] = f16_to_f32(bits[1]) + f16_to_f32(bits[0]) * static_cast<float>(code);
        break;
      }
      default: std::memcpy(values + i, bytes + 4 * i, sizeof(float)); break;
    }
  }
}

}  // namespace onnuri::ref
