// The format that an answer must have, as something that says which tokens may come next.
#pragma once

#include <memory>
#include <mutex>

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

/// Compiles a format only when it differs from the one before. Thread-safe.
class FormatCache {
 public:
  /// The constraint at the start of a text, for one text at a time; null for an empty format.
  std::unique_ptr<TokenConstraint> take(const AnswerFormat& format, const Tokenizer& tokenizer,
                                        int64_t vocab_size, std::span<const int32_t> end_tokens);
  /// Takes it back, for the next text of this format.
  void keep(const AnswerFormat& format, std::unique_ptr<TokenConstraint> constraint);

 private:
  std::mutex mutex_;
  std::shared_ptr<const TokenTrie> trie_;
  AnswerFormat format_;
  std::unique_ptr<TokenConstraint> constraint_;
};

}  // namespace onnuri
