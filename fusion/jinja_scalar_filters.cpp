// Filters of templates that work on texts and numbers; see jinja_filters.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "core/check.h"
#include "fusion/jinja_filters.h"
#include "fusion/jinja_numbers.h"
#include "fusion/jinja_text.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

Value text(std::string s) { return Value::string(std::move(s)); }
// A string made from `from`, safe for HTML where that was.
Value like(const Value& from, std::string s) {
  return from.is_markup() ? Value::markup(std::move(s)) : text(std::move(s));
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
      replaced(in, v.str(), args.get(0, "old", text("")).str(), args.get(1, "new", text("")).str(),
               count.is_integral() ? count.as_int() : -1);
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

// A text that is no integer may still be a float: "42.23" becomes 42.
Value to_int(Interpreter& in, const Value& v, const Args& args) {
  if (v.is_undefined()) in.error("\"" + v.undefined_name() + "\" is undefined");
  if (v.is_integral()) return Value::integer(v.as_int());
  const Value fallback = args.get(0, "default", Value::integer(0));
  const auto whole = [&](double d) {
    if (std::fabs(d) >= 9e18) in.error("expected integers of 64 bits");
    return Value::integer(static_cast<int64_t>(d));
  };
  if (v.is_number()) {
    if (std::isnan(v.as_double())) return fallback;
    return whole(v.as_double());
  }
  if (!v.is_string()) return fallback;
  const std::string s = strip(v.as_string(), nullptr, true, true);
  const Value base = args.get(1, "base", Value::integer(10));
  if (base.is_integral()) {
    if (const auto read = read_integer(s, base.as_int())) {
      if (!read->fits) in.error("expected integers of 64 bits");
      return Value::integer(read->value);
    }
  }
  const std::optional<double> d = read_float(s);
  return d && std::isfinite(*d) ? whole(*d) : fallback;
}

Value to_float(Interpreter& in, const Value& v, const Args& args) {
  if (v.is_undefined()) in.error("\"" + v.undefined_name() + "\" is undefined");
  if (v.is_number()) return Value::number(v.as_double());
  if (v.is_string()) {
    const auto d = read_float(strip(v.as_string(), nullptr, true, true));
    if (d) return Value::number(*d);
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
  const Value length = args.get(0, "length", Value::integer(255));
  const Value leeway = args.get(3, "leeway", Value::integer(5));
  const std::string end = args.get(2, "end", text("...")).str();
  if (!length.is_integral() || !leeway.is_integral()) in.error("truncate needs integers");
  const int64_t keep = length.as_int() - static_cast<int64_t>(utf8::count(end));
  if (keep < 0 || leeway.as_int() < 0) in.error("expected a length of at least that of the end");
  const int64_t limit =
      length.as_int() > INT64_MAX - leeway.as_int() ? INT64_MAX : length.as_int() + leeway.as_int();
  // Whatever has a length may stay whole; only texts can be cut.
  const Value size = apply_filter(in, "length", v, {});
  if (size.as_int() <= limit) return v;
  if (!v.is_string()) in.error("expected a string to cut, found " + std::string(v.type_name()));
  const std::string& s = v.as_string();
  size_t pos = 0;
  for (int64_t i = 0; i < keep && pos < s.size(); ++i) utf8::next(s, pos);
  std::string out = s.substr(0, pos);
  const bool mid_word = args.get(1, "killwords", Value::boolean(false)).truth();
  if (const size_t space = out.rfind(' '); !mid_word && space != out.npos) out.resize(space);
  return like(v, out + end);
}

Value wordcount(Interpreter&, const Value& v, const Args&) {
  const std::string s = v.str();
  int64_t words = 0;
  bool inside = false;
  for (size_t pos = 0; pos < s.size();) {
    const char32_t c = utf8::next(s, pos);
    const bool part = utf8::is_letter(c) || utf8::is_numeric(c) || c == '_';
    if (part && !inside) ++words;
    inside = part;
  }
  return Value::integer(words);
}

Value center(Interpreter& in, const Value& v, const Args& args) {
  const Value width = args.get(0, "width", Value::integer(80));
  if (!width.is_integral()) in.error("center needs a width");
  return like(v, centered(in, v.str(), width.as_int(), " "));
}

Value format(Interpreter& in, const Value& v, const Args& args) {
  return text(printf_format(in, v.str(), args));
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
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
    {"wordcount", wordcount},
    {"center", center},
    {"wordwrap", wordwrap},
    {"format", format},
};

}  // namespace

Filter find_scalar_filter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return nullptr;
}

}  // namespace onnuri::jinja
