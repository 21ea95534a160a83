// Which tensor gets which type, and how a tensor becomes bytes of its new type.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/gguf_write.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace onnuri {

/// A storage type that a user can ask for.
struct Recipe {
  std::string_view name;
  DType type;
  DType generous;      // for the embedding table and the head
  bool mixed;          // generous for some value and down projections too
  uint32_t file_type;  // general.file_type of GGUF
};

/// The recipe of that name ("Q4_K_M" is "q4_k"). Throws kInvalidArgument listing all.
const Recipe& find_recipe(std::string_view name);
std::vector<std::string> recipe_names();

/// What happens to values on their way from one layout to the other.
enum class Change : uint8_t {
  kNone,
  kPairRows,  // rows of each head: halves become neighbouring pairs
  kPlusOne,   // norms that are stored as w of 1 + w
};

/// Where the values of a tensor come from: views stacked along the first axis, all of one shape.
struct SourceParts {
  std::vector<TensorView> views;
  std::vector<Tensor> owned;  // what some views look into
};

struct PlannedTensor {
  std::string name;
  Shape shape;
  DType stored = DType::kF32;  // type of the source
  int64_t stored_bytes = 0;
  bool is_plain = true;  // the source holds values of `stored` as a GGUF file would
  DType type = DType::kF32;
  Change change = Change::kNone;
  int64_t num_heads = 1;              // of kPairRows
  float factor = 1.0f;                // values are multiplied by it
  std::function<SourceParts()> open;  // called once, when the tensor is written
};

/// A tensor that is one view.
PlannedTensor plan_view(std::string name, const TensorView& view);

/// The type of a tensor by its GGUF name: `recipe`'s, a wider one, or the stored one.
DType choose_type(const Recipe& recipe, const PlannedTensor& tensor, int64_t num_layers);

/// The type that the recipe asks for, whatever is stored; kEncoded where it asks for none.
DType wanted_type(const Recipe& recipe, const PlannedTensor& tensor, int64_t num_layers);

/// Whether the bytes of the source are those of the target.
bool is_unchanged(const PlannedTensor& tensor);

/// Encodes a tensor in parallel and passes its bytes on in order, some rows at a time. `progress`
/// counts values. Throws kCorruptData where a value is not finite.
void encode_tensor(ThreadPool& pool, const PlannedTensor& tensor, const SourceParts& parts,
                   const std::function<void(std::span<const std::byte>)>& write,
                   const std::function<void(int64_t)>& progress);

}  // namespace onnuri
