// Context-free grammars over bytes, as a small tree language.
//
// Readers (regular expressions, EBNF, JSON schemas) build expressions; fusion/grammar_automaton
// turns them into automata. Texts are UTF-8; a set of characters becomes the byte sequences that
// spell it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onnuri {

/// Characters as sorted, disjoint, inclusive ranges of code points.
class CharSet {
 public:
  CharSet() = default;
  CharSet(char32_t first, char32_t last) { add(first, last); }
  static CharSet all();  // every Unicode scalar value: no surrogates

  void add(char32_t first, char32_t last);
  void add(const CharSet& other);
  CharSet complement() const;
  CharSet without(const CharSet& other) const;
  bool contains(char32_t c) const;
  bool empty() const { return ranges_.empty(); }
  std::span<const std::pair<char32_t, char32_t>> ranges() const { return ranges_; }

 private:
  std::vector<std::pair<char32_t, char32_t>> ranges_;
};

/// Index of an expression in its grammar.
using Expr = int32_t;

class Grammar {
 public:
  enum class Kind {
    kByteRange,  // one byte in [low, high]
    kSequence,   // all children in order; none is the empty text
    kChoice,     // any child; none matches nothing
    kRepeat,     // the child low..high times; high < 0 is unbounded
    kRule,       // the rule `low`
    kBoth,       // texts that both children match; neither may use rules
  };
  struct Node {
    Kind kind = Kind::kSequence;
    int32_t low = 0;
    int32_t high = 0;
    std::vector<Expr> children;
  };
  struct Rule {
    std::string name;
    Expr body = -1;  // -1: not defined yet
  };

  Expr empty() { return sequence({}); }
  Expr nothing() { return choice({}); }
  Expr byte_range(uint8_t low, uint8_t high);
  Expr literal(std::string_view bytes);
  Expr chars(const CharSet& set);
  Expr sequence(std::vector<Expr> children);
  Expr choice(std::vector<Expr> children);
  Expr optional(Expr child) { return repeat(child, 0, 1); }
  /// Throws kInvalidArgument for a count that is out of order or beyond kMaxRepeat.
  Expr repeat(Expr child, int64_t low, int64_t high);
  Expr both(Expr a, Expr b);

  int32_t add_rule(std::string name);
  void define(int32_t rule, Expr body) { rules_[static_cast<size_t>(rule)].body = body; }
  Expr call(int32_t rule);

  const Node& node(Expr expr) const { return nodes_[static_cast<size_t>(expr)]; }
  const std::vector<Rule>& rules() const { return rules_; }
  void set_root(Expr root) { root_ = root; }
  Expr root() const { return root_; }

  static constexpr int64_t kMaxRepeat = int64_t{1} << 20;

 private:
  Expr add(Node node);
  std::vector<Node> nodes_;
  std::vector<Rule> rules_;
  Expr root_ = -1;
};

/// Texts that match the whole of a regular expression (the common subset of ECMAScript and Python:
/// classes, groups, quantifiers, anchors at the ends; no look-around, no back-references). Throws
/// kInvalidArgument with the position, kUnsupported for what no automaton can do.
Grammar grammar_from_regex(const std::string& pattern);

/// A grammar of rules `name ::= ...` that starts at `root`.
Grammar grammar_from_ebnf(const std::string& text);

/// JSON texts that a schema accepts. Throws kUnsupported naming a keyword that is not covered.
Grammar grammar_from_json_schema(const std::string& schema);

/// Exactly one of the texts.
Grammar grammar_from_choices(std::span<const std::string> choices);

/// How the characters of a pattern are spelt where they stand: plainly, or inside a JSON string.
enum class Spelling { kPlain, kJsonString };
Expr spell(Grammar& grammar, const CharSet& set, Spelling spelling);

/// The expression of a pattern. `search`: it may match anywhere in the text unless it is anchored.
Expr regex_expr(Grammar& grammar, const std::string& pattern, Spelling spelling, bool search);

}  // namespace onnuri
