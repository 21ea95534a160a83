// See base64.h.
#include "fusion/base64.h"

#include <cstdint>

#include "core/check.h"

namespace onnuri {

namespace {

int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

}  // namespace

std::string decode_base64(std::string_view text, std::string_view where) {
  std::string_view body = text;
  for (int i = 0; i < 2 && body.ends_with('='); ++i) body.remove_suffix(1);
  std::string out;
  out.reserve(body.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int held = 0;
  for (const char c : body) {
    const int value = value_of(c);
    if (value < 0) fail(ErrorCode::kCorruptData, "expected base64, found another sign at ", where);
    bits = (bits << 6 | static_cast<uint32_t>(value)) & 0xFFFFFF;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>(bits >> held & 0xFF);
  }
  if (held == 6)
    fail(ErrorCode::kCorruptData, "expected whole base64 groups, found one sign over at ", where);
  return out;
}

}  // namespace onnuri
