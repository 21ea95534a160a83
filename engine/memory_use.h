// What an engine holds in memory, and the largest pass that it will make.
#pragma once

#include <cstdint>

#include "core/json.h"
#include "onnuri/media.h"

namespace onnuri {

/// Bytes, by what they are for.
struct MemoryUse {
  int64_t weights = 0;    // packed for this CPU
  int64_t mapped = 0;     // pages of the file that are read in place; the system may drop them
  int64_t kv_full = 0;    // full layers, for one sequence
  int64_t kv_window = 0;  // window layers, for one sequence
  int64_t kv_state = 0;   // states of linear layers, for one sequence
  int64_t kv_kept = 0;  // copies of window layers and states that one request leaves for later ones
  int64_t scratch = 0;  // of the decoder's passes
  int64_t encoder_scratch = 0;  // the most that an encoder took at once
};

/// One pass that is as large as any will be.
struct LargestPass {
  int64_t image_width = 0;  // 0: no picture
  int64_t image_height = 0;
  double sound_s = 0;  // 0: no sound
};

/// A picture of one colour.
Image grey_picture(int64_t width, int64_t height);

/// An engine that can tell. Where the model's files are only measured (ModelFiles::measure),
/// nothing is computed, and sizes are all that is true.
class MeasuredEngine {
 public:
  virtual ~MeasuredEngine() = default;
  virtual MemoryUse memory_use() const = 0;
  /// Makes the pass at the end of the context, so that memory_use() knows its buffers.
  virtual void rehearse(const LargestPass& pass) = 0;
  virtual int64_t context_size() const = 0;
  /// From now on all sizes are those of one of `num_ranks` devices that share the model. Throws
  /// kInvalidArgument where its heads cannot be shared out, kUnsupported where nothing can.
  virtual void split(int64_t num_ranks);
  /// Keys and values of one sequence of `context` tokens: full, window and linear layers.
  virtual MemoryUse kv_use(int64_t context) const = 0;
  /// Layers, bytes per token and the like, by kind of layer.
  virtual JsonValue kv_facts() const = 0;
};

}  // namespace onnuri
