#include "engine/quantize_plan.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "core/check.h"
#include "core/printable.h"
#include "kernels/linear.h"
#include "kernels/quantize.h"

namespace onnuri {
namespace {

constexpr Recipe kRecipes[] = {
    {"f32", DType::kF32, DType::kF32, false, 0},
    {"f16", DType::kF16, DType::kF16, false, 1},
    {"bf16", DType::kBF16, DType::kBF16, false, 32},
    {"q8_0", DType::kQ8_0, DType::kQ8_0, false, 7},
    {"q6_k", DType::kQ6_K, DType::kQ6_K, false, 18},
    {"q5_k", DType::kQ5_K, DType::kQ6_K, true, 17},
    {"q4_k", DType::kQ4_K, DType::kQ6_K, true, 15},
    {"q5_1", DType::kQ5_1, DType::kQ6_K, false, 9},
    {"q5_0", DType::kQ5_0, DType::kQ6_K, false, 8},
    {"q4_1", DType::kQ4_1, DType::kQ6_K, false, 3},
    {"q4_0", DType::kQ4_0, DType::kQ6_K, false, 2},
    {"iq4_nl", DType::kIQ4_NL, DType::kQ6_K, false, 25},
    {"iq4_xs", DType::kIQ4_XS, DType::kQ6_K, false, 30},
    {"q3_k", DType::kQ3_K, DType::kQ6_K, true, 12},
    {"q2_k", DType::kQ2_K, DType::kQ6_K, true, 10},
    {"mxfp4", DType::kMXFP4, DType::kQ8_0, false, 38},
};

double bits(DType dtype) {
  const DTypeInfo& info = dtype_info(dtype);
  return 8.0 * static_cast<double>(info.block_bytes) / static_cast<double>(info.block_elements);
}

// Rows that do not fill blocks of 256 take a type of 32 that is no worse.
DType fitting(DType type, int64_t cols) {
  if (cols % dtype_info(type).block_elements == 0) return type;
  if (cols % 32 != 0) return DType::kF16;
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kIQ4_XS: return DType::kIQ4_NL;
    case DType::kQ4_K: return DType::kQ5_0;
    case DType::kQ5_K: return DType::kQ5_1;
    default: return DType::kQ8_0;
  }
}

// Value and down projections of the first and last eighth of the layers and of every third between.
bool is_favoured(const std::string& name, int64_t num_layers) {
  if (name.find("attn_v.") == std::string::npos && name.find("ffn_down") == std::string::npos) {
    return false;
  }
  if (!name.starts_with("blk.")) return false;
  const int64_t layer = std::atoll(name.c_str() + 4);
  const int64_t eighth = num_layers / 8;
  return layer < eighth || layer >= num_layers - eighth || (layer - eighth) % 3 == 2;
}

bool is_plain_float(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

int64_t cols_of(const Shape& shape) { return shape.rank() < 1 ? 1 : shape[-1]; }

}  // namespace

const Recipe& find_recipe(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower.ends_with("_k_m")) lower.resize(lower.size() - 2);
  std::string known;
  for (const Recipe& recipe : kRecipes) {
    if (recipe.name == lower) return recipe;
    known += (known.empty() ? "" : ", ") + std::string(recipe.name);
  }
  fail(ErrorCode::kInvalidArgument, "expected a type out of ", known, ", int8, int4, found ",
       in_quotes(name));
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : kRecipes) names.emplace_back(recipe.name);
  return names;
}

PlannedTensor plan_view(std::string name, const TensorView& view) {
  PlannedTensor tensor;
  tensor.name = std::move(name);
  tensor.shape = view.shape;
  tensor.stored = view.dtype;
  tensor.stored_bytes = view.num_bytes();
  tensor.open = [view] {
    SourceParts parts;
    parts.views = {view};
    return parts;
  };
  return tensor;
}

DType wanted_type(const Recipe& recipe, const PlannedTensor& tensor, int64_t num_layers) {
  const std::string& name = tensor.name;
  const bool is_matrix = tensor.shape.rank() >= 2 && name.ends_with(".weight") &&
                         name.find("norm") == std::string::npos &&
                         name.find("ffn_gate_inp") == std::string::npos;
  if (!is_matrix) return DType::kEncoded;
  const bool is_table = name.starts_with("token_embd") || name.starts_with("output.");
  const bool generous = is_table || (recipe.mixed && is_favoured(name, num_layers));
  return fitting(generous ? recipe.generous : recipe.type, tensor.shape[-1]);
}

DType choose_type(const Recipe& recipe, const PlannedTensor& tensor, int64_t num_layers) {
  const DType type = wanted_type(recipe, tensor, num_layers);
  if (type == DType::kEncoded) {  // biases, norms, routers
    const bool is_plain = tensor.stored == DType::kF16 || tensor.stored == DType::kBF16;
    const bool may_stay = tensor.shape.rank() >= 2 && !tensor.name.ends_with(".bias");
    return is_plain && may_stay && recipe.type != DType::kF32 ? tensor.stored : DType::kF32;
  }
  if (is_plain_float(recipe.type)) return type;
  const bool may_stay = is_block_quantized(tensor.stored) || is_encodable(tensor.stored);
  return may_stay && bits(tensor.stored) <= bits(type) ? tensor.stored : type;
}

bool is_unchanged(const PlannedTensor& tensor) {
  return tensor.is_plain && tensor.change == Change::kNone && tensor.factor == 1.0f &&
         tensor.type == tensor.stored;
}

namespace {

// Row `row` of a tensor seen as (rows, cols), changed.
void decode_row(const PlannedTensor& tensor, const SourceParts& parts, int64_t row,
                std::span<float> out) {
  const auto cols = static_cast<int64_t>(out.size());
  const int64_t rows = tensor.shape.num_elements() / cols;
  int64_t from = row;
  if (tensor.change == Change::kPairRows) {
    const int64_t head_dim = rows / tensor.num_heads;
    const int64_t i = row % head_dim;
    from = row - i + i % 2 * (head_dim / 2) + i / 2;
  }
  const int64_t part_rows = rows / static_cast<int64_t>(parts.views.size());
  const TensorView& part = parts.views[static_cast<size_t>(from / part_rows)];
  dequantize(part.reshaped({part_rows, cols}).rows(from % part_rows, 1), out.data());
  for (float& value : out) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::kCorruptData, "tensor ", in_quotes(tensor.name),
           ": expected finite values, found one in row ", row, " that is not");
    }
    if (tensor.change == Change::kPlusOne) value += 1.0f;
    value *= tensor.factor;
  }
}

void check_half_range(const std::string& name, const std::vector<float>& values) {
  constexpr float kLargest = 65504.0f;
  for (const float value : values) {
    if (std::fabs(value) > kLargest) {
      fail(ErrorCode::kUnsupported, "tensor ", in_quotes(name), ": expected values up to ",
           kLargest, " for f16, found ", value, "; bf16 and f32 hold it");
    }
  }
}

}  // namespace

void encode_tensor(ThreadPool& pool, const PlannedTensor& tensor, const SourceParts& parts,
                   const std::function<void(std::span<const std::byte>)>& write,
                   const std::function<void(int64_t)>& progress) {
  constexpr int64_t kBatchValues = int64_t{4} << 20;
  const bool is_pairs_of_scalars = tensor.change == Change::kPairRows && tensor.shape.rank() == 1;
  const int64_t cols = is_pairs_of_scalars ? 1 : cols_of(tensor.shape);
  const int64_t rows = tensor.shape.num_elements() / cols;
  const int64_t row_bytes = dtype_bytes(tensor.type, cols);
  const int64_t batch = std::clamp<int64_t>(kBatchValues / cols, 1, rows);
  std::vector<std::byte> out(static_cast<size_t>(batch * row_bytes));
  for (int64_t begin = 0; begin < rows; begin += batch) {
    const int64_t count = std::min(batch, rows - begin);
    const int64_t num_chunks = std::min<int64_t>(count, 64);
    pool.run(num_chunks, [&](int64_t chunk, int) {
      std::vector<float> values(static_cast<size_t>(cols));
      for (int64_t r = count * chunk / num_chunks; r < count * (chunk + 1) / num_chunks; ++r) {
        decode_row(tensor, parts, begin + r, values);
        if (tensor.type == DType::kF16) check_half_range(tensor.name, values);
        quantize_row(tensor.type, values.data(), cols, out.data() + r * row_bytes);
      }
    });
    write(std::span(out).first(static_cast<size_t>(count * row_bytes)));
    progress(count * cols);
  }
}

}  // namespace onnuri
