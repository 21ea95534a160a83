// Statements of templates; see jinja_eval.h. Expressions are in jinja_expr.cpp.
#include "fusion/jinja_eval.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace onnuri::jinja {

const Value* Scope::find(std::string_view name) const {
  for (const Scope* s = this; s != nullptr; s = s->parent.get()) {
    for (const auto& [key, value] : s->values) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [key, old] : values) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  values.emplace_back(std::string(name), std::move(value));
}

namespace {

ScopePtr inner(const ScopePtr& scope) {
  auto s = std::make_shared<Scope>();
  s->parent = scope;
  return s;
}

}  // namespace

struct Interpreter::Depth {
  explicit Depth(Interpreter& i) : interpreter(i) {
    if (++interpreter.depth_ > interpreter.limits_.depth) {
      --interpreter.depth_;
      interpreter.error("nests too deep");
    }
  }
  ~Depth() { --interpreter.depth_; }
  Interpreter& interpreter;
};

struct Interpreter::Escaping {
  Escaping(Interpreter& i, bool escapes)
      : interpreter(i), before(std::exchange(i.escapes_, escapes)) {}
  ~Escaping() { interpreter.escapes_ = before; }
  Interpreter& interpreter;
  bool before;
};

void Interpreter::step(uint64_t count) {
  steps_ += count;
  if (steps_ > limits_.steps) error("takes too many steps");
}

void Interpreter::charge(size_t bytes) {
  bytes_ += bytes;
  if (bytes > limits_.bytes || bytes_ > limits_.bytes) error("makes too much text");
}

void Interpreter::error(const std::string& what) const {
  fail(ErrorCode::kInvalidArgument, "chat template line ", line_, ": ", what);
}

void Interpreter::keep(const Value& space) {
  if (!namespaces_.empty() && equals(namespaces_.back(), space)) return;
  charge(sizeof(Value));
  namespaces_.push_back(space);
}

// The text of a block that became a value.
Value Interpreter::finished(std::string text) const {
  return escapes_ ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

void Interpreter::write(std::string& out, const Value& value) {
  const std::string text =
      escapes_ ? apply_filter(*this, "escape", value, {}).as_string() : value.str();
  charge(text.size());
  out += text;
  if (out.size() > limits_.output) error("writes too much text");
}

std::string Interpreter::render(const Block& block, const JsonValue& variables) {
  auto globals = std::make_shared<Scope>();
  if (!variables.is_null()) {
    for (const auto& [name, value] : variables.as_object("template variables"))
      globals->set(name, Value::from_json(value));
  }
  // A macro holds its scope, which holds the macro, and a namespace may hold itself; emptying
  // both breaks such rings.
  struct Breaker {
    Interpreter& in;
    ~Breaker() {
      for (const auto& weak : in.closures_) {
        if (const ScopePtr scope = weak.lock()) scope->values.clear();
      }
      for (const Value& space : in.namespaces_) space.as_namespace().clear();
    }
  };
  const Breaker breaker{*this};
  std::string out;
  top_ = inner(globals);
  run(block, top_, out);
  return out;
}

Interpreter::Flow Interpreter::run(const Block& block, const ScopePtr& scope, std::string& out) {
  const Depth depth(*this);
  for (const StmtPtr& stmt : block) {
    const Flow flow = run(*stmt, scope, out);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run(const Stmt& s, const ScopePtr& scope, std::string& out) {
  step();
  line_ = s.line;
  switch (s.kind) {
    case Stmt::Kind::kText:
      charge(s.text.size());
      out += s.text;
      if (out.size() > limits_.output) error("writes too much text");
      break;
    case Stmt::Kind::kPrint: write(out, eval(*s.expr, scope)); break;
    case Stmt::Kind::kIf:
      return run(eval(*s.expr, scope).truth() ? s.body : s.otherwise, scope, out);
    case Stmt::Kind::kFor: run_for(s, scope, out); break;
    case Stmt::Kind::kSet: assign(s.target, eval(*s.expr, scope), scope); break;
    case Stmt::Kind::kSetBlock: run_set_block(s, scope); break;
    case Stmt::Kind::kMacro: scope->set(s.text, make_macro(s, scope)); break;
    case Stmt::Kind::kCall: run_call(s, scope, out); break;
    case Stmt::Kind::kFilter: {
      std::string text;
      run(s.body, inner(scope), text);
      const Value input = finished(std::move(text));
      write(out, eval_filter(*s.expr, scope, &input));
      break;
    }
    case Stmt::Kind::kWith: {
      const ScopePtr own = inner(scope);
      for (const auto& [target, expr] : s.assignments) assign(target, eval(*expr, scope), own);
      return run(s.body, own, out);
    }
    case Stmt::Kind::kScope: return run(s.body, inner(scope), out);
    case Stmt::Kind::kBlock: return run(s.body, inner(s.scoped ? scope : top_), out);
    case Stmt::Kind::kAutoescape: {
      const Escaping escaping(*this, eval(*s.expr, scope).truth());
      return run(s.body, inner(scope), out);
    }
    case Stmt::Kind::kBreak: return Flow::kBreak;
    case Stmt::Kind::kContinue: return Flow::kContinue;
  }
  return Flow::kNormal;
}

void Interpreter::run_for(const Stmt& s, const ScopePtr& scope, std::string& out) {
  loop(s, eval(*s.expr, scope), 1, scope, out);
}

namespace {

// `loop` inside a for: one namespace for the whole loop, updated on every turn.
class LoopFacts {
 public:
  LoopFacts(const List& items, int depth, const Value& recurse)
      : items_(items), at_(std::make_shared<int64_t>(0)) {
    Dict facts;
    for (const char* name :
         {"index", "index0", "revindex", "revindex0", "first", "last", "previtem", "nextitem"})
      facts.emplace_back(Value::string(name), Value());
    const auto add = [&](const char* name, Value v) {
      facts.emplace_back(Value::string(name), std::move(v));
    };
    add("length", Value::integer(static_cast<int64_t>(items.size())));
    add("depth", Value::integer(depth));
    add("depth0", Value::integer(depth - 1));
    add("cycle", Value::function([at = at_](Interpreter& in, const Args& args) {
          if (args.positional.empty()) in.error("cycle needs values");
          return args.positional[static_cast<size_t>(*at) % args.positional.size()];
        }));
    add("changed",
        Value::function([seen = std::make_shared<Value>()](Interpreter&, const Args& args) {
          Value now = Value::tuple(args.positional);
          const bool changed = seen->is_undefined() || !equals(*seen, now);
          *seen = std::move(now);
          return Value::boolean(changed);
        }));
    add("__call__", recurse);
    value_ = Value::name_space(std::move(facts));
  }

  const Value& turn(size_t i) {
    const auto n = static_cast<int64_t>(items_.size());
    const auto at = static_cast<int64_t>(i);
    *at_ = at;
    Dict& facts = value_.as_namespace();
    size_t next = 0;
    const auto set = [&](Value v) { facts[next++].second = std::move(v); };
    set(Value::integer(at + 1));
    set(Value::integer(at));
    set(Value::integer(n - at));
    set(Value::integer(n - at - 1));
    set(Value::boolean(i == 0));
    set(Value::boolean(at + 1 == n));
    set(i > 0 ? items_[i - 1] : Value::undefined("previtem"));
    set(i + 1 < items_.size() ? items_[i + 1] : Value::undefined("nextitem"));
    return value_;
  }

 private:
  const List& items_;
  std::shared_ptr<int64_t> at_;
  Value value_;
};

}  // namespace

void Interpreter::loop(const Stmt& s, const Value& iterable, int depth, const ScopePtr& scope,
                       std::string& out) {
  const Depth guard(*this);
  List items = iterate(iterable);
  if (s.filter) {
    List kept;
    for (Value& item : items) {
      const ScopePtr own = inner(scope);
      assign(s.target, item, own);
      if (eval(*s.filter, own).truth()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  Value recurse;
  if (s.recursive) {
    closures_.emplace_back(scope);
    recurse = Value::function([this, &s, depth, scope](Interpreter&, const Args& args) {
      if (args.positional.empty()) error("loop() needs what to walk over");
      std::string text;
      loop(s, args.positional[0], depth + 1, scope, text);
      return finished(std::move(text));
    });
  }
  LoopFacts facts(items, depth, recurse);
  for (size_t i = 0; i < items.size(); ++i) {
    step(4);
    const ScopePtr own = inner(scope);
    own->set("loop", facts.turn(i));
    assign(s.target, items[i], own);
    const Flow flow = run(s.body, own, out);
    if (flow == Flow::kBreak) break;
  }
  if (items.empty()) run(s.otherwise, inner(scope), out);
}

void Interpreter::run_set_block(const Stmt& s, const ScopePtr& scope) {
  std::string text;
  run(s.body, inner(scope), text);
  Value value = finished(std::move(text));
  if (s.expr) value = eval_filter(*s.expr, scope, &value);
  assign(s.target, value, scope);
}

void Interpreter::run_call(const Stmt& s, const ScopePtr& scope, std::string& out) {
  const Value callee = eval(*s.expr->children[0], scope);
  Args args = eval_args(*s.expr, 1, scope);
  args.named.emplace_back("caller", make_macro(s, scope));
  write(out, call(callee, args));
}

void Interpreter::assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (!target.parts.empty()) {
    const List items = iterate(value);
    if (items.size() != target.parts.size())
      error("expected " + std::to_string(target.parts.size()) + " values to unpack, found " +
            std::to_string(items.size()));
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i], scope);
    return;
  }
  if (target.attribute.empty()) {
    scope->set(target.name, value);
    return;
  }
  Value object = lookup(target.name, scope);
  if (!object.is_namespace())
    error("expected a namespace to assign to, found " + std::string(object.type_name()));
  if (target.attribute.starts_with('_'))
    error("expected members of a namespace without an underscore in front");
  object.set_member(target.attribute, value);
  keep(object);
}

Value Interpreter::make_macro(const Stmt& s, const ScopePtr& scope) {
  closures_.emplace_back(scope);
  List names;
  for (const Parameter& p : s.parameters) names.push_back(Value::string(p.name));
  Dict facts;
  const auto add = [&](const char* name, Value v) {
    facts.emplace_back(Value::string(name), std::move(v));
  };
  add("name", s.kind == Stmt::Kind::kMacro ? Value::string(s.text) : Value::none());
  add("arguments", Value::tuple(std::move(names)));
  add("catch_kwargs", Value::boolean(s.uses_kwargs));
  add("catch_varargs", Value::boolean(s.uses_varargs));
  add("caller", Value::boolean(s.uses_caller));
  return Value::function(
      [this, &s, scope, escapes = escapes_](Interpreter&, const Args& args) {
        return call_macro(s, scope, escapes, args);
      },
      0, std::move(facts));
}

Value Interpreter::call_macro(const Stmt& s, const ScopePtr& scope, bool escapes,
                              const Args& args) {
  const Depth guard(*this);
  const ScopePtr own = inner(scope);
  set_special(s, args, *own);
  for (size_t i = 0; i < s.parameters.size(); ++i) {
    const Parameter& p = s.parameters[i];
    const Value* given = args.find(i, p.name);
    own->set(p.name, given != nullptr ? *given
                     : p.fallback     ? eval(*p.fallback, own)
                                      : Value::undefined(p.name));
  }
  std::string text;
  // The body escapes as it was written, its text counts as the caller escapes.
  {
    const Escaping escaping(*this, escapes);
    run(s.body, own, text);
  }
  return finished(std::move(text));
}

// caller, kwargs and varargs where the body reads them; other arguments that no parameter takes
// are an error.
void Interpreter::set_special(const Stmt& s, const Args& args, Scope& own) {
  const size_t num_parameters = s.parameters.size();
  Dict rest;
  const Value* caller = nullptr;
  for (const auto& [name, value] : args.named) {
    const auto is_it = [&wanted = name](const Parameter& p) { return p.name == wanted; };
    const auto first_open = s.parameters.begin() + static_cast<ptrdiff_t>(std::min(
                                                       args.positional.size(), num_parameters));
    if (std::any_of(first_open, s.parameters.end(), is_it)) continue;
    if (name == "caller" && s.uses_caller) {
      caller = &value;
    } else if (s.uses_kwargs) {
      rest.emplace_back(Value::string(name), value);
    } else {
      error("macro " + s.text + " takes no keyword argument \"" + name + "\"");
    }
  }
  if (args.positional.size() > num_parameters && !s.uses_varargs)
    error("macro " + s.text + " takes at most " + std::to_string(num_parameters) + " arguments");
  if (s.uses_caller) own.set("caller", caller != nullptr ? *caller : Value::undefined("caller"));
  if (s.uses_kwargs) own.set("kwargs", Value::dict(std::move(rest)));
  if (!s.uses_varargs) return;
  List more;
  for (size_t i = num_parameters; i < args.positional.size(); ++i)
    more.push_back(args.positional[i]);
  own.set("varargs", Value::tuple(std::move(more)));
}

}  // namespace onnuri::jinja
