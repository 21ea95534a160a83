// Guesses the next tokens with the checkpoint's own prediction module, which reads the hidden rows
// that the decoder computes anyway.
//
// Source: multi-token prediction (arXiv 2412.19437, section 2.2). The module's row of position p
// joins the decoder's row of p with the token at p + 1 and answers for p + 2; a further guess takes
// the module's own row of the step before.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoder/decoder.h"
#include "decoder/kv_cache.h"

namespace onnuri {

/// Follows one text at a time: its tokens, and the decoder's rows of all of them but the last.
class ModuleDraft {
 public:
  /// `cache` was made for decoder.draft_config(). Both must outlive this.
  ModuleDraft(Decoder& decoder, KvCache& cache);

  /// A new prompt; `positions` are (position_axes, ids.size()).
  void begin(std::span<const int32_t> ids, std::span<const float> positions);
  /// Another answer to the same prompt.
  void restart();
  /// The text grows by a token at this position (of all axes).
  void append(int32_t id, float position);

  /// Where the decoder is to write its next `count` hidden rows.
  float* rows_to_come(int64_t count);
  /// The first `count` of those rows belong to the text; the others are forgotten.
  void take_rows(int64_t count);

  /// At most `room` guesses of what follows the text. Valid until the next call.
  std::span<const int32_t> propose(int64_t room);

 private:
  /// Runs the module over the rows whose next token is known; the last of them leaves its logits
  /// and its hidden row.
  bool catch_up();
  bool run(std::span<const float> hidden, std::span<const int32_t> next_ids, int64_t first);

  Decoder& decoder_;
  KvCache& cache_;
  std::unique_ptr<KvSequence> kv_;
  int64_t width_, axes_;
  int64_t prompt_size_ = 0;
  std::vector<int32_t> ids_;
  std::vector<float> positions_;   // (tokens, axes)
  int64_t num_rows_ = 0;           // of the decoder, taken so far
  std::vector<float> waiting_;     // those that the module has not read, in order
  std::vector<float> coming_;      // rows_to_come
  std::vector<float> prompt_row_;  // the decoder's row of the prompt's last token
  std::vector<float> logits_, last_row_;
  std::vector<int32_t> guesses_;
};

}  // namespace onnuri
