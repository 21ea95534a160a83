// Memory of keys and values by layer kind: pages for full layers, rings for window layers.
//
//   full layers    one page table per sequence, shared by all of them; it grows page by page
//   window layers  one ring per sequence of at least window + max_chunk rows, in whole pages:
//
//        position  0 1 2 ... R-1 | R R+1 ...        row = position modulo R
//                  the newest rows overwrite those that left the window
//
//   linear layers  one state per sequence (Gated DeltaNet, decoder/linear_attention.h)
//
// A state cannot forget a token, and a pass may fail or be cut back where guesses were wrong. So a
// sequence has two of each: a pass reads one and writes the other, which counts once the pass has
// advanced the sequence. A state stands behind `folded` tokens; of those that follow, the inputs
// are logged, and the next pass reads them again:
//
//   state | log: the rows that the convolution needs, then those of [folded, num_tokens)
//
// What a sequence holds may be kept and shared: pages of full layers have any number of holders,
// and one that others hold too is copied before it is written; of rings the rows that the next
// token needs are copied.
//
// Where memory is capped, full layers that do not fit into it lie on disk (decoder/kv_disk.h): a
// layer's view then holds until the view of another layer is taken.
//
// A row holds the keys and values of all heads; in latent layers one key that is its own value, and
// beside it the key of the indexer where there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "decoder/decoder_config.h"

namespace onnuri {

struct KvCacheOptions {
  DType dtype = DType::kF16;  // is_kv_dtype (kernels/kv_rows.h)
  int64_t page_rows = 64;
  int64_t max_tokens = 0;  // capacity over all sequences, in tokens of full layers
  int64_t max_sequences = 1;
  int64_t max_chunk = 512;    // longest forward pass of one sequence; rings hold window + chunk
  bool without_rows = false;  // tables only, for a backend that computes nothing
  /// A folder for the full layers that go beyond `ram_bytes` of keys and values; empty: all are in
  /// memory. The first layers stay in memory, as many as leave room for one more.
  std::string disk_directory;
  int64_t ram_bytes = 0;
};

class KvCache;

/// The first tokens of a sequence in its full layers. Gives its pages back when destroyed.
class KvPrefix {
 public:
  ~KvPrefix();
  KvPrefix(const KvPrefix&) = delete;
  KvPrefix& operator=(const KvPrefix&) = delete;
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_pages() const { return static_cast<int64_t>(pages_.size()); }

 private:
  friend class KvCache;
  friend class KvSequence;
  KvPrefix(KvCache* cache, int64_t num_tokens) : cache_(cache), num_tokens_(num_tokens) {}
  KvCache* cache_;
  int64_t num_tokens_;
  std::vector<int32_t> pages_;
};

/// What a token behind `num_tokens` others needs of window layers, and of linear ones.
struct WindowSnapshot {
  int64_t num_tokens = 0;
  int64_t folded = 0;  // of linear layers: tokens behind which their states stand
  // Layer by layer: keys, values, keys of the indexer, by position; or the state and its log.
  std::vector<std::byte> rows;
};

/// The state of one sequence in a linear layer; null pointers in a cache without rows.
struct StateView {
  int64_t folded = 0;            // tokens in `state`
  const float* state = nullptr;  // (num_v_heads, k_dim, v_dim)
  const float* log = nullptr;    // (conv_taps - 1 + num_tokens - folded, inputs of a row)
  float* next = nullptr;         // the same once the pass has advanced the sequence
  float* next_log = nullptr;
};

/// One sequence's page tables. Returns its pages when destroyed. Not thread-safe.
class KvSequence {
 public:
  ~KvSequence();
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  int64_t num_tokens() const { return num_tokens_; }
  /// Tokens that fit into the pages held now.
  int64_t capacity() const;
  /// Most tokens that one forward pass may append.
  int64_t max_chunk() const;
  /// Makes room for `count` more tokens, which no other holds; false when the pool is exhausted
  /// (then no token has changed).
  [[nodiscard]] bool reserve(int64_t count);
  /// Called by the decoder once a chunk is written.
  void advance(int64_t count);
  /// Forgets all tokens from `num_tokens` on and keeps the rest; false, with nothing changed, when
  /// a ring no longer holds the keys that the next token would need, or a state has moved on.
  [[nodiscard]] bool truncate(int64_t num_tokens);
  /// The first tokens, which both hold from now on.
  std::unique_ptr<KvPrefix> share(int64_t num_tokens) const;
  /// What a token behind `num_tokens` others sees in window layers and in linear ones; nothing when
  /// it is lost.
  std::optional<WindowSnapshot> snapshot(int64_t num_tokens) const;
  /// The view of one layer's rows. Of a layer on disk: throws as KvDisk::stage does.
  KvView layer(int64_t layer_index) const;
  /// The view of the indexer's keys in a layer that has them. Throws likewise.
  KvView index_keys(int64_t layer_index) const;
  /// The state of a linear layer.
  StateView state(int64_t layer_index) const;
  /// Tokens in the states once a pass of `count` rows has followed `num_tokens` tokens: short
  /// passes can be taken back row by row, of long ones the last.
  static int64_t folded_behind(int64_t num_tokens, int64_t count);
  /// Most rows of a pass that can be taken back, in a sequence with linear layers.
  static constexpr int64_t kMaxGuesses = 15;

 private:
  friend class KvCache;
  KvSequence(KvCache* cache, int32_t ring_slot);
  KvView pages_of(int64_t layer_index) const;
  void stage(int64_t layer_index) const;
  bool still_holds(int64_t num_tokens) const;
  [[nodiscard]] bool own_last_page();
  KvCache* cache_;
  int64_t num_tokens_ = 0;
  int64_t restored_ = 0;             // tokens whose rings came from a snapshot
  int64_t high_water_ = 0;           // most tokens ever held: what rings have overwritten
  std::vector<int32_t> full_pages_;  // shared by all full layers: entry e holds rows e*page_rows...
  int32_t ring_slot_;                // this sequence's ring in every window layer, and state
  int64_t folded_ = 0;               // tokens in the states of linear layers
  int half_ = 0;                     // which of the two states counts
};

/// Owns the memory of all layers. Outlives its sequences.
class KvCache {
 public:
  /// Throws kInvalidArgument for impossible options (a cap below the window layers and one full
  /// layer among them) and kOutOfMemory when the budget cannot be allocated, or the disk is full.
  KvCache(const DecoderConfig& config, const KvCacheOptions& options);
  ~KvCache();

  /// A new empty sequence, or null when max_sequences are alive.
  std::unique_ptr<KvSequence> new_sequence();
  /// One that begins with tokens of `prefix`, as many as `windows` was taken behind. Null likewise.
  std::unique_ptr<KvSequence> new_sequence(const KvPrefix& prefix, const WindowSnapshot& windows);
  /// Whether a prefix needs a snapshot: there are window layers, or linear ones.
  bool needs_snapshots() const;
  bool has_states() const;

  /// Another holder of the same pages.
  std::unique_ptr<KvPrefix> share(const KvPrefix& prefix);
  /// Whether some page would be free if nobody held this prefix.
  bool holds_alone(const KvPrefix& prefix) const;
  /// The rows of full layers as bytes, layer by layer and page by page; prefix_bytes() in all.
  void read_rows(const KvPrefix& prefix,
                 const std::function<void(std::span<const std::byte>)>& take) const;
  /// The same rows put back. Null when there are not enough pages.
  std::unique_ptr<KvPrefix> write_rows(int64_t num_tokens,
                                       const std::function<void(std::span<std::byte>)>& give);
  int64_t prefix_bytes(int64_t num_tokens) const;
  /// Of WindowSnapshot::rows. In linear layers as many tokens may be logged as a pass can take
  /// back.
  int64_t snapshot_bytes(int64_t num_tokens, int64_t folded) const;
  bool is_possible(const WindowSnapshot& snapshot) const;

  const KvCacheOptions& options() const;
  int64_t num_bytes() const;
  int64_t num_free_pages() const;
  /// Bytes for one more token over all full layers, and the fixed part of the window layers.
  static int64_t bytes_per_token(const DecoderConfig& config, DType dtype);
  static int64_t window_bytes(const DecoderConfig& config, const KvCacheOptions& options);
  /// Of the states of linear layers.
  static int64_t state_bytes(const DecoderConfig& config, const KvCacheOptions& options);
  /// What a cache of these options holds of its full layers in memory, in whole pages, and on disk.
  static int64_t full_bytes(const DecoderConfig& config, const KvCacheOptions& options);
  static int64_t disk_bytes(const DecoderConfig& config, const KvCacheOptions& options);
  /// Moved between memory and disk since the cache was made.
  int64_t disk_read_bytes() const;
  int64_t disk_written_bytes() const;
  /// Throws kInternal unless free + owned pages = all pages.
  void check_integrity() const;

 private:
  friend class KvPrefix;
  friend class KvSequence;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onnuri
