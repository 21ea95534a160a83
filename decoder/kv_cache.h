// Memory of keys and values by layer kind: pages for full layers, rings for window layers.
//
//   full layers    one page table per sequence, shared by all of them; it grows page by page
//   window layers  one ring per sequence of at least window + max_chunk rows, in whole pages:
//
//        position  0 1 2 ... R-1 | R R+1 ...        row = position modulo R
//                  the newest rows overwrite those that left the window
//
// A row holds the keys and values of all heads; in latent layers one key that is its own value, and
// beside it the key of the indexer where there is one.
#pragma once

#include <cstdint>
#include <memory>
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
};

class KvCache;

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
  /// Makes room for `count` more tokens; false when the pool is exhausted (nothing changes).
  [[nodiscard]] bool reserve(int64_t count);
  /// Called by the decoder once a chunk is written.
  void advance(int64_t count);
  /// Forgets all tokens from `num_tokens` on and keeps the rest; false, with nothing changed, when
  /// a ring no longer holds the keys that the next token would need.
  [[nodiscard]] bool truncate(int64_t num_tokens);
  /// The view of one layer's rows.
  KvView layer(int64_t layer_index) const;
  /// The view of the indexer's keys in a layer that has them.
  KvView index_keys(int64_t layer_index) const;

 private:
  friend class KvCache;
  KvSequence(KvCache* cache, int32_t ring_slot);
  KvView pages_of(int64_t layer_index) const;
  KvCache* cache_;
  int64_t num_tokens_ = 0;
  int64_t high_water_ = 0;           // most tokens ever held: what rings have overwritten
  std::vector<int32_t> full_pages_;  // shared by all full layers: entry e holds rows e*page_rows...
  int32_t ring_slot_;                // this sequence's ring in every window layer
};

/// Owns the memory of all layers. Outlives its sequences.
class KvCache {
 public:
  /// Throws kInvalidArgument for impossible options and kOutOfMemory when the budget cannot be
  /// allocated.
  KvCache(const DecoderConfig& config, const KvCacheOptions& options);
  ~KvCache();

  /// A new empty sequence, or null when max_sequences are alive.
  std::unique_ptr<KvSequence> new_sequence();

  const KvCacheOptions& options() const;
  int64_t num_bytes() const;
  int64_t num_free_pages() const;
  /// Bytes for one more token over all full layers, and the fixed part of the window layers.
  static int64_t bytes_per_token(const DecoderConfig& config, DType dtype);
  static int64_t window_bytes(const DecoderConfig& config, const KvCacheOptions& options);
  /// What a cache of these options holds in its full layers, in whole pages.
  static int64_t full_bytes(const DecoderConfig& config, const KvCacheOptions& options);
  /// Throws kInternal unless free + owned pages = all pages.
  void check_integrity() const;

 private:
  friend class KvSequence;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onnuri
