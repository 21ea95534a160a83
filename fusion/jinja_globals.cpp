// Tests (value is name) and global functions of templates.
#include <algorithm>
#include <ctime>

#include "core/check.h"
#include "fusion/jinja_eval.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // Jinja's sandbox has the same bound

// Some letter has the case, and none has the other.
bool has_case(const std::string& text, bool upper) {
  bool some = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = utf8::next(text, pos);
    if (upper ? utf8::is_lower(c) : utf8::is_upper(c)) return false;
    some = some || (upper ? utf8::is_upper(c) : utf8::is_lower(c));
  }
  return some;
}

int64_t integral(Interpreter& in, const Value& v) {
  if (!v.is_integral()) in.error("expected an integer, found " + std::string(v.type_name()));
  return v.as_int();
}

Value range(Interpreter& in, const Args& args) {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t by = 1;
  const List& a = args.positional;
  if (a.empty() || a.size() > 3) in.error("range takes one to three integers");
  if (a.size() == 1) {
    stop = integral(in, a[0]);
  } else {
    start = integral(in, a[0]);
    stop = integral(in, a[1]);
    if (a.size() == 3) by = integral(in, a[2]);
  }
  if (by == 0) in.error("range needs a step other than zero");
  List out;
  for (int64_t i = start; by > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(out.size()) >= kMaxRange)
      in.error("range is limited to " + std::to_string(kMaxRange) + " items");
    out.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  in.charge(out.size() * sizeof(Value));
  const std::string bounds = std::to_string(start) + ", " + std::to_string(stop);
  return Value::view("range(" + bounds + (by == 1 ? ")" : ", " + std::to_string(by) + ")"),
                     std::move(out));
}

Dict members_of(Interpreter& in, const Args& args) {
  Dict out;
  const auto set = [&](Value key, Value value) {
    for (auto& [k, v] : out) {
      if (equals(k, key)) {
        v = std::move(value);
        return;
      }
    }
    out.emplace_back(std::move(key), std::move(value));
  };
  for (const Value& given : args.positional) {
    if (given.is_undefined()) in.error("\"" + given.undefined_name() + "\" is undefined");
    if (given.is_dict()) {
      for (const auto& [key, value] : given.as_dict()) set(key, value);
    } else {
      for (const Value& pair : in.iterate(given)) {
        const List two = in.iterate(pair);
        if (two.size() != 2) in.error("expected pairs for a dict");
        set(two[0], two[1]);
      }
    }
  }
  for (const auto& [key, value] : args.named) set(Value::string(key), value);
  return out;
}

Value strftime_now(Interpreter& in, const Args& args) {
  const std::string format = args.get(0, "format", Value::string("")).str();
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  if (format.size() > 256) in.error("expected a short date format");
  std::string out(8192, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &local));
  return Value::string(std::move(out));
}

// Goes round its items: next(), current, reset().
Value cycler(Interpreter& in, const Args& args) {
  if (args.positional.empty() || !args.named.empty())
    in.error("cycler takes one item and more, by position");
  const List& items = args.positional;
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  const auto at = std::make_shared<size_t>(0);
  Dict facts;
  for (const char* name : {"current", "pos", "items", "next", "reset"})
    facts.emplace_back(Value::string(name), Value::tuple(items));
  const Value out = Value::name_space(std::move(facts));
  const auto show = [items, at](const Value& space) {
    Dict& members = space.as_namespace();
    if (members.size() < 2) return;  // at the end all is emptied
    members[0].second = items[*at];
    members[1].second = Value::integer(static_cast<int64_t>(*at));
  };
  in.keep(out);
  show(out);
  out.as_namespace()[3].second = Value::function(
      [items, at, show, out](Interpreter&, const Args&) {
        const Value now = items[*at];
        *at = (*at + 1) % items.size();
        show(out);
        return now;
      },
      deepest);
  out.as_namespace()[4].second = Value::function([at, show, out](Interpreter&, const Args&) {
    *at = 0;
    show(out);
    return Value::none();
  });
  return out;
}

Value joiner(Interpreter& in, const Args& args) {
  if (args.positional.size() + args.named.size() > 1) in.error("joiner takes one separator");
  const Value separator = args.get(0, "sep", Value::string(", "));
  const auto used = std::make_shared<bool>(false);
  return Value::function(
      [separator, used](Interpreter&, const Args&) {
        return std::exchange(*used, true) ? separator : Value::string("");
      },
      separator.depth());
}

}  // namespace

Value find_global(const std::string& name) {
  if (name == "range") return Value::function(range);
  if (name == "strftime_now") return Value::function(strftime_now);
  if (name == "joiner") return Value::function(joiner);
  if (name == "cycler") return Value::function(cycler);
  if (name == "dict")
    return Value::function(
        [](Interpreter& in, const Args& args) { return Value::dict(members_of(in, args)); });
  if (name == "namespace")
    return Value::function([](Interpreter& in, const Args& args) {
      Dict members = members_of(in, args);
      for (const auto& [key, value] : members) {
        if (key.is_string() && key.as_string().starts_with('_'))
          in.error("expected members of a namespace without an underscore in front");
      }
      return Value::name_space(std::move(members));
    });
  if (name == "raise_exception")
    return Value::function([](Interpreter& in, const Args& args) -> Value {
      in.error("the template refuses: " + args.get(0, "message", Value::string("")).str());
    });
  return Value();
}

bool apply_test(Interpreter& in, const std::string& name, const Value& v, const Args& args) {
  using Type = Value::Type;
  in.step();
  const auto argument = [&]() -> const Value& {
    if (args.positional.empty()) in.error("test " + name + " needs an argument");
    return args.positional[0];
  };
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "string") return v.is_string();
  if (name == "number") return v.is_number();
  if (name == "integer") return v.type() == Type::kInt;
  if (name == "float") return v.type() == Type::kFloat;
  if (name == "boolean") return v.is_bool();
  if (name == "true") return v.is_bool() && v.truth();
  if (name == "false") return v.is_bool() && !v.truth();
  if (name == "mapping") return v.is_dict();
  if (name == "iterable" || name == "sequence")
    return v.is_string() || v.is_sequence() || v.is_dict() || v.is_undefined() || v.is_range() ||
           (v.is_view() && name == "iterable");
  if (name == "callable") return v.is_function();
  if (name == "equalto" || name == "eq" || name == "==") return equals(v, argument());
  if (name == "ne" || name == "!=") return !equals(v, argument());
  if (name == "lt" || name == "lessthan" || name == "<") return compare(v, argument()) < 0;
  if (name == "le" || name == "<=") return compare(v, argument()) <= 0;
  if (name == "gt" || name == "greaterthan" || name == ">") return compare(v, argument()) > 0;
  if (name == "ge" || name == ">=") return compare(v, argument()) >= 0;
  if (name == "in") return in.contains(argument(), v);
  if (name == "sameas") return v.type() == argument().type() && equals(v, argument());
  const auto rest_is = [&](const Value& by, int64_t rest) {
    return equals(in.binary("%", v, by), Value::integer(rest));
  };
  if (name == "odd") return rest_is(Value::integer(2), 1);
  if (name == "even") return rest_is(Value::integer(2), 0);
  if (name == "divisibleby") return rest_is(argument(), 0);
  if (name == "lower") return has_case(v.str(), false);
  if (name == "upper") return has_case(v.str(), true);
  if (name == "escaped") return v.is_markup();
  fail(ErrorCode::kUnsupported, "expected a test of the chat template subset, found \"", name,
       "\"");
}

}  // namespace onnuri::jinja
