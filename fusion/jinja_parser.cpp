// See jinja_parser.h. Recursive descent in the order of Jinja's own precedence.
#include "fusion/jinja_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <set>
#include <utility>

#include "core/check.h"
#include "fusion/jinja_lexer.h"
#include "fusion/jinja_names.h"
#include "fusion/jinja_numbers.h"

namespace onnuri::jinja {

namespace {

using Kind = Token::Kind;
constexpr int kMaxDepth = 200;
constexpr int kMaxChain = 300;  // operands, filters or members in a row

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Block run() {
    Block block = body({});
    if (peek().kind != Kind::kEnd) unexpected("the end of the template");
    return block;
  }

 private:
  struct Deeper {
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxDepth)
        fail(ErrorCode::kCorruptData, "expected shallow nesting in chat template line ",
             parser.peek().line);
    }
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token take() {
    Token t = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return t;
  }
  bool skip_op(std::string_view op) { return peek().is_op(op) && (take(), true); }
  bool skip_name(std::string_view name) { return peek().is_name(name) && (take(), true); }

  [[noreturn]] void unexpected(std::string_view wanted) const {
    const Token& t = peek();
    fail(ErrorCode::kCorruptData, "expected ", wanted, ", found ",
         t.kind == Kind::kEnd ? std::string("the end") : "\"" + t.text.substr(0, 40) + "\"",
         " in chat template line ", t.line);
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) unexpected(op);
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) unexpected(name);
  }
  std::string expect_identifier() {
    if (peek().kind != Kind::kName) unexpected("a name");
    return take().text;
  }
  void expect_tag_end() {
    if (peek().kind != Kind::kTagEnd) unexpected("the end of the tag");
    take();
  }

  ExprPtr node(Expr::Kind kind, std::string name = {}) const {
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->line = peek().line;
    e->name = std::move(name);
    return e;
  }
  ExprPtr constant(Value v) const {
    ExprPtr e = node(Expr::Kind::kConstant);
    e->constant = std::move(v);
    return e;
  }
  template <typename... Rest>
  static ExprPtr with(ExprPtr e, Rest... children) {
    (e->children.push_back(std::move(children)), ...);
    return e;
  }

  // Chains grow to the left, so their length is the depth of the tree.
  void link(int& length) const {
    if (++length > kMaxChain)
      fail(ErrorCode::kCorruptData, "expected at most ", kMaxChain,
           " operands in a row in chat template line ", peek().line);
  }

  // Statements.

  bool at_tag(std::initializer_list<std::string_view> names) const {
    if (peek().kind != Kind::kTagBegin) return false;
    for (const std::string_view name : names) {
      if (peek(1).is_name(name)) return true;
    }
    return false;
  }

  Block body(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(*this);
    Block block;
    while (peek().kind != Kind::kEnd && !at_tag(ends)) {
      auto stmt = std::make_unique<Stmt>();
      stmt->line = peek().line;
      if (peek().kind == Kind::kData) {
        stmt->text = take().text;
      } else if (peek().kind == Kind::kPrintBegin) {
        take();
        stmt->kind = Stmt::Kind::kPrint;
        stmt->expr = tuple(true);
        if (peek().kind != Kind::kPrintEnd) unexpected("}}");
        take();
      } else if (peek().kind == Kind::kTagBegin) {
        take();
        statement(*stmt);
      } else {
        unexpected("a tag");
      }
      block.push_back(std::move(stmt));
    }
    return block;
  }

  // The body up to {% endNAME %}, which is consumed.
  Block body_until(std::string_view end) {
    Block block = body({end});
    if (peek().kind != Kind::kTagBegin) unexpected(end);
    take();
    expect_name(end);
    return block;
  }

  void statement(Stmt& s) {
    const std::string tag = expect_identifier();
    if (tag == "for") {
      parse_for(s);
    } else if (tag == "if") {
      parse_if(s);
      return;
    } else if (tag == "set") {
      parse_set(s);
    } else if (tag == "macro") {
      s.kind = Stmt::Kind::kMacro;
      s.text = expect_identifier();
      s.parameters = parameters();
      expect_tag_end();
      s.body = body_until("endmacro");
      if (peek().kind == Kind::kName) take();
      find_specials(s);
    } else if (tag == "call") {
      s.kind = Stmt::Kind::kCall;
      if (peek().is_op("(")) s.parameters = parameters();
      s.expr = expression();
      if (s.expr->kind != Expr::Kind::kCall) unexpected("a call");
      expect_tag_end();
      s.body = body_until("endcall");
      find_specials(s);
    } else if (tag == "filter") {
      s.kind = Stmt::Kind::kFilter;
      s.expr = filters(nullptr, true);
      expect_tag_end();
      s.body = body_until("endfilter");
    } else if (tag == "with") {
      parse_with(s);
    } else if (tag == "generation") {
      s.kind = Stmt::Kind::kScope;
      expect_tag_end();
      s.body = body_until("endgeneration");
    } else if (tag == "autoescape") {
      s.kind = Stmt::Kind::kAutoescape;
      s.expr = expression();
      expect_tag_end();
      s.body = body_until("endautoescape");
    } else if (tag == "block") {
      parse_block(s);
    } else if (tag == "break" || tag == "continue") {
      if (loops_ == 0) unexpected("a loop around " + tag);
      s.kind = tag == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue;
    } else {
      static constexpr std::array<std::string_view, 6> kKnown = {"include", "import", "from",
                                                                 "extends", "do",     "trans"};
      for (const std::string_view known : kKnown) {
        if (tag == known)
          fail(ErrorCode::kUnsupported, "expected a tag of the chat template subset, found \"", tag,
               "\" in line ", s.line);
      }
      fail(ErrorCode::kCorruptData, "expected a known tag, found \"", tag,
           "\" in chat template line ", s.line);
    }
    expect_tag_end();
  }

  // A place that other templates could fill; nobody extends a chat template.
  void parse_block(Stmt& s) {
    s.kind = Stmt::Kind::kBlock;
    s.text = expect_identifier();
    if (!blocks_.insert(s.text).second)
      fail(ErrorCode::kCorruptData, "expected one block called \"", s.text,
           "\", found another in chat template line ", s.line);
    s.scoped = skip_name("scoped");
    if (peek().is_name("required"))
      fail(ErrorCode::kUnsupported, "expected blocks with a body, found a required one in chat ",
           "template line ", s.line);
    expect_tag_end();
    const int loops = std::exchange(loops_, 0);
    s.body = body_until("endblock");
    loops_ = loops;
    skip_name(s.text);
  }

  void find_specials(Stmt& s) const {
    const SpecialNames names = find_special_names(s.body);
    const auto declared = [&](std::string_view name) {
      return std::find_if(s.parameters.begin(), s.parameters.end(),
                          [&](const Parameter& p) { return p.name == name; });
    };
    s.uses_caller = names.caller;
    s.uses_kwargs = names.kwargs && declared("kwargs") == s.parameters.end();
    s.uses_varargs = names.varargs && declared("varargs") == s.parameters.end();
    const auto caller = declared("caller");
    if (names.caller && caller != s.parameters.end() && !caller->fallback)
      fail(ErrorCode::kCorruptData, "expected a default for the parameter \"caller\" in chat ",
           "template line ", s.line);
  }

  void parse_for(Stmt& s) {
    s.kind = Stmt::Kind::kFor;
    s.target = target(false);
    expect_name("in");
    s.expr = tuple(false);
    if (skip_name("if")) s.filter = expression();
    s.recursive = skip_name("recursive");
    expect_tag_end();
    ++loops_;
    s.body = body({"else", "endfor"});
    --loops_;
    if (at_tag({"else"})) {
      take();
      take();
      expect_tag_end();
      s.otherwise = body({"endfor"});
    }
    if (peek().kind != Kind::kTagBegin) unexpected("endfor");
    take();
    expect_name("endfor");
  }

  // An elif is an if inside the else branch.
  void parse_if(Stmt& s) {
    const Deeper deeper(*this);
    s.kind = Stmt::Kind::kIf;
    s.expr = tuple(true);
    expect_tag_end();
    s.body = body({"elif", "else", "endif"});
    if (peek().kind != Kind::kTagBegin) unexpected("endif");
    take();
    if (skip_name("elif")) {
      auto nested = std::make_unique<Stmt>();
      nested->line = peek().line;
      parse_if(*nested);
      s.otherwise.push_back(std::move(nested));
      return;
    }
    if (skip_name("else")) {
      expect_tag_end();
      s.otherwise = body({"endif"});
      if (peek().kind != Kind::kTagBegin) unexpected("endif");
      take();
    }
    expect_name("endif");
    expect_tag_end();
  }

  void parse_set(Stmt& s) {
    s.target = target(true);
    if (skip_op("=")) {
      s.kind = Stmt::Kind::kSet;
      s.expr = tuple(true);
      return;
    }
    s.kind = Stmt::Kind::kSetBlock;
    if (peek().is_op("|")) s.expr = filters(nullptr, false);
    expect_tag_end();
    s.body = body_until("endset");
  }

  void parse_with(Stmt& s) {
    s.kind = Stmt::Kind::kWith;
    while (peek().kind != Kind::kTagEnd) {
      if (!s.assignments.empty()) expect_op(",");
      Target t = one_target(false);
      expect_op("=");
      s.assignments.emplace_back(std::move(t), expression());
    }
    expect_tag_end();
    s.body = body_until("endwith");
  }

  Target one_target(bool members) {
    if (skip_op("(")) {
      Target t = target(members);
      expect_op(")");
      return t;
    }
    Target t;
    t.name = expect_identifier();
    if (members && skip_op(".")) t.attribute = expect_identifier();
    return t;
  }

  Target target(bool members) {
    const Deeper deeper(*this);
    Target first = one_target(members);
    if (!peek().is_op(",")) return first;
    Target all;
    all.parts.push_back(std::move(first));
    while (skip_op(",")) {
      if (peek().is_name("in") || peek().is_op("=") || peek().is_op(")")) break;
      all.parts.push_back(one_target(members));
    }
    return all;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> out;
    expect_op("(");
    while (!skip_op(")")) {
      if (!out.empty()) {
        expect_op(",");
        if (skip_op(")")) break;
      }
      Parameter p;
      p.name = expect_identifier();
      const int line = peek().line;
      if (skip_op("=")) p.fallback = expression();
      if (!p.fallback && !out.empty() && out.back().fallback)
        fail(ErrorCode::kCorruptData, "expected a default for the parameter \"", p.name,
             "\" behind one that has one, in chat template line ", line);
      for (const Parameter& other : out) {
        if (other.name == p.name)
          fail(ErrorCode::kCorruptData, "expected parameters of different names, found two called ",
               "\"", p.name, "\" in chat template line ", line);
      }
      out.push_back(std::move(p));
    }
    return out;
  }

  // Expressions.

  ExprPtr expression() {
    const Deeper deeper(*this);
    ExprPtr value = parse_or();
    int length = 0;
    while (skip_name("if")) {
      link(length);
      ExprPtr condition = parse_or();
      ExprPtr otherwise;
      if (skip_name("else")) otherwise = expression();
      value = with(node(Expr::Kind::kConditional), std::move(condition), std::move(value),
                   std::move(otherwise));
    }
    return value;
  }

  // One expression, or several joined by commas. A loop's `if` is not a conditional.
  ExprPtr tuple(bool conditional) {
    const auto item = [&] { return conditional ? expression() : parse_or(); };
    ExprPtr first = item();
    if (!peek().is_op(",")) return first;
    ExprPtr all = with(node(Expr::Kind::kTuple), std::move(first));
    while (skip_op(",")) {
      const Kind kind = peek().kind;
      if (kind == Kind::kPrintEnd || kind == Kind::kTagEnd || peek().is_op(")") ||
          peek().is_name("recursive"))
        break;
      all->children.push_back(item());
    }
    return all;
  }

  ExprPtr parse_or() {
    ExprPtr left = parse_and();
    int length = 0;
    while (skip_name("or")) {
      link(length);
      ExprPtr right = parse_and();
      left = with(node(Expr::Kind::kOr), std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr parse_and() {
    ExprPtr left = parse_not();
    int length = 0;
    while (skip_name("and")) {
      link(length);
      ExprPtr right = parse_not();
      left = with(node(Expr::Kind::kAnd), std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr parse_not() {
    const Deeper deeper(*this);
    if (peek().is_name("not")) {
      take();
      return with(node(Expr::Kind::kNot), parse_not());
    }
    return comparison();
  }

  ExprPtr comparison() {
    ExprPtr first = sum();
    ExprPtr all;
    for (;;) {
      std::string op;
      for (const char* name : {"==", "!=", "<", "<=", ">", ">="}) {
        if (peek().is_op(name)) op = name;
      }
      if (!op.empty() || peek().is_name("in")) {
        if (op.empty()) op = "in";
        take();
      } else if (peek().is_name("not") && peek(1).is_name("in")) {
        op = "not in";
        take();
        take();
      } else {
        return all ? std::move(all) : std::move(first);
      }
      if (!all) all = with(node(Expr::Kind::kCompare), std::move(first));
      all->operators.push_back(op);
      all->children.push_back(sum());
    }
  }

  template <typename Next>
  ExprPtr left_chain(std::initializer_list<std::string_view> ops, const Next& next) {
    ExprPtr left = next();
    int length = 0;
    for (;;) {
      std::string op;
      for (const std::string_view candidate : ops) {
        if (peek().is_op(candidate)) op = candidate;
      }
      if (op.empty()) return left;
      link(length);
      take();
      ExprPtr right = next();
      left = with(node(Expr::Kind::kBinary, op), std::move(left), std::move(right));
    }
  }
  ExprPtr sum() {
    return left_chain({"+", "-"}, [&] { return concatenation(); });
  }
  ExprPtr concatenation() {
    return left_chain({"~"}, [&] { return product(); });
  }
  ExprPtr product() {
    return left_chain({"*", "/", "//", "%"}, [&] { return power(); });
  }
  ExprPtr power() {
    return left_chain({"**"}, [&] { return unary(true); });
  }

  ExprPtr unary(bool with_filters) {
    const Deeper deeper(*this);
    ExprPtr value;
    if (peek().is_op("-") || peek().is_op("+")) {
      ExprPtr sign = node(Expr::Kind::kUnary, take().text);
      value = with(std::move(sign), unary(false));
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters(std::move(value), false) : std::move(value);
  }

  ExprPtr primary() {
    const Token t = peek();
    switch (t.kind) {
      case Kind::kName:
        take();
        if (t.text == "true" || t.text == "True") return constant(Value::boolean(true));
        if (t.text == "false" || t.text == "False") return constant(Value::boolean(false));
        if (t.text == "none" || t.text == "None") return constant(Value::none());
        return node(Expr::Kind::kName, t.text);
      case Kind::kString: {
        std::string text;
        while (peek().kind == Kind::kString) text += take().text;
        return constant(Value::string(std::move(text)));
      }
      case Kind::kInteger: {
        const auto read = read_integer(t.text, 0);
        if (!read || !read->fits) unexpected("an integer of 64 bits");
        take();
        return constant(Value::integer(read->value));
      }
      case Kind::kFloat: {
        const std::optional<double> read = read_float(t.text);
        if (!read) unexpected("a number");
        take();
        return constant(Value::number(*read));
      }
      default: break;
    }
    if (skip_op("(")) return parenthesis();
    if (skip_op("[")) return bracketed(node(Expr::Kind::kList), "]");
    if (skip_op("{")) return braces();
    unexpected("an expression");
  }

  ExprPtr parenthesis() {
    if (skip_op(")")) return node(Expr::Kind::kTuple);
    ExprPtr value = tuple(true);
    expect_op(")");
    return value;
  }

  ExprPtr bracketed(ExprPtr all, std::string_view end) {
    while (!skip_op(end)) {
      if (!all->children.empty()) {
        expect_op(",");
        if (skip_op(end)) break;
      }
      all->children.push_back(expression());
    }
    return all;
  }

  ExprPtr braces() {
    ExprPtr all = node(Expr::Kind::kDict);
    while (!skip_op("}")) {
      if (!all->children.empty()) {
        expect_op(",");
        if (skip_op("}")) break;
      }
      all->children.push_back(expression());
      expect_op(":");
      all->children.push_back(expression());
    }
    return all;
  }

  ExprPtr postfix(ExprPtr value) {
    int length = 0;
    for (;;) {
      link(length);
      if (skip_op(".")) {
        if (peek().kind == Kind::kInteger) {
          ExprPtr index = primary();
          value = with(node(Expr::Kind::kSubscript), std::move(value), std::move(index));
        } else {
          value = with(node(Expr::Kind::kAttribute, expect_identifier()), std::move(value));
        }
      } else if (skip_op("[")) {
        value = subscript(std::move(value));
      } else if (peek().is_op("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }

  ExprPtr subscript(ExprPtr object) {
    const auto part = [&]() -> ExprPtr {
      if (peek().is_op(":") || peek().is_op("]")) return nullptr;
      return expression();
    };
    ExprPtr start = part();
    if (start && !peek().is_op(":")) {
      expect_op("]");
      return with(node(Expr::Kind::kSubscript), std::move(object), std::move(start));
    }
    expect_op(":");
    ExprPtr stop = part();
    ExprPtr step;
    if (skip_op(":")) step = part();
    expect_op("]");
    return with(node(Expr::Kind::kSlice), std::move(object), std::move(start), std::move(stop),
                std::move(step));
  }

  void arguments(Expr& e) {
    expect_op("(");
    bool first = true;
    while (!skip_op(")")) {
      if (!first) {
        expect_op(",");
        if (skip_op(")")) break;
      }
      first = false;
      const bool named = peek().kind == Kind::kName && peek(1).is_op("=");
      if (e.unpacked_named || (!named && !peek().is_op("**") && e.unpacked) ||
          (!named && !peek().is_op("**") && !peek().is_op("*") && !e.named.empty()))
        unexpected("arguments by position before those by name");
      if (skip_op("*")) {
        e.unpacked = expression();
      } else if (skip_op("**")) {
        e.unpacked_named = expression();
      } else if (named) {
        std::string name = take().text;
        take();
        e.named.emplace_back(std::move(name), expression());
      } else {
        e.children.push_back(expression());
      }
    }
  }

  ExprPtr call(ExprPtr callee) {
    ExprPtr e = with(node(Expr::Kind::kCall), std::move(callee));
    arguments(*e);
    return e;
  }

  // value|filter, value is test and calls of their results. In a filter tag the first "|" is
  // left out and there is no value.
  ExprPtr filters(ExprPtr value, bool first_named) {
    int length = 0;
    for (;;) {
      link(length);
      if (first_named || skip_op("|")) {
        first_named = false;
        std::string name = expect_identifier();
        if (peek().is_op("."))
          fail(ErrorCode::kUnsupported, "expected a filter of the chat template subset, found \"",
               name, ".\" in line ", peek().line);
        ExprPtr e = with(node(Expr::Kind::kFilter, std::move(name)), std::move(value));
        if (peek().is_op("(")) arguments(*e);
        value = std::move(e);
      } else if (value && peek().is_name("is")) {
        take();
        value = test(std::move(value));
      } else if (value && value->kind != Expr::Kind::kConstant && peek().is_op("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }

  ExprPtr test(ExprPtr value) {
    const bool negated = skip_name("not");
    ExprPtr e = with(node(Expr::Kind::kTest, expect_identifier()), std::move(value));
    const Kind kind = peek().kind;
    if (peek().is_name("is"))
      fail(ErrorCode::kCorruptData, "expected no test of a test in chat template line ",
           peek().line);
    const bool word = kind == Kind::kName && !peek().is_name("else") && !peek().is_name("or") &&
                      !peek().is_name("and") && !peek().is_name("if") && !peek().is_name("is") &&
                      !peek().is_name("not") && !peek().is_name("in") &&
                      !peek().is_name("recursive");
    if (peek().is_op("(")) {
      arguments(*e);
    } else if (word || kind == Kind::kString || kind == Kind::kInteger || kind == Kind::kFloat ||
               peek().is_op("[") || peek().is_op("{")) {
      e->children.push_back(postfix(primary()));
    }
    return negated ? with(node(Expr::Kind::kNot), std::move(e)) : std::move(e);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  std::set<std::string> blocks_;
};

}  // namespace

Block parse(std::string_view source) { return Parser(source).run(); }

}  // namespace onnuri::jinja
