// Rotary frequencies and their scalings, in float32 where the reference implementation uses it
// (transformers, modeling_rope_utils: _compute_*_parameters).
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "decoder/decoder_config.h"

namespace onnuri {
namespace {

// Long waves are divided by `factor`, short ones kept, those between blended.
void scale_by_wavelength(const RopeScaling& s, std::vector<float>& inv_freq) {
  const double low_wavelength = s.original_max_position / s.low_freq_factor;
  const double high_wavelength = s.original_max_position / s.high_freq_factor;
  const float factor = static_cast<float>(s.factor);
  const float low = static_cast<float>(s.low_freq_factor);
  const float width = static_cast<float>(s.high_freq_factor - s.low_freq_factor);
  for (float& f : inv_freq) {
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / f;
    if (wavelength < static_cast<float>(high_wavelength)) continue;
    if (wavelength > static_cast<float>(low_wavelength)) {
      f /= factor;
    } else {
      const float smooth = (static_cast<float>(s.original_max_position) / wavelength - low) / width;
      f = (1.0f - smooth) * f / factor + smooth * f;
    }
  }
}

// The (fractional) frequency index that turns `rotations` times over the original context.
double yarn_index(double rotations, double dim, double theta, double original_max_position) {
  return dim * std::log(original_max_position / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(theta));
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// Peng et al. 2023: a ramp over the index from the kept to the interpolated frequency.
void scale_yarn(const RopeScaling& s, double theta, RopeTable& table) {
  const double dim = static_cast<double>(table.rotary_dim);
  double low = yarn_index(s.beta_fast, dim, theta, s.original_max_position);
  double high = yarn_index(s.beta_slow, dim, theta, s.original_max_position);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < table.inv_freq.size(); ++i) {
    const float position =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float keep = 1.0f - std::clamp(position, 0.0f, 1.0f);
    const float wave = 1.0f / table.inv_freq[i];
    const float interpolated = 1.0f / (static_cast<float>(s.factor) * wave);
    table.inv_freq[i] = interpolated * (1.0f - keep) + table.inv_freq[i] * keep;
  }
  double factor = s.attention_factor;
  if (factor == 0.0) {
    factor = s.mscale != 0.0 && s.mscale_all_dim != 0.0
                 ? yarn_mscale(s.factor, s.mscale) / yarn_mscale(s.factor, s.mscale_all_dim)
                 : yarn_mscale(s.factor, 1.0);
  }
  table.attention_factor = static_cast<float>(factor);
}

void check_positive(const char* name, double value) {
  if (!(value > 0.0) || !std::isfinite(value)) {
    fail(ErrorCode::kCorruptData, "expected a positive ", name, " of the rope, found ", value);
  }
}

void check_scaling(const RopeScaling& s) {
  check_positive("factor", s.factor);
  if (s.kind == RopeScaling::Kind::kLinear) return;
  check_positive("original_max_position", s.original_max_position);
  if (s.kind == RopeScaling::Kind::kByWavelength) {
    check_positive("low_freq_factor", s.low_freq_factor);
    check_positive("difference of high_freq_factor and low_freq_factor",
                   s.high_freq_factor - s.low_freq_factor);
  } else {
    check_positive("beta_fast", s.beta_fast);
    check_positive("beta_slow", s.beta_slow);
  }
}

}  // namespace

RopeTable make_rope_table(double theta, int64_t rotary_dim, RopeLayout layout,
                          const RopeScaling& scaling) {
  check_positive("theta", theta);
  if (rotary_dim < 2 || rotary_dim % 2 != 0 || rotary_dim > (int64_t{1} << 16)) {
    fail(ErrorCode::kCorruptData, "expected an even rotary_dim of at least 2, found ", rotary_dim);
  }
  RopeTable table;
  table.rotary_dim = rotary_dim;
  table.layout = layout;
  const float base = static_cast<float>(theta);
  for (int64_t i = 0; i < rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rotary_dim);
    table.inv_freq.push_back(1.0f / std::pow(base, exponent));
  }
  if (scaling.kind == RopeScaling::Kind::kNone) return table;
  check_scaling(scaling);
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone: break;
    case RopeScaling::Kind::kLinear:
      for (float& f : table.inv_freq) f /= static_cast<float>(scaling.factor);
      break;
    case RopeScaling::Kind::kByWavelength: scale_by_wavelength(scaling, table.inv_freq); break;
    case RopeScaling::Kind::kYarn: scale_yarn(scaling, theta, table); break;
  }
  return table;
}

}  // namespace onnuri
