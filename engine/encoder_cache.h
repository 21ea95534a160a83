// What the media encoders computed, kept for the next request that brings the same content.
//
// A key is a hash of the decoded pixels or samples, of how they are prepared and of the model;
// never of a name or address, which may show something else tomorrow. Entries are shared, not
// copied: one that is dropped stays alive for the requests that hold it. The least recently used
// goes first.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/content_hash.h"
#include "core/tensor.h"

namespace onnuri {

/// One medium as the decoder takes it.
struct EncodedMedia {
  Tensor rows;                    // (num_tokens, hidden_size)
  std::vector<Tensor> deep_rows;  // one (num_tokens, hidden_size) per decoder layer that adds them
  std::vector<int32_t> codes = {};  // of a medium that is spelt: tokens, in place of rows
  int64_t num_bytes() const;
};

using SharedMedia = std::shared_ptr<const EncodedMedia>;

struct EncoderCacheStats {
  int64_t hits = 0;
  int64_t misses = 0;
  int64_t entries = 0;
  int64_t bytes = 0;
};

class EncoderCache {
 public:
  /// `max_bytes` 0 keeps nothing.
  explicit EncoderCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  /// Null when it is not there. Thread-safe, as is insert().
  std::shared_ptr<const EncodedMedia> find(const ContentKey& key);
  /// Keeps `media` unless it alone exceeds the budget; drops others until all fit.
  void insert(const ContentKey& key, std::shared_ptr<const EncodedMedia> media);
  EncoderCacheStats stats() const;

 private:
  struct Entry {
    ContentKey key;
    std::shared_ptr<const EncodedMedia> media;
    int64_t bytes = 0;
  };
  mutable std::mutex mutex_;
  const int64_t max_bytes_;
  std::list<Entry> by_age_;  // latest first
  std::unordered_map<ContentKey, std::list<Entry>::iterator, ContentKeyHasher> entries_;
  EncoderCacheStats stats_;
};

}  // namespace onnuri
