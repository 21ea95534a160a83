// What a text engine holds in memory, and one pass that is as large as any will be.
#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "core/tensor_meter.h"
#include "engine/model_facts.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

Waveform silence(double seconds, int64_t sample_rate_hz) {
  Waveform sound;
  sound.sample_rate_hz = sample_rate_hz;
  sound.samples.assign(static_cast<size_t>(seconds * static_cast<double>(sample_rate_hz)), 0.0f);
  return sound;
}

}  // namespace

Image grey_picture(int64_t width, int64_t height) {
  Image image{height, width, {}};
  image.rgb.assign(static_cast<size_t>(width * height * 3), 128);
  return image;
}

void MeasuredEngine::split(int64_t num_ranks) {
  if (num_ranks != 1)
    fail(ErrorCode::kUnsupported, "expected a model that writes text to be shared by ", num_ranks,
         " devices, found another kind");
}

void TextEngine::split(int64_t num_ranks) {
  const DecoderConfig& decoder = config_.decoder;
  const auto fits = [&](int64_t ranks) { return decoder.num_heads % ranks == 0; };
  if (num_ranks < 1 || !fits(num_ranks)) {
    std::string possible;
    for (int64_t ranks = 1; ranks <= decoder.num_heads; ++ranks)
      if (fits(ranks)) possible += (possible.empty() ? "" : ", ") + std::to_string(ranks);
    fail(ErrorCode::kInvalidArgument, "expected a number of devices that ", decoder.num_heads,
         " query heads can be shared out to (", possible, "), found ", num_ranks);
  }
  num_ranks_ = num_ranks;
}

MemoryUse TextEngine::kv_use(int64_t context) const {
  MemoryUse use;
  KvCacheOptions options = cache_->options();
  options.max_tokens = context;
  options.max_sequences = 1;
  options.max_chunk = std::min(options.max_chunk, context);
  const auto add = [&](const DecoderConfig& decoder) {
    use.kv_full += KvCache::full_bytes(decoder, options);
    use.kv_window += KvCache::window_bytes(decoder, options);
    use.kv_state += KvCache::state_bytes(decoder, options);
  };
  // Each device has at least one head; latents are everywhere.
  DecoderConfig of_rank = config_.decoder;
  of_rank.num_kv_heads = (of_rank.num_kv_heads + num_ranks_ - 1) / num_ranks_;
  const auto shared_out = [&](int64_t& heads) { heads = (heads + num_ranks_ - 1) / num_ranks_; };
  shared_out(of_rank.delta.num_k_heads);
  shared_out(of_rank.delta.num_v_heads);
  add(of_rank);
  options.disk_directory.clear();  // of the main decoder only
  // At the end of the prompt, and of the answer.
  if (memory_)
    use.kv_kept = std::min(2 * cache_->snapshot_bytes(context, context) / num_ranks_,
                           options_.prefix_snapshot_bytes);
  if (draft_cache_) add(decoder_->draft_config());
  if (draft_model_) add(draft_model_->decoder().config());
  return use;
}

JsonValue TextEngine::kv_facts() const { return cache_facts(config_.decoder, cache_->options()); }

MemoryUse TextEngine::memory_use() const {
  MemoryUse use = kv_use(context_size_);
  use.weights = backend_.packed_bytes();
  use.weights += decoder_->rank_weight_bytes(num_ranks_) - decoder_->rank_weight_bytes(1);
  use.mapped = decoder_->mapped_bytes() / num_ranks_;
  if (draft_model_) use.mapped += draft_model_->decoder().mapped_bytes();
  use.scratch = backend_.scratch_bytes() + decoder_->workspace_bytes();
  use.encoder_scratch = encoder_peak_;
  return use;
}

void TextEngine::rehearse(const LargestPass& pass) {
  ONNURI_CHECK(!backend_.computes());  // the cache holds nothing that could be attended to
  {
    const TensorMeter meter;
    if (image_encoder_ && pass.image_width > 0 && pass.image_height > 0)
      image_encoder_->encode(grey_picture(pass.image_width, pass.image_height), PictureView::kAlone,
                             nullptr);
    if (sound_encoder_ && pass.sound_s > 0) {
      const Waveform sound = silence(pass.sound_s, config_.audio->mel.sample_rate_hz);
      EncoderCache nothing(0);
      FeatureStore store(nothing);
      sound_encoder_->encode(std::vector<SoundView>{sound}, store);
    }
    encoder_peak_ = meter.peak_bytes();
  }
  const int64_t count = cache_->options().max_chunk;
  const std::unique_ptr<KvSequence> kv = new_sequence();
  ONNURI_CHECK(kv->reserve(context_size_));
  const int64_t begin = context_size_ - count;  // attention is largest at the end
  kv->advance(begin);
  const std::vector<int32_t> ids(static_cast<size_t>(count), 0);
  std::vector<float> positions;
  for (int64_t axis = 0; axis < config_.decoder.position_axes(); ++axis)
    for (int64_t i = 0; i < count; ++i) positions.push_back(static_cast<float>(begin + i));
  const SequenceSlice slice{0, count, begin, kv.get(), context_size_};
  const int64_t last = count - 1;
  std::vector<float> logits(static_cast<size_t>(config_.decoder.vocab_size));
  Batch batch;
  batch.ids = ids;
  batch.positions = positions;
  batch.sequences = std::span(&slice, 1);
  batch.logit_rows = std::span(&last, 1);
  batch.num_logits = 1;
  decoder_->forward(batch, matrix(logits.data(), 1, config_.decoder.vocab_size));
}

}  // namespace onnuri
