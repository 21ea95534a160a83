// The files that may hold a tokenizer, one loader each.
#pragma once

#include <memory>
#include <string>

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

/// The text of a token as configuration files write it: a string, or an object with "content".
std::string token_content(const JsonValue* json);

}  // namespace onnuri
