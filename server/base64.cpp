#include "server/base64.h"

#include <string>

#include "onnuri/error.h"

namespace onnuri {
namespace {

// 0..63, or -1. The URL alphabet is taken as well.
int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

}  // namespace

std::vector<uint8_t> decode_base64(std::string_view text) {
  std::vector<uint8_t> out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int num_bits = 0;
  size_t i = 0;
  for (; i < text.size() && text[i] != '='; ++i) {
    const char c = text[i];
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    const int value = value_of(c);
    if (value < 0)
      throw Error(ErrorCode::kInvalidArgument,
                  "expected base64, found another character at " + std::to_string(i));
    bits = (bits << 6 | static_cast<uint32_t>(value)) & 0xffffff;
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    out.push_back(static_cast<uint8_t>(bits >> num_bits));
  }
  for (; i < text.size(); ++i)
    if (text[i] != '=' && text[i] != '\n' && text[i] != '\r' && text[i] != ' ')
      throw Error(ErrorCode::kInvalidArgument,
                  "expected base64 to end at its padding, found more at " + std::to_string(i));
  if (num_bits == 6)
    throw Error(ErrorCode::kInvalidArgument, "expected whole bytes of base64, found half a one");
  return out;
}

}  // namespace onnuri
