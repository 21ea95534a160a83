// Template variables follow transformers (apply_chat_template); file places follow its loaders.
#include "engine/chat.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "core/check.h"
#include "core/mapped_file.h"
#include "fusion/utf8.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

// Stand-ins: the end of a private plane, U+10F000 and on, as UTF-8. Two for each first character:
// with the odd ones text is cut behind them, so that no tokenizer finds the whole word.
constexpr size_t kMaxFirsts = 2000;

uint32_t stand_in_code(size_t index) { return 0x10F000 + static_cast<uint32_t>(index); }

std::string stand_in(size_t index) {
  std::string out;
  utf8::append(out, static_cast<char32_t>(stand_in_code(index)));
  return out;
}

// As tojson writes it where it keeps to ASCII.
std::string escaped_stand_in(size_t index) {
  const uint32_t code = stand_in_code(index) - 0x10000;
  std::string out;
  for (const uint32_t half : {0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)}) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += "0123456789abcdef"[(half >> shift) & 15];
  }
  return out;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

std::string first_character(const std::string& text) {
  size_t n = 1;
  while (n < text.size() && (static_cast<unsigned char>(text[n]) & 0xC0) == 0x80) ++n;
  return text.substr(0, n);
}

}  // namespace

// First characters of tokens and what stands in for them.
class Disguise {
 public:
  Disguise(const std::vector<std::pair<std::string, int32_t>>& special,
           const std::vector<std::string>& steering) {
    for (const auto& [text, id] : special) add(text, false);
    for (const std::string& text : steering) add(text, true);
  }

  /// `steers`: markers that are no special tokens too.
  std::string hide(std::string text, bool steers) const {
    for (size_t i = 0; i < 2 * firsts_.size(); ++i)  // a forged stand-in is no character of ours
      replace_all(text, stand_in(i), "\xEF\xBF\xBD");
    for (const Word& word : words_) {
      if (word.cut && !steers) continue;
      if (text.find(word.spelling) != std::string::npos)
        replace_all(text, word.spelling,
                    stand_in(word.index) + word.spelling.substr(firsts_[word.index / 2].size()));
    }
    return text;
  }

  /// All strings inside, keys too.
  JsonValue hide(const JsonValue& value, bool steers) const {
    if (value.is_string()) return hide(value.as_string(kWhere), steers);
    if (value.is_array()) {
      JsonValue::Array out;
      for (const JsonValue& item : value.as_array(kWhere)) out.push_back(hide(item, steers));
      return out;
    }
    if (!value.is_object()) return value;
    JsonValue::Object out;
    for (const auto& [key, member] : value.as_object(kWhere))
      out.emplace_back(hide(key, steers), hide(member, steers));
    return out;
  }

  /// Messages by the role of who wrote them.
  JsonValue hide_messages(const JsonValue& messages) const {
    if (!messages.is_array()) return hide(messages, true);
    JsonValue::Array out;
    for (const JsonValue& message : messages.as_array(kWhere)) {
      const JsonValue* role = message.find("role");
      const std::string name = role && role->is_string() ? role->as_string(kWhere) : std::string();
      out.push_back(hide(message, name != "assistant" && name != "system" && name != "developer"));
    }
    return out;
  }

  /// Stand-ins that a template wrote as escapes become characters again.
  std::string unescape(std::string text) const {
    for (size_t i = 0; i < 2 * firsts_.size(); ++i)
      replace_all(text, escaped_stand_in(i), stand_in(i));
    return text;
  }

  std::string reveal(std::string text) const {
    for (size_t i = 0; i < 2 * firsts_.size(); ++i) replace_all(text, stand_in(i), firsts_[i / 2]);
    return text;
  }

  /// Whether a stand-in at `at` wants the text cut behind it.
  bool cuts(std::string_view text, size_t at) const {
    for (size_t i = 1; i < 2 * firsts_.size(); i += 2)
      if (text.substr(at).starts_with(stand_in(i))) return true;
    return false;
  }

 private:
  struct Word {
    std::string spelling;
    size_t index = 0;
    bool cut = false;
  };

  void add(const std::string& text, bool cut) {
    const std::string first = first_character(text);
    const auto known = std::find(firsts_.begin(), firsts_.end(), first);
    const auto index = static_cast<size_t>(known - firsts_.begin());
    if (known == firsts_.end()) {
      if (firsts_.size() >= kMaxFirsts)
        fail(ErrorCode::kUnsupported, "expected special tokens with at most ", kMaxFirsts,
             " different first characters");
      firsts_.push_back(first);
    }
    words_.push_back({text, 2 * index + (cut ? 1 : 0), cut});
  }

  static constexpr std::string_view kWhere = "messages";
  std::vector<Word> words_;
  std::vector<std::string> firsts_;
};

namespace {

// Neighbouring text parts join first, so that a token cannot be forged across their border.
std::vector<ContentPart> merged(const std::vector<ContentPart>& content) {
  std::vector<ContentPart> out;
  for (const ContentPart& part : content) {
    if (!part.is_media && !out.empty() && !out.back().is_media)
      out.back().text += part.text;
    else
      out.push_back(part);
  }
  return out;
}

const char* media_type(MediaKind kind) {
  switch (kind) {
    case MediaKind::kImage: return "image";
    case MediaKind::kAudio: return "audio";
    case MediaKind::kVideo: return "video";
  }
  return "image";
}

std::string token_text(const JsonValue& value) {
  if (value.is_string()) return value.as_string("token");
  const JsonValue* content = value.find("content");
  return content && content->is_string() ? content->as_string("token") : std::string();
}

struct NamedTemplates {
  std::string standard;
  std::string tool_use;
};

// "chat_template" is a string, or a list of named ones.
NamedTemplates read_templates(const JsonValue& value) {
  NamedTemplates out;
  if (value.is_string()) out.standard = value.as_string("chat_template");
  if (!value.is_array()) return out;
  std::string first;
  for (const JsonValue& item : value.as_array("chat_template")) {
    const JsonValue* name = item.find("name");
    const JsonValue* text = item.find("template");
    if (!text || !text->is_string()) continue;
    if (first.empty()) first = text->as_string("chat_template");
    if (!name || !name->is_string()) continue;
    if (name->as_string("chat_template") == "default")
      out.standard = text->as_string("chat_template");
    if (name->as_string("chat_template") == "tool_use")
      out.tool_use = text->as_string("chat_template");
  }
  if (out.standard.empty()) out.standard = std::move(first);
  return out;
}

void add_assistant_parts(const ChatMessage& message, JsonValue& item) {
  if (!message.reasoning_content.empty())
    for (const char* name : {"reasoning_content", "reasoning", "thinking"})
      item.set(name, message.reasoning_content);
  if (message.tool_calls.empty()) return;
  JsonValue::Array calls;
  for (const ToolCall& call : message.tool_calls) {
    JsonValue function;
    function.set("name", call.name);
    function.set("arguments", call.arguments_json.empty()
                                  ? JsonValue(JsonValue::Object{})
                                  : parse_json(call.arguments_json, "arguments of a tool call"));
    JsonValue entry;
    if (!call.id.empty()) entry.set("id", call.id);
    entry.set("type", "function");
    entry.set("function", std::move(function));
    calls.push_back(std::move(entry));
  }
  item.set("tool_calls", std::move(calls));
}

// Members of an object into the variables.
void add_variables(const std::string& json, const char* where, JsonValue& variables) {
  if (json.empty()) return;
  const JsonValue extra = parse_json(json, where);
  if (!extra.is_object()) fail(ErrorCode::kInvalidArgument, "expected a JSON object as ", where);
  for (const auto& [key, value] : extra.as_object(where)) variables.set(key, value);
}

bool holds_items(const JsonValue* value) {
  return value != nullptr && value->is_array() && !value->as_array("tools").empty();
}

}  // namespace

JsonValue messages_to_json(std::span<const ChatMessage> messages) {
  JsonValue::Array out;
  for (const ChatMessage& message : messages) {
    JsonValue item;
    item.set("role", message.role);
    const std::vector<ContentPart> content = merged(message.content);
    const bool media = std::any_of(content.begin(), content.end(),
                                   [](const ContentPart& part) { return part.is_media; });
    if (!media) {
      item.set("content", content.empty() ? std::string() : content[0].text);
    } else {
      JsonValue::Array parts;
      for (const ContentPart& part : content) {
        JsonValue entry;
        entry.set("type", part.is_media ? media_type(part.media.kind) : "text");
        if (!part.is_media) entry.set("text", part.text);
        parts.push_back(std::move(entry));
      }
      item.set("content", std::move(parts));
    }
    add_assistant_parts(message, item);
    if (!message.tool_call_id.empty()) item.set("tool_call_id", message.tool_call_id);
    if (!message.name.empty()) item.set("name", message.name);
    out.push_back(std::move(item));
  }
  return JsonValue(std::move(out));
}

ChatRenderer::ChatRenderer(const ModelFiles& files, const Tokenizer& tokenizer,
                           const std::string& family_template)
    : tokenizer_(&tokenizer), path_(files.path) {
  find_special_tokens();
  if (files.is_gguf())
    read_gguf(files.checkpoint->metadata());
  else
    read_folder(files.path);
  if (source_.empty()) source_ = family_template;
  // One that is for tools knows how calls are written; both may have the switch.
  const std::string all = tool_source_.empty() ? source_ : tool_source_ + "\n" + source_;
  grammar_ = find_output_grammar(all);
  find_steering_tokens(all);
  switch_ = find_reasoning_switch(all);
}

void ChatRenderer::find_special_tokens() {
  for (int64_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const auto token = static_cast<int32_t>(id);
    if (!tokenizer_->is_special(token)) continue;
    std::string text = tokenizer_->id_to_token(token);
    if (!text.empty()) special_.emplace_back(std::move(text), token);
  }
  std::sort(special_.begin(), special_.end(), [](const auto& a, const auto& b) {
    return a.first.size() != b.first.size() ? a.first.size() > b.first.size() : a.first < b.first;
  });
}

// Candidates are the grammar's markers, whatever looks like a tag in the template, and <|...|>.
void ChatRenderer::find_steering_tokens(const std::string& source) {
  constexpr size_t kLongest = 64;
  std::vector<std::string> found = {grammar_.think_open, grammar_.think_close, grammar_.turn_open};
  for (const auto* list : {&grammar_.header_ends, &grammar_.turn_ends, &grammar_.dropped})
    found.insert(found.end(), list->begin(), list->end());
  for (const CallTag& tag : grammar_.calls)
    for (const std::string& mark : {tag.open, tag.close, tag.name_mark, tag.args_mark})
      found.push_back(mark);
  for (const auto& [open, close] : {std::pair{'<', '>'}, std::pair{'[', ']'}}) {
    for (size_t at = source.find(open); at != source.npos; at = source.find(open, at + 1)) {
      const std::string rest = source.substr(at, kLongest);
      const size_t end = rest.find(close);
      const size_t stop = rest.find_first_of(" \t\r\n'\"{}", 1);
      if (end != rest.npos && end > 1 && end < stop) found.push_back(rest.substr(0, end + 1));
    }
  }
  // Some vocabularies hold control tokens that they do not call special.
  for (int64_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    std::string text = tokenizer_->id_to_token(static_cast<int32_t>(id));
    if ((text.starts_with("<|") && text.ends_with("|>")) ||
        (text.starts_with("<｜") && text.ends_with("｜>")))
      found.push_back(std::move(text));
  }
  std::sort(found.begin(), found.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  found.erase(std::unique(found.begin(), found.end()), found.end());
  for (std::string& text : found) {
    const std::optional<int32_t> id = text.empty() ? std::nullopt : tokenizer_->token_to_id(text);
    if (id && !tokenizer_->is_special(*id)) steering_.push_back(std::move(text));
  }
}

void ChatRenderer::read_gguf(const JsonValue& metadata) {
  if (const JsonValue* text = metadata.find("tokenizer.chat_template")) set_templates(*text);
  if (const JsonValue* text = metadata.find("tokenizer.chat_template.tool_use");
      text && text->is_string())
    tool_source_ = text->as_string("tokenizer.chat_template.tool_use");
  constexpr std::pair<const char*, const char*> kTokens[] = {{"bos", "bos_token"},
                                                             {"eos", "eos_token"},
                                                             {"unknown", "unk_token"},
                                                             {"padding", "pad_token"}};
  for (const auto& [key, variable] : kTokens) {
    const JsonValue* id = metadata.find("tokenizer.ggml." + std::string(key) + "_token_id");
    if (!id || !id->is_int()) continue;
    const int64_t value = id->as_int(key);
    if (value >= 0 && value < tokenizer_->vocab_size())
      variables_.set(variable, tokenizer_->id_to_token(static_cast<int32_t>(value)));
  }
}

void ChatRenderer::read_folder(const std::string& folder_path) {
  std::error_code ignored;
  const fs::path folder(folder_path);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    if (!fs::is_regular_file(folder / name, ignored)) continue;
    const JsonValue config = parse_json(read_text_file((folder / name).string()), name);
    if (!config.is_object()) continue;
    if (const JsonValue* text = config.find("chat_template")) set_templates(*text);
    for (const auto& [key, value] : config.as_object(name))
      if (key.ends_with("_token") && !token_text(value).empty())
        variables_.set(key, token_text(value));
  }
  if (fs::is_regular_file(folder / "chat_template.jinja", ignored))
    set_templates(read_text_file((folder / "chat_template.jinja").string(), kMaxTemplateBytes));
  const fs::path tool_use = folder / "additional_chat_templates" / "tool_use.jinja";
  if (fs::is_regular_file(tool_use, ignored))
    tool_source_ = read_text_file(tool_use.string(), kMaxTemplateBytes);
}

// What is read later replaces all of what was read before.
void ChatRenderer::set_templates(const JsonValue& value) {
  NamedTemplates found = read_templates(value);
  source_ = std::move(found.standard);
  tool_source_ = std::move(found.tool_use);
}

const std::string& ChatRenderer::source_for(const JsonValue& variables) const {
  return !tool_source_.empty() && holds_items(variables.find("tools")) ? tool_source_ : source_;
}

JsonValue ChatRenderer::variables_for(const ChatInput& input) const {
  if (source_.empty())
    fail(ErrorCode::kUnsupported, "expected a chat template, found none in ", path_,
         ": a base model takes a prompt, not messages");
  JsonValue variables = variables_;
  for (const char* name : {"bos_token", "eos_token"})
    if (!variables.find(name)) variables.set(name, "");
  variables.set("messages", messages_to_json(input.messages));
  JsonValue tools;
  if (!input.tools_json.empty()) {
    tools = parse_json(input.tools_json, "tools");
    if (!tools.is_array() && !tools.is_null())
      fail(ErrorCode::kInvalidArgument, "expected a JSON list as tools");
    if (!holds_items(&tools)) tools = JsonValue();
  }
  variables.set("tools", std::move(tools));
  variables.set("documents", JsonValue());
  variables.set("add_generation_prompt", true);
  add_variables(reasoning_variables(switch_, input.reasoning), "reasoning", variables);
  add_variables(input.kwargs_json, "template_kwargs", variables);
  return variables;
}

std::string ChatRenderer::render(const ChatInput& input) const {
  const JsonValue variables = variables_for(input);
  return ChatTemplate::parse(source_for(variables))->render(variables);
}

namespace {

/// The k-th marker becomes the k-th text.
std::string place_media(const std::string& text, const ChatInput& input) {
  if (input.media_texts.empty()) return text;
  std::string out;
  size_t at = 0;
  size_t found = 0;
  for (size_t next = text.find(input.media_marker); next != std::string::npos;
       next = text.find(input.media_marker, at)) {
    out += text.substr(at, next - at);
    if (found < input.media_texts.size()) out += input.media_texts[found];
    ++found;
    at = next + input.media_marker.size();
  }
  if (found != input.media_texts.size())
    fail(ErrorCode::kInvalidArgument, "expected one ", input.media_marker, " per media item (",
         input.media_texts.size(), ") in the prompt, found ", found);
  return out + text.substr(at);
}

}  // namespace

ChatPrompt ChatRenderer::encode(const ChatInput& input) const {
  JsonValue variables = variables_for(input);
  const auto compiled = ChatTemplate::parse(source_for(variables));
  ChatPrompt prompt;
  prompt.has_tools = holds_items(variables.find("tools"));
  if (prompt.has_tools) prompt.tools = ToolSchemas(*variables.find("tools"));
  if (input.trust_special_tokens) {
    prompt.text = compiled->render(variables);
    prompt.ids = tokenizer_->encode(place_media(prompt.text, input), false, true);
    return prompt;
  }
  const Disguise disguise(special_, steering_);
  variables.set("messages", disguise.hide_messages(*variables.find("messages")));
  variables.set("tools", disguise.hide(*variables.find("tools"), false));
  variables.set("documents", disguise.hide(*variables.find("documents"), true));
  const std::string text = disguise.unescape(compiled->render(variables));
  prompt.text = disguise.reveal(text);
  // The tokenizer finds the template's special tokens; stand-ins are ordinary text to it. Only
  // prompts that hold one are cut, so that all others are tokenised in one piece.
  const std::string whole = place_media(text, input);
  prompt.ids = prompt.text == text ? tokenizer_->encode(whole, false, true)
                                   : encode_disguised(whole, disguise);
  return prompt;
}

std::vector<int32_t> ChatRenderer::encode_disguised(const std::string& text,
                                                    const Disguise& disguise) const {
  std::vector<int32_t> ids;
  std::string plain;
  auto flush = [&] {
    if (plain.empty()) return;
    const std::vector<int32_t> piece = tokenizer_->encode(disguise.reveal(plain), false, false);
    ids.insert(ids.end(), piece.begin(), piece.end());
    plain.clear();
  };
  std::array<bool, 256> may_begin{};
  for (const auto& [spelling, id] : special_)
    may_begin[static_cast<unsigned char>(spelling[0])] = true;
  constexpr char kStandIn = '\xF4';  // of all stand-ins, the first byte of four
  for (size_t at = 0; at < text.size();) {
    if (text[at] == kStandIn && disguise.cuts(text, at)) {
      plain += text.substr(at, 4);
      at += 4;
      flush();
      continue;
    }
    if (!may_begin[static_cast<unsigned char>(text[at])]) {
      plain += text[at++];
      continue;
    }
    const auto match = std::find_if(special_.begin(), special_.end(), [&](const auto& item) {
      return text.compare(at, item.first.size(), item.first) == 0;
    });
    if (match == special_.end()) {
      plain += text[at++];
      continue;
    }
    flush();
    ids.push_back(match->second);
    at += match->first.size();
  }
  flush();
  return ids;
}

JsonValue ChatRenderer::describe() const {
  using Kind = ReasoningSwitch::Kind;
  JsonValue out;
  constexpr std::pair<OutputShape, const char*> kShapes[] = {{OutputShape::kPlain, "plain"},
                                                             {OutputShape::kInline, "inline tags"},
                                                             {OutputShape::kTurns, "turns"}};
  for (const auto& [shape, name] : kShapes)
    if (shape == grammar_.shape) out.set("output", name);
  if (grammar_.shape == OutputShape::kTurns && grammar_.style == TurnStyle::kChannel)
    out.set("output", "channels");
  constexpr std::pair<Kind, const char*> kSwitches[] = {
      {Kind::kEnableThinking, "enable_thinking"},
      {Kind::kThinking, "thinking"},
      {Kind::kForceSkip, "force_reasoning, skip_reasoning"},
      {Kind::kEffort, "reasoning_effort"}};
  for (const auto& [kind, name] : kSwitches)
    if (kind == switch_.kind) out.set("reasoning_switch", name);
  if (switch_.kind == Kind::kNone) {
    out.set("reasoning_default", switch_.always ? "on" : "off");
    return out;
  }
  // The default is whichever setting renders as no setting does.
  const std::vector<ChatMessage> messages = {text_message("user", "?")};
  const auto rendered = [&](const char* wish) -> std::string {
    try {
      return render({.messages = messages, .reasoning = wish});
    } catch (const Error& error) {
      return error.what();
    }
  };
  const std::string neutral = rendered("");
  const bool on = neutral == rendered("on");
  const bool off = neutral == rendered("off");
  std::string standard = on == off ? "model" : on ? "on" : "off";
  if (on == off && switch_.kind == Kind::kEffort)
    for (const char* effort : {"low", "medium"})
      if (neutral == rendered(effort)) standard = effort;
  out.set("reasoning_default", standard);
  return out;
}

}  // namespace onnuri
