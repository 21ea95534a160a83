// Activations of one forward pass, in buffers that grow once and then stay.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "decoder/kv_cache.h"
#include "kernels/delta_rule.h"
#include "kernels/linear.h"
#include "kernels/matrix.h"
#include "kernels/ops.h"
#include "kernels/top_k.h"

namespace onnuri {

/// What a buffer holds while a layer runs (T rows of the batch, k experts per token).
enum class Buffer {
  kHidden,          // (T, hidden_size), the residual stream
  kNormed,          // (T, hidden_size), what a sub-layer reads
  kBranch,          // (T, hidden_size), what a sub-layer wrote, when it is not added in place
  kJoined,          // (T, 2 * hidden_size), what the prediction module reads
  kQkv,             // (T, (num_heads + num_kv_heads) * head_dim + num_kv_heads * v_dim), and what
                    // gates the output; of linear attention all that is made of x
  kQueries,         // (logit rows, num_heads * head_dim or hidden_size), of the last layer
  kQueryAngles,     // (2 * logit rows, rotary_dim / 2): their cosines, then their sines
  kAttention,       // (T, num_heads * v_dim); of signal heads, twice as wide values
  kNoise,           // (T, noise heads * 2 * v_dim)
  kLatentQ,         // (query rows, q_lora_rank), twice that wide with an output gate
  kLatentKv,        // (T, kv_lora_rank + qk_rope_dim)
  kIndexK,          // (T, index head_dim)
  kIndexQ,          // (query rows, index heads * index head_dim)
  kIndexWeights,    // (query rows, index heads)
  kHeadRows,        // (num_heads * rows of a block, qk_nope_dim or v_dim), one head after the other
  kHeadLatents,     // (num_heads * rows of a block, kv_lora_rank), likewise
  kLatentQueries,   // (rows of a block, num_heads * (kv_lora_rank + qk_rope_dim))
  kLatentMixed,     // (rows of a block, num_heads * kv_lora_rank)
  kSeenLatents,     // (keys, kv_lora_rank + qk_rope_dim), read back from the cache
  kExpandedKeys,    // (some heads * keys, head_dim), one head after the other
  kExpandedValues,  // (some heads * keys, v_dim), likewise
  kDeltaQkv,        // (T and rows read again, inputs of the convolution)
  kDeltaGates,      // (the same, 2 * value heads): decay, then beta
  kNormGate,        // (T, norm_gate_rank)
  kGateUp,          // (T, 2 * intermediate_size)
  kGlu,             // (T, intermediate_size)
  kRouter,          // (T, num_experts)
  kSharedGate,      // (T, 1)
  kExpertInput,     // (T * k, hidden_size)
  kExpertGateUp,    // (T * k, 2 * expert intermediate_size)
  kExpertGlu,       // (T * k, expert intermediate_size)
  kExpertOutput,    // (T * k, hidden_size)
  kLogitRows,       // (logit rows, hidden_size), the residual stream from the last layer on
  kCount,
};

/// What one thread needs to choose a token's experts.
struct RouterScratch {
  std::vector<float> choice;        // (num_experts), scores that choose
  std::vector<float> group_scores;  // (num_groups)
  std::vector<uint8_t> taken;       // (num_experts)
  std::vector<uint8_t> kept;        // (num_groups)
  std::vector<ScoredIndex> queue;   // (num_experts)
};

/// Owned by one decoder, used by one forward pass at a time.
class Workspace {
 public:
  /// An uninitialised matrix, valid until the same buffer is asked for again.
  MatrixView get(Buffer buffer, int64_t rows, int64_t cols) {
    return grow(buffers_[static_cast<size_t>(buffer)], rows, cols);
  }
  /// The saved residual stream of long skip `index`.
  MatrixView saved(size_t index, int64_t rows, int64_t cols) {
    if (saved_.size() <= index) saved_.resize(index + 1);
    return grow(saved_[index], rows, cols);
  }

  /// Of all matrices.
  int64_t num_bytes() const {
    int64_t bytes = 0;
    for (const Tensor& tensor : buffers_) bytes += tensor.num_bytes();
    for (const Tensor& tensor : saved_) bytes += tensor.num_bytes();
    return bytes;
  }

  std::vector<AttentionSegment> segments;           // of the current layer
  std::vector<AttentionSegment> index_segments;     // over the indexer's keys
  std::vector<int32_t> chosen_keys;                 // (query rows, top_k)
  std::vector<AttentionSegment> block_segments;     // of one block of query rows
  std::vector<int32_t> ids;                         // with placeholders replaced
  std::vector<const float*> delta_rows;             // the rows of all sequences, with their history
  std::vector<DeltaSequence> delta_sequences;       // of linear attention
  std::vector<StateView> states;                    // likewise
  std::vector<AttentionSegment> half_segments;      // of signal or of noise heads
  std::vector<RouterScratch> router;                // one per thread
  std::vector<int32_t> experts;                     // (T, k), ascending per row
  std::vector<float> expert_weights;                // (T, k)
  std::vector<AttentionSegment> expanded_segments;  // whose keys are made from latents
  std::vector<LinearTask> tasks;                    // of heads that are expanded
  std::vector<int64_t> head_offsets;                // (num_heads + 1) in head-major buffers
  std::vector<int64_t> expert_offsets;              // (num_experts + 1)
  std::vector<int64_t> expert_rows;                 // (T, k): row in the grouped buffers

 private:
  static MatrixView grow(Tensor& tensor, int64_t rows, int64_t cols) {
    if (tensor.empty() || tensor.shape()[0] < rows * cols) {
      tensor = Tensor(DType::kF32, {std::max<int64_t>(rows * cols, 1)});
    }
    return matrix(tensor.f32(), rows, cols);
  }
  std::array<Tensor, static_cast<size_t>(Buffer::kCount)> buffers_;
  std::vector<Tensor> saved_;
};

}  // namespace onnuri
