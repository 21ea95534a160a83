// Expressions of templates; see jinja_eval.h.
#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "fusion/jinja_eval.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

struct Counter {
  explicit Counter(int& d) : depth(d) { ++depth; }
  ~Counter() { --depth; }
  int& depth;
};

// A string as characters, each a string of its own.
List characters(const std::string& text) {
  List out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    utf8::next(text, pos);
    out.push_back(Value::string(text.substr(begin, pos - begin)));
  }
  return out;
}

// Whether Jinja computes an expression while it compiles, where a slice of what has none is
// undefined rather than an error.
bool is_constant(const Expr& e) {
  if (e.kind == Expr::Kind::kName || e.kind == Expr::Kind::kCall ||
      e.kind == Expr::Kind::kAttribute)
    return false;
  const auto constant = [](const ExprPtr& c) { return c == nullptr || is_constant(*c); };
  return constant(e.unpacked) && constant(e.unpacked_named) &&
         std::all_of(e.children.begin(), e.children.end(), constant) &&
         std::all_of(e.named.begin(), e.named.end(),
                     [&](const auto& arg) { return constant(arg.second); });
}

// A slice of range(a, b, step) is a range again, and says so.
Value slice_of_range(const Value& range, int64_t from, int64_t to, int64_t by, List items) {
  const List& all = range.as_list();
  if (all.empty()) return range;
  const int64_t step = all.size() > 1 ? all[1].as_int() - all[0].as_int() : 1;
  const int64_t begin = all[0].as_int();
  std::string name =
      "range(" + std::to_string(begin + from * step) + ", " + std::to_string(begin + to * step);
  if (by * step != 1) name += ", " + std::to_string(by * step);
  return Value::view(name + ")", std::move(items));
}

int64_t floor_div(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

}  // namespace

Value Interpreter::lookup(const std::string& name, const ScopePtr& scope) {
  if (const Value* v = scope->find(name)) return *v;
  Value global = find_global(name);
  return global.is_undefined() ? Value::undefined(name) : global;
}

Args Interpreter::eval_args(const Expr& e, size_t first, const ScopePtr& scope) {
  Args args;
  for (size_t i = first; i < e.children.size(); ++i)
    args.positional.push_back(eval(*e.children[i], scope));
  if (e.unpacked) {
    for (Value& item : iterate(eval(*e.unpacked, scope)))
      args.positional.push_back(std::move(item));
    charge(args.positional.size() * sizeof(Value));
  }
  for (const auto& [name, expr] : e.named) args.named.emplace_back(name, eval(*expr, scope));
  if (e.unpacked_named) {
    const Value members = eval(*e.unpacked_named, scope);
    if (!members.is_dict())
      error("expected a mapping behind **, found " + std::string(members.type_name()));
    charge(members.as_dict().size() * sizeof(Value));
    for (const auto& [key, value] : members.as_dict()) {
      if (!key.is_string()) error("expected names behind **");
      const auto same = [&k = key](const auto& given) { return given.first == k.as_string(); };
      step(args.named.size());
      if (std::any_of(args.named.begin(), args.named.end(), same))
        error("two values for the argument \"" + key.as_string() + "\"");
      args.named.emplace_back(key.as_string(), value);
    }
  }
  return args;
}

Value Interpreter::eval_filter(const Expr& e, const ScopePtr& scope, const Value* input) {
  // In filter blocks the innermost filter has no input of its own.
  const Value given = e.children[0] == nullptr ? (input != nullptr ? *input : Value())
                      : e.children[0]->kind == Expr::Kind::kFilter && input != nullptr
                          ? eval_filter(*e.children[0], scope, input)
                          : eval(*e.children[0], scope);
  const Args args = eval_args(e, 1, scope);
  line_ = e.line;
  return apply_filter(*this, e.name, given, args);
}

Value Interpreter::eval(const Expr& e, const ScopePtr& scope) {
  step();
  const Counter counter(depth_);
  if (depth_ > limits_.depth * 4) error("nests too deep");
  const auto child = [&](size_t i) { return eval(*e.children[i], scope); };
  switch (e.kind) {
    case Expr::Kind::kConstant: return e.constant;
    case Expr::Kind::kName: return lookup(e.name, scope);
    case Expr::Kind::kList:
    case Expr::Kind::kTuple: {
      List items;
      for (const ExprPtr& c : e.children) items.push_back(eval(*c, scope));
      charge(items.size() * sizeof(Value));
      return e.kind == Expr::Kind::kList ? Value::list(std::move(items))
                                         : Value::tuple(std::move(items));
    }
    case Expr::Kind::kDict: {
      Dict members;
      for (size_t i = 0; i + 1 < e.children.size(); i += 2) {
        Value key = child(i);
        require_hashable(key);
        Value value = child(i + 1);
        const auto same = [&](const auto& m) { return equals(m.first, key); };
        const auto it = std::find_if(members.begin(), members.end(), same);
        if (it != members.end()) {
          it->second = std::move(value);
        } else {
          members.emplace_back(std::move(key), std::move(value));
        }
      }
      return Value::dict(std::move(members));
    }
    case Expr::Kind::kAttribute: {
      const Value object = child(0);
      line_ = e.line;
      return attribute(object, e.name);
    }
    case Expr::Kind::kSubscript: {
      const Value object = child(0);
      const Value key = child(1);
      line_ = e.line;
      return subscript(object, key);
    }
    case Expr::Kind::kSlice: return eval_slice(e, scope);
    case Expr::Kind::kCall: {
      const Value callee = child(0);
      const Args args = eval_args(e, 1, scope);
      line_ = e.line;
      if (callee.is_undefined()) error("\"" + callee.undefined_name() + "\" is undefined");
      return call(callee, args);
    }
    case Expr::Kind::kFilter: return eval_filter(e, scope, nullptr);
    case Expr::Kind::kTest: {
      const Value input = child(0);
      const Args args = eval_args(e, 1, scope);
      line_ = e.line;
      return Value::boolean(apply_test(*this, e.name, input, args));
    }
    case Expr::Kind::kUnary: {
      const Value v = child(0);
      if (!v.is_number())
        error("expected a number behind a sign, found " + std::string(v.type_name()));
      if (e.name == "+") return v.is_integral() ? Value::integer(v.as_int()) : v;
      if (v.is_integral()) return binary("-", Value::integer(0), v);
      return Value::number(-v.as_double());
    }
    case Expr::Kind::kBinary: {
      const Value a = child(0);
      const Value b = child(1);
      line_ = e.line;
      return binary(e.name, a, b);
    }
    case Expr::Kind::kAnd: {
      Value a = child(0);
      return a.truth() ? child(1) : a;
    }
    case Expr::Kind::kOr: {
      Value a = child(0);
      return a.truth() ? a : child(1);
    }
    case Expr::Kind::kNot: return Value::boolean(!child(0).truth());
    case Expr::Kind::kCompare: return eval_compare(e, scope);
    case Expr::Kind::kConditional:
      if (child(0).truth()) return child(1);
      return e.children[2] ? child(2) : Value();
  }
  return Value();
}

Value Interpreter::eval_compare(const Expr& e, const ScopePtr& scope) {
  Value left = eval(*e.children[0], scope);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = eval(*e.children[i + 1], scope);
    line_ = e.line;
    const std::string& op = e.operators[i];
    bool holds = false;
    if (op == "==") {
      holds = equals(left, right);
    } else if (op == "!=") {
      holds = !equals(left, right);
    } else if (op == "in") {
      holds = contains(right, left);
    } else if (op == "not in") {
      holds = !contains(right, left);
    } else {
      const int order = compare(left, right);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

void Interpreter::require_hashable(const Value& v) {
  if (v.type() == Value::Type::kList || v.is_dict())
    error("expected something hashable, found " + std::string(v.type_name()));
  if (v.type() == Value::Type::kTuple)
    for (const Value& item : v.as_list()) require_hashable(item);
}

bool Interpreter::contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string())
      error("expected a string to look for, found " + std::string(item.type_name()));
    return container.as_string().find(item.as_string()) != std::string::npos;
  }
  if (container.is_dict()) {
    require_hashable(item);
    step(container.as_dict().size());
    return container.member(item) != nullptr;
  }
  if (container.is_sequence() || container.is_view() || container.is_undefined()) {
    const List items = iterate(container);
    return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equals(v, item); });
  }
  error("expected something to look in, found " + std::string(container.type_name()));
}

Value Interpreter::eval_slice(const Expr& e, const ScopePtr& scope) {
  const Value object = eval(*e.children[0], scope);
  const auto part = [&](size_t i) {
    return e.children[i] ? eval(*e.children[i], scope) : Value::none();
  };
  const Value start = part(1);
  const Value stop = part(2);
  const Value step_value = part(3);
  line_ = e.line;
  const bool folded = is_constant(e);
  for (const Value* v : {&start, &stop, &step_value}) {
    if (v->is_none() || v->is_integral()) continue;
    if (folded) return Value::undefined("slice");
    error("expected integers in a slice, found " + std::string(v->type_name()));
  }
  if (object.is_undefined()) error("\"" + object.undefined_name() + "\" is undefined");
  if (!object.is_string() && !object.is_sequence() && !object.is_range()) {
    if (folded) return Value::undefined("slice");
    error("expected a string or list to slice, found " + std::string(object.type_name()));
  }
  const List items = object.is_string() ? characters(object.as_string()) : object.as_list();
  step(items.size());
  const auto n = static_cast<int64_t>(items.size());
  const int64_t by = step_value.is_none() ? 1 : step_value.as_int();
  if (by == 0) error("expected a slice step other than zero");
  const auto clamp = [&](const Value& v, int64_t fallback) {
    if (v.is_none()) return fallback;
    int64_t i = v.as_int();
    if (i < 0) i += n;
    return by > 0 ? std::clamp<int64_t>(i, 0, n) : std::clamp<int64_t>(i, -1, n - 1);
  };
  const int64_t from = clamp(start, by > 0 ? 0 : n - 1);
  const int64_t to = clamp(stop, by > 0 ? n : -1);
  List out;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (by > 0 ? i > to - by : i < to - by) break;
    i += by;
  }
  charge(out.size() * sizeof(Value));
  if (object.is_string()) {
    std::string text;
    for (const Value& c : out) text += c.as_string();
    return object.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
  }
  if (object.is_range()) return slice_of_range(object, from, to, by, std::move(out));
  return object.type() == Value::Type::kTuple ? Value::tuple(std::move(out))
                                              : Value::list(std::move(out));
}

Value Interpreter::call(const Value& callee, const Args& args) {
  step();
  if (callee.is_function()) return callee.as_function()(*this, args);
  if (callee.is_namespace()) {
    const Value* recurse = callee.member("__call__");
    if (recurse != nullptr && recurse->is_function()) return recurse->as_function()(*this, args);
  }
  error("expected a function to call, found " + std::string(callee.type_name()));
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) error("\"" + object.undefined_name() + "\" is undefined");
  if (name.starts_with("__")) return Value::undefined(name);
  if (object.is_group() && (name == "grouper" || name == "list"))
    return object.as_list()[name == "list" ? 1 : 0];
  Value method = find_method(object, name);
  if (!method.is_undefined()) return method;
  if (object.is_dict()) step(object.as_dict().size() / 16);
  const Value* found = object.member(name);
  return found != nullptr ? *found : Value::undefined(name);
}

Value Interpreter::subscript(const Value& object, const Value& key) {
  if (object.is_undefined()) error("\"" + object.undefined_name() + "\" is undefined");
  if (object.is_dict()) {
    step(object.as_dict().size() / 16);
    if (const Value* found = object.member(key)) return *found;
  } else if ((object.is_sequence() || object.is_range() || object.is_string()) &&
             key.is_integral()) {
    if (object.is_string()) {
      const std::string& text = object.as_string();
      step(text.size() / kBytesPerStep);
      const auto n = static_cast<int64_t>(utf8::count(text));
      const int64_t wanted = key.as_int() < 0 ? key.as_int() + n : key.as_int();
      if (wanted < 0 || wanted >= n) return Value::undefined("index");
      size_t begin = 0;
      for (int64_t at = 0; at < wanted; ++at) utf8::next(text, begin);
      size_t end = begin;
      utf8::next(text, end);
      return Value::string(text.substr(begin, end - begin));
    }
    const List& all = object.as_list();
    const auto n = static_cast<int64_t>(all.size());
    int64_t i = key.as_int();
    if (i < 0) i += n;
    return i >= 0 && i < n ? all[static_cast<size_t>(i)] : Value::undefined("index");
  }
  if (key.is_string()) return attribute(object, key.as_string());
  return Value::undefined(key.str());
}

List Interpreter::iterate(const Value& value) {
  switch (value.type()) {
    case Value::Type::kUndefined: return {};
    case Value::Type::kList:
    case Value::Type::kTuple: step(value.as_list().size()); return value.as_list();
    case Value::Type::kString: step(value.as_string().size()); return characters(value.as_string());
    case Value::Type::kView: step(value.as_list().size()); return value.take_items();
    case Value::Type::kDict: {
      List keys;
      for (const auto& member : value.as_dict()) keys.push_back(member.first);
      step(keys.size());
      return keys;
    }
    default: error("expected something to walk over, found " + std::string(value.type_name()));
  }
}

namespace {

Value repeat(Interpreter& in, const Value& what, int64_t count) {
  const size_t size =
      what.is_string() ? what.as_string().size() : what.as_list().size() * sizeof(Value);
  if (count <= 0 || size == 0) {
    if (what.is_string()) return Value::string({});
    return what.type() == Value::Type::kTuple ? Value::tuple({}) : Value::list({});
  }
  if (static_cast<uint64_t>(count) > (uint64_t{1} << 40) / size) in.error("makes too much text");
  in.charge(size * static_cast<size_t>(count));
  if (what.is_string()) {
    std::string text;
    for (int64_t i = 0; i < count; ++i) text += what.as_string();
    return what.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
  }
  List items;
  for (int64_t i = 0; i < count; ++i)
    items.insert(items.end(), what.as_list().begin(), what.as_list().end());
  return what.type() == Value::Type::kTuple ? Value::tuple(std::move(items))
                                            : Value::list(std::move(items));
}

Value integers(Interpreter& in, const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    if (b < 0) return Value::number(std::pow(static_cast<double>(a), static_cast<double>(b)));
    result = 1;
    for (int64_t i = 0; i < b && !overflow; ++i) {
      in.step();
      overflow = __builtin_mul_overflow(result, a, &result);
    }
  } else {
    if (b == 0) in.error("division by zero");
    if (op == "/") return Value::number(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) {
      if (op == "%") return Value::integer(0);
      overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t q = floor_div(a, b);
      result = op == "//" ? q : a - q * b;
    }
  }
  if (overflow) in.error("expected integers of 64 bits");
  return Value::integer(result);
}

Value floats(Interpreter& in, const std::string& op, double a, double b) {
  if (op == "+") return Value::number(a + b);
  if (op == "-") return Value::number(a - b);
  if (op == "*") return Value::number(a * b);
  if (op == "**") return Value::number(std::pow(a, b));
  if (b == 0) in.error("division by zero");
  if (op == "/") return Value::number(a / b);
  // As Python has it: the rest takes the divisor's sign, and the quotient goes with the rest.
  const double r = std::fmod(a, b);
  const bool turned = r != 0 && (r < 0) != (b < 0);
  if (op == "%") return Value::number(r == 0 ? std::copysign(0.0, b) : turned ? r + b : r);
  const double whole = (a - r) / b - (turned ? 1.0 : 0.0);
  if (whole == 0) return Value::number(std::copysign(0.0, a / b));
  const double below = std::floor(whole);
  return Value::number(whole - below > 0.5 ? below + 1 : below);
}

}  // namespace

Value Interpreter::binary(const std::string& op, const Value& a, const Value& b) {
  if (op == "~" && (a.is_markup() || b.is_markup()) && escapes_) {
    return Value::markup(apply_filter(*this, "escape", a, {}).as_string() +
                         apply_filter(*this, "escape", b, {}).as_string());
  }
  if (op == "~") {
    std::string text = a.str();
    text += b.str();
    charge(text.size());
    return Value::string(std::move(text));
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return integers(*this, op, a.as_int(), b.as_int());
    return floats(*this, op, a.as_double(), b.as_double());
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    charge(a.as_string().size() + b.as_string().size());
    if (a.is_markup() || b.is_markup())
      return Value::markup(apply_filter(*this, "escape", a, {}).as_string() +
                           apply_filter(*this, "escape", b, {}).as_string());
    return Value::string(a.as_string() + b.as_string());
  }
  if (op == "+" && a.is_sequence() && a.type() == b.type()) {
    List items = a.as_list();
    items.insert(items.end(), b.as_list().begin(), b.as_list().end());
    charge(items.size() * sizeof(Value));
    return a.type() == Value::Type::kTuple ? Value::tuple(std::move(items))
                                           : Value::list(std::move(items));
  }
  if (op == "*" && (a.is_string() || a.is_sequence()) && b.is_integral())
    return repeat(*this, a, b.as_int());
  if (op == "*" && (b.is_string() || b.is_sequence()) && a.is_integral())
    return repeat(*this, b, a.as_int());
  if (op == "%" && a.is_string()) {
    // What can be indexed may be left unused.
    const bool indexable =
        b.is_dict() || b.type() == Value::Type::kList || b.is_range() || b.is_undefined();
    if (indexable && a.as_string().find('%') == std::string::npos) return a;
    Args args;
    args.positional = b.type() == Value::Type::kTuple ? b.as_list() : List{b};
    return apply_filter(*this, "format", a, args);
  }
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined()) error("\"" + v->undefined_name() + "\" is undefined");
  }
  error("unsupported operand types for " + op + ": " + a.type_name() + " and " + b.type_name());
}

}  // namespace onnuri::jinja
