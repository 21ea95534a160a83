// Canonical tensor names to stored names, written as patterns.
//
//   table.add("layers.#.q.weight", {{"model.layers.#.self_attn.q_proj.weight"}});
//
// Every '#' of a stored pattern takes the number that stands at the same place in the canonical
// name: the first '#' is the layer, the second the expert.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor_source.h"

namespace onnuri {

/// One place where a tensor may be stored.
struct StoredName {
  std::string pattern;
  /// The last number of the canonical name indexes the leading axis (stacked experts) and does not
  /// appear in the pattern.
  bool stacked = false;
  int64_t row_begin = 0;  ///< of the first remaining axis, for fused matrices
  int64_t row_count = -1;
  int64_t row_step = 1;     ///< distance of those rows, for interleaved matrices
  bool transposed = false;  ///< stored as (K, N)
};

class NameTable {
 public:
  /// Adds candidates for `canonical`; the first one present in the checkpoint wins.
  void add(const std::string& canonical, const std::vector<StoredName>& stored);
  /// Repeats every rule of `canonical_from` whose stored pattern begins with `stored_from` under
  /// the other two prefixes: the names of a layer that is stored apart from the others.
  void derive(const std::string& canonical_from, const std::string& canonical_to,
              const std::string& stored_from, const std::string& stored_to);
  /// The lookup function. Copies the table.
  TensorNameMap map() const;

 private:
  std::unordered_map<std::string, std::vector<StoredName>> rules_;
};

}  // namespace onnuri
