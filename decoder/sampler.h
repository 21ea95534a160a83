// From logits to one token, and from logits to log-probabilities.
//
// Order of the steps: the tokens that are allowed, logit bias, repetition penalty, frequency and
// presence penalty, temperature, top-k, top-p, min-p, typical (Meister et al., arXiv 2202.00666),
// then one draw. Filters follow one another on what is left, as in the reference implementations.
// Randomness is SplitMix64 over (seed, number of draws): a seed gives the same tokens on any
// machine and any number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "onnuri/sampling.h"

namespace onnuri {

/// Chooses the tokens of one sequence. Not thread-safe; keeps its scratch between calls.
class Sampler {
 public:
  /// Throws kInvalidArgument for parameters out of range, naming the parameter.
  explicit Sampler(const SamplingParams& params);

  /// The next token after `prompt` and `answer`, which only the penalties look at. `allowed` holds
  /// one bit per token, lowest first; empty allows all. NaN counts as impossible; throws kInternal
  /// when no logit is left.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> prompt,
                 std::span<const int32_t> answer, std::span<const uint64_t> allowed = {});

  const SamplingParams& params() const { return params_; }

 private:
  struct Candidate {
    double weight;  // logit over temperature, then unnormalised probability
    int32_t id;
  };
  bool changes_logits() const;
  void penalize(std::span<const int32_t> prompt, std::span<const int32_t> answer);
  void collect(std::span<const float> logits);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  void keep_typical();
  double next_uniform();

  SamplingParams params_;
  uint64_t num_draws_ = 0;
  std::vector<float> adjusted_;        // (vocab_size), only where something changes the logits
  std::vector<int32_t> seen_;          // distinct tokens, sorted
  std::vector<Candidate> candidates_;  // best first once a filter has sorted them
};

/// The seed of choice `index` of a request: the given one for the first, unrelated ones after it.
uint64_t choice_seed(uint64_t seed, int64_t index);

/// Index of the largest logit, the lowest one among equals; NaN never wins. -1 when all are NaN.
int32_t argmax(std::span<const float> logits);

/// ln softmax(logits)[id], summed in double. `id` must be inside.
double log_probability(std::span<const float> logits, int32_t id);

/// The `count` most likely tokens with their log-probabilities, best first, ties by lower id.
std::vector<std::pair<int32_t, double>> top_log_probabilities(std::span<const float> logits,
                                                              int64_t count);

}  // namespace onnuri
