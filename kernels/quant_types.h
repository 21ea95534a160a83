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

/// w = (d * scale) * q - (dmin * min) per 16 weights; a byte of scales holds a 4-bit scale (low)
/// and minimum. Each half of 128 weights uses 32 bytes of qs: two bits of four weights 32 apart.
struct BlockQ2K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint8_t d[2];
  uint8_t dmin[2];
};

/// w = (d * (scale - 32)) * q per 16 weights, q in [-4, 3]: two bits as in BlockQ2K, and bit b of
/// hmask[i] is set where weight i of sub-block b (32 wide) is not lowered by 4.
struct BlockQ3K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];  // 6 bits each: see unpack_q3_scale
  uint8_t d[2];
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

/// w = d * kIq4Values[q]; nibbles as BlockQ4_0.
struct BlockIQ4NL {
  uint8_t d[2];
  uint8_t qs[16];
};

/// w = (d * (scale - 32)) * kIq4Values[q] per 32 weights. Scales have 6 bits: four in scales_l, two
/// in scales_h.
struct BlockIQ4XS {
  uint8_t d[2];
  uint8_t scales_h[2];
  uint8_t scales_l[4];
  uint8_t qs[128];  // 16 bytes per sub-block, nibbles as BlockQ4_0
};

/// w = 2^(e - 128) * kFp4Values[q]; nibbles as BlockQ4_0 (OCP microscaling formats 1.0).
struct BlockMXFP4 {
  uint8_t e;
  uint8_t qs[16];
};

/// w = d / 2 * kFp4Values[q] per 16 weights; d is an 8-bit float without sign (exponent bias 7).
struct BlockNVFP4 {
  uint8_t d[4];
  uint8_t qs[32];  // 8 bytes per 16 weights, nibbles i and i + 8
};

/// The non-linear 4-bit levels of ggml.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
/// Twice the values of the 4-bit float E2M1. The negative zero is read as zero.
inline constexpr int8_t kFp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4K) == 144);
static_assert(sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210);
static_assert(sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockIQ4NL) == 18);
static_assert(sizeof(BlockIQ4XS) == 136 && sizeof(BlockMXFP4) == 17 && sizeof(BlockNVFP4) == 36);

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

/// Scale (0..63, 32 stands for zero) of the 16 weights b (0..15) of a BlockQ3K.
static inline int unpack_q3_scale(const uint8_t* packed, int b) {
  const int low = packed[b % 8] >> (b / 8 * 4) & 15;
  return low | (packed[8 + b % 4] >> (b / 4 * 2) & 3) << 4;
}

/// Scale (0..63, 32 stands for zero) of sub-block b (0..7) of a BlockIQ4XS.
static inline int unpack_iq4_scale(const BlockIQ4XS& block, int b) {
  const int low = block.scales_l[b / 2] >> (b % 2 * 4) & 15;
  return low | (load_half_bits(block.scales_h) >> (b * 2) & 3) << 4;
}

/// Two bits of weight i (0..31) of sub-block b (0..7) of BlockQ2K and BlockQ3K.
static inline int unpack_two_bits(const uint8_t* qs, int b, int i) {
  return qs[b / 4 * 32 + i] >> (b % 4 * 2) & 3;
}

}  // namespace onnuri
