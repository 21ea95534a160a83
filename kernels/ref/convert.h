// 16-bit floats to and from float32, bit by bit, rounding to nearest with ties to even.
#pragma once

#include <cstdint>

namespace onnuri::ref {

uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);
float f16_to_f32(uint16_t bits);
float bf16_to_f32(uint16_t bits);

}  // namespace onnuri::ref
