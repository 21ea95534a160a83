// The keys and values of earlier requests, for those that begin alike: the next turn of a
// conversation, another question after the same instructions, many requests with one beginning.
//
// What is taken over has the bits that computing it again would give:
//   - rows do not hang on the chunk, the batch or the threads that computed them;
//   - a medium is the same when its content is, not when its placeholder tokens are;
//   - rows of pictures that see ahead are taken in whole runs;
//   - latent attention reads whole blocks of a prompt in another way than what follows them, so
//     that only blocks that both prompts read alike are taken;
//   - where an indexer chooses keys, equal scores are told apart by the length of the prompt:
//     nothing is taken.
// Kept texts are found by a chain of hashes over their blocks (engine/prefix_index.h) and compared
// token by token. Pages of full layers are held together with whoever else holds them. Window
// layers and linear ones are known where a snapshot was taken: at the end of a prompt, at the end
// of an answer, and where an earlier prompt went another way; of what lies between, the rest is
// computed again.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/content_hash.h"
#include "decoder/kv_cache.h"
#include "engine/prefix_index.h"
#include "fusion/positions.h"

namespace onnuri {

/// What stands in a sequence of the cache, token by token.
struct PromptContent {
  std::vector<int32_t> ids;
  int64_t num_axes = 1;
  std::vector<float> positions;       // (num_axes, ids.size())
  std::vector<MediaSpan> spans;       // in order
  std::vector<ContentKey> keys;       // of each span's medium
  std::vector<int32_t> visible_ends;  // (ids.size()) or empty
  std::string tenant;
  int64_t prompt_tokens = 0;  // the rest are tokens of an answer

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
};

/// A text that is kept for others.
struct KeptText {
  PromptContent content;
  std::unique_ptr<KvPrefix> prefix;     // all of it
  std::vector<WindowSnapshot> windows;  // none where there are no window layers
};

/// Not thread-safe.
class PromptMemory {
 public:
  struct Start {
    std::unique_ptr<KvSequence> kv;  // null: begin anew
    int64_t reused = 0;              // tokens in it
    std::string note;                // why not more, for people
    int64_t branch = 0;  // 0, or where it would pay to keep() the new sequence on its way
  };
  struct Stats {
    int64_t entries = 0;
    int64_t pages = 0;  // held, also those that others hold too
    int64_t snapshot_bytes = 0;
  };

  /// Snapshots of window layers take at most `snapshot_bytes`. `cache` must outlive this.
  PromptMemory(const DecoderConfig& config, KvCache& cache, int64_t snapshot_bytes);

  /// A sequence with most of what any kept text shares with `prompt`, whose last token is always
  /// left to be computed.
  Start take(const PromptContent& prompt);
  /// Keeps what `kv` holds, the first tokens of `content`, with the window layers as they are
  /// behind the first `behind` of them, or as close before as tokens that see ahead allow.
  void keep(const KvSequence& kv, PromptContent content, int64_t behind);
  /// The text of this tenant that was used last, its pages held once more; no pages: there is none.
  KeptText newest(const std::string& tenant) const;
  /// Keeps what newest() gave, perhaps in another process.
  void insert(KeptText text);
  /// Gives up what was used least recently of the texts that hold pages alone, or of all; false
  /// when nothing is left.
  bool make_room();
  Stats stats() const;

 private:
  struct Snapshot {
    WindowSnapshot windows;
    uint64_t used = 0;
  };
  struct Entry {
    PromptContent content;
    std::unique_ptr<KvPrefix> prefix;
    std::vector<Snapshot> snapshots;
    uint64_t used = 0;
    PrefixChain chain;
  };
  using Entries = std::map<uint64_t, Entry>;  // by a number that is never given twice

  int64_t shared_tokens(const PromptContent& kept, const PromptContent& prompt,
                        std::string& note) const;
  int64_t cut_down(const PromptContent& kept, const PromptContent& prompt, int64_t tokens,
                   std::string& note) const;
  /// The snapshot with most tokens that may be taken over, or null.
  Snapshot* best_snapshot(Entry& entry, const PromptContent& prompt, int64_t shared) const;
  void add_snapshot(Entry& entry, WindowSnapshot windows);
  bool may_help(const Entry& entry, int64_t least, int64_t limit) const;
  void add(Entry entry);
  Entries::iterator remove(Entries::iterator at, bool forget);
  void trim();

  KvCache* cache_;
  const int64_t snapshot_bytes_;
  const bool needs_snapshots_;
  const std::string layers_;  // that need them
  bool exact_ = true;         // whether rows of another prompt are these bits at all
  int64_t latent_block_ = 0;  // of latent attention; 0: there is none
  uint64_t clock_ = 0;
  uint64_t next_number_ = 0;
  Entries entries_;
  PrefixIndex index_;
  std::map<std::string, int64_t> texts_of_;  // tenants that have any
};

}  // namespace onnuri
