#include "engine/encoder_cache.h"

namespace onnuri {

int64_t EncodedMedia::num_bytes() const {
  int64_t bytes = rows.num_bytes() + static_cast<int64_t>(codes.size() * sizeof(int32_t));
  for (const Tensor& deep : deep_rows) bytes += deep.num_bytes();
  return bytes;
}

std::shared_ptr<const EncodedMedia> EncoderCache::find(const ContentKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) {
    ++stats_.misses;
    return nullptr;
  }
  ++stats_.hits;
  by_age_.splice(by_age_.begin(), by_age_, found->second);
  return found->second->media;
}

void EncoderCache::insert(const ContentKey& key, std::shared_ptr<const EncodedMedia> media) {
  const int64_t bytes = media->num_bytes();
  const std::lock_guard lock(mutex_);
  if (bytes > max_bytes_ || entries_.contains(key)) return;
  while (stats_.bytes > max_bytes_ - bytes) {
    stats_.bytes -= by_age_.back().bytes;
    entries_.erase(by_age_.back().key);
    by_age_.pop_back();
  }
  by_age_.push_front({key, std::move(media), bytes});
  entries_.emplace(key, by_age_.begin());
  stats_.bytes += bytes;
  stats_.entries = static_cast<int64_t>(entries_.size());
}

EncoderCacheStats EncoderCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace onnuri
