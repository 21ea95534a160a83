// Guesses the next tokens with a smaller model of the same vocabulary.
//
// Source: speculative decoding (Leviathan et al., arXiv 2211.17192), greedy guesses, with exact
// equality in place of acceptance by chance.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/checkpoint.h"
#include "decoder/decoder.h"
#include "decoder/kv_cache.h"
#include "fusion/tokenizer.h"

namespace onnuri {

/// The smaller model, for all requests of an engine.
class DraftModel {
 public:
  /// `backend` must outlive it. `tokenizer` is that of the model it works for, or null: then the
  /// sizes of the vocabularies must be equal. Throws kUnsupported when it speaks of other tokens,
  /// and as Engine::load does.
  DraftModel(const std::string& path, const Tokenizer* tokenizer, int64_t vocab_size,
             Backend& backend, ComputeType compute, const KvCacheOptions& kv);

  Decoder& decoder() { return *decoder_; }
  KvCache& cache() { return *cache_; }
  const Decoder& decoder() const { return *decoder_; }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> cache_;
};

/// Follows one text. What computes, or touches the cache, wants the machine for itself.
class ModelDraft {
 public:
  /// Guesses at most `max_tokens` at a time. `model` must outlive it, and end() comes before the
  /// destructor.
  ModelDraft(DraftModel& model, int64_t vocab_size, int64_t max_tokens);

  /// A new text, or another answer to the same prompt.
  void begin(std::span<const int32_t> ids) { ids_.assign(ids.begin(), ids.end()); }
  void append(int32_t id) { ids_.push_back(id); }
  /// With the machine: reads some of a long text that it has not read; false when little is left.
  bool catch_up();
  /// With the machine: at most `room` guesses of what follows. Valid until the next call.
  std::span<const int32_t> propose(int64_t room);
  /// How the last guesses fared: fewer after those that fail.
  void report(int64_t proposed, int64_t accepted);
  /// With the machine: gives its memory back.
  void end() { kv_.reset(); }

 private:
  bool can_read(int32_t id) const;
  /// Goes back to where what was read is the text.
  bool align();
  /// Reads tokens behind what it has read; the last one leaves its logits.
  bool read(std::span<const int32_t> ids);

  DraftModel& model_;
  int64_t vocab_size_;  // of the model that checks
  int64_t max_tokens_, length_;
  std::vector<int32_t> ids_;   // the text
  std::vector<int32_t> read_;  // what the cache holds, guesses too
  std::unique_ptr<KvSequence> kv_;
  std::vector<float> logits_, positions_;
  std::vector<int32_t> guesses_;
};

}  // namespace onnuri
