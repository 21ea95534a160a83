// Which tokens may come next so that the text stays inside a grammar.
//
// The state of a half-read text is a set of stacks over the grammar's automaton. Sets are interned
// and their moves by byte remembered, so a grammar turns into a growing deterministic automaton;
// the mask of a state comes from one walk over the tree of all tokens and is kept. Strings, which
// take most of the time, return to the same state after every character, so most masks are a
// look-up.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fusion/grammar_automaton.h"
#include "fusion/token_trie.h"

namespace onnuri {

/// One text in the making. Not thread-safe; keeps what it learnt over reset().
class TokenConstraint {
 public:
  /// `trie` may be null where only bytes are asked about.
  TokenConstraint(std::shared_ptr<const GrammarAutomaton> grammar,
                  std::shared_ptr<const TokenTrie> trie);

  /// Back to the empty text.
  void reset();
  /// One bit per token that may come next, lowest first, (vocab_size rounded up to 64). Valid until
  /// the next call.
  std::span<const uint64_t> mask();
  /// Takes a token; false, with nothing changed, when the grammar does not allow it.
  [[nodiscard]] bool accept(int32_t id);
  [[nodiscard]] bool accept_bytes(std::string_view bytes);
  /// True when the text so far is whole.
  bool complete() const { return states_[static_cast<size_t>(current_)].complete; }
  /// True when the mask has any token.
  bool can_continue();

  int64_t num_states() const { return static_cast<int64_t>(states_.size()); }

 private:
  struct Frame {
    int32_t node = 0;     // where to go on once the called rule has ended
    int32_t parent = -1;  // -1: the bottom
  };
  struct Item {
    int32_t node = 0;
    int32_t frame = -1;
    bool operator==(const Item& other) const = default;
    auto operator<=>(const Item& other) const = default;
  };
  struct State {
    std::vector<Item> items;  // sorted
    bool complete = false;
    std::vector<int32_t> next;   // (256) by byte; kUnknown until asked
    std::vector<uint64_t> mask;  // empty until asked
  };

  int32_t push(int32_t node, int32_t parent);
  void close(std::vector<Item> pending, State& state);
  int32_t intern(State state);
  int32_t step(int32_t state, uint8_t byte);
  int32_t take(int32_t state, uint8_t byte);
  void compute_mask(State& state, int32_t index);
  void forget();

  static constexpr int32_t kDead = -1;
  static constexpr int32_t kUnknown = -2;

  std::shared_ptr<const GrammarAutomaton> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, int32_t> frame_ids_;
  std::vector<State> states_;
  std::unordered_multimap<uint64_t, int32_t> state_ids_;
  std::vector<int32_t> path_;  // scratch of the walk: the state at every depth
  size_t mask_bytes_ = 0;
  int32_t current_ = 0;
};

}  // namespace onnuri
