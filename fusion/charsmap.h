// SentencePiece's compiled normalization rules, as tokenizer.json carries them ("Precompiled").
//
// The blob is the size of a double-array trie in bytes, the trie (darts-clone), and replacement
// texts that end in zero bytes; a trie entry's value is the offset of its replacement. Two readings
// exist. SentencePiece replaces the longest entry that the text begins with, again and again. The
// `tokenizers` library looks a grapheme of less than six bytes up as a whole first, then character
// by character, and the shortest entry that the text begins with counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace onnuri {

class Charsmap {
 public:
  enum class Reading { kLongest, kGraphemes };

  /// From the bytes of a blob. Throws kCorruptData.
  Charsmap(const std::string& blob, Reading reading, std::string_view where);
  /// Valid UTF-8 in, valid UTF-8 out.
  std::string apply(std::string_view text) const;

 private:
  struct Match {
    std::string_view text;  // the replacement
    size_t size = 0;        // of what it replaces
  };
  std::optional<Match> find(std::string_view text, bool longest) const;
  std::string replace_longest(std::string_view text) const;

  Reading reading_;
  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace onnuri
