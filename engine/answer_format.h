// The format that an answer must have, as something that says which tokens may come next.
#pragma once

#include <memory>

#include "fusion/token_constraint.h"
#include "fusion/tokenizer.h"
#include "onnuri/sampling.h"

namespace onnuri {

/// The spelling of every token that may stand in an answer: special tokens are left out.
std::shared_ptr<const TokenTrie> make_token_trie(const Tokenizer& tokenizer, int64_t vocab_size,
                                                 std::span<const int32_t> end_tokens);

/// Compiles a format. Throws kInvalidArgument when more than one kind is set, or it makes no sense.
std::unique_ptr<TokenConstraint> compile_format(const AnswerFormat& format,
                                                std::shared_ptr<const TokenTrie> trie);

/// Compiles a format only when it differs from the one before.
class FormatCache {
 public:
  /// The constraint at the start of a text; null for an empty format.
  TokenConstraint* get(const AnswerFormat& format, const Tokenizer& tokenizer, int64_t vocab_size,
                       std::span<const int32_t> end_tokens);

 private:
  std::shared_ptr<const TokenTrie> trie_;
  AnswerFormat format_;
  std::unique_ptr<TokenConstraint> constraint_;
};

}  // namespace onnuri
