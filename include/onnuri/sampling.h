// How the next token is chosen from logits.
#pragma once

#include <cstdint>

namespace onnuri {

/// Defaults are greedy. The same seed gives the same tokens on any number of threads.
struct SamplingParams {
  float temperature = 0.0f;         ///< 0 means greedy
  int32_t top_k = 0;                ///< keep the k most likely; 0 keeps all
  float top_p = 1.0f;               ///< keep the smallest set with this probability mass
  float min_p = 0.0f;               ///< drop tokens below min_p times the best probability
  float repetition_penalty = 1.0f;  ///< 1 is off; divides positive and multiplies negative logits
  uint64_t seed = 0;
};

}  // namespace onnuri
