// A look at a SentencePiece model before the library sees it: the library follows the compiled
// character map of a model without asking whether its links stay inside.
#pragma once

#include <string_view>

namespace onnuri {

/// Throws kCorruptData where the message is malformed, or a precompiled_charsmap in it has a trie
/// with links out of its array or replacement texts without an end.
void check_sentencepiece_model(std::string_view model, std::string_view where);

}  // namespace onnuri
