#include "fusion/token_trie.h"

#include <algorithm>

namespace onnuri {

TokenTrie::TokenTrie(std::span<const std::string> bytes) : bytes_(bytes.begin(), bytes.end()) {
  std::vector<int32_t> order;
  for (size_t id = 0; id < bytes_.size(); ++id) {
    if (bytes_[id].size() > kMaxBytes) bytes_[id].clear();
    if (!bytes_[id].empty()) order.push_back(static_cast<int32_t>(id));
  }
  const auto text = [&](int32_t id) -> const std::string& {
    return bytes_[static_cast<size_t>(id)];
  };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const int c = text(a).compare(text(b));
    return c != 0 ? c < 0 : a < b;
  });
  std::vector<size_t> open;  // the nodes of the current path
  const auto close = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back())
      nodes_[open.back()].skip = static_cast<int32_t>(nodes_.size());
  };
  const std::string none;
  const std::string* before = &none;
  for (const int32_t id : order) {
    const std::string& now = text(id);
    size_t same = 0;
    while (same < before->size() && same < now.size() && (*before)[same] == now[same]) ++same;
    close(same);
    for (size_t i = same; i < now.size(); ++i) {
      open.push_back(nodes_.size());
      nodes_.push_back({0, static_cast<int32_t>(tokens_.size()), static_cast<uint16_t>(i + 1),
                        static_cast<uint8_t>(now[i])});
    }
    tokens_.push_back(id);
    nodes_.back().tokens_end = static_cast<int32_t>(tokens_.size());
    before = &now;
  }
  close(0);
}

}  // namespace onnuri
