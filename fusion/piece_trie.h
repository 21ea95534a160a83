// The tokens of a Unigram vocabulary as a byte trie, to find all that a text begins with in one
// walk. Nodes stand in breadth-first order, so the children of a node are neighbours.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace onnuri {

class PieceTrie {
 public:
  /// The longest token that may stand here, and the most bytes of all together.
  static constexpr size_t kMaxPiece = 1024;
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  /// Texts (no empty ones; each once) with their ids. Throws kCorruptData beyond the bounds.
  explicit PieceTrie(std::vector<std::pair<std::string_view, int32_t>> pieces);

  /// Calls `found(end, id)` for each token that begins at `pos`, shortest first.
  template <typename Found>
  void walk(std::string_view text, size_t pos, const Found& found) const {
    uint32_t node = 0;
    while (pos < text.size()) {
      const Node& at = nodes_[node];
      const uint8_t* labels = labels_.data() + at.first;
      const void* hit = std::memchr(labels, static_cast<uint8_t>(text[pos]), at.count);
      if (hit == nullptr) return;
      node = at.first + static_cast<uint32_t>(static_cast<const uint8_t*>(hit) - labels);
      ++pos;
      if (nodes_[node].id >= 0) found(pos, nodes_[node].id);
    }
  }

 private:
  struct Node {
    uint32_t first = 0;  // child
    uint16_t count = 0;
    int32_t id = -1;
  };
  std::vector<Node> nodes_;
  std::vector<uint8_t> labels_;  // by node: the byte that leads to it
};

}  // namespace onnuri
