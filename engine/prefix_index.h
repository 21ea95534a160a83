// Which kept texts begin like a prompt: a chain of hashes over blocks of tokens.
//
//   boundaries   1 2 4 8 16 32 64 128 192 256 ...   tokens; then every 64
//   chain        one hash for each boundary that a text reaches, of all that lies before it
//
// Texts that share n tokens share the hashes of all boundaries up to n. Whoever finds a text by its
// hashes still compares the tokens: equal hashes are a hint.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

namespace onnuri {

using PrefixChain = std::vector<uint64_t>;

/// Not thread-safe.
class PrefixIndex {
 public:
  /// Tokens before boundary `i`.
  static int64_t boundary(size_t i) {
    constexpr size_t kDoublings = 6;  // to 64
    return i <= kDoublings ? int64_t{1} << i : 64 * static_cast<int64_t>(i - kDoublings + 1);
  }

  void add(uint64_t text, const PrefixChain& chain);
  /// `forget` is false when the text lives on in another one.
  void remove(uint64_t text, const PrefixChain& chain, bool forget);

  /// Calls visit(text, limit) for the texts that share a boundary with `chain`, each once, those
  /// that share most first: such a text shares fewer than `limit` tokens, unless it shares the
  /// whole chain. Ends when visit returns false.
  void visit(const PrefixChain& chain,
             const std::function<bool(uint64_t text, int64_t limit)>& visit) const;
  /// The texts that may be beginnings of the one with this chain, or begin with it.
  std::vector<uint64_t> relatives(const PrefixChain& chain) const;
  /// The last boundary of `chain`, in tokens, up to which a text was kept that is forgotten; 0:
  /// none. Known of the newest ones only.
  int64_t forgotten(const PrefixChain& chain) const;

  size_t num_hashes() const { return sharing_.size(); }

 private:
  std::unordered_map<uint64_t, std::vector<uint64_t>> sharing_;  // hash: texts that reach it
  std::unordered_map<uint64_t, std::vector<uint64_t>> ending_;   // hash: texts that end behind it
  std::unordered_map<uint64_t, int64_t> gone_;                   // hash: times in gone_order_
  std::deque<uint64_t> gone_order_;
};

}  // namespace onnuri
