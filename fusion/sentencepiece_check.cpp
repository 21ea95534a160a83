// See sentencepiece_check.h. Protocol buffer wire format: a tag (field << 3 | type), then a varint
// (type 0), eight bytes (1), a length and as many bytes (2), or four bytes (5).
#include "fusion/sentencepiece_check.h"

#include <cstdint>
#include <vector>

#include "core/check.h"

namespace onnuri {

namespace {

constexpr uint64_t kPiece = 1;
constexpr uint64_t kTrainerSpec = 2;
constexpr uint64_t kNormalizerSpec = 3;
constexpr uint64_t kDenormalizerSpec = 5;
constexpr uint64_t kPrecompiledCharsmap = 2;
constexpr uint64_t kModelType = 3;
constexpr uint64_t kPieceType = 3;
constexpr uint64_t kUserDefined = 4;

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // of varint fields
  std::string_view bytes;  // of length-delimited fields
};

class Message {
 public:
  Message(std::string_view bytes, std::string_view where) : rest_(bytes), where_(where) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0: field.value = varint(); return true;
      case 1: take(8); return true;
      case 2: field.bytes = take(varint()); return true;
      case 5: take(4); return true;
      default: refuse();
    }
  }

 private:
  [[noreturn]] void refuse() const {
    fail(ErrorCode::kCorruptData, "expected a SentencePiece model, found a malformed message at ",
         where_);
  }
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) refuse();
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    refuse();
  }

  std::string_view rest_;
  std::string_view where_;
};

class Trie {
 public:
  explicit Trie(std::string_view bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size() / 4; }
  uint32_t unit(size_t i) const {
    uint32_t v = 0;
    for (size_t b = 4; b-- > 0;) v = v << 8 | static_cast<uint8_t>(bytes_[i * 4 + b]);
    return v;
  }
  static size_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }

 private:
  std::string_view bytes_;
};

// Visits every unit that a text can reach. Children of a unit lie at base ^ byte, all 256 of them
// in one aligned block; a value lies at the base itself.
void check_charsmap(std::string_view blob, std::string_view where) {
  if (blob.empty()) return;
  const auto refuse = [&] {
    fail(ErrorCode::kCorruptData, "expected a sound precompiled_charsmap, found a broken one at ",
         where);
  };
  if (blob.size() < 4) refuse();
  const size_t bytes = Trie(blob.substr(0, 4)).unit(0);
  if (bytes % 4 != 0 || bytes == 0 || bytes > blob.size() - 4) refuse();
  const Trie trie(blob.substr(4, bytes));
  const std::string_view texts = blob.substr(4 + bytes);
  if (texts.empty() || texts.back() != '\0') refuse();
  std::vector<bool> seen(trie.size());
  std::vector<size_t> bases = {Trie::offset(trie.unit(0))};
  while (!bases.empty()) {
    const size_t base = bases.back();
    bases.pop_back();
    if ((base | 0xFF) >= trie.size()) refuse();
    for (size_t byte = 1; byte < 256; ++byte) {
      const size_t at = base ^ byte;
      const uint32_t unit = trie.unit(at);
      if ((unit & 0x800000FFU) != byte || seen[at]) continue;
      seen[at] = true;
      const size_t below = at ^ Trie::offset(unit);
      bases.push_back(below);
      const bool has_value = (unit >> 8 & 1U) != 0;
      if (!has_value) continue;
      if (below >= trie.size() || (trie.unit(below) & 0x7FFFFFFFU) >= texts.size()) refuse();
    }
  }
}

}  // namespace

SentencePieceFacts check_sentencepiece_model(std::string_view model, std::string_view where) {
  SentencePieceFacts facts;
  Message message(model, where);
  for (Field field; message.next(field);) {
    Message members(field.bytes, where);
    Field member;
    if (field.number == kPiece) {
      facts.user_defined.push_back(false);
      while (members.next(member)) {
        if (member.number == kPieceType) facts.user_defined.back() = member.value == kUserDefined;
      }
    } else if (field.number == kTrainerSpec) {
      while (members.next(member)) {
        if (member.number == kModelType) facts.kind = static_cast<SentencePieceKind>(member.value);
      }
    } else if (field.number == kNormalizerSpec || field.number == kDenormalizerSpec) {
      while (members.next(member)) {
        if (member.number == kPrecompiledCharsmap) check_charsmap(member.bytes, where);
      }
    }
  }
  return facts;
}

}  // namespace onnuri
