// See output_parser.h. Every step either understands the front of what is held or waits for more;
// it never decides on what later text could change.
#include "engine/output_parser.h"

#include <algorithm>
#include <utility>

namespace onnuri {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

struct Found {
  size_t at = std::string::npos;
  const std::string* marker = nullptr;
};

Found find_first(const std::string& text, const std::vector<std::string>& markers,
                 size_t from = 0) {
  Found best;
  for (const std::string& marker : markers) {
    const size_t at = text.find(marker, from);
    if (at < best.at) best = {at, &marker};
  }
  return best;
}

// The length of the longest tail that may still grow into a marker.
size_t open_tail(const std::string& text, const std::vector<std::string>& markers) {
  size_t keep = 0;
  for (const std::string& marker : markers) {
    for (size_t n = std::min(marker.size() - 1, text.size()); n > keep; --n) {
      if (text.compare(text.size() - n, n, marker, 0, n) == 0) {
        keep = n;
        break;
      }
    }
  }
  return keep;
}

bool may_become(std::string_view text, std::string_view whole) {
  return text.size() < whole.size() && whole.starts_with(text);
}

// Whether text breaks off inside a string that one of `quotes` began.
bool inside_string(std::string_view text, std::string_view quotes) {
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quote != 0 && text[i] == '\\')
      ++i;
    else if (quote != 0 ? text[i] == quote : quotes.find(text[i]) != quotes.npos)
      quote = quote != 0 ? '\0' : text[i];
  }
  return quote != 0;
}

bool contains(const std::vector<std::string>& all, std::string_view one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

// Whether calls in Python's manner may begin like this; nothing while there is no name yet.
std::optional<bool> begins_python_calls(std::string_view text) {
  PythonCalls reader;
  for (const char c : text) {
    if (!reader.push(c)) return false;
    if (!reader.take().empty()) return true;
  }
  return std::nullopt;
}

// Whether what stands behind the opening tag can be a call; nothing while it cannot be known.
std::optional<bool> looks_like_call(const CallTag& tag, std::string_view body) {
  const CallFormat format = tag.format;
  const size_t at = body.find_first_not_of(kSpace);
  if (format == CallFormat::kNamed) return true;
  if (at == body.npos) return std::nullopt;
  if (format == CallFormat::kPython) return begins_python_calls(body);
  if (format == CallFormat::kHeaded) {
    constexpr size_t kLongestHead = 256;
    if (body[at] == '{' || body[at] == '[') return true;
    const size_t brace = body.find('{');
    const std::string_view head = body.substr(0, brace);
    if (head.size() > kLongestHead || head.find_first_of("\n<\"'`}") != head.npos) return false;
    return brace == body.npos ? std::nullopt : std::optional(read_head(tag, head).has_value());
  }
  if (format == CallFormat::kJson) {
    constexpr std::string_view kFunction = "<function=";
    if (body[at] == '{' || body[at] == '[' || body.substr(at).starts_with(kFunction)) return true;
    if (may_become(body.substr(at), kFunction)) return std::nullopt;
    return false;
  }
  const size_t mark = body.find('>');
  const std::string_view name = body.substr(0, mark);
  if (name.find_first_of(" \t\r\n<\"'`{}") != name.npos || mark == 0) return false;
  return mark == body.npos ? std::nullopt : std::optional<bool>(true);
}

std::string recipient_of(std::string_view header) {
  const size_t at = header.find("to=");
  if (at == header.npos) return {};
  std::string_view name = header.substr(at + 3);
  name = name.substr(0, std::min(name.find_first_of(" \t\r\n<"), name.size()));
  if (name.starts_with("functions.")) name.remove_prefix(10);
  return std::string(name);
}

}  // namespace

OutputParser::OutputParser(const OutputGrammar& grammar, std::string_view prompt, bool has_tools,
                           ToolSchemas tools)
    : grammar_(grammar), has_tools_(has_tools), tools_(std::move(tools)) {
  if (grammar_.shape == OutputShape::kTurns) {
    state_ = State::kBetween;
    resume(prompt);
  } else {
    state_ = State::kStart;
    const size_t open =
        grammar_.think_open.empty() ? prompt.npos : prompt.rfind(grammar_.think_open);
    if (open != prompt.npos &&
        prompt.find_first_not_of(kSpace, open + grammar_.think_open.size()) == prompt.npos)
      resume(prompt.substr(open));
  }
}

// Reads the end of the prompt as if it were the stream's beginning, so that both meet in one place.
void OutputParser::resume(std::string_view prompt) {
  if (grammar_.shape == OutputShape::kTurns) {
    const size_t open = prompt.rfind(grammar_.turn_open);
    if (open == prompt.npos) return;
    prompt.remove_prefix(open);
  }
  prompt_bytes_ = prompt.size();
  held_ = prompt;
  run(false);
  out_.clear();
}

std::vector<OutputPiece> OutputParser::push(std::string_view text) {
  held_ += text;
  run(false);
  return std::exchange(out_, {});
}

bool OutputParser::is_marker(std::string_view spelling) const {
  const OutputGrammar& g = grammar_;
  if (spelling == g.think_open || spelling == g.think_close || spelling == g.turn_open) return true;
  for (const auto* list : {&g.header_ends, &g.turn_ends, &g.dropped})
    if (contains(*list, spelling)) return true;
  return std::any_of(g.calls.begin(), g.calls.end(), [&](const CallTag& tag) {
    return spelling == tag.open || spelling == tag.close || spelling == tag.name_mark ||
           spelling == tag.args_mark;
  });
}

std::vector<OutputPiece> OutputParser::push_special(std::string_view spelling) {
  const bool part =
      state_ == State::kHeader || state_ == State::kCall || state_ == State::kCallTurn;
  if (part || is_marker(spelling)) return push(spelling);
  // No marker goes on behind a foreign token.
  run(true);
  const Kind kind = state_ == State::kReasoning ? Kind::kReasoning : Kind::kText;
  settle_space(kind);
  emit(Kind::kMarkup, spelling);
  return std::exchange(out_, {});
}

std::vector<OutputPiece> OutputParser::finish() {
  run(true);
  settle_space(state_ == State::kReasoning ? Kind::kReasoning : Kind::kText);
  return std::exchange(out_, {});
}

std::optional<bool> OutputParser::ends_with(std::string_view token) const {
  if (grammar_.shape != OutputShape::kTurns) return std::nullopt;
  if (contains(grammar_.stops, token)) return true;
  if (contains(grammar_.soft_ends, token))
    return state_ != State::kReasoning && state_ != State::kBetween;
  if (contains(grammar_.turn_ends, token)) return false;
  return std::nullopt;
}

void OutputParser::run(bool last) {
  while (step(last)) {
  }
}

bool OutputParser::step(bool last) {
  switch (state_) {
    case State::kStart: return step_start(last);
    case State::kReasoning:
    case State::kText: return step_body(last);
    case State::kCall: return step_call(last);
    case State::kCallTurn: return step_call_turn(last);
    case State::kHeader: return step_header(last);
    case State::kBetween: return step_between(last);
  }
  return false;
}

void OutputParser::begin_body(State state, std::vector<std::string> markers, bool trims) {
  state_ = state;
  markers_ = std::move(markers);
  trims_ = trims;
  said_ = false;
}

// The beginning of an inline answer: thoughts, a call without tags, or neither.
bool OutputParser::step_start(bool last) {
  const std::string& open = grammar_.think_open;
  const size_t at = std::min(held_.find_first_not_of(kSpace), held_.size());
  const std::string_view rest = std::string_view(held_).substr(at);
  if (!open.empty() && rest.starts_with(open)) {
    take(Kind::kMarkup, at + open.size());
    begin_body(State::kReasoning, {grammar_.think_close}, true);
    return true;
  }
  CallTag form;
  bool bare = grammar_.bare_json_calls && has_tools_ && rest.starts_with('{');
  if (grammar_.bare_python_calls && has_tools_ && rest.starts_with('[')) {
    form.format = CallFormat::kPython;
    const std::optional<bool> plausible = begins_python_calls(rest);
    if (!plausible && !last) return false;
    bare = plausible == true;
  }
  if (bare) stream_call(form, at, held_.size());
  if (!last && (bare || rest.empty() || (!open.empty() && may_become(rest, open)))) return false;
  if (held_.empty()) return false;
  if (bare) {
    std::vector<ToolCall> calls = read_calls(form, rest, num_calls_, tools_);
    end_stream(calls);
    if (!calls.empty()) {
      const std::string source = std::exchange(held_, {});
      emit(Kind::kCalls, source, std::move(calls));
      return false;
    }
  }
  std::vector<std::string> markers = grammar_.dropped;
  for (const CallTag& tag : grammar_.calls) markers.push_back(tag.open);
  begin_body(State::kText, std::move(markers), false);
  return true;
}

bool OutputParser::step_body(bool last) {
  if (held_.empty()) return false;
  const Found found = find_first(held_, markers_);
  if (found.marker == nullptr) {
    say(held_.size() - (last ? 0 : open_tail(held_, markers_)));
    return false;
  }
  const std::string marker = *found.marker;
  say(found.at);
  on_marker(marker);
  return true;
}

// held_ begins with `marker`.
void OutputParser::on_marker(const std::string& marker) {
  if (marker == grammar_.think_close && state_ == State::kReasoning) {
    settle_space(Kind::kMarkup);
    take(Kind::kMarkup, marker.size());
    std::vector<std::string> markers = grammar_.dropped;
    for (const CallTag& tag : grammar_.calls) markers.push_back(tag.open);
    begin_body(State::kText, std::move(markers), true);
    return;
  }
  if (contains(grammar_.turn_ends, marker) || marker == grammar_.turn_open) return end_turn(marker);
  if (inside_code()) return say(marker.size());
  if (contains(grammar_.dropped, marker)) {
    settle_space(Kind::kMarkup);
    take(Kind::kMarkup, marker.size());
    return;
  }
  const auto tag = std::find_if(grammar_.calls.begin(), grammar_.calls.end(),
                                [&](const CallTag& one) { return one.open == marker; });
  tag_ = *tag;
  scanned_ = marker.size();
  state_ = State::kCall;
}

// held_ begins with an opening tag and holds a call up to `end`, if it can be read.
bool OutputParser::accept_call(size_t body_end, size_t end) {
  std::vector<ToolCall> calls = read_calls(
      tag_, std::string_view(held_).substr(tag_.open.size(), body_end - tag_.open.size()),
      num_calls_, tools_);
  if (calls.empty()) return false;
  stream_call(tag_, tag_.open.size(), body_end);
  end_stream(calls);
  settle_space(Kind::kMarkup);
  num_calls_ += static_cast<int64_t>(calls.size());
  const std::string source = held_.substr(0, end);
  held_.erase(0, end);
  emit(Kind::kCalls, source, std::move(calls));
  begin_body(State::kText, std::move(markers_), true);
  return true;
}

// What looked like a call is text, `count` bytes of it for certain.
bool OutputParser::refuse_call(size_t count) {
  stream_.reset();
  state_ = State::kText;
  say(count);
  return true;
}

// A call between tags; held_ begins with the opening one.
bool OutputParser::step_call(bool last) {
  const std::string_view body = std::string_view(held_).substr(tag_.open.size());
  const std::optional<bool> plausible = looks_like_call(tag_, body);
  if (plausible == false) return refuse_call(tag_.open.size());
  if (tag_.close.empty()) return plausible || last ? step_open_call(last) : false;
  const size_t first = body.find_first_not_of(kSpace);
  const std::string_view quotes = tag_.format == CallFormat::kPython         ? "\"'"
                                  : first != body.npos && body[first] != '<' ? "\""
                                                                             : "";
  for (size_t at; (at = held_.find(tag_.close, scanned_)) != std::string::npos;) {
    // A closing tag inside a string of the arguments closes nothing.
    if (inside_string(body.substr(0, at - tag_.open.size()), quotes)) {
      scanned_ = at + 1;
      continue;
    }
    const size_t end = at + tag_.close.size();
    return accept_call(at, end) || refuse_call(end);
  }
  if (!last) {
    const size_t tail = held_.size() - std::min(held_.size(), tag_.close.size() - 1);
    if (plausible) stream_call(tag_, tag_.open.size(), held_.size());
    scanned_ = std::max(scanned_, tail);
    return false;
  }
  // The stream ends inside: the closing tag may have been the model's last, unwritten one.
  if (accept_call(held_.size(), held_.size())) return true;
  const size_t close = held_.find(tag_.close);
  return refuse_call(close == std::string::npos ? tag_.open.size() : close + tag_.close.size());
}

// A call that ends with its value: an object, or a list of them.
bool OutputParser::step_open_call(bool last) {
  const size_t body = tag_.open.size();
  if (scanned_ == body) {
    const size_t first = held_.find_first_not_of(kSpace, body);
    const size_t begin =
        first == held_.npos || held_[first] == '[' ? first : held_.find('{', first);
    if (begin == held_.npos) return last && refuse_call(body);
    scanned_ = begin;
    value_ = {};
  }
  std::string ignored;
  while (scanned_ < held_.size())
    if (!value_.push(held_[scanned_++], ignored))
      return accept_call(scanned_, scanned_) || refuse_call(scanned_);
  if (last) return refuse_call(body);
  stream_call(tag_, body, held_.size());
  return false;
}

void OutputParser::stream_call(const CallTag& tag, size_t begin, size_t end) {
  if (!stream_) {
    stream_.emplace(tag, num_calls_, tools_);
    streamed_ = begin;
    if (state_ == State::kCallTurn && grammar_.style == TurnStyle::kChannel)
      stream_->push(recipient_ + ">");
  }
  if (end > streamed_) stream_->push(std::string_view(held_).substr(streamed_, end - streamed_));
  streamed_ = std::max(streamed_, end);
  for (ToolCallDelta& delta : stream_->take()) deltas_.push_back(std::move(delta));
}

void OutputParser::end_stream(std::vector<ToolCall>& calls) {
  if (!calls.empty()) {
    stream_->finish(calls);
    for (ToolCallDelta& delta : stream_->take()) deltas_.push_back(std::move(delta));
  }
  stream_.reset();
}

// A turn that is one call or a list of them.
bool OutputParser::step_call_turn(bool last) {
  const Found found = find_first(held_, markers_, scanned_);
  CallTag turn;
  if (grammar_.style == TurnStyle::kChannel) turn.format = CallFormat::kFunction;
  const size_t whole = found.marker != nullptr ? found.at
                       : last                  ? held_.size()
                                               : held_.size() - open_tail(held_, markers_);
  if (whole > 0) stream_call(turn, 0, whole);
  if (found.marker == nullptr && !last) {
    scanned_ = whole;
    return false;
  }
  const size_t size = std::min(found.at, held_.size());
  const std::string body = held_.substr(0, size);
  const std::string marker = found.marker != nullptr ? *found.marker : std::string();
  std::vector<ToolCall> calls;
  if (grammar_.style == TurnStyle::kChannel) {
    if (body.find_first_not_of(kSpace) != body.npos)
      calls = read_calls(turn, recipient_ + ">" + body, num_calls_, tools_);
  } else {
    calls = read_json_calls(body, num_calls_);
  }
  if (!calls.empty()) stream_call(turn, 0, size);
  end_stream(calls);
  num_calls_ += static_cast<int64_t>(calls.size());
  held_.erase(0, size);
  if (!calls.empty())
    emit(Kind::kCalls, body, std::move(calls));
  else
    emit(Kind::kText, body);
  if (marker.empty()) {
    state_ = State::kBetween;
    return false;
  }
  end_turn(marker);
  return true;
}

void OutputParser::end_turn(const std::string& marker) {
  settle_space(state_ == State::kReasoning ? Kind::kMarkup : Kind::kText);
  if (marker == grammar_.turn_open) {
    state_ = State::kHeader;
    scanned_ = marker.size();
  } else {
    take(Kind::kMarkup, marker.size());
    state_ = State::kBetween;
  }
}

bool OutputParser::step_header(bool last) {
  std::vector<std::string> ends = grammar_.header_ends;
  ends.insert(ends.end(), grammar_.turn_ends.begin(), grammar_.turn_ends.end());
  const Found found = find_first(held_, ends, scanned_);
  if (found.marker != nullptr) {
    const std::string header = held_.substr(0, found.at);
    take(Kind::kMarkup, found.at + found.marker->size());
    if (contains(grammar_.header_ends, *found.marker))
      begin_turn(header, *found.marker);
    else
      state_ = State::kBetween;
    return true;
  }
  scanned_ = std::max(scanned_, held_.size() - open_tail(held_, ends));
  if (!last) return false;
  // No header at all: a model that does not keep to its own form still has something to say.
  const size_t shown = held_.size() - std::min(prompt_bytes_, held_.size());
  const bool plain = held_.find("<|", held_.size() - shown) == std::string::npos;
  if (!held_.empty()) take(plain ? Kind::kText : Kind::kMarkup, held_.size());
  return false;
}

void OutputParser::begin_turn(const std::string& header, const std::string& mark) {
  std::vector<std::string> ends = grammar_.turn_ends;
  ends.push_back(grammar_.turn_open);
  bool thinks = false;
  bool calls = false;
  switch (grammar_.style) {
    case TurnStyle::kHeader:
      thinks = header.find("/think") != header.npos;
      calls = header.find("->") != header.npos;
      break;
    case TurnStyle::kChannel:
      recipient_ = recipient_of(header);
      calls = !recipient_.empty();
      thinks = !calls && header.find("analysis") != header.npos;
      break;
    case TurnStyle::kMark:
      thinks = mark == "<|think|>";
      if (mark == "<|tool_calls|>")
        for (const CallTag& tag : grammar_.calls) ends.push_back(tag.open);
      break;
  }
  scanned_ = 0;
  begin_body(calls    ? State::kCallTurn
             : thinks ? State::kReasoning
                      : State::kText,
             std::move(ends), thinks);
}

// Between turns; only a new one or white space is expected.
bool OutputParser::step_between(bool last) {
  const size_t at = std::min(held_.find_first_not_of(kSpace), held_.size());
  const std::string_view rest = std::string_view(held_).substr(at);
  if (rest.starts_with(grammar_.turn_open)) {
    take(Kind::kMarkup, at);
    state_ = State::kHeader;
    scanned_ = grammar_.turn_open.size();
    return true;
  }
  for (const std::string& end : grammar_.turn_ends) {
    if (!rest.starts_with(end)) continue;
    take(Kind::kMarkup, at + end.size());
    return true;
  }
  std::vector<std::string> known = grammar_.turn_ends;
  known.push_back(grammar_.turn_open);
  const bool open = std::any_of(known.begin(), known.end(),
                                [&](const std::string& one) { return may_become(rest, one); });
  if (!last && open) return false;
  if (rest.empty()) {
    if (at > 0) take(Kind::kMarkup, at);
    return false;
  }
  begin_body(State::kText, std::move(known), false);
  return true;
}

void OutputParser::emit(Kind kind, std::string_view source, std::vector<ToolCall> calls) {
  const size_t hidden = std::min(prompt_bytes_, source.size());
  prompt_bytes_ -= hidden;
  source.remove_prefix(hidden);
  if (source.empty() && calls.empty()) return;
  if (!out_.empty() && out_.back().kind == kind && kind != Kind::kCalls) {
    out_.back().source += source;
    return;
  }
  out_.push_back({kind, std::string(source), std::move(calls)});
}

void OutputParser::take(Kind kind, size_t count) {
  const std::string source = held_.substr(0, count);
  held_.erase(0, count);
  emit(kind, source);
}

void OutputParser::say(size_t count) {
  const Kind kind = state_ == State::kReasoning ? Kind::kReasoning : Kind::kText;
  std::string text = held_.substr(0, count);
  held_.erase(0, count);
  track_code(text);
  text.insert(0, std::exchange(space_, {}));
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos && (!markers_.empty() || (trims_ && !said_))) {
    space_ = std::move(text);
    return;
  }
  const size_t end = markers_.empty() ? text.size() : text.find_last_not_of(kSpace) + 1;
  const size_t lead = trims_ && !said_ ? first : 0;
  emit(Kind::kMarkup, std::string_view(text).substr(0, lead));
  emit(kind, std::string_view(text).substr(lead, end - lead));
  space_ = text.substr(end);
  said_ = true;
}

// White space in front of the first word goes with the markers around it.
void OutputParser::settle_space(Kind kind) {
  const std::string space = std::exchange(space_, {});
  emit(trims_ && !said_ ? Kind::kMarkup : kind, space);
}

void OutputParser::track_code(std::string_view text) {
  for (const char c : text) {
    if (c == '\n') {
      line_start_ = true;
      ticks_ = 0;
    } else if (line_start_ && c == '`') {
      if (++ticks_ == 3) {
        in_fence_ = !in_fence_;
        line_start_ = false;
      }
    } else if (line_start_ && (c != ' ' || ticks_ > 0)) {
      line_start_ = false;
    }
    last_ = c;
  }
}

}  // namespace onnuri
