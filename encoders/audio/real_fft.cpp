// Van Loan, Computational Frameworks for the Fast Fourier Transform, 1.7 (Stockham) and 4.3 (real).
#include "encoders/audio/real_fft.h"

#include <cmath>
#include <utility>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int kLanes = RealFft::kLanes;
constexpr double kTwoPi = 6.283185307179586476925;

// One butterfly: y_k = w^k * sum_j x_j e^(-2 pi i j k / R), inputs `in_step` and outputs `out_step`
// complex rows apart. A complex row is kLanes real parts, then kLanes imaginary parts.
template <int R>
inline void butterfly(const float* x, int64_t in_step, const float* cos, const float* sin,
                      const float* root_cos, const float* root_sin, float* y, int64_t out_step) {
  for (int k = 0; k < R; ++k) {
    float re[kLanes], im[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      re[l] = x[l];
      im[l] = x[kLanes + l];
    }
    for (int j = 1; j < R; ++j) {
      const float* xj = x + j * in_step;
      const float c = root_cos[(j * k) % R], s = root_sin[(j * k) % R];
      for (int l = 0; l < kLanes; ++l) {
        re[l] += c * xj[l] - s * xj[kLanes + l];
        im[l] += c * xj[kLanes + l] + s * xj[l];
      }
    }
    float* yk = y + k * out_step;
    for (int l = 0; l < kLanes; ++l) {
      yk[l] = cos[k] * re[l] - sin[k] * im[l];
      yk[kLanes + l] = cos[k] * im[l] + sin[k] * re[l];
    }
  }
}

template <int R>
void run_stage(int64_t groups, int64_t stride, const float* cos, const float* sin, const float* x,
               float* y) {
  float root_cos[R], root_sin[R];
  for (int j = 0; j < R; ++j) {
    root_cos[j] = static_cast<float>(std::cos(kTwoPi * j / R));
    root_sin[j] = static_cast<float>(-std::sin(kTwoPi * j / R));
  }
  constexpr int64_t kRow = 2 * kLanes;
  for (int64_t p = 0; p < groups; ++p) {
    for (int64_t q = 0; q < stride; ++q) {
      butterfly<R>(x + (q + stride * p) * kRow, stride * groups * kRow, cos + p * R, sin + p * R,
                   root_cos, root_sin, y + (q + stride * R * p) * kRow, stride * kRow);
    }
  }
}

}  // namespace

RealFft::RealFft(int64_t size) : half_(size / 2) {
  int64_t rest = half_, stride = 1;
  if (size < 2 || size % 2 != 0) {
    fail(ErrorCode::kUnsupported, "expected an even transform length, found ", size);
  }
  for (const int radix : {5, 3, 4, 2}) {
    while (rest % radix == 0) {
      Stage stage{radix, rest / radix, stride, {}, {}};
      for (int64_t p = 0; p < stage.groups; ++p) {
        for (int k = 0; k < radix; ++k) {
          const double angle = -kTwoPi * static_cast<double>(p * k) / static_cast<double>(rest);
          stage.cos.push_back(static_cast<float>(std::cos(angle)));
          stage.sin.push_back(static_cast<float>(std::sin(angle)));
        }
      }
      stages_.push_back(std::move(stage));
      rest /= radix;
      stride *= radix;
    }
  }
  if (rest != 1) {
    fail(ErrorCode::kUnsupported, "expected a transform length of factors 2, 3 and 5, found ",
         size);
  }
  for (int64_t k = 0; k <= half_; ++k) {
    const double angle = -kTwoPi * static_cast<double>(k) / static_cast<double>(size);
    cos_.push_back(static_cast<float>(std::cos(angle)));
    sin_.push_back(static_cast<float>(std::sin(angle)));
  }
}

void RealFft::power(const float* frames, float* workspace, float* power) const {
  // Even and odd samples already lie as real and imaginary rows.
  const float* x = frames;
  float* y = workspace;
  float* spare = workspace + 2 * half_ * kLanes;
  for (const Stage& s : stages_) {
    const float *c = s.cos.data(), *n = s.sin.data();
    switch (s.radix) {
      case 2: run_stage<2>(s.groups, s.stride, c, n, x, y); break;
      case 3: run_stage<3>(s.groups, s.stride, c, n, x, y); break;
      case 4: run_stage<4>(s.groups, s.stride, c, n, x, y); break;
      default: run_stage<5>(s.groups, s.stride, c, n, x, y); break;
    }
    x = y;
    std::swap(y, spare);
  }
  // X_k = E_k + w^k O_k with E = (Z_k + conj Z_{M-k}) / 2 and O = (Z_k - conj Z_{M-k}) / 2i.
  for (int64_t k = 0; k <= half_; ++k) {
    const float* a = x + (k % half_) * 2 * kLanes;
    const float* b = x + ((half_ - k) % half_) * 2 * kLanes;
    const float c = cos_[static_cast<size_t>(k)], s = sin_[static_cast<size_t>(k)];
    float* out = power + k * kLanes;
    for (int l = 0; l < kLanes; ++l) {
      const float even_re = 0.5f * (a[l] + b[l]);
      const float even_im = 0.5f * (a[kLanes + l] - b[kLanes + l]);
      const float odd_re = 0.5f * (a[kLanes + l] + b[kLanes + l]);
      const float odd_im = 0.5f * (b[l] - a[l]);
      const float re = even_re + c * odd_re - s * odd_im;
      const float im = even_im + c * odd_im + s * odd_re;
      out[l] = re * re + im * im;
    }
  }
}

}  // namespace onnuri
