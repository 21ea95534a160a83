// The bytes of all tokens as one prefix tree, laid out in the order of a walk.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace onnuri {

class TokenTrie {
 public:
  struct Node {
    int32_t skip = 0;        // the node after this one's subtree
    int32_t tokens_end = 0;  // tokens that end here: [previous node's tokens_end, tokens_end)
    uint16_t depth = 0;      // bytes up to and including this one, from 1
    uint8_t byte = 0;
  };

  /// bytes[id] is what token `id` spells; empty leaves it out. Tokens beyond kMaxBytes are left
  /// out.
  explicit TokenTrie(std::span<const std::string> bytes);

  std::span<const Node> nodes() const { return nodes_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  /// What a token spells; empty when it is left out.
  const std::string& bytes(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }
  int64_t vocab_size() const { return static_cast<int64_t>(bytes_.size()); }

  static constexpr size_t kMaxBytes = 512;

 private:
  std::vector<std::string> bytes_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
};

}  // namespace onnuri
