// The GGUF writer, version 3: pairs and tensor records first, then the data of each tensor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/atomic_file.h"
#include "core/tensor.h"

namespace onnuri {

/// A key with its value as the file holds it: value type, then value.
struct GgufPair {
  std::string key;
  std::string value;
};

GgufPair gguf_u32(std::string key, uint32_t value);
GgufPair gguf_f32(std::string key, float value);
GgufPair gguf_bool(std::string key, bool value);
GgufPair gguf_string(std::string key, std::string_view value);
GgufPair gguf_strings(std::string key, std::span<const std::string> values);
GgufPair gguf_i32s(std::string key, std::span<const int32_t> values);
GgufPair gguf_f32s(std::string key, std::span<const float> values);
GgufPair gguf_bools(std::string key, const std::vector<bool>& values);

/// All pairs of a GGUF file with their own types, in order. Throws as Checkpoint::open does.
std::vector<GgufPair> read_gguf_pairs(const std::string& path);

struct GgufTensor {
  std::string name;
  Shape shape;
  DType dtype;
};

/// Writes beside the target; commit() makes the file appear. Tensors are appended in their order,
/// each as one or more pieces that add up to its size.
class GgufWriter {
 public:
  GgufWriter(const std::string& path, std::span<const GgufPair> pairs,
             std::vector<GgufTensor> tensors);
  void append(std::span<const std::byte> bytes);
  void commit();

 private:
  AtomicFile file_;
  std::vector<GgufTensor> tensors_;
  size_t current_ = 0;   // tensor that is being written
  int64_t written_ = 0;  // its bytes so far
};

}  // namespace onnuri
