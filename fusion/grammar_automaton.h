// Grammars as automata: one per rule, whose edges read a byte or call another rule.
//
// Each rule becomes a deterministic automaton (subset construction) unless that would explode, in
// which case its edges may overlap. Whatever cannot end is cut off, so every path through what is
// left can be completed; a grammar without any text is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fusion/grammar.h"

namespace onnuri {

struct GrammarAutomaton {
  struct Edge {
    uint8_t low = 0;
    uint8_t high = 0;
    int32_t target = 0;
  };
  struct Call {
    int32_t start = 0;   // first node of the called rule
    int32_t target = 0;  // node after it
  };
  struct Node {
    std::vector<Edge> edges;
    std::vector<Call> calls;
    bool accept = false;
    bool is_end() const { return accept && edges.empty() && calls.empty(); }
  };
  std::vector<Node> nodes;
  int32_t start = 0;
};

/// Throws kInvalidArgument for a grammar that matches no text or is left-recursive, kUnsupported
/// for one that would become too large.
std::shared_ptr<const GrammarAutomaton> compile_grammar(const Grammar& grammar);

}  // namespace onnuri
