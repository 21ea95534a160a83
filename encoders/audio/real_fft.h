// Power spectra of many real frames at once.
//
// A real transform of even length 2M is a complex one of length M over (even, odd) samples, here a
// Stockham mixed-radix FFT (radices 2, 3, 4, 5). Kernels work on kLanes frames side by side, so
// every butterfly is a plain loop that the compiler turns into vectors.
#pragma once

#include <cstdint>
#include <vector>

namespace onnuri {

class RealFft {
 public:
  static constexpr int kLanes = 8;

  /// `size` is even and its half has no prime factor above 5; otherwise throws kUnsupported.
  explicit RealFft(int64_t size);

  int64_t size() const { return 2 * half_; }
  int64_t num_bins() const { return half_ + 1; }
  /// Floats that power() needs as workspace.
  int64_t workspace_size() const { return 4 * half_ * kLanes; }

  /// frames (size, kLanes) to power (num_bins, kLanes): |X_k|^2 of every lane.
  void power(const float* frames, float* workspace, float* power) const;

 private:
  struct Stage {
    int radix = 0;
    int64_t groups = 0;           // length of this stage's transforms / radix
    int64_t stride = 0;           // product of the radices before
    std::vector<float> cos, sin;  // (groups, radix)
  };
  int64_t half_;
  std::vector<Stage> stages_;
  std::vector<float> cos_, sin_;  // (half + 1): e^(-2 pi i k / size)
};

}  // namespace onnuri
