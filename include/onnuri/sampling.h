// How the next token is chosen from logits, and what its answer must look like.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace onnuri {

/// Defaults are greedy. The same seed gives the same tokens on any number of threads.
///
/// The steps in their order: constraint, logit bias, repetition penalty (prompt and answer),
/// frequency and presence penalty (answer only), temperature, top-k, top-p, min-p, typical, draw.
struct SamplingParams {
  float temperature = 0.0f;         ///< 0 means greedy
  int32_t top_k = 0;                ///< keep the k most likely; 0 keeps all
  float top_p = 1.0f;               ///< keep the smallest set with this probability mass
  float min_p = 0.0f;               ///< drop tokens below min_p times the best probability
  float typical_p = 1.0f;           ///< keep this mass of the tokens nearest to the entropy
  float repetition_penalty = 1.0f;  ///< 1 is off; divides positive and multiplies negative logits
  float presence_penalty = 0.0f;    ///< subtracted once from every token the answer holds
  float frequency_penalty = 0.0f;   ///< subtracted once per time the answer holds it
  std::vector<std::pair<int32_t, float>> logit_bias;  ///< (token id, added to its logit)
  uint64_t seed = 0;
};

/// What the answer must be, as a whole; at most one is set. The end of the answer is allowed only
/// where the text is complete, and special tokens never.
struct AnswerFormat {
  std::string json_schema;           ///< a JSON schema as text; "{}" is any JSON value
  std::string regex;                 ///< a regular expression that the whole answer matches
  std::string grammar;               ///< EBNF; the answer is derived from its rule "root"
  std::vector<std::string> choices;  ///< exactly one of these texts

  bool operator==(const AnswerFormat& other) const = default;
  bool empty() const {
    return json_schema.empty() && regex.empty() && grammar.empty() && choices.empty();
  }
};

}  // namespace onnuri
