// Runs a parsed template. Steps, depth and memory are bounded: a template is a stranger's program.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fusion/jinja_ast.h"

namespace onnuri::jinja {

constexpr size_t kBytesPerStep = 16;  // of text that one operation goes through

struct Limits {
  uint64_t steps = 10'000'000;
  size_t bytes = size_t{256} << 20;  // of strings and lists ever made
  size_t output = size_t{64} << 20;
  int depth = 120;
};

/// Names and their values; a block of its own looks outwards for what it lacks.
struct Scope {
  std::vector<std::pair<std::string, Value>> values;
  std::shared_ptr<Scope> parent;

  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter {
 public:
  explicit Interpreter(const Limits& limits) : limits_(limits) {}

  std::string render(const Block& block, const JsonValue& variables);

  // For filters, tests and methods.
  void step(uint64_t count = 1);
  /// Accounts for memory about to be made.
  void charge(size_t bytes);
  [[noreturn]] void error(const std::string& what) const;
  Value call(const Value& callee, const Args& args);
  /// obj.name: Python attributes first, then members.
  Value attribute(const Value& object, const std::string& name);
  /// obj[key]: members first.
  Value subscript(const Value& object, const Value& key);
  /// What a for loop would walk over. Throws where Python would.
  List iterate(const Value& value);
  Value binary(const std::string& op, const Value& a, const Value& b);
  /// Python finds keys by hash, and what can change has none.
  void require_hashable(const Value& value);
  bool contains(const Value& container, const Value& item);
  /// A namespace that may hold itself: it is emptied at the end.
  void keep(const Value& space);
  /// Whether texts are escaped for HTML here.
  bool escapes() const { return escapes_; }

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  struct Depth;
  struct Escaping;

  Flow run(const Block& block, const ScopePtr& scope, std::string& out);
  Flow run(const Stmt& stmt, const ScopePtr& scope, std::string& out);
  void run_for(const Stmt& stmt, const ScopePtr& scope, std::string& out);
  void loop(const Stmt& stmt, const Value& iterable, int depth, const ScopePtr& scope,
            std::string& out);
  void run_set_block(const Stmt& stmt, const ScopePtr& scope);
  void run_call(const Stmt& stmt, const ScopePtr& scope, std::string& out);
  void assign(const Target& target, const Value& value, const ScopePtr& scope);
  Value make_macro(const Stmt& stmt, const ScopePtr& scope);
  Value call_macro(const Stmt& stmt, const ScopePtr& scope, bool escapes, const Args& args);
  void set_special(const Stmt& stmt, const Args& args, Scope& own);
  Value finished(std::string text) const;
  void write(std::string& out, const Value& value);

  Value eval(const Expr& expr, const ScopePtr& scope);
  Value eval_slice(const Expr& expr, const ScopePtr& scope);
  Value eval_compare(const Expr& expr, const ScopePtr& scope);
  Value eval_filter(const Expr& expr, const ScopePtr& scope, const Value* input);
  Args eval_args(const Expr& expr, size_t first, const ScopePtr& scope);
  Value lookup(const std::string& name, const ScopePtr& scope);

  Limits limits_;
  std::vector<std::weak_ptr<Scope>> closures_;  // scopes that functions hold on to
  std::vector<Value> namespaces_;               // that were assigned to
  ScopePtr top_;                                // what named blocks see
  bool escapes_ = false;
  uint64_t steps_ = 0;
  size_t bytes_ = 0;
  int depth_ = 0;
  int line_ = 0;
};

// The library, one file each. The name is looked up at call time; unknown ones are kUnsupported.
Value apply_filter(Interpreter& in, const std::string& name, const Value& input, const Args& args);
bool apply_test(Interpreter& in, const std::string& name, const Value& input, const Args& args);
/// A bound method of a string, list or dictionary; undefined when there is none.
Value find_method(const Value& object, const std::string& name);
/// range, dict, namespace, raise_exception, strftime_now, ...; undefined when there is none.
Value find_global(const std::string& name);

}  // namespace onnuri::jinja
