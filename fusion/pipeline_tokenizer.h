// A tokenizer as a pipeline: added tokens, normalizer, pre-tokenizer, model, post-processor and,
// on the way back, decoder. tokenizer.json and GGUF metadata both end up here.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fusion/added_tokens.h"
#include "fusion/bpe.h"
#include "fusion/normalizer.h"
#include "fusion/pre_tokenizer.h"
#include "fusion/token_decoder.h"
#include "fusion/tokenizer.h"
#include "fusion/unigram.h"
#include "fusion/vocabulary.h"
#include "fusion/word_piece.h"

namespace onnuri {

struct TokenizerParts {
  std::string kind;
  std::unique_ptr<Vocabulary> vocabulary;  // added tokens included
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<BpeModel> bpe;  // one of the three
  std::unique_ptr<UnigramModel> unigram;
  std::unique_ptr<WordPieceModel> word_piece;
  TokenDecoder decoder;
  std::vector<int32_t> prefix;     // what add_special puts before a text
  std::vector<int32_t> suffix;     // and behind it
  bool added_are_literal = false;  // added tokens pass the decoder untouched
  bool drops_first_space = false;  // encoding wrote one in front
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;
};

class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, bool add_special,
                              bool parse_special) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;
  std::string token_bytes(int32_t id) const override;
  std::string kind() const override { return parts_.kind; }
  int64_t vocab_size() const override { return parts_.vocabulary->size(); }
  std::optional<int32_t> token_to_id(std::string_view token) const override;
  std::string id_to_token(int32_t id) const override;
  bool is_special(int32_t id) const override;
  std::optional<int32_t> bos_id() const override { return parts_.bos; }
  std::vector<int32_t> eos_ids() const override { return parts_.eos; }

 private:
  struct Scratch;
  void encode_text(std::string_view text, bool at_start, Scratch& scratch,
                   std::vector<int32_t>& out) const;
  void encode_segment(std::string_view text, bool at_start, bool parse_special, Scratch& scratch,
                      std::vector<int32_t>& out) const;

  std::string_view text_of(int32_t id) const;  // before the decoder

  TokenizerParts parts_;
  std::vector<uint8_t> kind_;                         // by id: 1 added, 2 special
  std::unordered_map<int32_t, std::string> written_;  // of added tokens that are normalized
};

/// Marks of tokens that a model must never produce from plain text.
std::vector<bool> blocked_tokens(const AddedTokens& added, int64_t vocab_size);

}  // namespace onnuri
