// Exact conversions of small float formats to float32, on bits.
//
// Static, not inline: a wide instruction set's translation unit must never lend its copy to others.
#pragma once

#include <cstdint>
#include <cstring>

namespace onnuri {

static inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

static inline uint32_t bits_from_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

/// IEEE 754 binary16. Subnormals are scaled by an exact multiplication.
static inline float float_from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    return float_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  }
  if (magnitude < 0x0400u) {
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return float_from_bits(sign | bits_from_float(value));
  }
  return float_from_bits(sign | ((magnitude << 13) + 0x38000000u));
}

static inline float float_from_bfloat16(uint16_t value) {
  return float_from_bits(static_cast<uint32_t>(value) << 16);
}

/// Rounds to nearest, ties to even; not-a-number stays one.
static inline uint16_t bfloat16_from_float(float value) {
  const uint32_t bits = bits_from_float(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/// E4M3 without infinities: exponent bias 7, 0x7f is not-a-number (OCP 8-bit floating point).
static inline float float_from_f8e4m3(uint8_t byte) {
  const uint32_t sign = static_cast<uint32_t>(byte & 0x80u) << 24;
  const uint32_t magnitude = byte & 0x7fu;
  if (magnitude == 0x7fu) return float_from_bits(sign | 0x7fc00000u);
  if (magnitude < 8u) {
    return float_from_bits(sign | bits_from_float(static_cast<float>(magnitude) * 0x1p-9f));
  }
  return float_from_bits(sign | ((magnitude << 20) + (120u << 23)));
}

/// E5M2: the upper byte of a binary16.
static inline float float_from_f8e5m2(uint8_t byte) {
  return float_from_half(static_cast<uint16_t>(byte << 8));
}

/// 2^(e - 128): half the value of an E8M0 scale. The two smallest are subnormal.
static inline float half_of_e8m0(uint8_t e) {
  return float_from_bits(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

/// Half the value of an E4M3 scale whose sign bit is ignored. 0x7f, not-a-number, is read as zero.
static inline float half_of_ue4m3(uint8_t byte) {
  if (byte == 0x7f) return 0.0f;
  const uint32_t magnitude = byte & 0x7fu;
  if (magnitude < 8u) return static_cast<float>(magnitude) * 0x1p-10f;
  return float_from_bits((magnitude << 20) + (119u << 23));
}

}  // namespace onnuri
