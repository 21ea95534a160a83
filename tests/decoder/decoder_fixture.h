// A random decoder with its cache, and short calls that run it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoder/decoder.h"
#include "onnuri/error.h"
#include "tests/support/random_decoder.h"

namespace onnuri {

inline std::vector<int32_t> random_ids(int64_t count, int64_t vocab_size, uint32_t seed) {
  std::vector<int32_t> ids;
  uint32_t state = seed * 2654435761u + 12345u;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab_size)));
  }
  return ids;
}

/// One loaded decoder and one cache.
struct TestDecoder {
  TestDecoder(const DecoderConfig& c, ComputeType compute, DType matrix_dtype = DType::kF32,
              int num_threads = 2, int64_t max_chunk = 64)
      : config(c),
        backend(num_threads, ""),
        checkpoint(std::make_shared<RandomDecoderCheckpoint>(c, 11, matrix_dtype)) {
    TensorSource source = source_of(checkpoint);
    decoder = Decoder::load(config, source, backend, compute, nullptr);
    unused = source.unused();
    KvCacheOptions options;
    options.dtype = compute == ComputeType::kFloat32 ? DType::kF32 : DType::kF16;
    options.page_rows = 8;
    options.max_tokens = 512;
    options.max_sequences = 8;
    options.max_chunk = max_chunk;
    cache = std::make_unique<KvCache>(config, options);
  }

  /// Appends `ids` to `kv` at positions that continue it; logits of all rows.
  std::vector<float> append(KvSequence& kv, std::span<const int32_t> ids) {
    std::vector<float> positions;
    for (int64_t axis = 0; axis < config.position_axes(); ++axis) {
      for (size_t i = 0; i < ids.size(); ++i) {
        positions.push_back(static_cast<float>(kv.num_tokens() + static_cast<int64_t>(i)));
      }
    }
    return append(kv, ids, positions, {});
  }

  std::vector<float> append(KvSequence& kv, std::span<const int32_t> ids,
                            std::span<const float> positions,
                            std::span<const RowOverride> overrides) {
    const auto rows = static_cast<int64_t>(ids.size());
    if (!kv.reserve(rows)) throw Error(ErrorCode::kOutOfMemory, "no pages left");
    SequenceSlice slice{0, rows, kv.num_tokens(), &kv};
    slice.prompt_end = prompt_end;
    std::vector<int64_t> logit_rows;
    for (int64_t i = 0; i < rows; ++i) logit_rows.push_back(i);
    std::vector<float> logits(static_cast<size_t>(rows * config.vocab_size));
    const Batch batch{ids, positions, {&slice, 1}, overrides, logit_rows};
    decoder->forward(batch, matrix(logits.data(), rows, config.vocab_size));
    return logits;
  }

  /// All logits of a new sequence that gets `ids` in chunks of the given sizes (the last repeats).
  std::vector<float> run(std::span<const int32_t> ids, std::span<const int64_t> chunks) {
    const auto kv = cache->new_sequence();
    std::vector<float> all;
    size_t begin = 0;
    for (size_t i = 0; begin < ids.size(); ++i) {
      const auto wanted = static_cast<size_t>(chunks[std::min(i, chunks.size() - 1)]);
      const size_t count = std::min(wanted, ids.size() - begin);
      const std::vector<float> part = append(*kv, ids.subspan(begin, count));
      all.insert(all.end(), part.begin(), part.end());
      begin += count;
    }
    return all;
  }

  int64_t prompt_end = 0;  // of the prompt that the rows are told to belong to
  DecoderConfig config;
  Backend backend;
  std::shared_ptr<RandomDecoderCheckpoint> checkpoint;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<KvCache> cache;
  std::vector<std::string> unused;
};

}  // namespace onnuri
