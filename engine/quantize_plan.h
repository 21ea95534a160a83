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

struct PlannedTensor {
  std::string name;
  TensorView source;
  DType type = DType::kF32;
  Change change = Change::kNone;
  int64_t num_heads = 1;  // of kPairRows
  float factor = 1.0f;    // of kPlusOne: the sum is multiplied by it
};

/// The type of a tensor by its GGUF name: `recipe`'s, a wider one, or the stored one.
DType choose_type(const Recipe& recipe, const std::string& name, const TensorView& source,
                  int64_t num_layers);

/// Encodes a tensor in parallel and passes its bytes on in order, some rows at a time. `progress`
/// counts values. Throws kCorruptData where a value is not finite.
void encode_tensor(ThreadPool& pool, const PlannedTensor& tensor,
                   const std::function<void(std::span<const std::byte>)>& write,
                   const std::function<void(int64_t)>& progress);

/// Decodes row `row` of a planned tensor seen as (rows, cols), changed.
void decode_planned_row(const PlannedTensor& tensor, int64_t row, std::span<float> out);

}  // namespace onnuri
