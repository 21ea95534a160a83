// The parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fusion/jinja_value.h"

namespace onnuri::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConstant,
    kName,
    kList,
    kTuple,
    kDict,  // children: items; keys and values in turn
    kAttribute,
    kSubscript,
    kSlice,  // children: object, key; object, start, stop, step
    kCall,   // children: callee, then arguments
    kFilter,
    kTest,  // children: input (null in filter blocks), arguments
    kUnary,
    kBinary,
    kAnd,
    kOr,
    kNot,
    kCompare,      // children: operands; `operators` between them
    kConditional,  // children: condition, then, otherwise (may be null)
  };
  Kind kind = Kind::kConstant;
  int line = 0;
  std::string name;  // name, attribute, filter, test or operator
  Value constant;
  std::vector<ExprPtr> children;
  std::vector<std::pair<std::string, ExprPtr>> named;  // keyword arguments
  ExprPtr unpacked, unpacked_named;  // what stands behind * and ** in a call; may be null
  std::vector<std::string> operators;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

/// What a loop or an assignment writes to: a name, a member of a namespace, or several of these.
struct Target {
  std::string name;
  std::string attribute;  // not empty: name.attribute
  std::vector<Target> parts;
};

struct Parameter {
  std::string name;
  ExprPtr fallback;  // may be null
};

struct Stmt {
  enum class Kind {
    kText,
    kPrint,
    kFor,
    kIf,
    kSet,
    kSetBlock,
    kMacro,
    kCall,
    kFilter,
    kWith,
    kScope,
    kBlock,
    kAutoescape,
    kBreak,
    kContinue
  };
  Kind kind = Kind::kText;
  int line = 0;
  std::string text;  // text; the macro's or the block's name
  ExprPtr expr;      // printed; condition; iterated; assigned; call; filter chain (may be null);
                     // whether to escape
  ExprPtr filter;    // the loop's `if`
  Target target;
  bool recursive = false;
  bool scoped = false;  // a named block that sees the names around it
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;  // macro, call
  std::vector<Parameter> parameters;                                    // macro, call
  std::vector<std::pair<Target, ExprPtr>> assignments;                  // with
  Block body;
  Block otherwise;
};

}  // namespace onnuri::jinja
