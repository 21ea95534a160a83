// Records of the block-quantised formats as GGUF files store them.
//
// A row is a sequence of records; each holds 32 or 256 consecutive weights. `d`, `m`, `dmin` are
// IEEE halves kept as bits. Members are bytes so that any file offset is aligned enough.
// Source: the layouts of ggml's block types and the reference decoder of the gguf Python package.
#pragma once

#include <cstdint>

namespace onnuri {

/// w = d * (q - 8); byte i holds weights i (low nibble) and i + 16.
struct BlockQ4_0 {
  uint8_t d[2];
  uint8_t qs[16];
};

/// w = d * q + m.
struct BlockQ4_1 {
  uint8_t d[2];
  uint8_t m[2];
  uint8_t qs[16];
};

/// w = d * (q - 16); bit i of qh is the fifth bit of weight i.
struct BlockQ5_0 {
  uint8_t d[2];
  uint8_t qh[4];
  uint8_t qs[16];
};

/// w = d * q + m.
struct BlockQ5_1 {
  uint8_t d[2];
  uint8_t m[2];
  uint8_t qh[4];
  uint8_t qs[16];
};

/// w = d * q.
struct BlockQ8_0 {
  uint8_t d[2];
  int8_t qs[32];
};

/// w = (d * scale) * q - (dmin * min) per 32 weights; 6-bit scales and mins, packed in 12 bytes.
/// 32 bytes of qs hold two neighbouring sub-blocks: low nibbles, then high nibbles.
struct BlockQ4K {
  uint8_t d[2];
  uint8_t dmin[2];
  uint8_t scales[12];
  uint8_t qs[128];
};

/// As BlockQ4K; bit b of qh[i] is the fifth bit of weight i of sub-block b.
struct BlockQ5K {
  uint8_t d[2];
  uint8_t dmin[2];
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

/// w = (d * scale) * (q - 32) per 16 weights; 8-bit signed scales. Each half of 128 weights uses
/// 64 bytes of ql (four low bits) and 32 bytes of qh (two high bits of four weights).
struct BlockQ6K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint8_t d[2];
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4K) == 144);
static_assert(sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210);

static inline uint16_t load_half_bits(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
}

/// Scale and minimum of sub-block b (0..7) from the 12 packed bytes of the K formats.
static inline void unpack_scale_min(const uint8_t* packed, int b, uint8_t* scale, uint8_t* min) {
  if (b < 4) {
    *scale = packed[b] & 63;
    *min = packed[b + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((packed[b + 4] & 15) | (packed[b - 4] >> 6) << 4);
    *min = static_cast<uint8_t>((packed[b + 4] >> 4) | (packed[b] >> 6) << 4);
  }
}

}  // namespace onnuri
