// Rows to logits: the one forward pass of every text decoder.
#pragma once

#include <functional>
#include <memory>

#include "core/tensor_source.h"
#include "decoder/batch.h"
#include "decoder/decoder_config.h"
#include "decoder/kv_cache.h"
#include "kernels/backend.h"
#include "kernels/linear.h"

namespace onnuri {

struct DecoderWeights;

class Decoder {
 public:
  /// Binds and packs all weights of `config` from `source`; `progress` gets [0, 1].
  static std::unique_ptr<Decoder> load(const DecoderConfig& config, TensorSource& source,
                                       Backend& backend, ComputeType compute,
                                       const std::function<void(double)>& progress);
  ~Decoder();

  const DecoderConfig& config() const { return config_; }
  int64_t weight_bytes() const;           // resident or mapped
  int64_t streamed_bytes_per_token() const;

  /// Runs the batch, appends to the caches of its sequences, and writes the logits of
  /// batch.logit_rows, (logit_rows.size(), vocab_size). The caches must have room.
  void forward(const Batch& batch, MatrixView logits);

  /// The rows that `ids` embed to, (n, hidden_size), scaled.
  void embed(std::span<const int32_t> ids, MatrixView out);

 private:
  Decoder(const DecoderConfig& config, Backend& backend);
  DecoderConfig config_;
  Backend* backend_;
  std::unique_ptr<DecoderWeights> weights_;
};

}  // namespace onnuri
