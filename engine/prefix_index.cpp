#include "engine/prefix_index.h"

#include <algorithm>
#include <limits>
#include <new>
#include <unordered_set>

namespace onnuri {
namespace {

constexpr size_t kMostForgotten = 1 << 14;

void drop(std::unordered_map<uint64_t, std::vector<uint64_t>>& map, uint64_t hash, uint64_t text) {
  const auto at = map.find(hash);
  if (at == map.end()) return;
  std::erase(at->second, text);
  if (at->second.empty()) map.erase(at);
}

}  // namespace

void PrefixIndex::add(uint64_t text, const PrefixChain& chain) {
  for (const uint64_t hash : chain) sharing_[hash].push_back(text);
  if (!chain.empty()) ending_[chain.back()].push_back(text);
}

void PrefixIndex::remove(uint64_t text, const PrefixChain& chain, bool forget) {
  for (const uint64_t hash : chain) drop(sharing_, hash, text);
  if (!chain.empty()) drop(ending_, chain.back(), text);
  if (!forget) return;
  try {
    for (const uint64_t hash : chain) {
      gone_order_.push_back(hash);
      ++gone_[hash];
    }
  } catch (const std::bad_alloc&) {  // it is forgotten that it is forgotten
  }
  while (gone_order_.size() > kMostForgotten) {
    const auto oldest = gone_.find(gone_order_.front());
    if (oldest != gone_.end() && --oldest->second <= 0) gone_.erase(oldest);
    gone_order_.pop_front();
  }
}

void PrefixIndex::visit(const PrefixChain& chain,
                        const std::function<bool(uint64_t text, int64_t limit)>& visit) const {
  std::unordered_set<uint64_t> seen;
  for (size_t i = chain.size(); i-- > 0;) {
    const auto at = sharing_.find(chain[i]);
    if (at == sharing_.end()) continue;
    const int64_t limit =
        i + 1 == chain.size() ? std::numeric_limits<int64_t>::max() : boundary(i + 1);
    for (const uint64_t text : at->second)
      if (seen.insert(text).second && !visit(text, limit)) return;
  }
}

std::vector<uint64_t> PrefixIndex::relatives(const PrefixChain& chain) const {
  std::vector<uint64_t> out;
  if (chain.empty()) return out;
  if (const auto longer = sharing_.find(chain.back()); longer != sharing_.end())
    out = longer->second;
  for (const uint64_t hash : chain)
    if (const auto shorter = ending_.find(hash); shorter != ending_.end())
      out.insert(out.end(), shorter->second.begin(), shorter->second.end());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

int64_t PrefixIndex::forgotten(const PrefixChain& chain) const {
  for (size_t i = chain.size(); i-- > 0;)
    if (gone_.contains(chain[i])) return boundary(i);
  return 0;
}

}  // namespace onnuri
