// Named read-only tensors over mapped files: safetensors (one file or sharded) and GGUF v2/v3.
//
// Everything is validated when opened: counts, name lengths, shapes, element types, alignment,
// extents against the real file size, overlaps and duplicates. After that, views are safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/tensor.h"

namespace onnuri {

enum class CheckpointFormat { kSafetensors, kGguf };

/// What there must be of a file.
enum class CheckpointParts {
  kWhole,
  kHeaders,  // it may end after its header, or anywhere later: what is missing reads as zeros
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// `path`: a folder with model.safetensors or model.safetensors.index.json (or any
  /// *.safetensors), a .safetensors file, or a .gguf file. Throws kNotFound, kCorruptData,
  /// kUnsupported; the message names file and field.
  static std::shared_ptr<const Checkpoint> open(const std::string& path,
                                                CheckpointParts parts = CheckpointParts::kWhole);

  virtual CheckpointFormat format() const = 0;
  /// The tensor, shape row-major (GGUF extents are already reversed); an empty view when absent.
  virtual TensorView find(std::string_view name) const = 0;
  /// All names, sorted.
  virtual const std::vector<std::string>& names() const = 0;
  /// GGUF key-value pairs as one flat object ("general.architecture"); safetensors: the
  /// "__metadata__" object.
  virtual const JsonValue& metadata() const = 0;
  /// For messages: the file or folder that was opened.
  virtual const std::string& path() const = 0;
};

/// Tensors to be written, in order.
struct NamedTensor {
  std::string name;
  TensorView view;
};

/// Writes one safetensors file atomically. Plain element types only.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace onnuri
