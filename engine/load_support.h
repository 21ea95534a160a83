// What every engine needs while it loads: options to values, end tokens, the check of leftovers.
#pragma once

#include <chrono>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/tensor_source.h"
#include "engine/model_config.h"
#include "fusion/tokenizer.h"
#include "kernels/backend.h"
#include "kernels/linear.h"
#include "onnuri/engine.h"

namespace onnuri {

/// "float32" or "auto"; others throw kInvalidArgument.
ComputeType parse_compute_type(const std::string& name);
/// options.isa, else the environment variable ONNURI_ISA, else "".
std::string chosen_isa(const EngineOptions& options);
/// Whether a backend for these files computes.
BackendMode backend_mode(const ModelFiles& files);
/// The tensors of a mapped model, without those that are known and not needed. Of files that are
/// only measured, tensors that are not there are imagined in the type that the config names.
TensorSource open_tensors(const ModelFiles& files, const ModelConfig& config);
/// Of EngineOptions::kv_dtype; throws kInvalidArgument for what it does not know.
DType kv_dtype_of(const EngineOptions& options);
/// As the option names it.
std::string kv_dtype_name(DType dtype);
/// Throws kUnsupported for devices other than "cpu".
void check_device(const std::string& device);

/// Adds what the tokenizer itself knows to end a text, and for GGUF, which has no
/// generation_config.json, the turn ends that its vocabulary spells out.
void add_end_tokens(const Tokenizer& tokenizer, bool is_gguf, std::vector<int32_t>& eos);

/// Throws kCorruptData when a tokenizer made ids that the model has no embedding for: it belongs to
/// another checkpoint.
void check_tokenizer_ids(std::span<const int32_t> ids, int64_t vocab_size, const std::string& path);

/// Throws kUnsupported naming the first tensors that no part of the model has read.
void require_all_used(const TensorSource& source, const std::string& path);

/// Runs `call`; memory that runs out in it becomes kOutOfMemory.
template <typename Call>
auto guard_memory(const char* what, Call&& call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kOutOfMemory, "not enough memory to ", what);
  } catch (const std::length_error&) {
    fail(ErrorCode::kOutOfMemory, "not enough memory to ", what, ": a size beyond all bounds");
  }
}

inline double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

/// What keeps a model at `path` that could see from it, as the end of an error's sentence; or
/// nothing. Reads the config files once more.
std::string missing_for_eyes(const std::string& path);

}  // namespace onnuri
