#include "server/answer_json.h"

#include <span>

#include "onnuri/error.h"

namespace onnuri {
namespace {

OrderedJson token_json(const TokenLogProb& entry, Engine& engine) {
  const std::string text = engine.detokenize(std::span(&entry.token_id, 1), false);
  OrderedJson bytes = OrderedJson::array();
  for (const char c : text) bytes.push_back(static_cast<int>(static_cast<unsigned char>(c)));
  return {{"token", text}, {"logprob", entry.logprob}, {"bytes", std::move(bytes)}};
}

OrderedJson chat_logprobs(const Choice& choice, Engine& engine) {
  if (choice.logprobs.empty()) return nullptr;
  OrderedJson content = OrderedJson::array();
  for (const StepLogProbs& step : choice.logprobs) {
    OrderedJson entry = token_json(step.chosen, engine);
    entry["top_logprobs"] = OrderedJson::array();
    for (const TokenLogProb& other : step.top)
      entry["top_logprobs"].push_back(token_json(other, engine));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

OrderedJson text_logprobs(const Choice& choice, Engine& engine) {
  if (choice.logprobs.empty()) return nullptr;
  OrderedJson tokens = OrderedJson::array(), values = OrderedJson::array(),
              tops = OrderedJson::array();
  for (const StepLogProbs& step : choice.logprobs) {
    tokens.push_back(token_json(step.chosen, engine)["token"]);
    values.push_back(step.chosen.logprob);
    OrderedJson top = OrderedJson::object();
    for (const TokenLogProb& other : step.top)
      top[token_json(other, engine)["token"].get<std::string>()] = other.logprob;
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", std::move(tops)}};
}

OrderedJson message_json(const Choice& choice) {
  OrderedJson message{{"role", "assistant"}};
  message["content"] = choice.text.empty() && !choice.tool_calls.empty() ? OrderedJson(nullptr)
                                                                         : OrderedJson(choice.text);
  if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
  for (const ToolCall& call : choice.tool_calls)
    message["tool_calls"].push_back(
        {{"id", call.id},
         {"type", "function"},
         {"function", {{"name", call.name}, {"arguments", call.arguments_json}}}});
  return message;
}

OrderedJson usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

OrderedJson head_json(const AnswerHead& head, const char* object) {
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

template <typename Make>  // (index, choice) -> JSON
OrderedJson choices_json(const GenerateResult& result, Make&& make) {
  OrderedJson out = OrderedJson::array();
  out.push_back(make(0, result));
  for (size_t i = 0; i < result.more_choices.size(); ++i)
    out.push_back(make(i + 1, result.more_choices[i]));
  return out;
}

}  // namespace

OrderedJson chat_completion_json(const AnswerHead& head, const GenerateResult& result,
                                 Engine& engine) {
  OrderedJson out = head_json(head, "chat.completion");
  out["choices"] = choices_json(result, [&](size_t index, const Choice& choice) {
    return OrderedJson{{"index", index},
                       {"message", message_json(choice)},
                       {"logprobs", chat_logprobs(choice, engine)},
                       {"finish_reason", choice.finish_reason}};
  });
  out["usage"] = usage_json(result.usage);
  return out;
}

OrderedJson text_completion_json(const AnswerHead& head, const GenerateResult& result,
                                 Engine& engine) {
  OrderedJson out = head_json(head, "text_completion");
  out["choices"] = choices_json(result, [&](size_t index, const Choice& choice) {
    return OrderedJson{{"index", index},
                       {"text", choice.text},
                       {"logprobs", text_logprobs(choice, engine)},
                       {"finish_reason", choice.finish_reason}};
  });
  out["usage"] = usage_json(result.usage);
  return out;
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kCorruptData:
    case ErrorCode::kUnsupported: return 400;
    case ErrorCode::kNotFound: return 404;
    case ErrorCode::kOutOfMemory: return 413;
    case ErrorCode::kCancelled: return 499;
    case ErrorCode::kDevice:
    case ErrorCode::kInternal: return 500;
  }
  return 500;
}

OrderedJson error_json(const std::string& message, ErrorCode code) {
  return {{"error",
           {{"message", message},
            {"type", http_status(code) < 500 ? "invalid_request_error" : "server_error"},
            {"code", std::string(error_code_name(code))}}}};
}

}  // namespace onnuri
