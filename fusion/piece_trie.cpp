// See piece_trie.h.
#include "fusion/piece_trie.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {

PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, int32_t>> pieces) {
  size_t bytes = 0;
  for (const auto& [text, id] : pieces) {
    if (text.size() > kMaxPiece)
      fail(ErrorCode::kCorruptData, "expected Unigram tokens of at most ", kMaxPiece,
           " bytes, found ", text.size(), " for id ", id);
    bytes += text.size();
  }
  if (bytes > kMaxBytes)
    fail(ErrorCode::kCorruptData, "expected Unigram tokens of at most ", kMaxBytes,
         " bytes together, found ", bytes);
  std::sort(pieces.begin(), pieces.end());
  // A node yet to be filled: the pieces that share its path.
  struct Range {
    size_t begin;
    size_t end;
  };
  std::vector<Range> level = {{0, pieces.size()}};
  std::vector<Range> below;
  nodes_.resize(1);
  labels_.resize(1);
  size_t first_of_level = 0;
  for (size_t depth = 0; !level.empty(); ++depth) {
    below.clear();
    const size_t next_level = nodes_.size();
    for (size_t i = 0; i < level.size(); ++i) {
      size_t at = level[i].begin;
      const size_t node = first_of_level + i;
      if (at < level[i].end && pieces[at].first.size() == depth)
        nodes_[node].id = pieces[at++].second;
      nodes_[node].first = static_cast<uint32_t>(nodes_.size());
      while (at < level[i].end) {
        const char label = pieces[at].first[depth];
        const size_t begin = at;
        while (at < level[i].end && pieces[at].first[depth] == label) ++at;
        nodes_.emplace_back();
        labels_.push_back(static_cast<uint8_t>(label));
        ++nodes_[node].count;
        below.push_back({begin, at});
      }
    }
    first_of_level = next_level;
    level.swap(below);
  }
}

}  // namespace onnuri
