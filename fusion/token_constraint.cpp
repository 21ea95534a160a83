#include "fusion/token_constraint.h"

#include <algorithm>
#include <set>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr size_t kMaxItems = 4096;  // readings of one text at the same time
constexpr size_t kMaxStates = size_t{1} << 16;
constexpr size_t kMaxFrames = size_t{1} << 21;
constexpr size_t kMaxMaskBytes = size_t{64} << 20;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 29);
}

}  // namespace

TokenConstraint::TokenConstraint(std::shared_ptr<const GrammarAutomaton> grammar,
                                 std::shared_ptr<const TokenTrie> trie)
    : grammar_(std::move(grammar)), trie_(std::move(trie)) {
  path_.resize(TokenTrie::kMaxBytes + 1);
  reset();
}

void TokenConstraint::reset() {
  State state;
  close({{grammar_->start, -1}}, state);
  current_ = intern(std::move(state));
}

int32_t TokenConstraint::push(int32_t node, int32_t parent) {
  const uint64_t key =
      static_cast<uint64_t>(static_cast<uint32_t>(node)) << 32 | static_cast<uint32_t>(parent);
  const auto [it, fresh] = frame_ids_.try_emplace(key, static_cast<int32_t>(frames_.size()));
  if (fresh) {
    if (frames_.size() >= 2 * kMaxFrames)
      fail(ErrorCode::kUnsupported, "expected an answer that nests less deeply, found ",
           frames_.size(), " open rules");
    frames_.push_back({node, parent});
  }
  return it->second;
}

// Follows calls and returns until every item waits for a byte.
void TokenConstraint::close(std::vector<Item> pending, State& state) {
  std::set<Item> seen(pending.begin(), pending.end());
  const auto visit = [&](Item item) {
    if (!seen.insert(item).second) return;
    if (seen.size() > kMaxItems)
      fail(ErrorCode::kUnsupported, "expected a grammar with at most ", kMaxItems,
           " readings of a text, found more: it is too ambiguous");
    pending.push_back(item);
  };
  while (!pending.empty()) {
    const Item item = pending.back();
    pending.pop_back();
    const GrammarAutomaton::Node& node = grammar_->nodes[static_cast<size_t>(item.node)];
    if (!node.edges.empty()) state.items.push_back(item);
    for (const GrammarAutomaton::Call& call : node.calls) {
      // Nothing is left to do after a last call, so lists by recursion need no deeper stack.
      const bool last = grammar_->nodes[static_cast<size_t>(call.target)].is_end();
      visit({call.start, last ? item.frame : push(call.target, item.frame)});
    }
    if (!node.accept) continue;
    if (item.frame < 0) {
      state.complete = true;
    } else {
      const Frame frame = frames_[static_cast<size_t>(item.frame)];
      visit({frame.node, frame.parent});
    }
  }
  std::sort(state.items.begin(), state.items.end());
}

int32_t TokenConstraint::intern(State state) {
  if (state.items.empty() && !state.complete) return kDead;
  uint64_t hash = state.complete ? 1 : 2;
  for (const Item& item : state.items)
    hash = mix(hash, static_cast<uint64_t>(static_cast<uint32_t>(item.node)) << 32 |
                         static_cast<uint32_t>(item.frame));
  const auto [begin, end] = state_ids_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const State& known = states_[static_cast<size_t>(it->second)];
    if (known.complete == state.complete && known.items == state.items) return it->second;
  }
  if (states_.size() >= 4 * kMaxStates)
    fail(ErrorCode::kUnsupported, "expected a grammar with at most ", 4 * kMaxStates,
         " states in use, found more: it is too ambiguous");
  const auto id = static_cast<int32_t>(states_.size());
  state_ids_.emplace(hash, id);
  states_.push_back(std::move(state));
  return id;
}

int32_t TokenConstraint::step(int32_t state, uint8_t byte) {
  const State& from = states_[static_cast<size_t>(state)];
  if (!from.next.empty()) {
    const int32_t known = from.next[byte];
    if (known != kUnknown) return known;
  }
  return take(state, byte);
}

int32_t TokenConstraint::take(int32_t state, uint8_t byte) {
  std::vector<Item> targets;
  for (const Item& item : states_[static_cast<size_t>(state)].items) {
    for (const auto& edge : grammar_->nodes[static_cast<size_t>(item.node)].edges) {
      if (edge.low <= byte && byte <= edge.high) targets.push_back({edge.target, item.frame});
    }
  }
  std::sort(targets.begin(), targets.end());
  targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  State to;
  if (!targets.empty()) close(std::move(targets), to);
  const int32_t id = intern(std::move(to));
  State& from = states_[static_cast<size_t>(state)];
  if (from.next.empty()) from.next.assign(256, kUnknown);
  return from.next[byte] = id;
}

std::span<const uint64_t> TokenConstraint::mask() {
  ONNURI_CHECK(trie_ != nullptr);
  if (states_.size() > kMaxStates || frames_.size() > kMaxFrames || mask_bytes_ > kMaxMaskBytes)
    forget();
  const int32_t index = current_;
  if (states_[static_cast<size_t>(index)].mask.empty()) {
    State found;  // the walk may move states_
    compute_mask(found, index);
    mask_bytes_ += found.mask.size() * sizeof(uint64_t);
    states_[static_cast<size_t>(index)].mask = std::move(found.mask);
  }
  return states_[static_cast<size_t>(index)].mask;
}

void TokenConstraint::compute_mask(State& out, int32_t index) {
  out.mask.assign(static_cast<size_t>(trie_->vocab_size() + 63) / 64, 0);
  const std::span<const TokenTrie::Node> nodes = trie_->nodes();
  const std::span<const int32_t> tokens = trie_->tokens();
  path_[0] = index;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const int32_t next = step(path_[node.depth - 1u], node.byte);
    if (next == kDead) {
      i = static_cast<size_t>(node.skip);
      continue;
    }
    path_[node.depth] = next;
    const int32_t first = i == 0 ? 0 : nodes[i - 1].tokens_end;
    for (int32_t t = first; t < node.tokens_end; ++t) {
      const auto id = static_cast<size_t>(tokens[static_cast<size_t>(t)]);
      out.mask[id / 64] |= uint64_t{1} << (id % 64);
    }
    ++i;
  }
}

bool TokenConstraint::can_continue() {
  const std::span<const uint64_t> bits = mask();
  return std::any_of(bits.begin(), bits.end(), [](uint64_t word) { return word != 0; });
}

bool TokenConstraint::accept(int32_t id) {
  ONNURI_CHECK(trie_ != nullptr);
  if (id < 0 || id >= trie_->vocab_size() || trie_->bytes(id).empty()) return false;
  return accept_bytes(trie_->bytes(id));
}

bool TokenConstraint::accept_bytes(std::string_view bytes) {
  int32_t state = current_;
  for (const char c : bytes) {
    state = step(state, static_cast<uint8_t>(c));
    if (state == kDead) return false;
  }
  current_ = state;
  return true;
}

// Starts over with nothing but the current state and the frames that it stands on.
void TokenConstraint::forget() {
  State kept = std::move(states_[static_cast<size_t>(current_)]);
  const std::vector<Frame> old = std::move(frames_);
  frames_.clear();
  frame_ids_.clear();
  states_.clear();
  state_ids_.clear();
  mask_bytes_ = 0;
  kept.next.clear();
  kept.mask.clear();
  for (Item& item : kept.items) {
    std::vector<int32_t> chain;
    for (int32_t f = item.frame; f >= 0; f = old[static_cast<size_t>(f)].parent)
      chain.push_back(old[static_cast<size_t>(f)].node);
    int32_t frame = -1;
    for (auto it = chain.rbegin(); it != chain.rend(); ++it) frame = push(*it, frame);
    item.frame = frame;
  }
  std::sort(kept.items.begin(), kept.items.end());
  current_ = intern(std::move(kept));
}

}  // namespace onnuri
