// Token texts and their ids, both ways: one arena of bytes and one open-addressing hash table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onnuri {

/// A quick hash of a few bytes; not for keys that an enemy can choose in bulk.
inline uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kMul = 0x9E3779B97F4A7C15ULL;
  const char* p = bytes.data();
  size_t n = bytes.size();
  uint64_t h = n * kMul;
  const auto mix = [&](uint64_t v) {
    h = (h ^ v) * kMul;
    h ^= h >> 29;
  };
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t v = 0;
    __builtin_memcpy(&v, p, 8);
    mix(v);
  }
  if (n >= 4) {
    uint32_t a = 0;
    uint32_t b = 0;
    __builtin_memcpy(&a, p, 4);
    __builtin_memcpy(&b, p + n - 4, 4);
    mix(static_cast<uint64_t>(a) << 32 | b);
  } else if (n > 0) {
    const auto at = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(p[i])); };
    mix(at(0) << 16 | at(n / 2) << 8 | at(n - 1));
  }
  return h ^ h >> 32;
}

class Vocabulary {
 public:
  /// Room for `tokens` entries; ids must stay below `max_id`.
  Vocabulary(size_t tokens, int64_t max_id);

  /// Throws kCorruptData for an id out of range or an id that already has another text. A text
  /// that is added again is found under its last id.
  void add(std::string_view token, int64_t id, std::string_view where);

  /// The id of a token, or -1.
  int32_t find(std::string_view token) const {
    const uint64_t hash = hash_bytes(token);
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot slot = slots_[i];
      if (slot.id < 0) return -1;
      if (slot.tag == static_cast<uint32_t>(hash >> 32) && text(slot.id) == token) return slot.id;
    }
  }

  bool contains(int64_t id) const {
    return id >= 0 && id < size() && texts_[static_cast<size_t>(id)].begin != kNone;
  }
  /// The written form of a token; empty when there is none.
  std::string_view text(int32_t id) const {
    const Text& t = texts_[static_cast<size_t>(id)];
    return t.begin == kNone ? std::string_view() : std::string_view(arena_).substr(t.begin, t.size);
  }
  /// One more than the largest id.
  int64_t size() const { return static_cast<int64_t>(texts_.size()); }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);
  struct Text {
    size_t begin = kNone;
    size_t size = 0;
  };
  struct Slot {
    uint32_t tag = 0;
    int32_t id = -1;
  };
  void grow();
  void insert(std::string_view token, int32_t id);

  int64_t max_id_;
  std::string arena_;
  std::vector<Text> texts_;
  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t used_ = 0;
};

/// The largest vocabulary that `tokens` entries may span: ids may have holes, but not deserts.
inline int64_t id_limit(size_t tokens) { return static_cast<int64_t>(tokens) * 4 + 65536; }

}  // namespace onnuri
