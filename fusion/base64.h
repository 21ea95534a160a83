// Base64 (RFC 4648), as vocabulary files carry bytes.
#pragma once

#include <string>
#include <string_view>

namespace onnuri {

/// The bytes of standard base64 with or without padding. Throws kCorruptData naming `where`.
std::string decode_base64(std::string_view text, std::string_view where);

}  // namespace onnuri
