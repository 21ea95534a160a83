// Answers as objects of the OpenAI interface.
#pragma once

#include <string>

#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "server/request_json.h"

namespace onnuri {

struct AnswerHead {
  std::string id;
  std::string model;
  int64_t created = 0;  // Unix seconds
};

/// A "chat.completion" object. `engine` turns the ids of log-probabilities into texts.
OrderedJson chat_completion_json(const AnswerHead& head, const GenerateResult& result,
                                 Engine& engine);

/// A "text_completion" object.
OrderedJson text_completion_json(const AnswerHead& head, const GenerateResult& result,
                                 Engine& engine);

/// {"error": {"message", "type", "code"}}, and the HTTP status that belongs to it.
OrderedJson error_json(const std::string& message, ErrorCode code);
int http_status(ErrorCode code);

}  // namespace onnuri
