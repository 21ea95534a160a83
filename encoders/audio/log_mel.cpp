#include "encoders/audio/log_mel.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int kLanes = RealFft::kLanes;
constexpr float kFloor = 1e-10f;
constexpr float kLog10Of2 = 0.30102999566398120f;
constexpr int64_t kFramesPerChunk = 64;

// Linear below 1 kHz, logarithmic above.
constexpr double kLinearHz = 200.0 / 3.0;
constexpr double kBreakHz = 1000.0;
constexpr double kBreakMel = kBreakHz / kLinearHz;

double hz_to_mel(double hz) {
  return hz < kBreakHz ? hz / kLinearHz
                       : kBreakMel + std::log(hz / kBreakHz) * 27.0 / std::log(6.4);
}
double mel_to_hz(double mel) {
  return mel < kBreakMel ? mel * kLinearHz
                         : kBreakHz * std::exp((mel - kBreakMel) * std::log(6.4) / 27.0);
}

// Position of sample i after reflecting at both ends as often as it takes.
int64_t reflect(int64_t i, int64_t length) {
  if (length == 1) return 0;
  const int64_t period = 2 * (length - 1);
  i = ((i % period) + period) % period;
  return i < length ? i : period - i;
}

LogMelConfig checked(const LogMelConfig& c) {
  if (c.sample_rate_hz < 1000 || c.n_fft < 2 || c.n_fft > 1 << 16 || c.hop_length < 1 ||
      c.num_mels < 1 || c.num_mels > 4096 || c.padded_samples < 0) {
    fail(ErrorCode::kCorruptData, "expected a usable spectrogram, found sampling_rate ",
         c.sample_rate_hz, ", n_fft ", c.n_fft, ", hop_length ", c.hop_length, ", ", c.num_mels,
         " mel filters");
  }
  return c;
}

}  // namespace

std::vector<MelFilter> make_mel_filters(int64_t num_mels, int64_t num_bins, double sample_rate_hz) {
  const double nyquist_hz = sample_rate_hz / 2;
  const double top_mel = hz_to_mel(nyquist_hz);
  const auto edge_hz = [&](int64_t i) {
    return mel_to_hz(top_mel * static_cast<double>(i) / static_cast<double>(num_mels + 1));
  };
  std::vector<MelFilter> filters(static_cast<size_t>(num_mels));
  for (int64_t m = 0; m < num_mels; ++m) {
    const double left = edge_hz(m), centre = edge_hz(m + 1), right = edge_hz(m + 2);
    MelFilter& filter = filters[static_cast<size_t>(m)];
    for (int64_t bin = 0; bin < num_bins; ++bin) {
      const double hz = nyquist_hz * static_cast<double>(bin) / static_cast<double>(num_bins - 1);
      const double height =
          std::min((hz - left) / (centre - left), (right - hz) / (right - centre));
      if (height <= 0) continue;
      if (filter.weights.empty()) filter.first_bin = bin;
      filter.weights.push_back(static_cast<float>(height * 2.0 / (right - left)));
    }
  }
  return filters;
}

struct LogMel::Scratch {
  std::vector<float> frames, fft, power, single;
};

LogMel::LogMel(const LogMelConfig& config)
    : config_(checked(config)),
      fft_(config.n_fft),
      filters_(make_mel_filters(config.num_mels, fft_.num_bins(),
                                static_cast<double>(config.sample_rate_hz))) {
  const double step = 6.283185307179586476925 / static_cast<double>(config.n_fft);
  for (int64_t i = 0; i < config.n_fft; ++i) {
    window_.push_back(static_cast<float>(0.5 - 0.5 * std::cos(step * static_cast<double>(i))));
  }
}

std::vector<float> LogMel::compute(ThreadPool& pool, std::span<const float> samples) const {
  PaddedSignal signal{samples, static_cast<int64_t>(samples.size())};
  if (config_.padded_samples > 0) {
    signal.length = config_.padded_samples;
    signal.samples =
        samples.first(std::min(samples.size(), static_cast<size_t>(config_.padded_samples)));
  }
  const int64_t frames = num_frames(signal.length);
  std::vector<float> out(static_cast<size_t>(frames * config_.num_mels));
  const MatrixView view = matrix(out.data(), frames, config_.num_mels);
  normalize(pool, log_frames(pool, signal, 0, view), view);
  return out;
}

float LogMel::log_frames(ThreadPool& pool, const PaddedSignal& signal, int64_t first_frame,
                         MatrixView out) const {
  ONNURI_CHECK(out.cols == config_.num_mels && signal.length >= 1);
  ONNURI_CHECK(static_cast<int64_t>(signal.samples.size()) <= signal.length);
  const int64_t chunks = (out.rows + kFramesPerChunk - 1) / kFramesPerChunk;
  std::vector<float> peaks(static_cast<size_t>(chunks), std::log2(kFloor) * kLog10Of2);
  std::vector<Scratch> scratch(static_cast<size_t>(pool.num_threads()));
  pool.run(chunks, [&](int64_t chunk, int worker) {
    Scratch& mine = scratch[static_cast<size_t>(worker)];
    mine.frames.resize(static_cast<size_t>(config_.n_fft * kLanes));
    mine.single.resize(static_cast<size_t>(config_.n_fft));
    mine.fft.resize(static_cast<size_t>(fft_.workspace_size()));
    mine.power.resize(static_cast<size_t>(fft_.num_bins() * kLanes));
    const int64_t end = std::min(out.rows, (chunk + 1) * kFramesPerChunk);
    float& peak = peaks[static_cast<size_t>(chunk)];
    for (int64_t t = chunk * kFramesPerChunk; t < end; t += kLanes) {
      peak = std::max(peak, log_lanes(signal, first_frame + t, std::min<int64_t>(kLanes, end - t),
                                      mine, out.row(t), out.stride));
    }
  });
  return peaks.empty() ? 0.0f : *std::max_element(peaks.begin(), peaks.end());
}

void LogMel::load_frame(const PaddedSignal& signal, int64_t frame, float* out) const {
  const int64_t begin = frame * config_.hop_length - config_.n_fft / 2;
  const auto available = static_cast<int64_t>(signal.samples.size());
  if (begin >= 0 && begin + config_.n_fft <= available) {
    std::copy_n(signal.samples.data() + begin, config_.n_fft, out);
    return;
  }
  for (int64_t i = 0; i < config_.n_fft; ++i) {
    const int64_t source = reflect(begin + i, signal.length);
    out[i] = source < available ? signal.samples[static_cast<size_t>(source)] : 0.0f;
  }
}

float LogMel::log_lanes(const PaddedSignal& signal, int64_t first_frame, int64_t num_frames,
                        Scratch& scratch, float* out, int64_t stride) const {
  bool silent = true;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    float* single = scratch.single.data();
    if (lane < num_frames) {
      load_frame(signal, first_frame + lane, single);
      silent =
          silent && std::all_of(single, single + config_.n_fft, [](float x) { return x == 0.0f; });
    } else {
      std::fill_n(single, config_.n_fft, 0.0f);
    }
    for (int64_t i = 0; i < config_.n_fft; ++i) {
      scratch.frames[static_cast<size_t>(i * kLanes + lane)] =
          single[i] * window_[static_cast<size_t>(i)];
    }
  }
  const float floor = std::log2(kFloor) * kLog10Of2;
  if (silent) {
    for (int64_t lane = 0; lane < num_frames; ++lane) {
      std::fill_n(out + lane * stride, config_.num_mels, floor);
    }
    return floor;
  }
  fft_.power(scratch.frames.data(), scratch.fft.data(), scratch.power.data());
  float peak = floor;
  for (size_t m = 0; m < filters_.size(); ++m) {
    float mel[kLanes] = {};
    const float* power = scratch.power.data() + filters_[m].first_bin * kLanes;
    for (const float weight : filters_[m].weights) {
      for (int l = 0; l < kLanes; ++l) mel[l] += weight * power[l];
      power += kLanes;
    }
    for (int64_t lane = 0; lane < num_frames; ++lane) {
      const float value = std::log2(std::max(mel[lane], kFloor)) * kLog10Of2;
      out[lane * stride + static_cast<int64_t>(m)] = value;
      peak = std::max(peak, value);
    }
  }
  return peak;
}

void LogMel::normalize(ThreadPool& pool, float peak, MatrixView log_mel) {
  const int64_t chunks = (log_mel.rows + kFramesPerChunk - 1) / kFramesPerChunk;
  pool.run(chunks, [&](int64_t chunk, int) {
    const int64_t end = std::min(log_mel.rows, (chunk + 1) * kFramesPerChunk);
    for (int64_t t = chunk * kFramesPerChunk; t < end; ++t) {
      float* row = log_mel.row(t);
      for (int64_t m = 0; m < log_mel.cols; ++m) {
        row[m] = (std::max(row[m], peak - 8.0f) + 4.0f) * 0.25f;
      }
    }
  });
}

}  // namespace onnuri
