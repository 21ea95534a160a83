// What a checkpoint recommends for sampling.
#pragma once

#include "engine/model_config.h"
#include "onnuri/sampling.h"

namespace onnuri {

/// From generation_config.json, or from general.sampling.* of a GGUF file; greedy where neither
/// says anything or the former says do_sample: false. Throws kCorruptData naming a wrong key.
SamplingParams read_model_sampling(const ModelFiles& files);

}  // namespace onnuri
