// Requests of the OpenAI interface as GenerateRequests.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "onnuri/engine.h"

namespace onnuri {

using OrderedJson = nlohmann::ordered_json;

/// Parses one document, bounded in depth. Throws kInvalidArgument naming `where`.
OrderedJson parse_request(const std::string& text, const std::string& where);

struct RequestRules {
  SamplingParams sampling;     // where a request says nothing
  int64_t max_new_tokens = 0;  // likewise
  uint64_t seed = 0;           // likewise
  bool allow_files = false;    // media may be file:// addresses
};

/// The body of POST /v1/chat/completions. Throws kInvalidArgument naming the field, with what was
/// expected and found; fields that would change the answer and are not known are refused too.
/// Streaming is the caller's business: "stream" is not looked at.
GenerateRequest read_chat_request(const OrderedJson& body, const RequestRules& rules);

/// The body of POST /v1/completions; one prompt, a text or token ids.
GenerateRequest read_text_request(const OrderedJson& body, const RequestRules& rules);

}  // namespace onnuri
