#include "engine/prompt_memory.h"

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "decoder/latent_attention.h"

namespace onnuri {
namespace {

constexpr int64_t kMostEntries = 4096;

// Mixes 64 bits (the finaliser of SplitMix64).
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t joined(uint64_t hash, uint64_t value) { return mixed(hash + 0x9e3779b97f4a7c15u + value); }

// What same_token and same_medium compare, of all that begins before each boundary.
PrefixChain chain_of(const PromptContent& content) {
  PrefixChain out;
  uint64_t hash =
      joined(std::hash<std::string>()(content.tenant), static_cast<uint64_t>(content.num_axes));
  size_t span = 0;
  for (int64_t token = 0; token < content.size(); ++token) {
    const auto at = static_cast<size_t>(token);
    for (; span < content.spans.size() && content.spans[span].first_token == token; ++span)
      hash = joined(hash, ContentKeyHasher()(content.keys[span]));
    hash = joined(hash, static_cast<uint32_t>(content.ids[at]));
    for (int64_t axis = 0; axis < content.num_axes; ++axis)
      hash = joined(hash, std::bit_cast<uint32_t>(
                              content.positions[static_cast<size_t>(axis * content.size()) + at]));
    if (token + 1 == PrefixIndex::boundary(out.size())) out.push_back(hash);
  }
  return out;
}

int32_t visible_end(const PromptContent& content, int64_t token) {
  return content.visible_ends.empty() ? static_cast<int32_t>(token + 1)
                                      : content.visible_ends[static_cast<size_t>(token)];
}

bool same_token(const PromptContent& a, const PromptContent& b, int64_t token) {
  const auto at = static_cast<size_t>(token);
  if (a.ids[at] != b.ids[at] || visible_end(a, token) != visible_end(b, token)) return false;
  for (int64_t axis = 0; axis < a.num_axes; ++axis)
    if (a.positions[static_cast<size_t>(axis * a.size() + token)] !=
        b.positions[static_cast<size_t>(axis * b.size() + token)])
      return false;
  return true;
}

bool same_medium(const PromptContent& a, const PromptContent& b, size_t span) {
  const MediaSpan &x = a.spans[span], &y = b.spans[span];
  return x.first_token == y.first_token && x.num_tokens == y.num_tokens &&
         x.first_cell == y.first_cell && x.kind == y.kind && a.keys[span] == b.keys[span];
}

/// Where the media of the two begin to differ, at most `limit`.
int64_t same_media(const PromptContent& a, const PromptContent& b, int64_t limit) {
  for (size_t i = 0; i < std::max(a.spans.size(), b.spans.size()); ++i) {
    if (i < a.spans.size() && i < b.spans.size() && same_medium(a, b, i)) continue;
    for (const PromptContent* c : {&a, &b})
      if (i < c->spans.size()) limit = std::min(limit, c->spans[i].first_token);
    break;
  }
  return limit;
}

}  // namespace

PromptMemory::PromptMemory(const DecoderConfig& config, KvCache& cache, int64_t snapshot_bytes)
    : cache_(&cache),
      snapshot_bytes_(snapshot_bytes),
      needs_snapshots_(cache.needs_snapshots()),
      layers_(cache.has_states() ? "linear" : "window") {
  for (const LayerSpec& layer : config.layers) {
    if (layer.mixer == MixerKind::kMla && reads_prompts_in_blocks(config.mla, layer.output_gate))
      latent_block_ = config.mla.prompt_block;
    if (layer.sparse_index) exact_ = false;
  }
}

// Down to where a sequence may be cut.
int64_t PromptMemory::cut_down(const PromptContent& kept, const PromptContent& prompt,
                               int64_t tokens, std::string& note) const {
  if (latent_block_ > 0) {
    const auto whole = [&](int64_t n) { return (n - 1) / latent_block_ * latent_block_; };
    const int64_t blocks = std::min(whole(kept.prompt_tokens), whole(prompt.size()));
    if (blocks < tokens) note = "latent attention takes over whole blocks of prompts";
    tokens = std::min(tokens, blocks);
  }
  // Tokens that see ahead see all of their run, or are computed again.
  while (tokens > 0 && visible_end(prompt, tokens - 1) > tokens) --tokens;
  return tokens;
}

int64_t PromptMemory::shared_tokens(const PromptContent& kept, const PromptContent& prompt,
                                    std::string& note) const {
  const int64_t most = std::min(kept.size(), prompt.size() - 1);
  int64_t shared = 0;
  while (shared < most && same_token(kept, prompt, shared)) ++shared;
  if (shared < most) note = "the text differs from token " + std::to_string(shared) + " on";
  const int64_t media = same_media(kept, prompt, shared);
  if (media < shared) note = "the media differ from token " + std::to_string(media) + " on";
  return cut_down(kept, prompt, media, note);
}

PromptMemory::Snapshot* PromptMemory::best_snapshot(Entry& entry, const PromptContent& prompt,
                                                    int64_t shared) const {
  Snapshot* best = nullptr;
  std::string ignored;
  for (Snapshot& snapshot : entry.snapshots) {
    const int64_t tokens = snapshot.windows.num_tokens;
    if (tokens > shared || cut_down(entry.content, prompt, tokens, ignored) != tokens) continue;
    if (best == nullptr || tokens > best->windows.num_tokens) best = &snapshot;
  }
  return best;
}

// Whether a text that shares fewer than `limit` tokens could be of more use than `least` tokens.
bool PromptMemory::may_help(const Entry& entry, int64_t least, int64_t limit) const {
  if (limit <= least + 1) return false;
  return !needs_snapshots_ ||
         std::any_of(entry.snapshots.begin(), entry.snapshots.end(), [&](const Snapshot& snapshot) {
           return snapshot.windows.num_tokens > least && snapshot.windows.num_tokens < limit;
         });
}

PromptMemory::Start PromptMemory::take(const PromptContent& prompt) {
  Start out;
  out.note = !exact_                             ? "keys are chosen by the length of the prompt"
             : prompt.size() == 1                ? "the prompt is a single token"
             : texts_of_.contains(prompt.tenant) ? "the text differs from token 0 on"
             : prompt.tenant.empty()             ? "nothing was kept"
                                                 : "nothing was kept of this tenant";
  Entry* best = nullptr;
  Snapshot* best_windows = nullptr;
  int64_t most_shared = 0;
  const PrefixChain chain = chain_of(prompt);
  index_.visit(chain, [&](uint64_t number, int64_t limit) {
    if (limit <= out.reused + 1) return false;  // nor can any that comes later
    Entry& entry = entries_.at(number);
    if (limit <= most_shared + 1 && !may_help(entry, out.reused, limit)) return true;
    std::string note;
    const int64_t shared = shared_tokens(entry.content, prompt, note);
    Snapshot* const windows = needs_snapshots_ ? best_snapshot(entry, prompt, shared) : nullptr;
    const int64_t usable = !needs_snapshots_ ? shared : windows ? windows->windows.num_tokens : 0;
    if (shared > most_shared || best == nullptr) {
      most_shared = shared;
      out.note = std::move(note);
    }
    if (usable > out.reused) {
      out.reused = usable;
      best = &entry;
      best_windows = windows;
    }
    return true;
  });
  if (most_shared > out.reused) {
    out.note = "the " + layers_ + " layers are known behind token " + std::to_string(out.reused) +
               ", not behind token " + std::to_string(most_shared);
    out.branch = most_shared;
  }
  if (const int64_t gone = index_.forgotten(chain); gone > out.reused && gone < prompt.size())
    out.note = "what was kept up to token " + std::to_string(gone) + " has given way to others";
  if (best == nullptr) return out;
  best->used = ++clock_;
  if (best_windows != nullptr) best_windows->used = clock_;
  WindowSnapshot nothing;
  nothing.num_tokens = out.reused;
  out.kv = cache_->new_sequence(*best->prefix, best_windows ? best_windows->windows : nothing);
  if (!out.kv) out = {nullptr, 0, "no sequence was free to begin with it", 0};
  return out;
}

namespace {

// Only what the first `tokens` tokens are.
void shorten(PromptContent& content, int64_t tokens) {
  if (content.size() == tokens) return;
  std::vector<float> positions;
  for (int64_t axis = 0; axis < content.num_axes; ++axis) {
    const auto from = content.positions.begin() + axis * content.size();
    positions.insert(positions.end(), from, from + tokens);
  }
  content.positions = std::move(positions);
  content.ids.resize(static_cast<size_t>(tokens));
  if (!content.visible_ends.empty()) content.visible_ends.resize(static_cast<size_t>(tokens));
  while (!content.spans.empty() && content.spans.back().first_token >= tokens) {
    content.spans.pop_back();
    content.keys.pop_back();
  }
}

// How far two texts are the same.
int64_t common_tokens(const PromptContent& a, const PromptContent& b) {
  if (a.tenant != b.tenant || a.num_axes != b.num_axes) return 0;
  const int64_t most = std::min(a.size(), b.size());
  int64_t same = 0;
  while (same < most && same_token(a, b, same)) ++same;
  return same_media(a, b, same);
}

}  // namespace

void PromptMemory::keep(const KvSequence& kv, PromptContent content, int64_t behind) {
  const int64_t tokens = kv.num_tokens();
  if (!exact_ || tokens == 0) return;
  ONNURI_CHECK(tokens <= content.size() && behind <= tokens);
  while (behind > 0 && visible_end(content, behind - 1) > behind) --behind;
  std::optional<WindowSnapshot> found = kv.snapshot(behind);
  if (!found || static_cast<int64_t>(found->rows.size()) > snapshot_bytes_) return;
  WindowSnapshot& windows = *found;
  shorten(content, tokens);
  Entry fresh;
  fresh.used = ++clock_;
  fresh.chain = chain_of(content);
  for (const uint64_t number : index_.relatives(fresh.chain)) {
    const auto at = entries_.find(number);
    Entry& entry = at->second;
    const int64_t same = common_tokens(entry.content, content);
    const bool reads_alike =
        latent_block_ == 0 || entry.content.prompt_tokens == content.prompt_tokens;
    if (same == tokens && reads_alike) {  // this text, or a longer one
      entry.used = clock_;
      add_snapshot(entry, std::move(windows));
      return trim();
    }
    if (same == entry.content.size() && reads_alike) {  // it has grown
      fresh.snapshots.insert(fresh.snapshots.end(),
                             std::make_move_iterator(entry.snapshots.begin()),
                             std::make_move_iterator(entry.snapshots.end()));
      remove(at, false);
    }
  }
  fresh.prefix = kv.share(tokens);
  fresh.content = std::move(content);
  add_snapshot(fresh, std::move(windows));
  add(std::move(fresh));
  trim();
}

void PromptMemory::add(Entry entry) {
  const auto [at, unused] = entries_.emplace(next_number_++, std::move(entry));
  int64_t* count = nullptr;
  try {
    count = &texts_of_[at->second.content.tenant];
    ++*count;
    index_.add(at->first, at->second.chain);
  } catch (...) {  // without memory for its books it is not kept
    index_.remove(at->first, at->second.chain, false);
    if (count && --*count == 0) texts_of_.erase(at->second.content.tenant);
    entries_.erase(at);
    throw;
  }
}

PromptMemory::Entries::iterator PromptMemory::remove(Entries::iterator at, bool forget) {
  const auto tenant = texts_of_.find(at->second.content.tenant);
  if (--tenant->second == 0) texts_of_.erase(tenant);
  index_.remove(at->first, at->second.chain, forget);
  return entries_.erase(at);
}

KeptText PromptMemory::newest(const std::string& tenant) const {
  const Entry* newest = nullptr;
  for (const auto& [number, entry] : entries_)
    if (entry.content.tenant == tenant && (!newest || entry.used > newest->used)) newest = &entry;
  KeptText out;
  if (newest == nullptr) return out;
  out.content = newest->content;
  out.prefix = cache_->share(*newest->prefix);
  for (const Snapshot& snapshot : newest->snapshots) out.windows.push_back(snapshot.windows);
  return out;
}

void PromptMemory::insert(KeptText text) {
  if (needs_snapshots_ && text.windows.empty()) return;  // nobody could begin with it
  Entry entry;
  entry.used = ++clock_;
  entry.content = std::move(text.content);
  entry.chain = chain_of(entry.content);
  entry.prefix = std::move(text.prefix);
  for (WindowSnapshot& windows : text.windows) add_snapshot(entry, std::move(windows));
  add(std::move(entry));
  trim();
}

void PromptMemory::add_snapshot(Entry& entry, WindowSnapshot windows) {
  if (!needs_snapshots_) return;
  for (Snapshot& snapshot : entry.snapshots) {
    if (snapshot.windows.num_tokens != windows.num_tokens) continue;
    snapshot.used = clock_;
    return;
  }
  entry.snapshots.push_back({std::move(windows), clock_});
}

// Within the budget; texts whose window layers nobody knows go with their last snapshot.
void PromptMemory::trim() {
  int64_t bytes = stats().snapshot_bytes;
  while (bytes > snapshot_bytes_) {
    auto owner = entries_.end();
    size_t oldest = 0;
    for (auto at = entries_.begin(); at != entries_.end(); ++at)
      for (size_t i = 0; i < at->second.snapshots.size(); ++i)
        if (owner == entries_.end() ||
            at->second.snapshots[i].used < owner->second.snapshots[oldest].used) {
          owner = at;
          oldest = i;
        }
    if (owner == entries_.end()) return;
    std::vector<Snapshot>& snapshots = owner->second.snapshots;
    bytes -= static_cast<int64_t>(snapshots[oldest].windows.rows.size());
    snapshots.erase(snapshots.begin() + static_cast<std::ptrdiff_t>(oldest));
    if (snapshots.empty()) remove(owner, true);
  }
  while (static_cast<int64_t>(entries_.size()) > kMostEntries) make_room();
}

bool PromptMemory::make_room() {
  auto oldest = entries_.end(), oldest_alone = entries_.end();
  for (auto at = entries_.begin(); at != entries_.end(); ++at) {
    const auto older = [&](Entries::iterator than) {
      return than == entries_.end() || at->second.used < than->second.used;
    };
    if (older(oldest)) oldest = at;
    if (older(oldest_alone) && cache_->holds_alone(*at->second.prefix)) oldest_alone = at;
  }
  if (oldest == entries_.end()) return false;
  remove(oldest_alone != entries_.end() ? oldest_alone : oldest, true);
  return true;
}

PromptMemory::Stats PromptMemory::stats() const {
  Stats out;
  for (const auto& [number, entry] : entries_) {
    ++out.entries;
    out.pages += entry.prefix->num_pages();
    for (const Snapshot& snapshot : entry.snapshots)
      out.snapshot_bytes += static_cast<int64_t>(snapshot.windows.rows.size());
  }
  return out;
}

}  // namespace onnuri
