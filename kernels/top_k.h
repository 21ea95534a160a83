// The best k of a list of scores, with equal scores at the edge told apart as torch.topk on the
// host does: std::partial_sort when few are wanted, else std::nth_element over the whole list.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace onnuri {

struct ScoredIndex {
  float score;
  int32_t index;
};

/// Moves the `count` best of `queue` to its front, in no order. NaN comes after every number.
inline void move_best_to_front(std::span<ScoredIndex> queue, int64_t count) {
  if (count <= 0 || count >= static_cast<int64_t>(queue.size())) return;
  const auto better = [](const ScoredIndex& a, const ScoredIndex& b) {
    return std::isnan(b.score) ? !std::isnan(a.score) : a.score > b.score;
  };
  const auto edge = queue.begin() + count;
  if (count * 64 <= static_cast<int64_t>(queue.size())) {
    std::partial_sort(queue.begin(), edge, queue.end(), better);
  } else {
    std::nth_element(queue.begin(), edge - 1, queue.end(), better);
  }
}

}  // namespace onnuri
