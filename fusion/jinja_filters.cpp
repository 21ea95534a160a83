// Filters of templates: value|name(arguments). Behaviour follows Jinja's documentation; `tojson`
// follows transformers (non-ASCII kept, nothing escaped for HTML).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/check.h"
#include "fusion/jinja_eval.h"
#include "fusion/jinja_text.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

using Filter = Value (*)(Interpreter&, const Value&, const Args&);

Value text(std::string s) { return Value::string(std::move(s)); }
// A string made from `from`, safe for HTML where that was.
Value like(const Value& from, std::string s) {
  return from.is_markup() ? Value::markup(std::move(s)) : text(std::move(s));
}
Value generator(List items) { return Value::view("generator", std::move(items)); }

// A dotted path such as "function.name", or a number.
Value path(Interpreter& in, Value value, const Value& attribute) {
  if (!attribute.is_string()) return in.subscript(value, attribute);
  std::string_view rest = attribute.as_string();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    int64_t index = 0;
    const auto end = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = end.ec == std::errc() && end.ptr == part.data() + part.size();
    value = in.subscript(value, number ? Value::integer(index) : text(part));
    if (dot == rest.npos) return value;
    rest.remove_prefix(dot + 1);
  }
}

// The sort key of Jinja: strings without case unless asked.
Value sort_key(Interpreter& in, const Value& item, const Value& attribute, bool case_sensitive) {
  Value key = attribute.is_none() ? item : path(in, item, attribute);
  return key.is_string() && !case_sensitive ? text(utf8::lower(key.as_string())) : key;
}

Value tojson(Interpreter& in, const Value& v, const Args& args) {
  const Value indent = args.get(1, "indent", Value::none());
  const Value separators = args.get(2, "separators", Value::none());
  const bool pretty = indent.is_integral();
  if (pretty && (indent.as_int() < 0 || indent.as_int() > 64)) in.error("indent out of range");
  std::string item = pretty ? "," : ", ";
  std::string key = ": ";
  if (separators.is_sequence() && separators.as_list().size() == 2) {
    item = separators.as_list()[0].str();
    key = separators.as_list()[1].str();
  }
  std::string out = to_json(v, pretty ? static_cast<int>(indent.as_int()) : -1, item, key,
                            args.get(3, "sort_keys", Value::boolean(false)).truth(),
                            args.get(0, "ensure_ascii", Value::boolean(false)).truth());
  in.charge(out.size());
  return text(std::move(out));
}

Value default_value(Interpreter&, const Value& v, const Args& args) {
  const bool by_truth = args.get(1, "boolean", Value::boolean(false)).truth();
  if (v.is_undefined() || (by_truth && !v.truth())) return args.get(0, "default_value", text(""));
  return v;
}

Value length(Interpreter& in, const Value& v, const Args&) {
  if (v.is_string()) return Value::integer(static_cast<int64_t>(utf8::count(v.as_string())));
  if (v.is_sequence() || (v.is_view() && !v.is_generator()))
    return Value::integer(static_cast<int64_t>(v.as_list().size()));
  if (v.is_dict()) return Value::integer(static_cast<int64_t>(v.as_dict().size()));
  if (v.is_undefined()) return Value::integer(0);
  in.error("expected something with a length, found " + std::string(v.type_name()));
}

Value join(Interpreter& in, const Value& v, const Args& args) {
  const std::string between = args.get(0, "d", text("")).str();
  const Value attribute = args.get(1, "attribute", Value::none());
  std::string out;
  bool first = true;
  for (const Value& item : in.iterate(v)) {
    if (!first) out += between;
    first = false;
    out += (attribute.is_none() ? item : path(in, item, attribute)).str();
    if (out.size() > (size_t{1} << 20)) in.charge(out.size() / 1024);
  }
  in.charge(out.size());
  return text(std::move(out));
}

Value map(Interpreter& in, const Value& v, const Args& args) {
  List out;
  const Value* attribute = nullptr;
  const Value* fallback = nullptr;
  for (const auto& [name, value] : args.named) {
    if (name == "attribute") attribute = &value;
    if (name == "default") fallback = &value;
  }
  for (const Value& item : v.truth() ? in.iterate(v) : List()) {
    if (attribute != nullptr) {
      Value got = path(in, item, *attribute);
      out.push_back(got.is_undefined() && fallback != nullptr ? *fallback : std::move(got));
      continue;
    }
    if (args.positional.empty()) in.error("map needs a filter or an attribute");
    Args rest;
    rest.positional.assign(args.positional.begin() + 1, args.positional.end());
    rest.named = args.named;
    out.push_back(apply_filter(in, args.positional[0].str(), item, rest));
  }
  in.charge(out.size() * sizeof(Value));
  return generator(std::move(out));
}

List selected(Interpreter& in, const Value& v, const Args& args, bool by_attribute, bool keep) {
  const size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && args.positional.empty()) in.error("expected the name of an attribute");
  Args rest;
  if (args.positional.size() > skip + 1)
    rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(skip) + 1,
                           args.positional.end());
  List out;
  for (const Value& item : v.truth() ? in.iterate(v) : List()) {
    const Value subject = by_attribute ? path(in, item, args.positional[0]) : item;
    const bool holds = args.positional.size() > skip
                           ? apply_test(in, args.positional[skip].str(), subject, rest)
                           : subject.truth();
    if (holds == keep) out.push_back(item);
  }
  in.charge(out.size() * sizeof(Value));
  return out;
}

Value select(Interpreter& in, const Value& v, const Args& a) {
  return generator(selected(in, v, a, false, true));
}
Value reject(Interpreter& in, const Value& v, const Args& a) {
  return generator(selected(in, v, a, false, false));
}
Value selectattr(Interpreter& in, const Value& v, const Args& a) {
  return generator(selected(in, v, a, true, true));
}
Value rejectattr(Interpreter& in, const Value& v, const Args& a) {
  return generator(selected(in, v, a, true, false));
}

Value first(Interpreter& in, const Value& v, const Args&) {
  const List items = in.iterate(v);
  return items.empty() ? Value::undefined("first") : items.front();
}
Value last(Interpreter& in, const Value& v, const Args&) {
  if (v.is_generator()) in.error("expected something with an end, found a generator");
  const List items = in.iterate(v);
  return items.empty() ? Value::undefined("last") : items.back();
}
Value list(Interpreter& in, const Value& v, const Args&) { return Value::list(in.iterate(v)); }

Value items(Interpreter& in, const Value& v, const Args&) {
  if (v.is_undefined()) return generator({});
  if (!v.is_dict()) in.error("expected a mapping, found " + std::string(v.type_name()));
  List out;
  for (const auto& [key, value] : v.as_dict()) out.push_back(Value::tuple({key, value}));
  return generator(std::move(out));
}

Value dictsort(Interpreter& in, const Value& v, const Args& args) {
  const bool case_sensitive = args.get(0, "case_sensitive", Value::boolean(false)).truth();
  const bool by_value = args.get(1, "by", text("key")).str() == "value";
  const bool reverse = args.get(2, "reverse", Value::boolean(false)).truth();
  if (v.is_undefined()) in.error("\"" + v.undefined_name() + "\" is undefined");
  const Value pairs = items(in, v, {});
  List out = pairs.as_list();
  const auto key = [&](const Value& pair) {
    return sort_key(in, pair.as_list()[by_value ? 1 : 0], Value::none(), case_sensitive);
  };
  std::stable_sort(out.begin(), out.end(), [&](const Value& a, const Value& b) {
    in.step();
    const int order = compare(key(a), key(b));
    return reverse ? order > 0 : order < 0;
  });
  return Value::list(std::move(out));
}

Value sort(Interpreter& in, const Value& v, const Args& args) {
  const bool reverse = args.get(0, "reverse", Value::boolean(false)).truth();
  const bool case_sensitive = args.get(1, "case_sensitive", Value::boolean(false)).truth();
  const Value attribute = args.get(2, "attribute", Value::none());
  List out = in.iterate(v);
  std::stable_sort(out.begin(), out.end(), [&](const Value& a, const Value& b) {
    in.step();
    const int order = compare(sort_key(in, a, attribute, case_sensitive),
                              sort_key(in, b, attribute, case_sensitive));
    return reverse ? order > 0 : order < 0;
  });
  return Value::list(std::move(out));
}

Value unique(Interpreter& in, const Value& v, const Args& args) {
  const bool case_sensitive = args.get(0, "case_sensitive", Value::boolean(false)).truth();
  const Value attribute = args.get(1, "attribute", Value::none());
  List out;
  List seen;
  for (const Value& item : in.iterate(v)) {
    Value key = sort_key(in, item, attribute, case_sensitive);
    in.step(seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equals(s, key); }))
      continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return generator(std::move(out));
}

Value extreme(Interpreter& in, const Value& v, const Args& args, int sign) {
  const bool case_sensitive = args.get(0, "case_sensitive", Value::boolean(false)).truth();
  const Value attribute = args.get(1, "attribute", Value::none());
  Value best = Value::undefined("max");
  for (const Value& item : in.iterate(v)) {
    if (best.is_undefined() || sign * compare(sort_key(in, item, attribute, case_sensitive),
                                              sort_key(in, best, attribute, case_sensitive)) >
                                   0)
      best = item;
  }
  return best;
}
Value max(Interpreter& in, const Value& v, const Args& a) { return extreme(in, v, a, 1); }
Value min(Interpreter& in, const Value& v, const Args& a) { return extreme(in, v, a, -1); }

Value sum(Interpreter& in, const Value& v, const Args& args) {
  const Value attribute = args.get(0, "attribute", Value::none());
  Value total = args.get(1, "start", Value::integer(0));
  for (const Value& item : in.iterate(v))
    total = in.binary("+", total, attribute.is_none() ? item : path(in, item, attribute));
  return total;
}

Value reverse(Interpreter& in, const Value& v, const Args&) {
  List items = in.iterate(v);
  std::reverse(items.begin(), items.end());
  if (v.is_generator()) return Value::list(std::move(items));
  if (!v.is_string()) return generator(std::move(items));
  std::string out;
  for (const Value& c : items) out += c.as_string();
  return text(std::move(out));
}

Value batch(Interpreter& in, const Value& v, const Args& args) {
  const Value count = args.get(0, "linecount", Value::integer(0));
  if (!count.is_integral() || count.as_int() < 1 || count.as_int() > 1'000'000)
    in.error("batch needs a size");
  const Value* fill = args.find(1, "fill_with");
  List out;
  List row;
  const auto size = static_cast<size_t>(count.as_int());
  for (const Value& item : in.iterate(v)) {
    if (row.size() == size) out.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (fill != nullptr && !fill->is_none()) {
      in.charge(size * sizeof(Value));
      row.resize(size, *fill);
    }
    out.push_back(Value::list(std::move(row)));
  }
  return generator(std::move(out));
}

Value upper(Interpreter&, const Value& v, const Args&) { return like(v, utf8::upper(v.str())); }
Value lower(Interpreter&, const Value& v, const Args&) { return like(v, utf8::lower(v.str())); }
Value capitalize(Interpreter&, const Value& v, const Args&) {
  return like(v, capitalized(v.str()));
}
Value to_string(Interpreter&, const Value& v, const Args&) { return like(v, v.str()); }
Value safe(Interpreter&, const Value& v, const Args&) { return Value::markup(v.str()); }

// Letters behind white space, hyphens and opening brackets are raised.
Value title(Interpreter&, const Value& v, const Args&) {
  std::string out;
  bool start = true;
  const std::string s = v.str();
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = utf8::next(s, pos);
    const std::string one = s.substr(begin, pos - begin);
    const bool gap =
        utf8::is_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
    out += start && !gap ? utf8::upper(one) : utf8::lower(one);
    start = gap;
  }
  return text(std::move(out));
}

Value trim(Interpreter&, const Value& v, const Args& args) {
  const Value chars = args.get(0, "chars", Value::none());
  const std::string s = v.str();
  return like(v, strip(s, chars.is_string() ? &chars.as_string() : nullptr, true, true));
}

Value replace(Interpreter& in, const Value& v, const Args& args) {
  const Value count = args.get(2, "count", Value::none());
  std::string out =
      replaced(v.str(), args.get(0, "old", text("")).str(), args.get(1, "new", text("")).str(),
               count.is_integral() ? count.as_int() : -1);
  in.charge(out.size());
  return text(std::move(out));
}

Value indent(Interpreter& in, const Value& v, const Args& args) {
  if (!v.is_string()) in.error("expected a string to indent, found " + std::string(v.type_name()));
  const Value width = args.get(0, "width", Value::integer(4));
  const bool first_too = args.get(1, "first", Value::boolean(false)).truth();
  const bool blank_too = args.get(2, "blank", Value::boolean(false)).truth();
  if (!width.is_string() && (!width.is_integral() || width.as_int() > 10'000))
    in.error("indent needs a width");
  const std::string space =
      width.is_string()
          ? width.as_string()
          : std::string(static_cast<size_t>(std::max<int64_t>(0, width.as_int())), ' ');
  std::string out;
  const List rows = split_lines(v.str() + "\n", false);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string& row = rows[i].as_string();
    if (i > 0) out += '\n';
    if (i == 0 ? first_too : blank_too || !row.empty()) out += space;
    out += row;
    in.charge(space.size() + row.size());
  }
  return like(v, std::move(out));
}

Value to_int(Interpreter& in, const Value& v, const Args& args) {
  if (v.is_undefined()) in.error("\"" + v.undefined_name() + "\" is undefined");
  if (v.is_integral()) return Value::integer(v.as_int());
  double d = 0;
  if (v.is_string()) {
    const std::string s = strip(v.as_string(), nullptr, true, true);
    const char* begin = s.data() + (s.starts_with('+') ? 1 : 0);
    int64_t i = 0;
    const auto end = std::from_chars(begin, s.data() + s.size(), i);
    if (end.ec == std::errc() && end.ptr == s.data() + s.size()) return Value::integer(i);
    const auto f = std::from_chars(begin, s.data() + s.size(), d);
    if (s.empty() || f.ec != std::errc() || f.ptr != s.data() + s.size())
      return args.get(0, "default", Value::integer(0));
  } else if (v.is_number()) {
    d = v.as_double();
  } else {
    return args.get(0, "default", Value::integer(0));
  }
  if (!(std::fabs(d) < 9e18)) return args.get(0, "default", Value::integer(0));
  return Value::integer(static_cast<int64_t>(d));
}

Value to_float(Interpreter& in, const Value& v, const Args& args) {
  if (v.is_undefined()) in.error("\"" + v.undefined_name() + "\" is undefined");
  if (v.is_number()) return Value::number(v.as_double());
  if (v.is_string()) {
    const std::string s = strip(v.as_string(), nullptr, true, true);
    double d = 0;
    const auto end = std::from_chars(s.data(), s.data() + s.size(), d);
    if (!s.empty() && end.ec == std::errc() && end.ptr == s.data() + s.size())
      return Value::number(d);
  }
  return args.get(0, "default", Value::number(0));
}

Value absolute(Interpreter& in, const Value& v, const Args&) {
  if (!v.is_number()) in.error("expected a number, found " + std::string(v.type_name()));
  if (!v.is_integral()) return Value::number(std::fabs(v.as_double()));
  return v.as_int() < 0 ? in.binary("-", Value::integer(0), v) : Value::integer(v.as_int());
}

Value round(Interpreter& in, const Value& v, const Args& args) {
  if (!v.is_number()) in.error("expected a number, found " + std::string(v.type_name()));
  const Value digits = args.get(0, "precision", Value::integer(0));
  const std::string method = args.get(1, "method", text("common")).str();
  if (!digits.is_integral() || digits.as_int() < 0 || digits.as_int() > 30)
    in.error("round needs a precision from 0 to 30");
  const auto precision = static_cast<int>(digits.as_int());
  const double scale = std::pow(10.0, precision);
  const double d = v.as_double();
  if (method == "ceil") return Value::number(std::ceil(d * scale) / scale);
  if (method == "floor") return Value::number(std::floor(d * scale) / scale);
  if (v.is_integral()) return Value::integer(v.as_int());
  char buffer[512];
  const int n = std::snprintf(buffer, sizeof buffer, "%.*f", precision, d);
  double out = d;
  if (n > 0) std::from_chars(buffer, buffer + std::min<size_t>(static_cast<size_t>(n), 511), out);
  return Value::number(out);
}

Value force_escape(Interpreter& in, const Value& v, const Args&) {
  std::string out;
  for (const char c : v.str()) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  in.charge(out.size());
  return Value::markup(std::move(out));
}

Value escape(Interpreter& in, const Value& v, const Args& args) {
  return v.is_markup() ? v : force_escape(in, v, args);
}

Value attr(Interpreter& in, const Value& v, const Args& args) {
  return in.attribute(v, args.get(0, "name", text("")).str());
}

Value truncate(Interpreter& in, const Value& v, const Args& args) {
  if (!v.is_string()) in.error("expected a string to cut, found " + std::string(v.type_name()));
  const std::string s = v.str();
  const int64_t limit = std::max<int64_t>(0, args.get(0, "length", Value::integer(255)).as_int());
  const bool mid_word = args.get(1, "killwords", Value::boolean(false)).truth();
  const std::string end = args.get(2, "end", text("...")).str();
  const int64_t leeway = args.get(3, "leeway", Value::integer(5)).as_int();
  if (static_cast<int64_t>(utf8::count(s)) <= limit + leeway) return text(s);
  int64_t keep = limit - static_cast<int64_t>(utf8::count(end));
  size_t pos = 0;
  for (; keep > 0 && pos < s.size(); --keep) utf8::next(s, pos);
  std::string out = s.substr(0, pos);
  if (const size_t space = out.rfind(' '); !mid_word && space != out.npos) out.resize(space);
  return text(out + end);
}

Value format(Interpreter& in, const Value& v, const Args& args) {
  return text(printf_format(in, v.str(), args));
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"tojson", tojson},
    {"default", default_value},
    {"d", default_value},
    {"length", length},
    {"count", length},
    {"join", join},
    {"map", map},
    {"select", select},
    {"reject", reject},
    {"selectattr", selectattr},
    {"rejectattr", rejectattr},
    {"first", first},
    {"last", last},
    {"list", list},
    {"items", items},
    {"dictsort", dictsort},
    {"sort", sort},
    {"unique", unique},
    {"max", max},
    {"min", min},
    {"sum", sum},
    {"reverse", reverse},
    {"batch", batch},
    {"upper", upper},
    {"lower", lower},
    {"capitalize", capitalize},
    {"title", title},
    {"string", to_string},
    {"safe", safe},
    {"trim", trim},
    {"replace", replace},
    {"indent", indent},
    {"int", to_int},
    {"float", to_float},
    {"abs", absolute},
    {"round", round},
    {"escape", escape},
    {"e", escape},
    {"forceescape", force_escape},
    {"attr", attr},
    {"truncate", truncate},
    {"format", format},
};

}  // namespace

Value apply_filter(Interpreter& in, const std::string& name, const Value& input, const Args& args) {
  in.step();
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter(in, input, args);
  }
  fail(ErrorCode::kUnsupported, "expected a filter of the chat template subset, found \"", name,
       "\"");
}

}  // namespace onnuri::jinja
