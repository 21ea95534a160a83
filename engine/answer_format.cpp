#include "engine/answer_format.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {

std::shared_ptr<const TokenTrie> make_token_trie(const Tokenizer& tokenizer, int64_t vocab_size,
                                                 std::span<const int32_t> end_tokens) {
  std::vector<std::string> bytes(static_cast<size_t>(vocab_size));
  const int64_t known = std::min(vocab_size, tokenizer.vocab_size());
  for (int64_t i = 0; i < known; ++i) {
    const auto id = static_cast<int32_t>(i);
    const bool end = std::find(end_tokens.begin(), end_tokens.end(), id) != end_tokens.end();
    if (!end && !tokenizer.is_special(id))
      bytes[static_cast<size_t>(i)] = tokenizer.token_bytes(id);
  }
  return std::make_shared<const TokenTrie>(bytes);
}

std::unique_ptr<TokenConstraint> compile_format(const AnswerFormat& format,
                                                std::shared_ptr<const TokenTrie> trie) {
  const int given = (format.json_schema.empty() ? 0 : 1) + (format.regex.empty() ? 0 : 1) +
                    (format.grammar.empty() ? 0 : 1) + (format.choices.empty() ? 0 : 1);
  if (given != 1)
    fail(ErrorCode::kInvalidArgument,
         "expected at most one of json_schema, regex, grammar and choices, found ", given);
  const Grammar grammar = !format.json_schema.empty() ? grammar_from_json_schema(format.json_schema)
                          : !format.regex.empty()     ? grammar_from_regex(format.regex)
                          : !format.grammar.empty()   ? grammar_from_ebnf(format.grammar)
                                                      : grammar_from_choices(format.choices);
  return std::make_unique<TokenConstraint>(compile_grammar(grammar), std::move(trie));
}

std::unique_ptr<TokenConstraint> FormatCache::take(const AnswerFormat& format,
                                                   const Tokenizer& tokenizer, int64_t vocab_size,
                                                   std::span<const int32_t> end_tokens) {
  if (format.empty()) return nullptr;
  std::unique_ptr<TokenConstraint> constraint;
  std::shared_ptr<const TokenTrie> trie;
  {
    const std::lock_guard lock(mutex_);
    if (!trie_) trie_ = make_token_trie(tokenizer, vocab_size, end_tokens);
    trie = trie_;
    if (constraint_ && format == format_) constraint = std::move(constraint_);
  }
  if (!constraint) constraint = compile_format(format, std::move(trie));
  constraint->reset();
  return constraint;
}

void FormatCache::keep(const AnswerFormat& format, std::unique_ptr<TokenConstraint> constraint) {
  if (!constraint) return;
  const std::lock_guard lock(mutex_);
  constraint_ = std::move(constraint);
  format_ = format;
}

}  // namespace onnuri
