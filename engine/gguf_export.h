// A checkpoint folder as the tensors and pairs of a GGUF file, named as llama.cpp reads them.
#pragma once

#include <vector>

#include "core/gguf_write.h"
#include "engine/gguf_target.h"
#include "engine/model_config.h"
#include "engine/quantize_plan.h"

namespace onnuri {

struct GgufExport {
  std::vector<GgufPair> pairs;
  std::vector<PlannedTensor> tensors;  // types are still to be chosen
  int64_t num_layers = 0;
  int64_t num_left_out = 0;  // stored tensors of encoders and prediction modules
};

/// Throws kUnsupported for a family or a decoder that GGUF has no place for, naming those it has or
/// what it lacks, before any weight is read.
GgufExport export_gguf(const ModelFiles& files);

/// Adds the keys of the decoder, and the divisors of rope frequencies as a tensor.
void export_keys(const ModelFiles& files, const ModelConfig& model, const GgufTarget& target,
                 GgufExport& out);

/// The pairs of the vocabulary in `folder`: tokenizer.json and tokenizer_config.json. `vocab_size`
/// tokens; ids that the tokenizer leaves free become unused ones. Without a tokenizer.json the file
/// says that it has no vocabulary.
std::vector<GgufPair> export_vocabulary(const std::string& folder, const JsonValue& config,
                                        int64_t vocab_size);

}  // namespace onnuri
