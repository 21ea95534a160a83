// Base64 (RFC 4648), as data URLs carry it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace onnuri {

/// White space is skipped, padding may be absent. Throws kInvalidArgument at the first other
/// character, with its place.
std::vector<uint8_t> decode_base64(std::string_view text);

}  // namespace onnuri
