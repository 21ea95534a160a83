// SentencePiece's compiled normalization rules, as tokenizer.json carries them ("Precompiled").
//
// The blob is the size of a double-array trie in bytes, the trie (darts-clone), and replacement
// texts that end in zero bytes; a trie entry's value is the offset of its replacement. As in the
// `tokenizers` library, a grapheme of less than six bytes is looked up as a whole first, then
// character by character, and the shortest entry that the text begins with counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace onnuri {

class Charsmap {
 public:
  /// Throws kCorruptData.
  Charsmap(std::string_view base64, std::string_view where);
  /// Valid UTF-8 in, valid UTF-8 out.
  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace onnuri
