// The values of a template: Python's, as far as templates see them.
//
// Lists and dictionaries never change after they are made (the sandbox that checkpoints are
// written for forbids it), so copies share them. Namespaces do change.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace onnuri::jinja {

class Value;
class Interpreter;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;

struct Args {
  List positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at `index` or called `name`; nullptr when absent.
  const Value* find(size_t index, std::string_view name) const;
  Value get(size_t index, std::string_view name, const Value& fallback) const;
};
using Function = std::function<Value(Interpreter&, const Args&)>;

class Value {
 public:
  enum class Type {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kList,
    kTuple,
    kView,  // what a dictionary shows of itself, a range, or a generator
    kDict,
    kNamespace,
    kFunction
  };

  Value() = default;  // undefined
  static Value undefined(std::string name);
  static Value none();
  static Value boolean(bool v);
  static Value integer(int64_t v);
  static Value number(double v);
  static Value string(std::string v);
  static Value list(List v);
  static Value tuple(List v);
  /// A string that is safe for HTML: what is added to it gets escaped.
  static Value markup(std::string v);
  /// Items that can be walked over but are no list: `name` is "dict_items", "range(0, 3)", ... A
  /// "generator" can be walked over once.
  static Value view(std::string name, List v);
  /// A generator whose items end with an error, which is thrown only to those who get that far.
  static Value generator(List v, std::exception_ptr error = nullptr);
  /// A tuple (key, list of items) whose parts also go by the names `grouper` and `list`.
  static Value group(Value key, List items);
  static Value dict(Dict v);
  static Value name_space(Dict v);
  /// `held`: the depth of what the function keeps alive.
  static Value function(Function v, int held = 0, Dict attributes = {});
  static Value from_json(const JsonValue& json, int depth = 0);

  Type type() const { return type_; }
  bool is_undefined() const { return type_ == Type::kUndefined; }
  bool is_none() const { return type_ == Type::kNone; }
  bool is_bool() const { return type_ == Type::kBool; }
  bool is_string() const { return type_ == Type::kString; }
  bool is_markup() const { return type_ == Type::kString && int_ != 0; }
  bool is_group() const { return type_ == Type::kTuple && int_ != 0; }
  bool is_view() const { return type_ == Type::kView; }
  bool is_generator() const { return is_view() && *string_ == "generator"; }
  bool is_range() const { return is_view() && string_->starts_with("range"); }
  bool is_dict() const { return type_ == Type::kDict; }
  bool is_function() const { return type_ == Type::kFunction; }
  bool is_namespace() const { return type_ == Type::kNamespace; }
  bool is_sequence() const { return type_ == Type::kList || type_ == Type::kTuple; }
  bool is_integral() const { return type_ == Type::kInt || type_ == Type::kBool; }
  bool is_number() const { return is_integral() || type_ == Type::kFloat; }

  // Only for the types that the names say (bool reads as an integer, as in Python).
  int64_t as_int() const { return int_; }
  double as_double() const { return type_ == Type::kFloat ? float_ : static_cast<double>(int_); }
  const std::string& as_string() const { return *string_; }
  const List& as_list() const { return *list_; }
  /// The items of a view; those of a generator only the first time.
  List take_items() const;
  /// The first of these, if there is one; of a generator it is gone then.
  std::optional<Value> take_first() const;
  const Dict& as_dict() const { return dict_->members; }
  Dict& as_namespace() const { return dict_->members; }
  /// Gives a namespace a member, new or not.
  void set_member(const std::string& name, const Value& value) const;
  /// How many containers lie inside each other here. Bounded, so that freeing never recurses far.
  int depth() const { return dict_ ? dict_->depth : depth_; }
  const Function& as_function() const { return *function_; }
  /// The name under which an undefined value was looked for.
  std::string undefined_name() const { return string_ ? *string_ : std::string(); }

  bool truth() const;
  /// str() and repr().
  std::string str() const;
  std::string repr() const;
  /// The type as Python calls it.
  const char* type_name() const;
  /// A member of a dictionary or namespace, or nullptr.
  const Value* member(const Value& key) const;
  const Value* member(std::string_view key) const;

 private:
  struct Members {
    Dict members;
    int depth = 0;
  };
  void write(std::string& out, bool quoted, int depth) const;

  Type type_ = Type::kUndefined;
  int depth_ = 0;
  int64_t int_ = 0;
  double float_ = 0;
  std::shared_ptr<const std::string> string_;
  std::shared_ptr<const List> list_;
  std::shared_ptr<Members> dict_;
  std::shared_ptr<const Function> function_;
  struct Progress {
    size_t next = 0;
    std::exception_ptr error;
  };
  std::shared_ptr<Progress> progress_;  // of a generator
};

bool equals(const Value& a, const Value& b);
/// Below, equal or above zero. Throws kInvalidArgument where Python would.
int compare(const Value& a, const Value& b);

/// A float as Python's repr writes it.
std::string float_repr(double v);
/// A string in quotes, as repr() writes it.
std::string quote(std::string_view text);
/// Python's json.dumps; `ascii` is ensure_ascii, `indent` < 0 is one line.
std::string to_json(const Value& value, int indent, std::string_view item_separator,
                    std::string_view key_separator, bool sort_keys, bool ascii);

}  // namespace onnuri::jinja
