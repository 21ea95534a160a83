// The files that may hold a tokenizer, one loader each.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/json.h"
#include "fusion/pipeline_tokenizer.h"
#include "fusion/tokenizer.h"

namespace onnuri {

/// From the parsed tokenizer.json and, where present, tokenizer_config.json (else null).
std::unique_ptr<Tokenizer> tokenizer_from_json(const JsonValue& json, const JsonValue& config);

/// From a SentencePiece model file. `config` and `added` are tokenizer_config.json and
/// added_tokens.json where present (else null).
std::unique_ptr<Tokenizer> tokenizer_from_sentencepiece(const std::string& path,
                                                        const JsonValue& config,
                                                        const JsonValue& added);

/// From ranked tokens, one "base64 rank" a line; `path` names the vocabulary and the errors.
std::unique_ptr<Tokenizer> tokenizer_from_ranks(std::string_view text, const std::string& path,
                                                const JsonValue& config);
/// True when the first line reads as a ranked token.
bool looks_like_ranks(std::string_view text);
/// From a parsed tekken.json.
std::unique_ptr<Tokenizer> tokenizer_from_tekken(const JsonValue& json, const std::string& path);

/// The text of a token as configuration files write it: a string, or an object with "content".
std::string token_content(const JsonValue* json);

}  // namespace onnuri
