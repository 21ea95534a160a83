// A look at a SentencePiece model before the library sees it: the library follows the compiled
// character map of a model without asking whether its links stay inside.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace onnuri {

/// trainer_spec.model_type, with the numbers of the file format; absent is kUnigram.
enum class SentencePieceKind : uint64_t { kUnigram = 1, kBpe = 2, kWord = 3, kCharacter = 4 };

struct SentencePieceFacts {
  SentencePieceKind kind = SentencePieceKind::kUnigram;
  std::vector<bool> user_defined;  // by id
};

/// What the library does not tell of a model. Throws kCorruptData where the message is malformed,
/// or a precompiled_charsmap in it has a trie with links out of its array or replacement texts
/// without an end.
SentencePieceFacts check_sentencepiece_model(std::string_view model, std::string_view where);

}  // namespace onnuri
