// A checkpoint seen through a family's names: rooms ask for canonical tensors, the family says
// where they are.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/checkpoint.h"
#include "core/mapped_file.h"

namespace onnuri {

/// Where a canonical tensor lives: a stored tensor, or a slice of one along leading axes.
struct TensorRef {
  std::string name;            ///< name in the checkpoint
  std::vector<int64_t> index;  ///< fixed indices of leading axes (stacked experts), may be empty
  int64_t row_begin = 0;       ///< then rows of the first remaining axis (fused matrices)
  int64_t row_count = -1;      ///< -1: all
  int64_t row_step = 1;        ///< distance of those rows (interleaved matrices)
  bool transposed = false;     ///< the stored matrix is (K, N); rows above are its columns
};

/// Maps a canonical name to candidates, the first one present wins.
using TensorNameMap = std::function<std::vector<TensorRef>(const std::string& canonical)>;

/// Looks up canonical names, checks shapes, and remembers what was used.
class TensorSource {
 public:
  TensorSource(std::shared_ptr<const Checkpoint> checkpoint, TensorNameMap map);
  /// For a checkpoint without tensors: every tensor that is got is there, in this type, all zeros
  /// that take no memory. `has` knows of none.
  TensorSource(std::shared_ptr<const Checkpoint> checkpoint, TensorNameMap map, DType imagined);

  bool has(const std::string& canonical) const;
  /// Throws kNotFound naming the canonical and the checkpoint names that were tried, and
  /// kCorruptData when the shape differs (expected, found).
  TensorView get(const std::string& canonical, const Shape& expected);
  /// As get, but an absent tensor is an empty view.
  TensorView get_if(const std::string& canonical, const Shape& expected);
  /// Views of transposed or interleaved tensors look into copies made by get: this frees them. What
  /// was read must be packed or copied before.
  void release_copies() { copies_.clear(); }
  /// Declares stored tensors of this name prefix as known and not needed.
  void ignore_prefix(const std::string& stored_prefix);
  /// Elements of all canonical tensors that get handed out, each name counted once.
  int64_t num_elements_read() const { return num_elements_read_; }
  /// Stored names that were neither read nor ignored, sorted.
  std::vector<std::string> unused() const;

  const std::shared_ptr<const Checkpoint>& checkpoint() const { return checkpoint_; }

 private:
  TensorView imagine(const std::string& canonical, const Shape& expected);

  std::shared_ptr<const Checkpoint> checkpoint_;
  TensorNameMap map_;
  std::optional<DType> imagined_;
  std::vector<MappedFile> zeros_;         // the largest last; views look into all
  std::unordered_set<std::string> used_;  // stored names
  std::unordered_set<std::string> read_;  // canonical names
  int64_t num_elements_read_ = 0;
  std::vector<std::string> ignored_prefixes_;
  std::vector<Tensor> copies_;
};

}  // namespace onnuri
