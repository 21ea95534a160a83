// The features of one request's media, part by part: those that were kept from earlier requests,
// and those that are computed now and kept.
//
// A part is what an encoder can do on its own to the last bit: a picture, the frames of a video
// that share patches, a stretch of sound that attends to nothing outside itself. A request holds
// its parts, so that a part that occurs twice is computed once even if the cache keeps nothing.
#pragma once

#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/encoder_cache.h"
#include "engine/trace.h"

namespace onnuri {

/// What the encoders had to do for a request, in media and in their parts.
struct MediaWork {
  int64_t passes = 0;  // media of which anything was encoded, and those that were all there
  int64_t reused = 0;
  int64_t chunks = 0;  // parts that were encoded, and those that were there
  int64_t chunks_reused = 0;
};

class FeatureStore {
 public:
  explicit FeatureStore(EncoderCache& kept, Trace* trace = nullptr) : kept_(&kept), trace_(trace) {}

  /// Where the request writes down what it does, or null.
  Trace* trace() const { return trace_; }

  /// Null when the part has to be computed; counts it as reused otherwise.
  SharedMedia find(const ContentKey& key) {
    SharedMedia& part = parts_[key];
    if (!part) part = kept_->find(key);
    if (part) ++work_.chunks_reused;
    return part;
  }
  /// Counts the part as computed.
  SharedMedia insert(const ContentKey& key, EncodedMedia features) {
    ++work_.chunks;
    SharedMedia& part = parts_[key];
    part = std::make_shared<const EncodedMedia>(std::move(features));
    kept_->insert(key, part);
    return part;
  }
  SharedMedia get(const ContentKey& key, const std::function<EncodedMedia()>& compute) {
    if (SharedMedia part = find(key)) return part;
    return insert(key, compute());
  }

  /// All parts of one more medium were asked for; `key` is that of the whole.
  void end_medium(const ContentKey& key) {
    media_keys_.push_back(key);
    ++(work_.chunks > chunks_before_ ? work_.passes : work_.reused);
    chunks_before_ = work_.chunks;
  }
  const MediaWork& work() const { return work_; }
  /// Of all media so far.
  const std::vector<ContentKey>& media_keys() const { return media_keys_; }

 private:
  EncoderCache* kept_;
  Trace* trace_;
  std::unordered_map<ContentKey, SharedMedia, ContentKeyHasher> parts_;
  MediaWork work_;
  std::vector<ContentKey> media_keys_;
  int64_t chunks_before_ = 0;  // the medium that is asked for now
};

/// The key of a medium from those of its parts.
ContentKey key_of_parts(std::span<const ContentKey> parts);
/// Parts of one medium, one after the other, as one: the part itself where there is only one.
SharedMedia join_parts(const std::vector<SharedMedia>& parts);

}  // namespace onnuri
