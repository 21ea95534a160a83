// See jinja_value.h.
#include "fusion/jinja_value.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

constexpr int kMaxDepth = 128;
// A list may hold another one twice, and that one a third twice: what is short in memory can be
// endless on paper, and to compare.
constexpr size_t kMaxWritten = size_t{64} << 20;
constexpr int kMaxComparisons = 1 << 18;

void check_written(size_t bytes) {
  if (bytes > kMaxWritten)
    fail(ErrorCode::kInvalidArgument, "expected values that are at most ", kMaxWritten,
         " bytes long as text, found more");
}

void check_depth(int depth) {
  if (depth > kMaxDepth)
    fail(ErrorCode::kInvalidArgument, "expected values nested at most ", kMaxDepth, " deep");
}

std::string hex(char32_t c, int digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (int i = digits - 1; i >= 0; --i) out += kDigits[(c >> (4 * i)) & 15];
  return out;
}

bool printable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return c == ' ';
    default: return true;
  }
}

}  // namespace

const Value* Args::find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Args::get(size_t index, std::string_view name, const Value& fallback) const {
  const Value* found = find(index, name);
  return found == nullptr ? fallback : *found;
}

Value Value::undefined(std::string name) {
  Value v;
  v.string_ = std::make_shared<const std::string>(std::move(name));
  return v;
}

Value Value::none() {
  Value v;
  v.type_ = Type::kNone;
  return v;
}

Value Value::boolean(bool b) {
  Value v;
  v.type_ = Type::kBool;
  v.int_ = b ? 1 : 0;
  return v;
}

Value Value::integer(int64_t i) {
  Value v;
  v.type_ = Type::kInt;
  v.int_ = i;
  return v;
}

Value Value::number(double d) {
  Value v;
  v.type_ = Type::kFloat;
  v.float_ = d;
  return v;
}

Value Value::string(std::string s) {
  Value v;
  v.type_ = Type::kString;
  v.string_ = std::make_shared<const std::string>(std::move(s));
  return v;
}

Value Value::list(List items) {
  Value v;
  v.type_ = Type::kList;
  for (const Value& item : items) v.depth_ = std::max(v.depth_, item.depth());
  check_depth(++v.depth_);
  v.list_ = std::make_shared<const List>(std::move(items));
  return v;
}

Value Value::tuple(List items) {
  Value v = list(std::move(items));
  v.type_ = Type::kTuple;
  return v;
}

Value Value::markup(std::string s) {
  Value v = string(std::move(s));
  v.int_ = 1;
  return v;
}

Value Value::view(std::string name, List items) {
  Value v = list(std::move(items));
  v.type_ = Type::kView;
  v.string_ = std::make_shared<const std::string>(std::move(name));
  return v;
}

Value Value::generator(List items, std::exception_ptr error) {
  Value v = view("generator", std::move(items));
  v.progress_ = std::make_shared<Progress>(Progress{0, std::move(error)});
  return v;
}

Value Value::group(Value key, List items) {
  Value v = tuple({std::move(key), list(std::move(items))});
  v.int_ = 1;
  return v;
}

List Value::take_items() const {
  if (!progress_) return *list_;
  const size_t begin = std::exchange(progress_->next, list_->size());
  if (progress_->error) std::rethrow_exception(progress_->error);
  return List(list_->begin() + static_cast<ptrdiff_t>(begin), list_->end());
}

std::optional<Value> Value::take_first() const {
  const size_t at = progress_ ? progress_->next : 0;
  if (at < list_->size()) {
    if (progress_) ++progress_->next;
    return (*list_)[at];
  }
  if (progress_ && progress_->error) std::rethrow_exception(progress_->error);
  return std::nullopt;
}

Value Value::dict(Dict members) {
  Value v;
  v.type_ = Type::kDict;
  int depth = 0;
  for (const auto& [key, value] : members) depth = std::max({depth, key.depth(), value.depth()});
  check_depth(++depth);
  v.dict_ = std::make_shared<Members>(Members{std::move(members), depth});
  return v;
}

Value Value::name_space(Dict members) {
  Value v = dict(std::move(members));
  v.type_ = Type::kNamespace;
  return v;
}

Value Value::function(Function f, int held, Dict attributes) {
  Value v;
  v.type_ = Type::kFunction;
  v.depth_ = held + 1;
  check_depth(v.depth_);
  v.function_ = std::make_shared<const Function>(std::move(f));
  if (!attributes.empty()) {
    v.dict_ = std::make_shared<Members>();
    v.dict_->members = std::move(attributes);
    v.dict_->depth = v.depth_;
  }
  return v;
}

Value Value::from_json(const JsonValue& json, int depth) {
  check_depth(depth);
  constexpr std::string_view kWhere = "template variables";
  if (json.is_null()) return none();
  if (json.is_bool()) return boolean(json.as_bool(kWhere));
  if (json.is_int()) return integer(json.as_int(kWhere));
  if (json.is_number()) return number(json.as_double(kWhere));
  if (json.is_string()) {
    utf8::require_valid(json.as_string(kWhere), kWhere);
    return string(json.as_string(kWhere));
  }
  if (json.is_array()) {
    List items;
    for (const JsonValue& one : json.as_array(kWhere)) items.push_back(from_json(one, depth + 1));
    return list(std::move(items));
  }
  Dict members;
  for (const auto& [key, value] : json.as_object(kWhere))
    members.emplace_back(string(key), from_json(value, depth + 1));
  return dict(std::move(members));
}

bool Value::truth() const {
  switch (type_) {
    case Type::kUndefined:
    case Type::kNone: return false;
    case Type::kBool:
    case Type::kInt: return int_ != 0;
    case Type::kFloat: return float_ != 0;
    case Type::kString: return !string_->empty();
    case Type::kList:
    case Type::kTuple: return !list_->empty();
    case Type::kView: return is_generator() || !list_->empty();
    case Type::kDict: return !dict_->members.empty();
    case Type::kNamespace:
    case Type::kFunction: return true;
  }
  return false;
}

void Value::set_member(const std::string& name, const Value& value) const {
  dict_->depth = std::max(dict_->depth, value.depth() + 1);
  check_depth(dict_->depth);
  for (auto& [key, old] : dict_->members) {
    if (key.is_string() && key.as_string() == name) {
      old = value;
      return;
    }
  }
  dict_->members.emplace_back(string(name), value);
}

const char* Value::type_name() const {
  switch (type_) {
    case Type::kUndefined: return "undefined";
    case Type::kNone: return "NoneType";
    case Type::kBool: return "bool";
    case Type::kInt: return "int";
    case Type::kFloat: return "float";
    case Type::kString: return "str";
    case Type::kList: return "list";
    case Type::kTuple: return "tuple";
    case Type::kView: return "view";
    case Type::kDict: return "dict";
    case Type::kNamespace: return "namespace";
    case Type::kFunction: return "function";
  }
  return "unknown";
}

const Value* Value::member(const Value& key) const {
  if (!dict_) return nullptr;
  for (const auto& [k, v] : dict_->members) {
    if (equals(k, key)) return &v;
  }
  return nullptr;
}

const Value* Value::member(std::string_view key) const {
  if (!dict_) return nullptr;
  for (const auto& [k, v] : dict_->members) {
    if (k.is_string() && k.as_string() == key) return &v;
  }
  return nullptr;
}

std::string float_repr(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string out;
  if (text.starts_with('-')) {
    out = "-";
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  std::string_view power = text.substr(e + 1);
  const bool negative = power.starts_with('-');
  power.remove_prefix(1);
  int exponent = 0;
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  if (negative) exponent = -exponent;
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += "." + digits.substr(1);
    out += std::string("e") + (exponent < 0 ? "-" : "+");
    const std::string number = std::to_string(std::abs(exponent));
    return out + (number.size() < 2 ? "0" : "") + number;
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  const auto point = static_cast<size_t>(exponent + 1);
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

std::string quote(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char mark = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, mark);
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = utf8::next(text, pos);
    if (c == static_cast<char32_t>(mark) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (printable(c)) {
      out += text.substr(begin, pos - begin);
    } else if (c < 0x100) {
      out += "\\x" + hex(c, 2);
    } else if (c < 0x10000) {
      out += "\\u" + hex(c, 4);
    } else {
      out += "\\U" + hex(c, 8);
    }
  }
  return out + mark;
}

void Value::write(std::string& out, bool quoted, int depth) const {
  check_depth(depth);
  check_written(out.size());
  switch (type_) {
    case Type::kUndefined:
      if (quoted) out += "Undefined";
      return;
    case Type::kNone: out += "None"; return;
    case Type::kBool: out += int_ != 0 ? "True" : "False"; return;
    case Type::kInt: out += std::to_string(int_); return;
    case Type::kFloat: out += float_repr(float_); return;
    case Type::kString:
      out += !quoted ? *string_ : is_markup() ? "Markup(" + quote(*string_) + ")" : quote(*string_);
      return;
    case Type::kFunction: out += "<function>"; return;
    case Type::kView:
      out += is_generator() ? "<generator object>" : *string_;
      if (!is_generator() && !is_range()) {
        out += '(';
        Value::list(*list_).write(out, true, depth + 1);
        out += ')';
      }
      return;
    case Type::kList:
    case Type::kTuple: {
      const bool is_tuple = type_ == Type::kTuple;
      out += is_tuple ? '(' : '[';
      for (size_t i = 0; i < list_->size(); ++i) {
        if (i > 0) out += ", ";
        (*list_)[i].write(out, true, depth + 1);
      }
      if (is_tuple && list_->size() == 1) out += ',';
      out += is_tuple ? ')' : ']';
      return;
    }
    case Type::kDict:
    case Type::kNamespace: {
      out += type_ == Type::kNamespace ? "<Namespace {" : "{";
      for (size_t i = 0; i < dict_->members.size(); ++i) {
        if (i > 0) out += ", ";
        dict_->members[i].first.write(out, true, depth + 1);
        out += ": ";
        dict_->members[i].second.write(out, true, depth + 1);
      }
      out += type_ == Type::kNamespace ? "}>" : "}";
      return;
    }
  }
}

std::string Value::str() const {
  if (type_ == Type::kString) return *string_;
  std::string out;
  write(out, false, 0);
  return out;
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  std::string out;
  write(out, true, 0);
  return out;
}

namespace {

bool equals_at(const Value& a, const Value& b, int depth, int& left) {
  check_depth(depth);
  if (--left < 0)
    fail(ErrorCode::kInvalidArgument, "expected values of at most ", kMaxComparisons,
         " parts to compare, found more");
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Value::Type::kString: return a.as_string() == b.as_string();
    case Value::Type::kList:
    case Value::Type::kTuple:
      return std::equal(
          a.as_list().begin(), a.as_list().end(), b.as_list().begin(), b.as_list().end(),
          [&](const Value& x, const Value& y) { return equals_at(x, y, depth + 1, left); });
    case Value::Type::kView:
      return &a.as_list() == &b.as_list() ||
             (!a.is_generator() && !b.is_generator() &&
              equals_at(Value::list(a.as_list()), Value::list(b.as_list()), depth, left));
    case Value::Type::kDict:
      return a.as_dict().size() == b.as_dict().size() &&
             std::all_of(a.as_dict().begin(), a.as_dict().end(), [&](const auto& m) {
               const Value* other = b.member(m.first);
               return other != nullptr && equals_at(m.second, *other, depth + 1, left);
             });
    case Value::Type::kFunction: return &a.as_function() == &b.as_function();
    case Value::Type::kNamespace: return &a.as_namespace() == &b.as_namespace();
    default: return true;  // both none, or both undefined
  }
}

}  // namespace

bool equals(const Value& a, const Value& b) {
  int left = kMaxComparisons;
  return equals_at(a, b, 0, left);
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral())
      return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
    return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double() ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) return a.as_string().compare(b.as_string());
  if (a.is_sequence() && a.type() == b.type()) {
    const List& x = a.as_list();
    const List& y = b.as_list();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equals(x[i], y[i])) return compare(x[i], y[i]);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  fail(ErrorCode::kInvalidArgument, "expected values that can be ordered, found ", a.type_name(),
       " and ", b.type_name());
}

namespace {

struct JsonWriter {
  int indent;
  std::string_view item_separator;
  std::string_view key_separator;
  bool sort_keys;
  bool ascii;
  std::string out;

  void escape(char32_t c) {
    if (c >= 0x10000) {
      out += "\\u" + hex(0xD800 + ((c - 0x10000) >> 10), 4);
      c = 0xDC00 + ((c - 0x10000) & 0x3FF);
    }
    out += "\\u" + hex(c, 4);
  }

  void line(int depth) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
  }

  void text(std::string_view s) {
    out += '"';
    for (size_t pos = 0; pos < s.size();) {
      const size_t begin = pos;
      const char32_t c = utf8::next(s, pos);
      switch (c) {
        case '"': out += "\\\""; break;
        case '\\': out += "\\\\"; break;
        case '\n': out += "\\n"; break;
        case '\r': out += "\\r"; break;
        case '\t': out += "\\t"; break;
        case '\f': out += "\\f"; break;
        case '\b': out += "\\b"; break;
        default:
          if (c < 0x20 || (ascii && c >= 0x80)) {
            escape(c);
          } else {
            out += s.substr(begin, pos - begin);
          }
      }
    }
    out += '"';
  }

  void number(const Value& v) {
    const std::string written = v.str();
    out += written == "nan"    ? "NaN"
           : written == "inf"  ? "Infinity"
           : written == "-inf" ? "-Infinity"
                               : written;
  }

  void key(const Value& v) {
    if (v.is_string()) {
      text(v.as_string());
    } else if (v.is_bool()) {
      text(v.truth() ? "true" : "false");
    } else if (v.is_none()) {
      text("null");
    } else {
      text(v.str());
    }
  }

  void sequence(const List& items, int depth) {
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += item_separator;
      line(depth + 1);
      value(items[i], depth + 1);
    }
    if (!items.empty()) line(depth);
    out += ']';
  }

  void object(const Dict& members, int depth) {
    Dict sorted;
    if (sort_keys) {
      sorted = members;
      std::stable_sort(sorted.begin(), sorted.end(),
                       [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
    }
    const Dict& shown = sort_keys ? sorted : members;
    out += '{';
    for (size_t i = 0; i < shown.size(); ++i) {
      if (i > 0) out += item_separator;
      line(depth + 1);
      key(shown[i].first);
      out += key_separator;
      value(shown[i].second, depth + 1);
    }
    if (!shown.empty()) line(depth);
    out += '}';
  }

  void value(const Value& v, int depth) {
    check_depth(depth);
    check_written(out.size());
    switch (v.type()) {
      case Value::Type::kNone: out += "null"; return;
      case Value::Type::kBool: out += v.truth() ? "true" : "false"; return;
      case Value::Type::kInt:
      case Value::Type::kFloat: number(v); return;
      case Value::Type::kString: text(v.as_string()); return;
      case Value::Type::kList:
      case Value::Type::kTuple: sequence(v.as_list(), depth); return;
      case Value::Type::kDict: object(v.as_dict(), depth); return;
      default:
        fail(ErrorCode::kInvalidArgument, "expected a value that JSON can hold, found ",
             v.type_name(), v.is_undefined() ? " \"" + v.undefined_name() + "\"" : "");
    }
  }
};

}  // namespace

std::string to_json(const Value& value, int indent, std::string_view item_separator,
                    std::string_view key_separator, bool sort_keys, bool ascii) {
  JsonWriter writer{indent, item_separator, key_separator, sort_keys, ascii, {}};
  writer.value(value, 0);
  return std::move(writer.out);
}

}  // namespace onnuri::jinja
