// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace onnuri {

/// Immutable and thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// `parse_special`: special tokens written out in `text` become their ids; otherwise they are
  /// ordinary text (the safe choice for a user's words). `add_special`: the checkpoint's own
  /// bos/eos or post-processor rule is applied. Text that is not UTF-8 throws kInvalidArgument.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special,
                                      bool parse_special) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  /// The bytes that one token adds to a running text (not always whole UTF-8).
  virtual std::string token_bytes(int32_t id) const = 0;

  /// What it is, in a word or two: "BPE", "Unigram", "SentencePiece", "tekken", "gpt2, qwen2"...
  virtual std::string kind() const = 0;
  virtual int64_t vocab_size() const = 0;
  /// The id of a token by its exact written form, special or not.
  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  virtual std::string id_to_token(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::vector<int32_t> eos_ids() const = 0;  // as far as the tokenizer's own files say
  /// encode of bytes that may not be UTF-8: broken parts count as U+FFFD, one for each longest broken
  /// start of a character unless the vocabulary's own library counts otherwise.
  virtual std::vector<int32_t> encode_bytes(std::string_view bytes, bool add_special,
                                            bool parse_special) const;
};

/// From a checkpoint folder or a file: tokenizer.json, tokenizer.model (SentencePiece, or ranked
/// tokens in base64 lines), tekken.json, *.tiktoken; a folder is searched in this order. Throws
/// kNotFound, kCorruptData, kUnsupported (naming the component).
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

/// From GGUF metadata (tokenizer.ggml.*).
std::unique_ptr<Tokenizer> load_tokenizer_from_gguf(const JsonValue& metadata);

/// Turns a stream of ids into whole UTF-8 pieces. One per sequence.
class Detokenizer {
 public:
  /// `trim_start`: the space that some vocabularies write before the first word is left out.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true,
                       bool trim_start = true);
  /// The text that became complete with this token; may be empty.
  std::string push(int32_t id);
  /// What is left at the end; broken bytes become U+FFFD.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  bool trim_start_;
  bool first_;
  std::string pending_;
};

}  // namespace onnuri
