// Tokens that are found in a text before any model sees it: special tokens and the words that a
// checkpoint added to its vocabulary. Leftmost, then longest.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fusion/normalizer.h"

namespace onnuri {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only between characters that are no part of a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for after normalization
  bool special = false;
  bool in_model = true;  // the model's own vocabulary has it too: plain words may become it
  std::string written;   // of normalized ones, once finished: how they are found and decoded
};

/// A set of strings searched together: a byte trie.
class TokenTrie {
 public:
  void add(std::string_view text, size_t value);
  bool empty() const { return ends_.empty(); }
  struct Match {
    size_t value = 0;
    size_t size = 0;  // 0: nothing starts here
  };
  /// The longest entry that starts at `pos`.
  Match longest(std::string_view text, size_t pos) const;
  bool may_start(char byte) const { return starts_[static_cast<uint8_t>(byte)]; }

 private:
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte
  std::unordered_map<uint32_t, size_t> ends_;
  std::array<bool, 256> starts_{};
  uint32_t nodes_ = 1;
};

class AddedTokens {
 public:
  /// A stretch of text, or a token where `id` >= 0.
  struct Segment {
    std::string_view text;
    int32_t id = -1;
  };

  void add(AddedToken token) { tokens_.push_back(std::move(token)); }
  /// `has` (id) says which tokens the model's own vocabulary holds.
  template <typename Has>
  void mark_model_tokens(const Has& has) {
    for (AddedToken& token : tokens_) token.in_model = has(token.id);
  }
  /// What the vocabulary holds already keeps its id there, whatever the file says; `find` (text)
  /// is below zero for the others.
  template <typename Find>
  void take_ids(const Find& find) {
    for (AddedToken& token : tokens_) {
      const int32_t id = find(token.content);
      if (id >= 0) token.id = id;
    }
  }
  /// Call after the last token.
  void finish(const Normalizer& normalizer);

  const std::vector<AddedToken>& all() const { return tokens_; }
  bool any_normalized() const { return !normalized_.empty(); }
  /// Cuts raw text, or text that was normalized. Without `parse_special`, special tokens are text.
  void split(std::string_view text, bool normalized, bool parse_special,
             std::vector<Segment>& out) const;

 private:
  std::vector<AddedToken> tokens_;
  TokenTrie raw_;
  TokenTrie normalized_;
};

}  // namespace onnuri
