#include "decoder/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace onnuri {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a hash of a counter, so draw n needs no draw n - 1.
uint64_t split_mix(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void check_range(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    fail(ErrorCode::kInvalidArgument, "expected ", name, " in [", low, ", ", high, "], found ",
         value);
  }
}

// ln of the sum of e^logit and the largest logit; NaN counts as -inf.
double log_sum_exp(std::span<const float> logits) {
  const int32_t best = argmax(logits);
  if (best < 0) return -std::numeric_limits<double>::infinity();
  const double top = logits[static_cast<size_t>(best)];
  if (!std::isfinite(top)) return top;
  double sum = 0;
  for (const float z : logits) {
    if (!std::isnan(z)) sum += std::exp(static_cast<double>(z) - top);
  }
  return top + std::log(sum);
}

// A logit that is infinite takes all the probability.
double normalized(float logit, double normalizer) {
  if (std::isfinite(normalizer)) return static_cast<double>(logit) - normalizer;
  const bool takes_all = normalizer > 0 && static_cast<double>(logit) == normalizer;
  return takes_all ? 0 : -std::numeric_limits<double>::infinity();
}

}  // namespace

Sampler::Sampler(const SamplingParams& params) : params_(params) {
  constexpr double kMax = std::numeric_limits<float>::max();
  check_range("temperature", params.temperature, 0, kMax);
  check_range("top_k", params.top_k, 0, std::numeric_limits<int32_t>::max());
  check_range("top_p", params.top_p, 0, 1);
  check_range("min_p", params.min_p, 0, 1);
  check_range("typical_p", params.typical_p, 0, 1);
  check_range("repetition_penalty", params.repetition_penalty, 1e-6, kMax);
  check_range("presence_penalty", params.presence_penalty, -100, 100);
  check_range("frequency_penalty", params.frequency_penalty, -100, 100);
  for (const auto& [id, bias] : params.logit_bias) {
    check_range("a token id of logit_bias", id, 0, std::numeric_limits<int32_t>::max());
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      fail(ErrorCode::kInvalidArgument, "expected logit_bias of token ", id,
           " to be a number or -infinity, found ", bias);
    }
  }
}

bool Sampler::changes_logits() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f ||
         params_.frequency_penalty != 0.0f || !params_.logit_bias.empty();
}

void Sampler::penalize(std::span<const int32_t> prompt, std::span<const int32_t> answer) {
  const auto size = adjusted_.size();
  for (const auto& [id, bias] : params_.logit_bias) {
    if (static_cast<size_t>(id) >= size) {
      fail(ErrorCode::kInvalidArgument, "expected token ids of logit_bias below ", size, ", found ",
           id);
    }
    adjusted_[static_cast<size_t>(id)] += bias;
  }
  if (params_.repetition_penalty != 1.0f) {
    seen_.assign(prompt.begin(), prompt.end());
    seen_.insert(seen_.end(), answer.begin(), answer.end());
    std::sort(seen_.begin(), seen_.end());
    seen_.erase(std::unique(seen_.begin(), seen_.end()), seen_.end());
    for (const int32_t id : seen_) {
      if (id < 0 || static_cast<size_t>(id) >= size) continue;
      float& z = adjusted_[static_cast<size_t>(id)];
      z = z > 0 ? z / params_.repetition_penalty : z * params_.repetition_penalty;
    }
  }
  if (params_.frequency_penalty == 0.0f && params_.presence_penalty == 0.0f) return;
  seen_.assign(answer.begin(), answer.end());
  std::sort(seen_.begin(), seen_.end());
  for (auto it = seen_.begin(); it != seen_.end();) {
    const auto next = std::upper_bound(it, seen_.end(), *it);
    if (*it >= 0 && static_cast<size_t>(*it) < size) {
      adjusted_[static_cast<size_t>(*it)] -=
          params_.presence_penalty + params_.frequency_penalty * static_cast<float>(next - it);
    }
    it = next;
  }
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> prompt,
                        std::span<const int32_t> answer, std::span<const uint64_t> allowed) {
  if (changes_logits() || !allowed.empty()) {
    adjusted_.assign(logits.begin(), logits.end());
    if (changes_logits()) penalize(prompt, answer);
    if (!allowed.empty()) {
      ONNURI_CHECK(allowed.size() * 64 >= logits.size());
      for (size_t i = 0; i < adjusted_.size(); ++i) {
        if (i % 64 == 0 && allowed[i / 64] == ~uint64_t{0}) {
          i += 63;
        } else if ((allowed[i / 64] >> (i % 64) & 1) == 0) {
          adjusted_[i] = -std::numeric_limits<float>::infinity();
        }
      }
    }
    logits = adjusted_;
  }
  const int32_t best = argmax(logits);
  if (best < 0 || logits[static_cast<size_t>(best)] == -std::numeric_limits<float>::infinity()) {
    if (!allowed.empty() || !params_.logit_bias.empty())
      fail(ErrorCode::kInvalidArgument,
           "expected a format and a logit bias that leave at least one token, found none");
    fail(ErrorCode::kInternal, "expected at least one finite logit, found none among ",
         logits.size());
  }
  if (params_.temperature == 0.0f || params_.top_k == 1) return best;
  if (logits[static_cast<size_t>(best)] == std::numeric_limits<float>::infinity()) return best;

  collect(logits);
  if (params_.top_k > 0) keep_top_k();
  if (params_.top_p < 1.0f) keep_top_p();
  if (params_.min_p > 0.0f) keep_min_p();
  if (params_.typical_p < 1.0f) keep_typical();

  double sum = 0;
  for (const Candidate& c : candidates_) sum += c.weight;
  const double target = next_uniform() * sum;
  double reached = 0;
  for (const Candidate& c : candidates_) {
    reached += c.weight;
    if (target < reached) return c.id;
  }
  return candidates_.back().id;  // rounding left `reached` a hair below the sum
}

// Candidates with weights e^((z - max) / temperature); what cannot be drawn in practice is left
// out.
void Sampler::collect(std::span<const float> logits) {
  constexpr double kNegligible = -50.0;  // e^-50 < 2e-22, below the step of the 53-bit draw
  const double top = logits[static_cast<size_t>(argmax(logits))];
  const double inverse = 1.0 / params_.temperature;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const double z = (static_cast<double>(logits[i]) - top) * inverse;
    if (z >= kNegligible) candidates_.push_back({std::exp(z), static_cast<int32_t>(i)});
  }
}

namespace {
constexpr auto kLikelier = [](const auto& a, const auto& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
};
}  // namespace

void Sampler::keep_top_k() {
  const size_t k = std::min(candidates_.size(), static_cast<size_t>(params_.top_k));
  const auto middle = candidates_.begin() + static_cast<std::ptrdiff_t>(k);
  std::partial_sort(candidates_.begin(), middle, candidates_.end(), kLikelier);
  candidates_.resize(k);
}

// The smallest set, best first, whose mass reaches top_p; never empty.
void Sampler::keep_top_p() {
  double sum = 0;
  for (const Candidate& c : candidates_) sum += c.weight;
  const double wanted = params_.top_p * sum;
  // A heap gives the best ones in order without sorting a whole vocabulary.
  const auto less = [](const Candidate& a, const Candidate& b) { return kLikelier(b, a); };
  std::make_heap(candidates_.begin(), candidates_.end(), less);
  auto end = candidates_.end();
  double reached = 0;
  do {
    std::pop_heap(candidates_.begin(), end, less);
    --end;
    reached += end->weight;
  } while (reached < wanted && end != candidates_.begin());
  std::reverse(end, candidates_.end());
  candidates_.erase(candidates_.begin(), end);
}

// The best weight is e^0 = 1, so the threshold is min_p itself.
void Sampler::keep_min_p() {
  const double threshold = params_.min_p;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < threshold; });
}

// The smallest set, nearest to the entropy of what is left first, whose mass reaches typical_p.
void Sampler::keep_typical() {
  double sum = 0;
  for (const Candidate& c : candidates_) sum += c.weight;
  double entropy = 0;
  for (const Candidate& c : candidates_) entropy -= c.weight / sum * std::log(c.weight / sum);
  const auto distance = [&](const Candidate& c) {
    return std::abs(-std::log(c.weight / sum) - entropy);
  };
  std::vector<std::pair<double, Candidate>> ranked;
  ranked.reserve(candidates_.size());
  for (const Candidate& c : candidates_) ranked.emplace_back(distance(c), c);
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second.id < b.second.id;
  });
  const double wanted = params_.typical_p * sum;
  double reached = 0;
  candidates_.clear();
  for (const auto& entry : ranked) {
    candidates_.push_back(entry.second);
    reached += entry.second.weight;
    if (reached >= wanted) break;
  }
}

double Sampler::next_uniform() {
  return static_cast<double>(split_mix(params_.seed, num_draws_++) >> 11) * 0x1.0p-53;
}

uint64_t choice_seed(uint64_t seed, int64_t index) {
  if (index == 0) return seed;
  return split_mix(seed ^ 0xd1b54a32d192ed03u, static_cast<uint64_t>(index));
}

int32_t argmax(std::span<const float> logits) {
  // The largest of eight lanes first: independent chains that the compiler can keep in registers.
  constexpr size_t kLanes = 8;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, kLowest);
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
    }
  }
  float top = kLowest;
  for (const float lane : lanes) top = std::max(top, lane);
  for (size_t i = whole; i < logits.size(); ++i) top = logits[i] > top ? logits[i] : top;
  const auto it = std::find(logits.begin(), logits.end(), top);
  return it == logits.end() ? -1 : static_cast<int32_t>(it - logits.begin());
}

double log_probability(std::span<const float> logits, int32_t id) {
  if (id < 0 || static_cast<size_t>(id) >= logits.size()) {
    fail(ErrorCode::kInvalidArgument, "expected a token id in [0, ", logits.size(), "), found ",
         id);
  }
  const float z = logits[static_cast<size_t>(id)];
  if (std::isnan(z)) return -std::numeric_limits<double>::infinity();
  return normalized(z, log_sum_exp(logits));
}

std::vector<std::pair<int32_t, double>> top_log_probabilities(std::span<const float> logits,
                                                              int64_t count) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) ids.push_back(static_cast<int32_t>(i));
  }
  const size_t n = std::min(ids.size(), static_cast<size_t>(std::max<int64_t>(count, 0)));
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n), ids.end(),
                    [&](int32_t a, int32_t b) {
                      const float za = logits[static_cast<size_t>(a)];
                      const float zb = logits[static_cast<size_t>(b)];
                      return za != zb ? za > zb : a < b;
                    });
  const double normalizer = log_sum_exp(logits);
  std::vector<std::pair<int32_t, double>> best;
  for (size_t i = 0; i < n; ++i) {
    best.emplace_back(ids[i], normalized(logits[static_cast<size_t>(ids[i])], normalizer));
  }
  return best;
}

}  // namespace onnuri
