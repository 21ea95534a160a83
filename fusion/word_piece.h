// WordPiece: the longest token that a word begins with, again and again (as in BERT); and
// WordLevel, where a word is a token or unknown.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fusion/vocabulary.h"

namespace onnuri {

struct WordPieceOptions {
  int32_t unk_id = -1;
  std::string prefix = "##";      // of pieces that do not begin their word
  std::string first_prefix;       // of those that do
  size_t max_characters = 100;    // longer words are unknown
  bool whole_words_only = false;  // WordLevel
};

class WordPieceModel {
 public:
  /// The vocabulary must outlive the model; blocked ids are never produced.
  WordPieceModel(const Vocabulary& vocabulary, WordPieceOptions options, std::vector<bool> blocked);

  /// `written` is a buffer to reuse.
  void encode(std::string_view word, std::string& written, std::vector<int32_t>& out) const;

 private:
  int32_t find(std::string_view token) const;

  const Vocabulary& vocabulary_;
  WordPieceOptions options_;
  std::vector<bool> blocked_;
  size_t longest_ = 0;  // bytes
};

}  // namespace onnuri
