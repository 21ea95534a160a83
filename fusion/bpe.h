// Byte-pair encoding: a word becomes symbols, and the best adjacent pair is merged until none is
// left (Sennrich et al. 2016; byte level as in GPT-2; by score as in SentencePiece).
//
// Short words rescan their few pairs; long ones use a heap of pairs over a linked list, so a word
// of n letters costs O(n log n) whatever it contains.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fusion/vocabulary.h"

namespace onnuri {

struct BpeSymbol {
  int32_t id = -1;  // -1: a character outside the vocabulary
  uint32_t begin = 0;
  uint32_t size = 0;
};

/// Buffers and the words seen in one call of encode; one per call.
struct BpeScratch {
  /// A word with its ids, on one cache line.
  struct alignas(64) CachedWord {
    static constexpr size_t kText = 30;
    static constexpr size_t kIds = 8;
    uint8_t size = 0;
    uint8_t count = 0;
    char text[kText] = {};
    int32_t ids[kIds] = {};
  };
  struct Link {
    int32_t prev = -1;
    int32_t next = -1;
  };
  struct Candidate {
    uint32_t priority = 0;
    int32_t left = 0;
    int32_t right = 0;
    uint32_t size = 0;  // of both symbols when the pair was seen; differs when it is stale
    int32_t id = 0;
  };
  std::vector<BpeSymbol> symbols;
  std::vector<uint64_t> ranks;  // priority << 32 | result of the pair (i, i + 1)
  std::vector<Link> links;
  std::vector<Candidate> heap;
  std::string written;
  uint64_t steps = 0;             // pairs looked at in long words, so that growth can be tested
  std::vector<CachedWord> cache;  // a power of two, or none for a short text

  void reserve_cache(size_t text_size);
};

struct BpeOptions {
  bool byte_level = false;     // symbols are bytes, written as in GPT-2's table
  bool ignore_merges = false;  // a word that is a token stays whole
  bool byte_fallback = false;  // a character outside the vocabulary becomes <0xNN> tokens
  bool fuse_unk = false;
  int32_t unk_id = -1;
  std::string prefix;  // of symbols that do not begin their word
  std::string suffix;  // of symbols that end their word
};

class BpeModel {
 public:
  /// The vocabulary must outlive the model. Ids in `blocked` (special tokens) are never produced.
  BpeModel(const Vocabulary& vocabulary, const BpeOptions& options, std::vector<bool> blocked);

  /// Rules in order of priority; each names two known tokens whose joined text (less the prefix of
  /// the right one) is a token.
  /// Throws kCorruptData otherwise.
  void reserve_rules(size_t count);
  void add_rule(std::string_view left, std::string_view right, std::string_view where);
  /// Merges whatever pair joins to a token, best score first, instead of rules.
  void use_scores(std::vector<float> scores);
  /// Call after the last rule: looks for places where words may be cut without any effect.
  void finish();

  void encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;

 private:
  struct Pair {
    uint64_t key = kEmpty;
    uint32_t rank = 0;
    int32_t id = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  static size_t slot_of(uint64_t key, size_t mask) {
    const uint64_t h = key * 0x9E3779B97F4A7C15ULL;
    return (h ^ h >> 32) & mask;
  }
  struct ByRule;
  struct ByScore;

  void insert(uint64_t key, uint32_t rank, int32_t id);
  int32_t usable(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < blocked_.size() && blocked_[static_cast<size_t>(id)]
               ? -1
               : id;
  }
  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;
  void encode_new(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;
  int32_t whole_word(std::string_view word, BpeScratch& scratch) const;
  int32_t affixed(std::string_view text, bool first, bool last) const;
  /// Whether byte fallback has a token for each byte.
  bool has_bytes(std::string_view text) const;
  /// Whether a character that is no token vanishes, so that its neighbours meet: `tokenizers` does
  /// so where nothing stands for what is unknown.
  bool drops(std::string_view text) const {
    return options_.unk_id < 0 && priorities_.empty() && !has_bytes(text);
  }
  void split(std::string_view word, BpeScratch& scratch) const;
  void emit(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;
  template <typename Lookup>
  void merge(const Lookup& lookup, std::string_view word, BpeScratch& scratch) const;
  template <typename Lookup>
  void merge_short(const Lookup& lookup, std::string_view word, BpeScratch& scratch) const;
  template <typename Lookup>
  static void merge_long(const Lookup& lookup, BpeScratch& scratch);

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  std::vector<bool> blocked_;
  std::array<int32_t, 256> byte_ids_{};  // byte level: symbol of a byte; else its <0xNN> token
  std::vector<uint64_t> byte_pairs_;     // byte level with rules: rank and result, by two bytes
  std::vector<Pair> pairs_;
  size_t mask_ = 0;
  uint32_t num_rules_ = 0;
  std::vector<uint32_t> priorities_;        // by id, from scores; empty without scores
  bool cut_before_mark_ = false;            // words may be cut before U+2581,
  std::array<bool, 256> joined_by_mark_{};  // except behind these bytes
};

/// The character that stands for a byte in byte-level vocabularies, and back (-1: none does).
char32_t byte_to_written(uint8_t byte);
int written_to_byte(char32_t c);
/// Bytes to their written form.
void append_written(std::string_view bytes, std::string& out);

/// The byte of a token "<0xNN>", or -1. Both digits must be hexadecimal.
int byte_of_token(std::string_view token);

}  // namespace onnuri
