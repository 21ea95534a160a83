// Methods of strings, dictionaries and lists, as Python has them. None changes its object.
#include <algorithm>
#include <array>

#include "fusion/jinja_eval.h"
#include "fusion/jinja_text.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

using Method = Value (*)(Interpreter&, const Value&, const Args&);

Value text(std::string s) { return Value::string(std::move(s)); }
Value like(const Value& from, std::string s) {
  return from.is_markup() ? Value::markup(std::move(s)) : text(std::move(s));
}

const std::string* optional_text(Interpreter& in, const Args& args, size_t i,
                                 std::string_view name) {
  const Value* v = args.find(i, name);
  if (v == nullptr || v->is_none()) return nullptr;
  if (!v->is_string()) in.error("expected a string argument, found " + std::string(v->type_name()));
  return &v->as_string();
}

const std::string& required_text(Interpreter& in, const Args& args, size_t i) {
  const std::string* s = optional_text(in, args, i, "");
  if (s == nullptr) in.error("expected a string argument, found none");
  return *s;
}

int64_t optional_int(Interpreter& in, const Args& args, size_t i, std::string_view name,
                     int64_t fallback) {
  const Value* v = args.find(i, name);
  if (v == nullptr) return fallback;
  if (!v->is_integral()) in.error("expected an integer argument");
  return v->as_int();
}

template <bool kLeft, bool kRight>
Value stripped(Interpreter& in, const Value& s, const Args& args) {
  return like(s, strip(s.as_string(), optional_text(in, args, 0, "chars"), kLeft, kRight));
}

template <bool kFromRight>
Value split_method(Interpreter& in, const Value& s, const Args& args) {
  return Value::list(split(in, s.as_string(), optional_text(in, args, 0, "sep"),
                           optional_int(in, args, 1, "maxsplit", -1), kFromRight));
}

Value splitlines(Interpreter&, const Value& s, const Args& args) {
  return Value::list(
      split_lines(s.as_string(), args.get(0, "keepends", Value::boolean(false)).truth()));
}

template <bool kStart>
Value affix(Interpreter& in, const Value& s, const Args& args) {
  const auto fits = [&](const Value& v) {
    if (!v.is_string()) in.error("expected a string or a tuple of strings");
    return kStart ? s.as_string().starts_with(v.as_string())
                  : s.as_string().ends_with(v.as_string());
  };
  if (args.positional.empty()) in.error("expected an argument");
  const Value& what = args.positional[0];
  if (what.type() != Value::Type::kTuple) return Value::boolean(fits(what));
  const List& all = what.as_list();
  return Value::boolean(std::any_of(all.begin(), all.end(), fits));
}

Value replace(Interpreter& in, const Value& s, const Args& args) {
  std::string out = replaced(in, s.as_string(), required_text(in, args, 0),
                             required_text(in, args, 1), optional_int(in, args, 2, "count", -1));
  return text(std::move(out));
}

Value upper(Interpreter&, const Value& s, const Args&) {
  return like(s, utf8::upper(s.as_string()));
}
Value lower(Interpreter&, const Value& s, const Args&) {
  return like(s, utf8::lower(s.as_string()));
}
Value capitalize(Interpreter&, const Value& s, const Args&) {
  return text(capitalized(s.as_string()));
}

Value title(Interpreter&, const Value& s, const Args&) {
  std::string out;
  bool inside = false;
  const std::string& all = s.as_string();
  for (size_t pos = 0; pos < all.size();) {
    const size_t begin = pos;
    const bool letter = utf8::is_letter(utf8::next(all, pos));
    const std::string one = all.substr(begin, pos - begin);
    out += letter && !inside ? utf8::upper(one) : utf8::lower(one);
    inside = letter;
  }
  return text(std::move(out));
}

Value format(Interpreter& in, const Value& s, const Args& args) {
  return text(brace_format(in, s.as_string(), args));
}

Value join(Interpreter& in, const Value& s, const Args& args) {
  if (args.positional.empty()) in.error("join needs what to join");
  std::string out;
  bool first = true;
  for (const Value& item : in.iterate(args.positional[0])) {
    if (!item.is_string())
      in.error("expected strings to join, found " + std::string(item.type_name()));
    in.charge(item.as_string().size() + s.as_string().size());
    if (!first) out += s.as_string();
    first = false;
    out += item.as_string();
  }
  return text(std::move(out));
}

template <bool kFromRight, bool kMust>
Value find(Interpreter& in, const Value& s, const Args& args) {
  const std::string& all = s.as_string();
  const std::string& what = required_text(in, args, 0);
  const size_t at = kFromRight ? all.rfind(what) : all.find(what);
  if (at == all.npos) {
    if (kMust) in.error("substring not found");
    return Value::integer(-1);
  }
  return Value::integer(static_cast<int64_t>(utf8::count(std::string_view(all).substr(0, at))));
}

Value count(Interpreter& in, const Value& s, const Args& args) {
  const std::string& what = required_text(in, args, 0);
  if (what.empty()) return Value::integer(static_cast<int64_t>(utf8::count(s.as_string())) + 1);
  int64_t n = 0;
  for (size_t at = s.as_string().find(what); at != std::string::npos;
       at = s.as_string().find(what, at + what.size()))
    ++n;
  return Value::integer(n);
}

// Every character passes `test`, and there is one.
template <typename Test>
Value all_are(const Value& s, const Test& test) {
  const std::string& all = s.as_string();
  for (size_t pos = 0; pos < all.size();) {
    if (!test(utf8::next(all, pos))) return Value::boolean(false);
  }
  return Value::boolean(!all.empty());
}

Value isdigit(Interpreter&, const Value& s, const Args&) {
  return all_are(s, [](char32_t c) { return utf8::is_numeric(c); });
}
Value isalpha(Interpreter&, const Value& s, const Args&) {
  return all_are(s, [](char32_t c) { return utf8::is_letter(c); });
}
Value isalnum(Interpreter&, const Value& s, const Args&) {
  return all_are(s, [](char32_t c) { return utf8::is_letter(c) || utf8::is_numeric(c); });
}
Value isspace(Interpreter&, const Value& s, const Args&) {
  return all_are(s, [](char32_t c) { return utf8::is_space(c) || (c >= 0x1C && c <= 0x1F); });
}
Value isupper(Interpreter& in, const Value& s, const Args&) {
  return Value::boolean(apply_test(in, "upper", s, {}));
}
Value islower(Interpreter& in, const Value& s, const Args&) {
  return Value::boolean(apply_test(in, "lower", s, {}));
}

Value removeprefix(Interpreter& in, const Value& s, const Args& args) {
  const std::string& what = required_text(in, args, 0);
  return s.as_string().starts_with(what) ? text(s.as_string().substr(what.size())) : s;
}
Value removesuffix(Interpreter& in, const Value& s, const Args& args) {
  const std::string& what = required_text(in, args, 0);
  if (what.empty() || !s.as_string().ends_with(what)) return s;
  return text(s.as_string().substr(0, s.as_string().size() - what.size()));
}

template <bool kFromRight>
Value partition(Interpreter& in, const Value& s, const Args& args) {
  const std::string& all = s.as_string();
  const std::string& mark = required_text(in, args, 0);
  if (mark.empty()) in.error("empty separator");
  const size_t at = kFromRight ? all.rfind(mark) : all.find(mark);
  if (at == all.npos)
    return kFromRight ? Value::tuple({text(""), text(""), s})
                      : Value::tuple({s, text(""), text("")});
  return Value::tuple({text(all.substr(0, at)), text(mark), text(all.substr(at + mark.size()))});
}

template <bool kLeft>
Value justify(Interpreter& in, const Value& s, const Args& args) {
  const int64_t width = optional_int(in, args, 0, "", 0);
  const std::string* fill = optional_text(in, args, 1, "fillchar");
  const int64_t missing = width - static_cast<int64_t>(utf8::count(s.as_string()));
  if (missing <= 0) return s;
  const std::string& one = fill != nullptr ? *fill : std::string(" ");
  if (missing > 1'000'000 || utf8::count(one) != 1) in.error("expected one character to fill with");
  std::string pad;
  for (int64_t i = 0; i < missing; ++i) pad += one;
  in.charge(pad.size());
  return text(kLeft ? s.as_string() + pad : pad + s.as_string());
}

Value center(Interpreter& in, const Value& s, const Args& args) {
  const std::string* fill = optional_text(in, args, 1, "fillchar");
  if (args.positional.empty()) in.error("center needs a width");
  return text(
      centered(in, s.as_string(), optional_int(in, args, 0, "", 0), fill != nullptr ? *fill : " "));
}

Value zfill(Interpreter& in, const Value& s, const Args& args) {
  if (args.positional.empty()) in.error("zfill needs a width");
  const std::string& all = s.as_string();
  const int64_t missing = optional_int(in, args, 0, "", 0) - static_cast<int64_t>(utf8::count(all));
  if (missing <= 0) return s;
  if (missing > 1'000'000) in.error("zfill makes too much text");
  in.charge(static_cast<size_t>(missing));
  const size_t sign = all.starts_with('-') || all.starts_with('+') ? 1 : 0;
  return text(all.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') +
              all.substr(sign));
}

Value swapcase(Interpreter&, const Value& s, const Args&) {
  const std::string& all = s.as_string();
  std::string out;
  for (size_t pos = 0; pos < all.size();) {
    const size_t begin = pos;
    const bool up = utf8::is_upper(utf8::next(all, pos));
    const std::string one = all.substr(begin, pos - begin);
    out += up ? utf8::lower(one) : utf8::upper(one);
  }
  return text(std::move(out));
}

// Every word begins with a raised letter and goes on with small ones.
Value istitle(Interpreter&, const Value& s, const Args&) {
  bool some = false;
  bool inside = false;
  for (size_t pos = 0; pos < s.as_string().size();) {
    const char32_t c = utf8::next(s.as_string(), pos);
    const bool up = utf8::is_upper(c);
    const bool low = utf8::is_lower(c);
    if ((up && inside) || (low && !inside)) return Value::boolean(false);
    some = some || up || low;
    inside = up || low;
  }
  return Value::boolean(some);
}

Value isascii(Interpreter&, const Value& s, const Args&) {
  const std::string& all = s.as_string();
  return Value::boolean(std::all_of(all.begin(), all.end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
}

Value keys(Interpreter& in, const Value& d, const Args&) {
  return Value::view("dict_keys", in.iterate(d));
}
Value values(Interpreter&, const Value& d, const Args&) {
  List out;
  for (const auto& member : d.as_dict()) out.push_back(member.second);
  return Value::view("dict_values", std::move(out));
}
Value items(Interpreter& in, const Value& d, const Args&) {
  return Value::view("dict_items", in.iterate(apply_filter(in, "items", d, {})));
}
Value get(Interpreter& in, const Value& d, const Args& args) {
  if (args.positional.empty()) in.error("get needs a key");
  in.require_hashable(args.positional[0]);
  in.step(d.as_dict().size() / 16);
  const Value* found = d.member(args.positional[0]);
  return found != nullptr ? *found : args.get(1, "default", Value::none());
}
Value copy(Interpreter&, const Value& v, const Args&) { return v; }

Value list_index(Interpreter& in, const Value& l, const Args& args) {
  if (args.positional.empty()) in.error("index needs a value");
  const List& all = l.as_list();
  in.step(all.size());
  const auto it = std::find_if(all.begin(), all.end(),
                               [&](const Value& v) { return equals(v, args.positional[0]); });
  if (it == all.end()) in.error("value is not in the list");
  return Value::integer(it - all.begin());
}
Value list_count(Interpreter& in, const Value& l, const Args& args) {
  if (args.positional.empty()) in.error("count needs a value");
  in.step(l.as_list().size());
  return Value::integer(std::count_if(l.as_list().begin(), l.as_list().end(), [&](const Value& v) {
    return equals(v, args.positional[0]);
  }));
}

// What would change the object exists in Python and is refused by its sandbox.
Value refused(Interpreter& in, const Value& v, const Args&) {
  in.error("expected methods that change nothing of a " + std::string(v.type_name()));
}

using Entry = std::pair<std::string_view, Method>;

constexpr Entry kString[] = {{"strip", stripped<true, true>},
                             {"lstrip", stripped<true, false>},
                             {"rstrip", stripped<false, true>},
                             {"split", split_method<false>},
                             {"rsplit", split_method<true>},
                             {"splitlines", splitlines},
                             {"startswith", affix<true>},
                             {"endswith", affix<false>},
                             {"replace", replace},
                             {"upper", upper},
                             {"lower", lower},
                             {"casefold", lower},
                             {"capitalize", capitalize},
                             {"title", title},
                             {"format", format},
                             {"join", join},
                             {"find", find<false, false>},
                             {"rfind", find<true, false>},
                             {"index", find<false, true>},
                             {"rindex", find<true, true>},
                             {"count", count},
                             {"isdigit", isdigit},
                             {"isnumeric", isdigit},
                             {"isdecimal", isdigit},
                             {"isalpha", isalpha},
                             {"isalnum", isalnum},
                             {"isspace", isspace},
                             {"isupper", isupper},
                             {"islower", islower},
                             {"removeprefix", removeprefix},
                             {"removesuffix", removesuffix},
                             {"partition", partition<false>},
                             {"rpartition", partition<true>},
                             {"center", center},
                             {"zfill", zfill},
                             {"swapcase", swapcase},
                             {"istitle", istitle},
                             {"isascii", isascii},
                             {"ljust", justify<true>},
                             {"rjust", justify<false>}};

constexpr Entry kDict[] = {{"keys", keys},         {"values", values}, {"items", items},
                           {"get", get},           {"copy", copy},     {"pop", refused},
                           {"update", refused},    {"clear", refused}, {"popitem", refused},
                           {"setdefault", refused}};

constexpr Entry kList[] = {{"index", list_index}, {"count", list_count}, {"copy", copy},
                           {"append", refused},   {"extend", refused},   {"insert", refused},
                           {"pop", refused},      {"remove", refused},   {"reverse", refused},
                           {"sort", refused},     {"clear", refused}};

template <size_t N>
Value bind(const Entry (&entries)[N], const Value& object, const std::string& name) {
  for (const auto& [known, method] : entries) {
    if (known == name)
      return Value::function(
          [object, m = method](Interpreter& in, const Args& args) {
            if (object.is_string()) in.step(object.as_string().size() / kBytesPerStep);
            return m(in, object, args);
          },
          object.depth());
  }
  return Value();
}

}  // namespace

Value find_method(const Value& object, const std::string& name) {
  if (object.is_string()) return bind(kString, object, name);
  if (object.is_dict()) return bind(kDict, object, name);
  if (object.is_range() && name != "index" && name != "count") return Value();
  if (object.is_sequence() || object.is_range()) return bind(kList, object, name);
  return Value();
}

}  // namespace onnuri::jinja
