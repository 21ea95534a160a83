// Unigram language model: of all ways to cut a word into tokens, the one with the largest sum of
// log-probabilities (Kudo 2018), found by Viterbi.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "fusion/piece_trie.h"
#include "fusion/vocabulary.h"

namespace onnuri {

struct UnigramScratch {
  struct Node {
    double score = 0;
    size_t from = 0;
    int32_t id = -1;
    bool reached = false;
  };
  std::vector<Node> nodes;
  std::vector<Node> path;
};

/// How sums of scores are rounded, which decides between paths that are equal but for rounding:
/// in double as `tokenizers` has them, or in float as sentencepiece does since 0.2.1, with sums
/// beyond 1e5 counted from there anew.
enum class ScoreSums { kDouble, kFloat };

class UnigramModel {
 public:
  /// Scores by id. The vocabulary must outlive the model; blocked ids are never produced. Throws
  /// kCorruptData for tokens of absurd length (PieceTrie).
  UnigramModel(const Vocabulary& vocabulary, std::vector<double> scores, int32_t unk_id,
               bool byte_fallback, const std::vector<bool>& blocked,
               ScoreSums sums = ScoreSums::kDouble);

  /// Without an unknown token, text that needs one is refused (as `tokenizers` does) instead of
  /// dropped.
  void refuse_unknown() { refuses_unknown_ = unk_id_ < 0; }

  void encode(std::string_view word, UnigramScratch& scratch, std::vector<int32_t>& out) const;

 private:
  double sum(double a, double b) const {
    if (sums_ == ScoreSums::kDouble) return a + b;
    return static_cast<double>(static_cast<float>(a) + static_cast<float>(b));
  }
  void emit_unknown(std::string_view text, std::vector<int32_t>& out) const;

  std::vector<double> scores_;
  int32_t unk_id_;
  double unk_score_ = 0;
  bool byte_fallback_;
  bool refuses_unknown_ = false;
  ScoreSums sums_;
  std::array<int32_t, 256> byte_ids_{};
  PieceTrie trie_;
};

}  // namespace onnuri
