// How much memory tensors take while something runs.
#pragma once

#include <cstdint>

namespace onnuri {

/// Counts the tensors that this thread makes and frees while the meter lives. Meters may nest; each
/// sees all.
class TensorMeter {
 public:
  TensorMeter();
  ~TensorMeter();
  TensorMeter(const TensorMeter&) = delete;
  TensorMeter& operator=(const TensorMeter&) = delete;

  /// Bytes made less bytes freed; negative when older tensors were freed.
  int64_t live_bytes() const { return live_; }
  /// The most that live_bytes ever was.
  int64_t peak_bytes() const { return peak_; }

  /// Tensor's own: bytes made, or freed where negative.
  static void add(int64_t bytes);

 private:
  int64_t live_ = 0;
  int64_t peak_ = 0;
  TensorMeter* outer_;  // of this thread, null for the outermost
};

}  // namespace onnuri
