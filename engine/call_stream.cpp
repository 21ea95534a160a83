// See call_stream.h.
#include "engine/call_stream.h"

#include <algorithm>
#include <utility>

#include "core/json.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kFunction = "<function=";
constexpr std::string_view kParameterEnd = "</parameter>";

bool is_space(char c) { return kSpace.find(c) != kSpace.npos; }

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

std::optional<std::string> dumped(std::string_view json) {
  try {
    return parse_json(json, "tool call").dump();
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

bool JsonSqueezer::push(char c, std::string& out) {
  if (in_string_) {
    out += c;
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return true;
  }
  if (is_space(c)) return true;
  out += c;
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') --depth_;
  return depth_ > 0;
}

CallStream::CallStream(const CallTag& tag, int64_t first_index, const ToolSchemas& tools)
    : tag_(tag), tools_(&tools), first_index_(first_index) {
  state_ = tag.format == CallFormat::kJson     ? State::kJson
           : tag.format == CallFormat::kPython ? State::kPython
                                               : State::kHead;
}

void CallStream::push(std::string_view text) {
  for (const char c : text) push_char(c);
}

void CallStream::push_char(char c) {
  switch (state_) {
    case State::kJson: return push_json(c);
    case State::kHead: return push_head(c);
    case State::kArguments: return push_arguments(c);
    case State::kObject: return say_object(c);
    case State::kParameters: return push_parameter(c);
    case State::kPython: return push_python(c);
    case State::kSilent: return;
  }
}

// {"name": ..., "arguments": {...}}, perhaps inside {"function": ...}, or a list of these. Inside
// the same tags some models write <function=...> instead.
void CallStream::push_json(char c) {
  if (in_string_) {
    text_ += c;
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      end_json_string();
    }
    return;
  }
  if (is_space(c)) return;
  if (brackets_.empty() && (c == '<' || !text_.empty())) {
    text_ += c;
    if (text_ == kFunction) {
      text_.clear();
      state_ = State::kHead;
      tag_ = {"", "", CallFormat::kFunction, "", ""};
    }
    return;
  }
  const bool at_call = brackets_.size() == call_level_ && call_level_ > 0;
  switch (c) {
    case '"':
      in_string_ = true;
      text_ = c;
      return;
    case ':': value_next_ = true; return;
    case ',': value_next_ = false; return;
    case '{':
      if (at_call && value_next_ && begun_ && (key_ == "arguments" || key_ == "parameters") &&
          said_.back().arguments.empty()) {
        state_ = State::kObject;
        after_object_ = State::kJson;
        object_ = {};
        return say_object(c);
      }
      [[fallthrough]];
    case '[':
      if (c == '{' && (brackets_.empty() || brackets_ == "[" || (at_call && key_ == "function")))
        call_level_ = brackets_.size() + 1;
      brackets_ += c;
      value_next_ = false;
      return;
    case '}':
    case ']':
      if (brackets_.empty()) return;
      if (brackets_.size() == call_level_) {
        const bool wrapped = brackets_.ends_with("{{");
        call_level_ = wrapped ? call_level_ - 1 : 0;
        if (!wrapped) {
          begun_ = false;
          id_.clear();
        }
      }
      brackets_.pop_back();
      if (brackets_.empty()) state_ = State::kSilent;
      return;
    default: return;
  }
}

void CallStream::end_json_string() {
  const std::string quoted = std::exchange(text_, {});
  if (brackets_.size() != call_level_ || brackets_.empty() || brackets_.back() != '{') return;
  std::string value;
  try {
    value = parse_json(quoted, "tool call").as_string("tool call");
  } catch (const Error&) {
    return;
  }
  if (!value_next_) {
    key_ = std::move(value);
  } else if (key_ == "id") {
    id_ = std::move(value);
  } else if (key_ == "name" && !begun_ && !value.empty()) {
    begin(id_, std::move(value));
    begun_ = true;
  }
}

// Up to the arguments: NAME>, [ID MARK] NAME MARK, or NAME [MARK ID] [MARK] {.
void CallStream::push_head(char c) {
  if (tag_.format == CallFormat::kHeaded) {
    const bool first = text_.find_first_not_of(kSpace) == text_.npos;
    if (first && (c == '[' || c == '{')) {
      text_.clear();
      state_ = State::kJson;
      return push_json(c);
    }
    if (c == '{') {
      const auto head = read_head(tag_, text_);
      state_ = head ? State::kObject : State::kSilent;
      after_object_ = State::kSilent;
      if (!head) return;
      begin(head->second, head->first);
      return say_object(c);
    }
    text_ += c;
    return;
  }
  text_ += c;
  const std::string mark = tag_.format == CallFormat::kFunction ? ">" : tag_.args_mark;
  if (!text_.ends_with(mark)) return;
  text_.resize(text_.size() - mark.size());
  if (tag_.format == CallFormat::kFunction) begin({}, trimmed(text_));
  if (tag_.format == CallFormat::kFunction) text_.clear();
  state_ = State::kArguments;
}

// The first character of the arguments tells their form.
void CallStream::push_arguments(char c) {
  if (is_space(c)) return;
  if (c == '<' && tag_.format == CallFormat::kFunction) {
    state_ = State::kParameters;
    return push_parameter(c);
  }
  state_ = State::kSilent;
  if (c != '{') return;
  if (tag_.format == CallFormat::kNamed) {
    const size_t at = tag_.name_mark.empty() ? text_.npos : text_.find(tag_.name_mark);
    const bool has_id = at != text_.npos;
    if (!has_id && !tag_.name_mark.empty()) return;
    begin(has_id ? trimmed(text_.substr(0, at)) : std::string(),
          trimmed(has_id ? text_.substr(at + tag_.name_mark.size()) : text_));
  }
  state_ = State::kObject;
  after_object_ = State::kSilent;
  say_object(c);
}

// A parameter is said when it is whole: only then is it known what it is.
void CallStream::push_parameter(char c) {
  text_ += c;
  if (!text_.ends_with(kParameterEnd)) return;
  const std::optional<std::string> member =
      read_parameter(trimmed(text_), said_.back().name, *tools_);
  text_.clear();
  if (!member) {
    state_ = State::kSilent;
    return;
  }
  say((said_.back().arguments.empty() ? "{" : ",") + *member);
}

void CallStream::push_python(char c) {
  if (!python_.push(c)) state_ = State::kSilent;
  for (PythonCalls::Piece& piece : python_.take()) {
    if (piece.begins)
      begin({}, std::move(piece.text));
    else
      say(piece.text);
  }
}

void CallStream::say_object(char c) {
  std::string text;
  const bool open = object_.push(c, text);
  if (!text.empty()) say(text);
  if (!open) state_ = after_object_;
}

void CallStream::begin(std::string id, std::string name) {
  const auto index = first_index_ + static_cast<int64_t>(said_.size());
  if (id.empty()) id = numbered_call_id(index);
  said_.push_back({id, name, {}});
  out_.push_back({index, std::move(id), std::move(name), {}});
}

void CallStream::say(std::string_view arguments) {
  const auto index = first_index_ + static_cast<int64_t>(said_.size()) - 1;
  said_.back().arguments += arguments;
  if (out_.empty() || out_.back().index != index) out_.push_back({index, {}, {}, {}});
  out_.back().arguments += arguments;
}

void CallStream::finish(std::vector<ToolCall>& calls) {
  said_.resize(std::max(said_.size(), calls.size()));
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto index = first_index_ + static_cast<int64_t>(i);
    ToolCall& call = calls[i];
    const Said& said = said_[i];
    const bool same = said.id == call.id && said.name == call.name;
    if (same && !said.arguments.empty() && dumped(said.arguments) == call.arguments_json) {
      call.arguments_json = said.arguments;
    } else if (same && call.arguments_json.starts_with(said.arguments)) {
      std::string rest = call.arguments_json.substr(said.arguments.size());
      if (!rest.empty()) out_.push_back({index, {}, {}, std::move(rest)});
    } else {
      out_.push_back({index, call.id, call.name, call.arguments_json});
    }
  }
}

std::vector<ToolCallDelta> CallStream::take() { return std::exchange(out_, {}); }

}  // namespace onnuri
