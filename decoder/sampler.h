// From logits to one token, and from logits to log-probabilities.
//
// Order of the steps, as in the reference implementations: repetition penalty, temperature, top-k,
// top-p, min-p, then one draw. Randomness is SplitMix64 over (seed, number of draws): a seed gives
// the same tokens on any machine and any number of threads.
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

  /// The next token of a sequence that holds `history` (for the repetition penalty only). NaN
  /// counts as impossible; throws kInternal when no logit is left.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history);

  const SamplingParams& params() const { return params_; }

 private:
  struct Candidate {
    double weight;  // logit over temperature, then unnormalised probability
    int32_t id;
  };
  void collect(std::span<const float> logits);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  double next_uniform();

  SamplingParams params_;
  uint64_t num_draws_ = 0;
  std::vector<float> penalized_;       // (vocab_size), only with a repetition penalty
  std::vector<int32_t> seen_;          // distinct history, sorted
  std::vector<Candidate> candidates_;  // best first once a filter has sorted them
};

/// Index of the largest logit, the lowest one among equals; NaN never wins. -1 when all are NaN.
int32_t argmax(std::span<const float> logits);

/// ln softmax(logits)[id], summed in double. `id` must be inside.
double log_probability(std::span<const float> logits, int32_t id);

/// The `count` most likely tokens with their log-probabilities, best first, ties by lower id.
std::vector<std::pair<int32_t, double>> top_log_probabilities(std::span<const float> logits,
                                                              int64_t count);

}  // namespace onnuri
