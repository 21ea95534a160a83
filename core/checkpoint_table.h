// What both checkpoint formats share: a sorted table of named views, and the check that byte ranges
// do not overlap.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/checkpoint.h"
#include "core/mapped_file.h"

namespace onnuri {

/// One tensor while a file is being read. Bytes [begin, end) count from the data section.
struct StoredTensor {
  std::string name;
  TensorView view;
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// Throws kCorruptData when two ranges share a byte. Sorts `tensors` by range.
void check_disjoint(std::vector<StoredTensor>& tensors, const std::string& path);

/// A checkpoint whose tensors are all known. Owns the mappings behind the views.
class CheckpointTable : public Checkpoint {
 public:
  CheckpointTable(CheckpointFormat format, std::string path);

  /// Takes over the mapping (a moved mapping keeps its address, so views stay valid).
  void add_file(MappedFile file) { files_.push_back(std::move(file)); }
  void add_tensor(std::string name, TensorView view);
  void set_metadata(JsonValue metadata) { metadata_ = std::move(metadata); }
  /// Sorts the names. Throws kCorruptData on a name that occurs twice. Call once, last.
  void finish();

  CheckpointFormat format() const override { return format_; }
  TensorView find(std::string_view name) const override;
  const std::vector<std::string>& names() const override { return names_; }
  const JsonValue& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  CheckpointFormat format_;
  std::string path_;
  std::vector<MappedFile> files_;
  std::vector<std::pair<std::string, TensorView>> pending_;
  std::vector<std::string> names_;  // sorted
  std::vector<TensorView> views_;   // beside names_
  JsonValue metadata_;
};

/// The two readers. `file` is a whole .gguf or .safetensors file.
std::shared_ptr<const Checkpoint> open_gguf(MappedFile file, CheckpointParts parts);
std::shared_ptr<const Checkpoint> open_safetensors_file(MappedFile file, CheckpointParts parts);
/// `index_path` is a model.safetensors.index.json.
std::shared_ptr<const Checkpoint> open_safetensors_index(const std::string& index_path,
                                                         CheckpointParts parts);
std::shared_ptr<const Checkpoint> open_safetensors_files(const std::string& folder,
                                                         const std::vector<std::string>& paths,
                                                         CheckpointParts parts);

}  // namespace onnuri
