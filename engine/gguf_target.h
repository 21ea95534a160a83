// The architectures of GGUF that checkpoints can be written as: what each one calls the norms, how
// it turns heads, and what its layers may have. Source: the model files of llama.cpp's reader.
#pragma once

#include <string>
#include <string_view>

#include "engine/decoder_mapping.h"

namespace onnuri {

/// What an architecture's reader understands beyond the plain Llama graph.
enum GgufFeature : unsigned {
  kGgufOutputBias = 1u << 0,  // attention output
  kGgufFfnBias = 1u << 1,
  kGgufQkNorm = 1u << 2,
  kGgufWindows = 1u << 3,
  kGgufScalars = 1u << 4,  // on embeddings, scores, residual sums, logits
  kGgufSinks = 1u << 5,
  kGgufExperts = 1u << 6,
  kGgufDenseLayers = 1u << 7,  // before layers with experts
  kGgufLatent = 1u << 8,
  kGgufRopeFactors = 1u << 9,   // rope_freqs.weight
  kGgufRootScale = 1u << 10,    // embeddings times sqrt(hidden_size), without a key
  kGgufTiedHead = 1u << 11,     // output.weight may be absent
  kGgufFoldedScale = 1u << 12,  // another attention scale goes into the norm of the queries
  kGgufBareFull = 1u << 13,     // beside sliding layers, full ones carry no positions
};

struct GgufTarget {
  std::string_view family;  // ModelConfig::family
  std::string_view arch;
  NormNames norms;
  RopeLayout rope;  // of the rows of q and k
  unsigned features;
  double theta;  // where the config is silent
  bool has(unsigned feature) const { return (features & feature) != 0; }
};

/// The target of a family. Throws kUnsupported listing the families that have one.
const GgufTarget& find_gguf_target(std::string_view family);

/// Throws kUnsupported naming what the decoder has and the architecture has no place for.
void check_gguf_target(const GgufTarget& target, const DecoderConfig& decoder);

/// The scale of attention scores that readers derive from the sizes.
float gguf_attention_scale(const GgufTarget& target, const DecoderConfig& decoder);

}  // namespace onnuri
