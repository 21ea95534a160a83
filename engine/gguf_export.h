// A checkpoint folder as the tensors and pairs of a GGUF file, named as llama.cpp reads them.
#pragma once

#include <vector>

#include "core/gguf_write.h"
#include "engine/model_config.h"
#include "engine/quantize_plan.h"

namespace onnuri {

struct GgufExport {
  std::vector<GgufPair> pairs;
  std::vector<PlannedTensor> tensors;  // types are still to be chosen
  std::vector<Tensor> owned;           // what some tensors look into
  int64_t num_layers = 0;
};

/// Families llama, qwen2, qwen3, gemma3 and exaone4. Throws kUnsupported for others, and naming
/// any tensor that has no place in a GGUF file.
GgufExport export_gguf(const ModelFiles& files);

/// The pairs of the vocabulary in `folder`: tokenizer.json and tokenizer_config.json. `vocab_size`
/// tokens; ids that the tokenizer leaves free become unused ones. Without a tokenizer.json the file
/// says that it has no vocabulary.
std::vector<GgufPair> export_vocabulary(const std::string& folder, const JsonValue& config,
                                        int64_t vocab_size);

}  // namespace onnuri
