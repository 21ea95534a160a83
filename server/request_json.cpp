// Field names and meanings: the OpenAI API reference, chat and completions; further sampling fields
// (top_k, min_p, typical_p, repetition_penalty, chat_template_kwargs) as vLLM names them.
#include "server/request_json.h"

#include <charconv>

#include "onnuri/error.h"
#include "server/base64.h"
#include "server/json_fields.h"

namespace onnuri {
namespace {

constexpr int kMaxDepth = 64;
constexpr int64_t kMaxTokens = int64_t{1} << 30;

// Of both kinds of requests: what read_sampling reads, and what does not change an answer.
constexpr const char* kSharedFields[] = {"model",
                                         "max_tokens",
                                         "temperature",
                                         "top_p",
                                         "top_k",
                                         "min_p",
                                         "typical_p",
                                         "repetition_penalty",
                                         "presence_penalty",
                                         "frequency_penalty",
                                         "logit_bias",
                                         "seed",
                                         "stop",
                                         "n",
                                         "logprobs",
                                         "ignore_eos",
                                         "stream",
                                         "stream_options",
                                         "user"};
constexpr const char* kChatFields[] = {"messages",
                                       "max_completion_tokens",
                                       "top_logprobs",
                                       "response_format",
                                       "tools",
                                       "tool_choice",
                                       "reasoning_effort",
                                       "chat_template_kwargs",
                                       "parallel_tool_calls",
                                       "metadata",
                                       "store",
                                       "service_tier",
                                       "safety_identifier",
                                       "prompt_cache_key"};
constexpr const char* kTextFields[] = {"prompt"};
constexpr const char* kUrlFields[] = {"url", "detail", "use_audio_in_video"};
constexpr const char* kSoundFields[] = {"data", "format"};

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

MediaInput media_from_url(MediaKind kind, const std::string& url, const std::string& where,
                          const RequestRules& rules) {
  if (url.starts_with("data:")) {
    constexpr std::string_view kMark = ";base64,";
    const size_t at = url.find(kMark);
    if (at == std::string::npos || at > 200) refuse("expected a base64 data URL at " + where);
    return {kind, {}, decode_base64(std::string_view(url).substr(at + kMark.size()))};
  }
  if (url.starts_with("file://")) {
    if (!rules.allow_files)
      refuse("expected a data URL at " + where + ", found a local file, which is not allowed here");
    return {kind, url.substr(7), {}};
  }
  refuse("expected a data URL at " + where +
         (url.starts_with("http") ? ", found a web address, which is not fetched"
                                  : ", found another kind of address"));
}

// {"type": "image_url", "image_url": {"url": ...}}, or the address alone.
ContentPart read_url_part(const JsonFields& part, const char* key, MediaKind kind,
                          const RequestRules& rules) {
  const OrderedJson& value = part.at(key);
  if (value.is_string())
    return {true, {}, media_from_url(kind, value.get<std::string>(), part.where(key), rules)};
  const JsonFields inner(value, part.where(key));
  inner.allow_only(kUrlFields, {});
  inner.at("url");
  ContentPart out{true, {}, media_from_url(kind, *inner.text("url"), inner.where("url"), rules)};
  out.media.use_audio_in_video = inner.flag("use_audio_in_video").value_or(false);
  if (out.media.use_audio_in_video && kind != MediaKind::kVideo)
    refuse("expected use_audio_in_video in a video_url alone, found it at " + part.where(key));
  return out;
}

ContentPart read_part(const OrderedJson& json, const std::string& where,
                      const RequestRules& rules) {
  const JsonFields part(json, where);
  const std::string type = part.text("type").value_or("text");
  if (type == "text") {
    part.at("text");
    return {false, *part.text("text"), {}};
  }
  if (type == "image_url") return read_url_part(part, "image_url", MediaKind::kImage, rules);
  if (type == "audio_url") return read_url_part(part, "audio_url", MediaKind::kAudio, rules);
  if (type == "video_url") return read_url_part(part, "video_url", MediaKind::kVideo, rules);
  if (type == "input_audio") {
    const JsonFields sound(part.at("input_audio"), part.where("input_audio"));
    sound.allow_only(kSoundFields, {});
    sound.at("data");
    return {true, {}, MediaInput{MediaKind::kAudio, {}, decode_base64(*sound.text("data"))}};
  }
  refuse("expected a part of type text, image_url, input_audio, audio_url or video_url at " +
         where + ", found \"" + type.substr(0, 40) + "\"");
}

std::vector<ContentPart> read_content(const OrderedJson& content, const std::string& where,
                                      const RequestRules& rules) {
  if (content.is_string()) return {{false, content.get<std::string>(), {}}};
  if (!content.is_array()) refuse_field("a string or a list of parts", where, content);
  std::vector<ContentPart> parts;
  for (size_t i = 0; i < content.size(); ++i)
    parts.push_back(read_part(content[i], where + "[" + std::to_string(i) + "]", rules));
  return parts;
}

ToolCall read_call(const OrderedJson& json, const std::string& where) {
  const JsonFields call(json, where);
  const JsonFields function(call.at("function"), call.where("function"));
  function.at("name");
  ToolCall out{call.text("id").value_or(""), *function.text("name"), "{}"};
  if (const OrderedJson* arguments = function.find("arguments")) {
    out.arguments_json = arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
    if (out.arguments_json.empty()) out.arguments_json = "{}";
  }
  return out;
}

ChatMessage read_message(const OrderedJson& json, const std::string& where,
                         const RequestRules& rules) {
  const JsonFields message(json, where);
  message.at("role");
  ChatMessage out;
  out.role = *message.text("role");
  if (const OrderedJson* content = message.find("content"))
    out.content = read_content(*content, message.where("content"), rules);
  out.reasoning_content =
      message.text("reasoning_content").value_or(message.text("reasoning").value_or(""));
  out.tool_call_id = message.text("tool_call_id").value_or("");
  out.name = message.text("name").value_or("");
  if (const OrderedJson* calls = message.find("tool_calls")) {
    const std::string name = message.where("tool_calls");
    if (!calls->is_array()) refuse_field("a list", name, *calls);
    for (size_t i = 0; i < calls->size(); ++i)
      out.tool_calls.push_back(read_call((*calls)[i], name + "[" + std::to_string(i) + "]"));
  }
  if (out.content.empty() && out.tool_calls.empty() && out.reasoning_content.empty() &&
      message.find("content") == nullptr)
    refuse("expected content at " + where + ", found nothing");
  return out;
}

void read_stop(const JsonFields& body, GenerateRequest& request) {
  const OrderedJson* stop = body.find("stop");
  if (stop == nullptr) return;
  if (stop->is_string()) {
    request.stop = {stop->get<std::string>()};
    return;
  }
  if (!stop->is_array()) refuse_field("a string or a list of strings", body.where("stop"), *stop);
  for (const OrderedJson& item : *stop) {
    if (!item.is_string()) refuse_field("strings", body.where("stop"), item);
    request.stop.push_back(item.get<std::string>());
  }
}

void read_logit_bias(const JsonFields& body, SamplingParams& sampling) {
  const OrderedJson* bias = body.find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) refuse_field("an object", body.where("logit_bias"), *bias);
  for (const auto& [key, value] : bias->items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0)
      refuse("expected token ids as the names in logit_bias, found \"" + key.substr(0, 40) + "\"");
    if (!value.is_number()) refuse_field("numbers", body.where("logit_bias"), value);
    sampling.logit_bias.emplace_back(id, value.get<float>());
  }
}

void read_sampling(const JsonFields& body, const RequestRules& rules, GenerateRequest& request) {
  SamplingParams& s = request.sampling = rules.sampling;
  const auto set = [&](const char* key, double least, double most, float& out) {
    if (const auto value = body.number(key, least, most)) out = static_cast<float>(*value);
  };
  set("temperature", 0, 100, s.temperature);
  set("top_p", 0, 1, s.top_p);
  set("min_p", 0, 1, s.min_p);
  set("typical_p", 0, 1, s.typical_p);
  set("repetition_penalty", 0.01, 100, s.repetition_penalty);
  set("presence_penalty", -100, 100, s.presence_penalty);
  set("frequency_penalty", -100, 100, s.frequency_penalty);
  if (const auto k = body.integer("top_k", -1, INT32_MAX))
    s.top_k = static_cast<int32_t>(std::max<int64_t>(0, *k));
  s.seed = rules.seed;
  if (const auto seed = body.integer("seed", INT64_MIN, INT64_MAX))
    s.seed = static_cast<uint64_t>(*seed);
  read_logit_bias(body, s);
  read_stop(body, request);
  request.num_choices = body.integer("n", 1, 128).value_or(1);
  request.max_new_tokens = rules.max_new_tokens;
  for (const char* key : {"max_tokens", "max_completion_tokens"})
    if (const auto most = body.integer(key, 1, kMaxTokens)) request.max_new_tokens = *most;
  request.ignore_eos = body.flag("ignore_eos").value_or(false);
}

void read_format(const JsonFields& body, AnswerFormat& format) {
  const OrderedJson* value = body.find("response_format");
  if (value == nullptr) return;
  const JsonFields wanted(*value, body.where("response_format"));
  wanted.at("type");
  const std::string type = *wanted.text("type");
  if (type == "text") return;
  if (type == "json_object") {
    format.json_schema = R"({"type":"object"})";
  } else if (type == "json_schema") {
    const JsonFields named(wanted.at("json_schema"), wanted.where("json_schema"));
    format.json_schema = named.at("schema").dump();
  } else {
    refuse("expected response_format.type text, json_object or json_schema, found \"" +
           type.substr(0, 40) + "\"");
  }
}

void read_tools(const JsonFields& body, GenerateRequest& request) {
  const OrderedJson* tools = body.find("tools");
  const OrderedJson* choice = body.find("tool_choice");
  const std::string wish = choice == nullptr     ? "auto"
                           : choice->is_string() ? choice->get<std::string>()
                                                 : "an object";
  if (wish != "auto" && wish != "none")
    refuse("expected tool_choice \"auto\" or \"none\", found " + wish.substr(0, 40));
  if (tools == nullptr || wish == "none") return;
  if (!tools->is_array()) refuse_field("a list", body.where("tools"), *tools);
  if (!tools->empty()) request.tools_json = tools->dump();
}

}  // namespace

OrderedJson parse_request(const std::string& text, const std::string& where) {
  bool too_deep = false;
  const auto watch = [&](int depth, OrderedJson::parse_event_t, OrderedJson&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  try {
    OrderedJson value = OrderedJson::parse(text, watch);
    if (!too_deep) return value;
  } catch (const OrderedJson::parse_error& error) {
    refuse("expected JSON at " + where + ", found an error at byte " + std::to_string(error.byte));
  }
  refuse("expected JSON of at most " + std::to_string(kMaxDepth) + " levels at " + where +
         ", found more");
}

GenerateRequest read_chat_request(const OrderedJson& json, const RequestRules& rules) {
  const JsonFields body(json, "");
  body.allow_only(kChatFields, kSharedFields);
  GenerateRequest request;
  const OrderedJson& messages = body.at("messages");
  if (!messages.is_array() || messages.empty())
    refuse_field("a list of at least one message", "messages", messages);
  for (size_t i = 0; i < messages.size(); ++i)
    request.messages.push_back(
        read_message(messages[i], "messages[" + std::to_string(i) + "]", rules));
  read_sampling(body, rules, request);
  read_format(body, request.format);
  read_tools(body, request);
  request.reasoning = body.text("reasoning_effort").value_or("");
  if (const OrderedJson* kwargs = body.find("chat_template_kwargs")) {
    if (!kwargs->is_object()) refuse_field("an object", "chat_template_kwargs", *kwargs);
    request.template_kwargs_json = kwargs->dump();
  }
  const auto top = body.integer("top_logprobs", 0, 20);
  if (body.flag("logprobs").value_or(false))
    request.top_logprobs = top.value_or(0);
  else if (top.value_or(0) > 0)
    refuse("expected logprobs to be true beside top_logprobs");
  return request;
}

GenerateRequest read_text_request(const OrderedJson& json, const RequestRules& rules) {
  const JsonFields body(json, "");
  body.allow_only(kTextFields, kSharedFields);
  GenerateRequest request;
  const OrderedJson& prompt = body.at("prompt");
  if (prompt.is_string()) {
    request.prompt = prompt.get<std::string>();
  } else if (prompt.is_array()) {
    for (const OrderedJson& id : prompt) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
        refuse_field("one text or a list of token ids", "prompt", id);
      request.input_ids.push_back(id.get<int32_t>());
    }
  } else {
    refuse_field("a text or a list of token ids", "prompt", prompt);
  }
  if (request.prompt.empty() && request.input_ids.empty())
    refuse("expected a prompt, found an empty one");
  read_sampling(body, rules, request);
  request.top_logprobs = body.integer("logprobs", 0, 20).value_or(-1);
  return request;
}

}  // namespace onnuri
