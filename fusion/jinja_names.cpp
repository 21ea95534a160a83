// See jinja_names.h. The walk is that of Jinja's find_undeclared (compiler.py), inner macros
// included, named blocks left out.
#include "fusion/jinja_names.h"

#include <string_view>

namespace onnuri::jinja {

namespace {

class Finder {
 public:
  void visit(const Block& block) {
    for (const StmtPtr& stmt : block) visit(*stmt);
  }
  SpecialNames found() const { return found_; }

 private:
  void visit(const Stmt& s) {
    if (s.kind == Stmt::Kind::kBlock) return;
    const bool assigns =
        s.kind == Stmt::Kind::kFor || s.kind == Stmt::Kind::kSet || s.kind == Stmt::Kind::kSetBlock;
    if (assigns) store(s.target);
    if (s.kind == Stmt::Kind::kFilter) visit(s.body);
    for (const auto& [target, expr] : s.assignments) store(target);
    for (const auto& [target, expr] : s.assignments) visit(expr);
    visit(s.expr);
    for (const Parameter& p : s.parameters) store(p.name);
    for (const Parameter& p : s.parameters) visit(p.fallback);
    if (s.kind != Stmt::Kind::kFilter) visit(s.body);
    visit(s.otherwise);
    visit(s.filter);
  }

  void visit(const ExprPtr& e) {
    if (e == nullptr) return;
    if (e->kind == Expr::Kind::kName) load(e->name);
    for (const ExprPtr& child : e->children) visit(child);
    for (const auto& [name, expr] : e->named) visit(expr);
    visit(e->unpacked);
    visit(e->unpacked_named);
  }

  void store(const Target& target) {
    if (target.attribute.empty()) store(target.name);
    for (const Target& part : target.parts) store(part);
  }

  static bool* of(SpecialNames& names, std::string_view name) {
    if (name == "caller") return &names.caller;
    if (name == "kwargs") return &names.kwargs;
    return name == "varargs" ? &names.varargs : nullptr;
  }
  void store(std::string_view name) {
    if (bool* own = of(own_, name)) *own = true;
  }
  void load(std::string_view name) {
    bool* own = of(own_, name);
    if (own != nullptr && !*own) *of(found_, name) = true;
  }

  SpecialNames own_;  // that the body has given a value by now
  SpecialNames found_;
};

}  // namespace

SpecialNames find_special_names(const Block& body) {
  Finder finder;
  finder.visit(body);
  return finder.found();
}

}  // namespace onnuri::jinja
