#include "demos/cli/session.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "demos/cli/pull_cache.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
constexpr const char* kFormat = "onnuri conversation";
constexpr std::pair<MediaKind, const char*> kKinds[] = {
    {MediaKind::kImage, "image"}, {MediaKind::kAudio, "audio"}, {MediaKind::kVideo, "video"}};

Json part_json(const ContentPart& part) {
  if (!part.is_media) return {{"type", "text"}, {"text", part.text}};
  Json out;
  for (const auto& [kind, name] : kKinds)
    if (kind == part.media.kind) out["type"] = name;
  std::error_code error;
  const fs::path whole = fs::absolute(part.media.path, error);
  out["path"] = error ? part.media.path : whole.string();
  if (part.media.use_audio_in_video) out["use_audio_in_video"] = true;
  return out;
}

ContentPart part_from(const Json& json) {
  const std::string type = json.at("type").get<std::string>();
  if (type == "text") return {false, json.at("text").get<std::string>(), {}};
  ContentPart out{true, "", {}};
  for (const auto& [kind, name] : kKinds) {
    if (type != name) continue;
    out.media.kind = kind;
    out.media.path = json.at("path").get<std::string>();
    out.media.use_audio_in_video = json.value("use_audio_in_video", false);
    return out;
  }
  throw Error(ErrorCode::kCorruptData, "expected text, image, audio or video, found " + type);
}

Json message_json(const ChatMessage& message) {
  Json out{{"role", message.role}, {"content", Json::array()}};
  for (const ContentPart& part : message.content) out["content"].push_back(part_json(part));
  if (!message.reasoning_content.empty()) out["reasoning_content"] = message.reasoning_content;
  for (const ToolCall& call : message.tool_calls)
    out["tool_calls"].push_back(
        {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments_json}});
  if (!message.tool_call_id.empty()) out["tool_call_id"] = message.tool_call_id;
  if (!message.name.empty()) out["name"] = message.name;
  return out;
}

ChatMessage message_from(const Json& json) {
  ChatMessage out{json.at("role").get<std::string>(), {}};
  for (const Json& part : json.at("content")) out.content.push_back(part_from(part));
  out.reasoning_content = json.value("reasoning_content", "");
  if (json.contains("tool_calls"))
    for (const Json& call : json.at("tool_calls"))
      out.tool_calls.push_back({call.at("id").get<std::string>(),
                                call.at("name").get<std::string>(),
                                call.at("arguments").get<std::string>()});
  out.tool_call_id = json.value("tool_call_id", "");
  out.name = json.value("name", "");
  return out;
}

}  // namespace

std::string session_text(const std::vector<ChatMessage>& messages) {
  Json out{{"format", kFormat}, {"version", 1}, {"messages", Json::array()}};
  for (const ChatMessage& message : messages) out["messages"].push_back(message_json(message));
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<ChatMessage> session_messages(const std::string& text, const std::string& name) {
  try {
    const Json json = Json::parse(text);
    if (json.at("format") != kFormat || json.at("version") != 1)
      throw Error(ErrorCode::kCorruptData, "it is something else");
    std::vector<ChatMessage> out;
    for (const Json& message : json.at("messages")) out.push_back(message_from(message));
    return out;
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::kCorruptData,
                name + ": expected a conversation of `onnuri chat --session`, found: " + e.what());
  } catch (const Error& e) {
    throw Error(ErrorCode::kCorruptData,
                name + ": expected a conversation of `onnuri chat --session`, found: " + e.what());
  }
}

void Session::tell(const std::string& text) const {
  if (!quiet_) std::fprintf(stderr, "(%s)\n", text.c_str());
}

std::vector<ChatMessage> Session::open(Engine& engine) {
  if (file_.empty() || !fs::exists(file_)) return {};
  const std::vector<ChatMessage> messages =
      session_messages(read_whole_file(file_, kMaxBytes), file_);
  tell(std::to_string(messages.size()) + " messages of " + file_ + " so far");
  if (!messages.empty() && fs::exists(file_ + ".kv")) {
    try {
      engine.restore(file_ + ".kv");
    } catch (const Error& e) {
      tell(std::string("they are read anew: ") + e.what());
    }
  }
  return messages;
}

void Session::save(const std::vector<ChatMessage>& messages) {
  if (file_.empty()) return;
  changed_ = true;
  try {
    write_text_file(file_, session_text(messages));
  } catch (const Error& e) {
    std::fprintf(stderr, "onnuri: the conversation is not saved: %s\n", e.what());
  }
}

void Session::close(Engine& engine) {
  if (file_.empty() || !changed_) return;
  changed_ = false;
  try {
    engine.save(file_ + ".kv", "");
  } catch (const Error& e) {
    tell(std::string("what was computed is not saved: ") + e.what());
  }
  tell("go on with --session " + file_);
}

}  // namespace onnuri::cli
