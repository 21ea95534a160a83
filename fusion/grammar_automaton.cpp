#include "fusion/grammar_automaton.h"

#include <algorithm>
#include <map>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr size_t kMaxNfaNodes = size_t{1} << 20;
constexpr size_t kMaxDfaNodes = size_t{1} << 19;
constexpr size_t kMaxSubsetWork = size_t{1} << 26;

[[noreturn]] void too_large() {
  fail(ErrorCode::kUnsupported,
       "expected a grammar of bounded size, found one that needs more than ", kMaxNfaNodes,
       " states");
}

/// One rule on its own. Calls name rules, not nodes.
struct RuleAutomaton {
  struct Node {
    std::vector<GrammarAutomaton::Edge> edges;
    std::vector<std::pair<int32_t, int32_t>> calls;  // rule, target
    std::vector<int32_t> free;                       // targets reached without reading
    bool accept = false;
  };
  std::vector<Node> nodes;  // 0 is the start
};

// Thompson's construction.
class NfaBuilder {
 public:
  NfaBuilder(const Grammar& grammar, size_t& budget) : grammar_(grammar), budget_(budget) {}

  RuleAutomaton build(Expr expr) {
    const int32_t start = new_node();
    const int32_t end = new_node();
    add(expr, start, end);
    out_.nodes[static_cast<size_t>(end)].accept = true;
    return std::move(out_);
  }

 private:
  int32_t new_node() {
    if (++budget_ > kMaxNfaNodes) too_large();
    out_.nodes.emplace_back();
    return static_cast<int32_t>(out_.nodes.size()) - 1;
  }
  RuleAutomaton::Node& at(int32_t node) { return out_.nodes[static_cast<size_t>(node)]; }
  void free_edge(int32_t from, int32_t to) { at(from).free.push_back(to); }

  void add(Expr expr, int32_t from, int32_t to) {
    const Grammar::Node& node = grammar_.node(expr);
    switch (node.kind) {
      case Grammar::Kind::kByteRange:
        at(from).edges.push_back(
            {static_cast<uint8_t>(node.low), static_cast<uint8_t>(node.high), to});
        break;
      case Grammar::Kind::kRule: at(from).calls.emplace_back(node.low, to); break;
      case Grammar::Kind::kChoice:
        for (const Expr child : node.children) add(child, from, to);
        break;
      case Grammar::Kind::kSequence: add_sequence(node, from, to); break;
      case Grammar::Kind::kRepeat: add_repeat(node, from, to); break;
      case Grammar::Kind::kBoth: add_both(node, from, to); break;
    }
  }

  void add_sequence(const Grammar::Node& node, int32_t from, int32_t to) {
    for (size_t i = 0; i < node.children.size(); ++i) {
      const int32_t next = i + 1 == node.children.size() ? to : new_node();
      add(node.children[i], from, next);
      from = next;
    }
    if (node.children.empty()) free_edge(from, to);
  }

  void add_repeat(const Grammar::Node& node, int32_t from, int32_t to) {
    const Expr child = node.children[0];
    for (int32_t i = 0; i < node.low; ++i) {
      const int32_t next = new_node();
      add(child, from, next);
      from = next;
    }
    if (node.high < 0) {
      const int32_t loop = new_node();  // of its own, so that nothing else enters it
      free_edge(from, loop);
      const int32_t back = new_node();
      add(child, loop, back);
      free_edge(back, loop);
      free_edge(loop, to);
      return;
    }
    for (int32_t i = node.low; i < node.high; ++i) {
      free_edge(from, to);
      const int32_t next = new_node();
      add(child, from, next);
      from = next;
    }
    free_edge(from, to);
  }

  void add_both(const Grammar::Node& node, int32_t from, int32_t to);

  const Grammar& grammar_;
  size_t& budget_;
  RuleAutomaton out_;
};

// Everything reachable from `nodes` without reading, sorted.
std::vector<int32_t> closure(const RuleAutomaton& nfa, std::vector<int32_t> nodes) {
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  std::vector<int32_t> pending = nodes;
  while (!pending.empty()) {
    const int32_t node = pending.back();
    pending.pop_back();
    for (const int32_t next : nfa.nodes[static_cast<size_t>(node)].free) {
      const auto it = std::lower_bound(nodes.begin(), nodes.end(), next);
      if (it != nodes.end() && *it == next) continue;
      nodes.insert(it, next);
      pending.push_back(next);
    }
  }
  return nodes;
}

// Subset construction. False when it grows beyond `limit` nodes.
class SubsetBuilder {
 public:
  SubsetBuilder(const RuleAutomaton& nfa, size_t limit) : nfa_(nfa), limit_(limit) {}

  bool build(RuleAutomaton& out) {
    intern(closure(nfa_, {0}));
    for (size_t i = 0; i < sets_.size(); ++i) {
      const std::vector<int32_t> set = *sets_[i];
      work_ += set.size();
      if (sets_.size() > limit_ || work_ > kMaxSubsetWork) return false;
      RuleAutomaton::Node node;
      add_calls(set, node);
      add_edges(set, node);
      for (const int32_t n : set) node.accept |= nfa_.nodes[static_cast<size_t>(n)].accept;
      out.nodes.push_back(std::move(node));
    }
    return true;
  }

 private:
  int32_t intern(std::vector<int32_t> set) {
    const auto [it, fresh] = ids_.try_emplace(std::move(set), static_cast<int32_t>(sets_.size()));
    if (fresh) sets_.push_back(&it->first);
    return it->second;
  }

  void add_calls(const std::vector<int32_t>& set, RuleAutomaton::Node& node) {
    std::map<int32_t, std::vector<int32_t>> targets;
    for (const int32_t n : set)
      for (const auto& [rule, target] : nfa_.nodes[static_cast<size_t>(n)].calls)
        targets[rule].push_back(target);
    for (auto& [rule, nodes] : targets)
      node.calls.emplace_back(rule, intern(closure(nfa_, std::move(nodes))));
  }

  void add_edges(const std::vector<int32_t>& set, RuleAutomaton::Node& node) {
    std::vector<GrammarAutomaton::Edge> edges;
    for (const int32_t n : set) {
      const auto& own = nfa_.nodes[static_cast<size_t>(n)].edges;
      edges.insert(edges.end(), own.begin(), own.end());
    }
    std::vector<int> cuts;
    for (const auto& edge : edges) {
      cuts.push_back(edge.low);
      cuts.push_back(edge.high + 1);
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    work_ += edges.size() * cuts.size();
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<int32_t> targets;
      for (const auto& edge : edges)
        if (edge.low <= cuts[i] && cuts[i] <= edge.high) targets.push_back(edge.target);
      if (targets.empty()) continue;
      const int32_t target = intern(closure(nfa_, std::move(targets)));
      const auto low = static_cast<uint8_t>(cuts[i]);
      const auto high = static_cast<uint8_t>(cuts[i + 1] - 1);
      if (!node.edges.empty() && node.edges.back().target == target &&
          node.edges.back().high + 1 == low) {
        node.edges.back().high = high;
      } else {
        node.edges.push_back({low, high, target});
      }
    }
  }

  const RuleAutomaton& nfa_;
  size_t limit_;
  size_t work_ = 0;
  std::map<std::vector<int32_t>, int32_t> ids_;
  std::vector<const std::vector<int32_t>*> sets_;
};

// The same language without free moves; edges may overlap.
RuleAutomaton without_free_moves(const RuleAutomaton& nfa) {
  RuleAutomaton out;
  size_t work = 0;
  for (size_t i = 0; i < nfa.nodes.size(); ++i) {
    RuleAutomaton::Node node;
    for (const int32_t n : closure(nfa, {static_cast<int32_t>(i)})) {
      const RuleAutomaton::Node& part = nfa.nodes[static_cast<size_t>(n)];
      node.edges.insert(node.edges.end(), part.edges.begin(), part.edges.end());
      node.calls.insert(node.calls.end(), part.calls.begin(), part.calls.end());
      node.accept |= part.accept;
      work += 1 + part.edges.size();
      if (work > kMaxSubsetWork / 4) too_large();
    }
    out.nodes.push_back(std::move(node));
  }
  return out;
}

RuleAutomaton deterministic(const RuleAutomaton& nfa) {
  RuleAutomaton out;
  if (SubsetBuilder(nfa, 4 * nfa.nodes.size() + 1024).build(out)) return out;
  return without_free_moves(nfa);
}

// The product of two automata without calls.
void NfaBuilder::add_both(const Grammar::Node& node, int32_t from, int32_t to) {
  RuleAutomaton sides[2];
  for (size_t i = 0; i < 2; ++i) {
    sides[i] = deterministic(NfaBuilder(grammar_, budget_).build(node.children[i]));
    for (const RuleAutomaton::Node& n : sides[i].nodes)
      if (!n.calls.empty())
        fail(ErrorCode::kUnsupported,
             "expected constraints that can be combined (shorter counts), found ones that cannot");
  }
  std::map<std::pair<int32_t, int32_t>, int32_t> ids;
  std::vector<std::pair<int32_t, int32_t>> pairs;
  const auto intern = [&](std::pair<int32_t, int32_t> pair) {
    const auto it = ids.find(pair);
    if (it != ids.end()) return it->second;
    const int32_t id = new_node();
    pairs.push_back(pair);
    return ids[pair] = id;
  };
  free_edge(from, intern({0, 0}));
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto pair = pairs[i];
    const int32_t id = ids[pair];
    const RuleAutomaton::Node& a = sides[0].nodes[static_cast<size_t>(pair.first)];
    const RuleAutomaton::Node& b = sides[1].nodes[static_cast<size_t>(pair.second)];
    if (a.accept && b.accept) free_edge(id, to);
    for (const auto& x : a.edges) {
      for (const auto& y : b.edges) {
        const uint8_t low = std::max(x.low, y.low);
        const uint8_t high = std::min(x.high, y.high);
        if (low > high) continue;
        const int32_t target = intern({x.target, y.target});
        at(id).edges.push_back({low, high, target});
      }
    }
  }
}

/// All rules in one automaton, then cut down to what can end.
class Linker {
 public:
  Linker(const Grammar& grammar) : grammar_(grammar) {
    const size_t num_rules = grammar.rules().size();
    size_t budget = 0;
    std::vector<int32_t> pending = {static_cast<int32_t>(num_rules)};
    rules_.resize(num_rules + 1);
    while (!pending.empty()) {
      const auto rule = static_cast<size_t>(pending.back());
      pending.pop_back();
      if (!rules_[rule].nodes.empty()) continue;
      const Expr body = rule == num_rules ? grammar.root() : grammar.rules()[rule].body;
      ONNURI_CHECK(body >= 0);
      rules_[rule] = deterministic(NfaBuilder(grammar, budget).build(body));
      for (const RuleAutomaton::Node& node : rules_[rule].nodes)
        for (const auto& call : node.calls) pending.push_back(call.first);
    }
    find_productive();
    if (!productive_[num_rules])
      fail(ErrorCode::kInvalidArgument,
           "expected a grammar that matches some text, found one that "
           "matches none (no branch can ever end)");
    refuse_left_recursion();
  }

  std::shared_ptr<const GrammarAutomaton> link() {
    auto out = std::make_shared<GrammarAutomaton>();
    std::vector<int32_t> first(rules_.size(), -1);
    int32_t total = 0;
    for (size_t r = 0; r < rules_.size(); ++r) {
      if (rules_[r].nodes.empty() || !productive_[r]) continue;
      first[r] = total;
      total += static_cast<int32_t>(rules_[r].nodes.size());
    }
    if (static_cast<size_t>(total) > kMaxDfaNodes) too_large();
    for (size_t r = 0; r < rules_.size(); ++r) {
      if (first[r] < 0) continue;
      for (size_t i = 0; i < rules_[r].nodes.size(); ++i) {
        RuleAutomaton::Node& node = rules_[r].nodes[i];
        GrammarAutomaton::Node linked;
        linked.accept = node.accept;
        for (const auto& edge : node.edges)
          if (ends_[r][static_cast<size_t>(edge.target)])
            linked.edges.push_back({edge.low, edge.high, edge.target + first[r]});
        for (const auto& [rule, target] : node.calls)
          if (productive_[static_cast<size_t>(rule)] && ends_[r][static_cast<size_t>(target)])
            linked.calls.push_back({first[static_cast<size_t>(rule)], target + first[r]});
        out->nodes.push_back(std::move(linked));
      }
    }
    out->start = first.back();
    return out;
  }

 private:
  // Nodes from which the end of their rule can be reached, to a fixed point over all rules.
  void find_productive() {
    productive_.assign(rules_.size(), false);
    ends_.resize(rules_.size());
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t r = 0; r < rules_.size(); ++r) {
        if (rules_[r].nodes.empty() || productive_[r]) continue;
        ends_[r] = ending_nodes(rules_[r]);
        if (ends_[r][0]) changed = productive_[r] = true;
      }
    }
    for (size_t r = 0; r < rules_.size(); ++r)
      if (productive_[r]) ends_[r] = ending_nodes(rules_[r]);
  }

  std::vector<bool> ending_nodes(const RuleAutomaton& rule) const {
    std::vector<std::vector<int32_t>> back(rule.nodes.size());
    std::vector<bool> ends(rule.nodes.size());
    std::vector<int32_t> pending;
    for (size_t i = 0; i < rule.nodes.size(); ++i) {
      const RuleAutomaton::Node& node = rule.nodes[i];
      for (const auto& edge : node.edges)
        back[static_cast<size_t>(edge.target)].push_back(static_cast<int32_t>(i));
      for (const auto& [callee, target] : node.calls)
        if (productive_[static_cast<size_t>(callee)])
          back[static_cast<size_t>(target)].push_back(static_cast<int32_t>(i));
      if (node.accept) {
        ends[i] = true;
        pending.push_back(static_cast<int32_t>(i));
      }
    }
    while (!pending.empty()) {
      const auto node = static_cast<size_t>(pending.back());
      pending.pop_back();
      for (const int32_t before : back[node]) {
        if (ends[static_cast<size_t>(before)]) continue;
        ends[static_cast<size_t>(before)] = true;
        pending.push_back(before);
      }
    }
    return ends;
  }

  // The nodes of a rule that are reached before any byte is read.
  std::vector<int32_t> opening_nodes(const RuleAutomaton& rule) const {
    std::vector<bool> seen(rule.nodes.size());
    std::vector<int32_t> out = {0};
    seen[0] = true;
    for (size_t i = 0; i < out.size(); ++i) {
      for (const auto& [callee, target] : rule.nodes[static_cast<size_t>(out[i])].calls) {
        if (!nullable_[static_cast<size_t>(callee)] || seen[static_cast<size_t>(target)]) continue;
        seen[static_cast<size_t>(target)] = true;
        out.push_back(target);
      }
    }
    return out;
  }

  void refuse_left_recursion() {
    nullable_.assign(rules_.size(), false);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t r = 0; r < rules_.size(); ++r) {
        if (rules_[r].nodes.empty() || nullable_[r]) continue;
        for (const int32_t node : opening_nodes(rules_[r]))
          if (rules_[r].nodes[static_cast<size_t>(node)].accept) changed = nullable_[r] = true;
      }
    }
    std::vector<std::vector<int32_t>> opens(rules_.size());
    for (size_t r = 0; r < rules_.size(); ++r) {
      if (rules_[r].nodes.empty()) continue;
      for (const int32_t node : opening_nodes(rules_[r]))
        for (const auto& call : rules_[r].nodes[static_cast<size_t>(node)].calls)
          if (productive_[static_cast<size_t>(call.first)]) opens[r].push_back(call.first);
    }
    std::vector<int> state(rules_.size());  // 0 new, 1 open, 2 done
    for (size_t r = 0; r < rules_.size(); ++r) {
      std::vector<std::pair<size_t, size_t>> path = {{r, 0}};
      if (state[r] != 0) continue;
      state[r] = 1;
      while (!path.empty()) {
        auto& [rule, index] = path.back();
        if (index == opens[rule].size()) {
          state[rule] = 2;
          path.pop_back();
          continue;
        }
        const auto next = static_cast<size_t>(opens[rule][index++]);
        if (state[next] == 1)
          fail(ErrorCode::kInvalidArgument,
               "expected a grammar without left recursion, found rule \"",
               grammar_.rules()[next].name, "\" that begins with itself");
        if (state[next] == 0) {
          state[next] = 1;
          path.emplace_back(next, 0);
        }
      }
    }
  }

  const Grammar& grammar_;
  std::vector<RuleAutomaton> rules_;  // empty where unreachable; the last one is the root
  std::vector<bool> productive_;
  std::vector<std::vector<bool>> ends_;  // by rule and node
  std::vector<bool> nullable_;
};

}  // namespace

std::shared_ptr<const GrammarAutomaton> compile_grammar(const Grammar& grammar) {
  return Linker(grammar).link();
}

}  // namespace onnuri
