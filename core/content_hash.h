// SHA-256 of content that names what was computed from it: equal hashes are taken for equal
// content, so the hash has to withstand people who choose the content.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace onnuri {

using ContentKey = std::array<uint8_t, 32>;

class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  ContentHash(ContentHash&&) noexcept;
  ContentHash& operator=(ContentHash&&) noexcept;

  /// Lengths are hashed with the bytes: ("ab", "c") is not ("a", "bc").
  ContentHash& add(std::string_view text) { return add_block(text.data(), text.size()); }
  ContentHash& add(std::span<const uint8_t> bytes) { return add_block(bytes.data(), bytes.size()); }
  ContentHash& add(std::span<const float> values) {
    return add_block(values.data(), values.size_bytes());
  }
  ContentHash& add(int64_t value) { return add_block(&value, sizeof value); }
  /// The hash of everything so far; nothing may be added afterwards.
  ContentKey finish();

 private:
  ContentHash& add_block(const void* data, size_t size);
  struct State;
  std::unique_ptr<State> state_;
};

/// For hash tables: the first bytes of a key are as good as any.
struct ContentKeyHasher {
  size_t operator()(const ContentKey& key) const {
    size_t head = 0;
    std::memcpy(&head, key.data(), sizeof head);
    return head;
  }
};

}  // namespace onnuri
