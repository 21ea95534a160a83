// JSON text -> JsonValue, by the event interface of nlohmann-json, so that our limits act while the
// text is read and no second tree is built. The library's parser keeps its own stack on the heap.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/check.h"
#include "core/json.h"
#include "core/printable.h"

namespace onnuri {
namespace {

using Array = JsonValue::Array;
using Object = JsonValue::Object;
using nlohmann::json;

/// Positions of members whose key occurs again later, ascending. Sorted by hash first, by key only
/// where hashes meet, so crafted keys cost no more than n log n.
std::vector<uint32_t> find_shadowed(const Object& object) {
  struct Entry {
    size_t hash;
    uint32_t index;
  };
  std::vector<Entry> entries(object.size());
  for (size_t i = 0; i < object.size(); ++i) {
    entries[i] = {std::hash<std::string>()(object[i].first), static_cast<uint32_t>(i)};
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.index < b.index;
  });
  const auto key = [&object](const Entry& e) -> const std::string& {
    return object[e.index].first;
  };
  std::vector<uint32_t> shadowed;
  for (size_t begin = 0, end = 0; begin < entries.size(); begin = end) {
    while (end < entries.size() && entries[end].hash == entries[begin].hash) ++end;
    if (end - begin == 1) continue;
    std::stable_sort(entries.begin() + static_cast<int64_t>(begin),
                     entries.begin() + static_cast<int64_t>(end),
                     [&](const Entry& a, const Entry& b) { return key(a) < key(b); });
    for (size_t i = begin; i + 1 < end; ++i) {
      if (key(entries[i]) == key(entries[i + 1])) shadowed.push_back(entries[i].index);
    }
  }
  std::sort(shadowed.begin(), shadowed.end());
  return shadowed;
}

void remove_members(Object& object, const std::vector<uint32_t>& positions) {
  size_t next = 0, out = 0;
  for (size_t i = 0; i < object.size(); ++i) {
    if (next < positions.size() && positions[next] == i) {
      ++next;
      continue;
    }
    if (out != i) object[out] = std::move(object[i]);
    ++out;
  }
  object.resize(out);
}

/// Receives the events. Open containers live on a stack and move into their parent when closed.
class Builder {
 public:
  Builder(std::string_view text, std::string_view where, const JsonLimits& limits)
      : text_(text), where_(where), limits_(limits) {}

  bool null() { return add(JsonValue()); }
  bool boolean(bool v) { return add(JsonValue(v)); }
  bool number_integer(int64_t v) { return add(JsonValue(v)); }
  bool number_unsigned(uint64_t v) {
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return add(JsonValue(static_cast<double>(v)));
    }
    return add(JsonValue(static_cast<int64_t>(v)));
  }
  bool number_float(double v, const std::string&) { return add(JsonValue(v)); }
  bool string(std::string& v) { return add(JsonValue(std::move(v))); }
  bool binary(json::binary_t&) { return false; }  // never sent for text

  bool start_object(size_t) { return open(false); }
  bool start_array(size_t) { return open(true); }
  bool key(std::string& name) {
    stack_.back().key = std::move(name);
    return true;
  }
  bool end_object() {
    Frame frame = close();
    if (frame.object.size() > 1) {
      const std::vector<uint32_t> shadowed = find_shadowed(frame.object);
      if (!shadowed.empty() && limits_.duplicate_keys == DuplicateKeys::kReject) {
        fail(ErrorCode::kCorruptData, where_, place(), ": duplicate key ",
             in_quotes(frame.object[shadowed.front()].first));
      }
      remove_members(frame.object, shadowed);
    }
    return add(JsonValue(std::move(frame.object)));
  }
  bool end_array() {
    Frame frame = close();
    return add(JsonValue(std::move(frame.array)));
  }

  bool parse_error(size_t position, const std::string&, const json::exception& error) {
    const size_t at = std::min(position > 0 ? position - 1 : 0, text_.size());
    const std::string_view before = text_.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
    if (dynamic_cast<const json::out_of_range*>(&error) != nullptr) {
      fail(ErrorCode::kCorruptData, where_, place(), ": number out of range at line ", line);
    }
    fail(ErrorCode::kCorruptData, where_, place(), ": expected JSON, found ",
         at < text_.size() ? in_quotes(text_.substr(at, 16)) : "the end", " at line ", line,
         ", column ", at - line_begin + 1);
  }

  JsonValue take() { return std::move(root_); }

 private:
  struct Frame {
    bool is_array = false;
    Array array;
    Object object;
    std::string key;  // of the member being read
  };

  bool add(JsonValue&& value) {
    if (++num_values_ > limits_.max_values) {
      fail(ErrorCode::kCorruptData, where_, ": expected at most ", limits_.max_values,
           " JSON values");
    }
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (Frame& top = stack_.back(); top.is_array) {
      top.array.push_back(std::move(value));
    } else {
      top.object.emplace_back(std::move(top.key), std::move(value));
    }
    return true;
  }

  bool open(bool is_array) {
    if (stack_.size() >= static_cast<size_t>(limits_.max_depth)) {
      fail(ErrorCode::kCorruptData, where_, ": expected JSON nested at most ", limits_.max_depth,
           " deep");
    }
    stack_.emplace_back().is_array = is_array;
    return true;
  }

  Frame close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    return frame;
  }

  /// " in key.key[3]" of the value being read, or nothing at the top.
  std::string place() const {
    std::string path;
    for (const Frame& frame : stack_) {
      if (frame.is_array) {
        path.append("[").append(std::to_string(frame.array.size())).append("]");
      } else if (!frame.key.empty()) {
        path.append(path.empty() ? "" : ".").append(frame.key);
      }
    }
    return path.empty() ? path : std::string(": at ").append(in_quotes(path));
  }

  std::string_view text_;
  std::string_view where_;
  const JsonLimits& limits_;
  std::vector<Frame> stack_;
  JsonValue root_;
  size_t num_values_ = 0;
};

}  // namespace

JsonValue parse_json(std::string_view text, std::string_view where, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    fail(ErrorCode::kCorruptData, where, ": expected at most ", limits.max_bytes,
         " bytes of JSON, found ", text.size());
  }
  Builder builder(text, where, limits);
  const char* begin = text.data();
  if (!json::sax_parse(begin, begin + text.size(), &builder)) {
    fail(ErrorCode::kCorruptData, where, ": expected JSON");
  }
  return builder.take();
}

}  // namespace onnuri
