// Writing a model in a smaller storage type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnuri/engine.h"

namespace onnuri {

struct QuantizeOptions {
  std::string type = "q4_k";  ///< one of quantize_types()
  int64_t group_size = 32;    ///< of "int4": columns that share a scale, 32, 64 or 128
  int num_threads = 0;        ///< 0: one per core this process may use
  bool replace = false;       ///< an existing file may be written over; folders never are
  ProgressCallback progress;  ///< may throw to stop; the target is then left as it was
};

/// A weight that is stored in no more bits than the recipe asks for, and stays as it is.
struct KeptWeight {
  std::string name;
  std::string stored;  ///< "q4_0"
  std::string wanted;  ///< "q4_k"
};

struct QuantizeResult {
  int64_t source_bytes = 0;  ///< of all tensors
  int64_t target_bytes = 0;
  int64_t num_tensors = 0;
  int64_t num_quantized = 0;  ///< tensors whose type changed
  int64_t num_left_out = 0;   ///< tensors of encoders and prediction modules, which GGUF leaves out
  std::vector<KeptWeight> kept;
};

/// "q4_k", "q8_0", ..., "int8", "int4".
std::vector<std::string> quantize_types();

/// The model_type of every family whose checkpoint folders can become GGUF files.
std::vector<std::string> gguf_families();

/// Writes the model at `path` to `out`. The types "int8" and "int4" turn a checkpoint folder into
/// another one with compressed-tensors weights; all others write a GGUF file, from GGUF or from a
/// checkpoint folder of one of gguf_families() (others are refused before any weight is read).
/// Embeddings and heads get more bits than the rest, norms and routers keep theirs, and weights
/// that are stored in no more bits already stay as they are, but for the plain types f32, f16 and
/// bf16, which everything is decoded to. `out` appears whole or not at all; it is never the model
/// itself or a part of it.
QuantizeResult quantize_model(const std::string& path, const std::string& out,
                              const QuantizeOptions& options);

}  // namespace onnuri
