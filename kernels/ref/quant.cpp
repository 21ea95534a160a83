#include "kernels/ref/quant.h"

#include <cstring>

#include "core/check.h"
#include "kernels/float_bits.h"
#include "kernels/quant_types.h"

namespace onnuri::ref {
namespace {

float half_at(const uint8_t* bytes) { return float_from_half(load_half_bits(bytes)); }

uint16_t load_u16(const void* source, int64_t i) {
  uint16_t value;
  std::memcpy(&value, static_cast<const char*>(source) + i * 2, sizeof(value));
  return value;
}

int fifth_bit(const uint8_t* qh, int i) { return (qh[i / 8] >> (i % 8) & 1) << 4; }

void decode(const BlockQ4_0& b, float* out) {
  const float d = half_at(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void decode(const BlockQ4_1& b, float* out) {
  const float d = half_at(b.d);
  const float m = half_at(b.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(b.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(b.qs[i] >> 4) + m;
  }
}

void decode(const BlockQ5_0& b, float* out) {
  const float d = half_at(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(((b.qs[i] & 15) | fifth_bit(b.qh, i)) - 16);
    out[i + 16] = d * static_cast<float>(((b.qs[i] >> 4) | fifth_bit(b.qh, i + 16)) - 16);
  }
}

void decode(const BlockQ5_1& b, float* out) {
  const float d = half_at(b.d);
  const float m = half_at(b.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b.qs[i] & 15) | fifth_bit(b.qh, i)) + m;
    out[i + 16] = d * static_cast<float>((b.qs[i] >> 4) | fifth_bit(b.qh, i + 16)) + m;
  }
}

void decode(const BlockQ8_0& b, float* out) {
  const float d = half_at(b.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(b.qs[i]);
}

void decode(const BlockQ2K& b, float* out) {
  const float d = half_at(b.d);
  const float dmin = half_at(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const float ds = d * static_cast<float>(b.scales[i / 16] & 15);
    const float dm = dmin * static_cast<float>(b.scales[i / 16] >> 4);
    out[i] = ds * static_cast<float>(unpack_two_bits(b.qs, i / 32, i % 32)) - dm;
  }
}

void decode(const BlockQ3K& b, float* out) {
  const float d = half_at(b.d);
  for (int i = 0; i < 256; ++i) {
    const float ds = d * static_cast<float>(unpack_q3_scale(b.scales, i / 16) - 32);
    const int low = unpack_two_bits(b.qs, i / 32, i % 32);
    const int high = b.hmask[i % 32] >> (i / 32) & 1;
    out[i] = ds * static_cast<float>(low + high * 4 - 4);
  }
}

void decode(const BlockQ4K& b, float* out) {
  const float d = half_at(b.d);
  const float dmin = half_at(b.dmin);
  for (int sub = 0; sub < 8; ++sub) {
    uint8_t scale = 0, min = 0;
    unpack_scale_min(b.scales, sub, &scale, &min);
    const float ds = d * static_cast<float>(scale);
    const float dm = dmin * static_cast<float>(min);
    const uint8_t* qs = b.qs + sub / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int q = sub % 2 == 0 ? qs[i] & 15 : qs[i] >> 4;
      out[sub * 32 + i] = ds * static_cast<float>(q) - dm;
    }
  }
}

void decode(const BlockQ5K& b, float* out) {
  const float d = half_at(b.d);
  const float dmin = half_at(b.dmin);
  for (int sub = 0; sub < 8; ++sub) {
    uint8_t scale = 0, min = 0;
    unpack_scale_min(b.scales, sub, &scale, &min);
    const float ds = d * static_cast<float>(scale);
    const float dm = dmin * static_cast<float>(min);
    const uint8_t* qs = b.qs + sub / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int low = sub % 2 == 0 ? qs[i] & 15 : qs[i] >> 4;
      const int q = low | (b.qh[i] >> sub & 1) << 4;
      out[sub * 32 + i] = ds * static_cast<float>(q) - dm;
    }
  }
}

void decode(const BlockQ6K& b, float* out) {
  const float d = half_at(b.d);
  for (int sub = 0; sub < 8; ++sub) {  // 32 weights each
    const uint8_t* ql = b.ql + sub / 4 * 64 + sub % 2 * 32;
    const uint8_t* qh = b.qh + sub / 4 * 32;
    for (int i = 0; i < 32; ++i) {
      const int low = sub % 4 < 2 ? ql[i] & 15 : ql[i] >> 4;
      const int q = (low | (qh[i] >> (sub % 4 * 2) & 3) << 4) - 32;
      const float ds = d * static_cast<float>(b.scales[sub * 2 + i / 16]);
      out[sub * 32 + i] = ds * static_cast<float>(q);
    }
  }
}

// Nibbles of `count` bytes as levels of a table: low ones first, then high ones.
void decode_levels(const uint8_t* qs, int count, const int8_t* levels, float d, float* out) {
  for (int i = 0; i < count; ++i) {
    out[i] = d * static_cast<float>(levels[qs[i] & 15]);
    out[i + count] = d * static_cast<float>(levels[qs[i] >> 4]);
  }
}

void decode(const BlockIQ4NL& b, float* out) {
  decode_levels(b.qs, 16, kIq4Values, half_at(b.d), out);
}

void decode(const BlockIQ4XS& b, float* out) {
  const float d = half_at(b.d);
  for (int sub = 0; sub < 8; ++sub) {
    const float ds = d * static_cast<float>(unpack_iq4_scale(b, sub) - 32);
    decode_levels(b.qs + sub * 16, 16, kIq4Values, ds, out + sub * 32);
  }
}

void decode(const BlockMXFP4& b, float* out) {
  decode_levels(b.qs, 16, kFp4Values, half_of_e8m0(b.e), out);
}

void decode(const BlockNVFP4& b, float* out) {
  for (int sub = 0; sub < 4; ++sub) {
    decode_levels(b.qs + sub * 8, 8, kFp4Values, half_of_ue4m3(b.d[sub]), out + sub * 16);
  }
}

template <typename Block>
void decode_blocks(const void* source, int64_t count, int64_t block_elements, float* out) {
  const Block* blocks = static_cast<const Block*>(source);
  for (int64_t i = 0; i < count / block_elements; ++i) decode(blocks[i], out + i * block_elements);
}

}  // namespace

bool is_real_dtype(DType dtype) {
  switch (dtype) {
    case DType::kI64:
    case DType::kI32:
    case DType::kI16:
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
    case DType::kEncoded: return false;
    default: return true;
  }
}

void dequantize_row(DType dtype, const void* source, int64_t count, float* out) {
  ONNURI_CHECK(count % dtype_info(dtype).block_elements == 0);
  switch (dtype) {
    case DType::kF32:
      if (count > 0) std::memcpy(out, source, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = float_from_half(load_u16(source, i));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = float_from_bfloat16(load_u16(source, i));
      return;
    case DType::kF8E4M3:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = float_from_f8e4m3(static_cast<const uint8_t*>(source)[i]);
      }
      return;
    case DType::kF8E5M2:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = float_from_f8e5m2(static_cast<const uint8_t*>(source)[i]);
      }
      return;
    case DType::kQ4_0: return decode_blocks<BlockQ4_0>(source, count, 32, out);
    case DType::kQ4_1: return decode_blocks<BlockQ4_1>(source, count, 32, out);
    case DType::kQ5_0: return decode_blocks<BlockQ5_0>(source, count, 32, out);
    case DType::kQ5_1: return decode_blocks<BlockQ5_1>(source, count, 32, out);
    case DType::kQ8_0: return decode_blocks<BlockQ8_0>(source, count, 32, out);
    case DType::kQ2_K: return decode_blocks<BlockQ2K>(source, count, 256, out);
    case DType::kQ3_K: return decode_blocks<BlockQ3K>(source, count, 256, out);
    case DType::kQ4_K: return decode_blocks<BlockQ4K>(source, count, 256, out);
    case DType::kQ5_K: return decode_blocks<BlockQ5K>(source, count, 256, out);
    case DType::kQ6_K: return decode_blocks<BlockQ6K>(source, count, 256, out);
    case DType::kIQ4_NL: return decode_blocks<BlockIQ4NL>(source, count, 32, out);
    case DType::kIQ4_XS: return decode_blocks<BlockIQ4XS>(source, count, 256, out);
    case DType::kMXFP4: return decode_blocks<BlockMXFP4>(source, count, 32, out);
    case DType::kNVFP4: return decode_blocks<BlockNVFP4>(source, count, 64, out);
    default:
      fail(ErrorCode::kUnsupported, "expected a real element type, found ", dtype_name(dtype));
  }
}

}  // namespace onnuri::ref
