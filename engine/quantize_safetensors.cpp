// Source of the layout: compressed-tensors, formats "int-quantized" and "pack-quantized". Codes of
// the packed format are unsigned, eight added, the first column in the lowest bits.
#include "engine/quantize_safetensors.h"

#include <cmath>
#include <filesystem>

#include "core/check.h"
#include "core/mapped_file.h"
#include "core/printable.h"
#include "core/thread_pool.h"
#include "kernels/float_bits.h"
#include "kernels/linear.h"
#include "kernels/quantize.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGroupCols = 128;
constexpr int64_t kMaxCopiedBytes = int64_t{256} << 20;

bool is_linear(const std::string& name, const TensorView& view) {
  return view.shape.rank() == 2 && name.ends_with("_proj.weight") &&
         name.find(".layers.") != std::string::npos &&
         (view.dtype == DType::kF32 || view.dtype == DType::kF16 || view.dtype == DType::kBF16);
}

struct Outcome {
  std::vector<Tensor> owned;
  std::vector<NamedTensor> tensors;
  void add(std::string name, Tensor tensor) {
    tensors.push_back({std::move(name), tensor.view()});
    owned.push_back(std::move(tensor));
  }
};

// Decodes one row and checks it.
void decode_row(const std::string& name, const TensorView& view, int64_t row,
                std::vector<float>& values) {
  dequantize(view.rows(row, 1), values.data());
  for (const float value : values) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::kCorruptData, "tensor ", in_quotes(name), ": row ", row,
           " holds values that are not finite");
    }
  }
}

// Scales are stored as brain floats; codes are chosen against the stored scale.
int8_t code_of(float value, float scale, float low, float high) {
  if (scale == 0.0f) return 0;
  return static_cast<int8_t>(std::fmin(std::fmax(std::nearbyint(value / scale), low), high));
}

void add_int8(ThreadPool& pool, const std::string& name, const TensorView& view, Outcome& out) {
  const int64_t rows = view.shape[0], cols = view.shape[1];
  Tensor codes(DType::kI8, {rows, cols}), scales(DType::kBF16, {rows, 1});
  int8_t* code = reinterpret_cast<int8_t*>(codes.bytes());
  uint16_t* scale = reinterpret_cast<uint16_t*>(scales.bytes());
  pool.run(rows, [&](int64_t r, int) {
    std::vector<float> values(static_cast<size_t>(cols));
    decode_row(name, view, r, values);
    float largest = 0.0f;
    for (const float v : values) largest = std::fmax(largest, std::fabs(v));
    scale[r] = bfloat16_from_float(largest / 127.0f);
    const float stored = float_from_bfloat16(scale[r]);
    for (int64_t k = 0; k < cols; ++k) {
      code[r * cols + k] = code_of(values[static_cast<size_t>(k)], stored, -127.0f, 127.0f);
    }
  });
  out.add(name, std::move(codes));
  out.add(name + "_scale", std::move(scales));
}

void add_int4(ThreadPool& pool, const std::string& name, const TensorView& view, int64_t group,
              Outcome& out) {
  const int64_t rows = view.shape[0], cols = view.shape[1];
  const int64_t words = (cols + 7) / 8;
  Tensor packed = Tensor::zeros(DType::kI32, {rows, words});
  Tensor scales(DType::kBF16, {rows, cols / group});
  uint32_t* word = reinterpret_cast<uint32_t*>(packed.bytes());
  uint16_t* scale = reinterpret_cast<uint16_t*>(scales.bytes());
  pool.run(rows, [&](int64_t r, int) {
    std::vector<float> values(static_cast<size_t>(cols));
    decode_row(name, view, r, values);
    for (int64_t g = 0; g < cols / group; ++g) {
      uint16_t& bits = scale[r * (cols / group) + g];
      bits = bfloat16_from_float(
          std::fabs(fit_symmetric(values.data() + g * group, group, -7, 7, nullptr)));
      const float stored = float_from_bfloat16(bits);
      for (int64_t k = g * group; k < (g + 1) * group; ++k) {
        const int code = code_of(values[static_cast<size_t>(k)], stored, -8.0f, 7.0f) + 8;
        word[r * words + k / 8] |= static_cast<uint32_t>(code) << (k % 8 * 4);
      }
    }
  });
  Tensor shape(DType::kI64, {2});
  reinterpret_cast<int64_t*>(shape.bytes())[0] = rows;
  reinterpret_cast<int64_t*>(shape.bytes())[1] = cols;
  out.add(name + "_packed", std::move(packed));
  out.add(name + "_scale", std::move(scales));
  out.add(name + "_shape", std::move(shape));
}

JsonValue quantization_config(bool is_int4, bool per_row) {
  JsonValue::Object weights = {{"num_bits", is_int4 ? 4 : 8},
                               {"type", "int"},
                               {"symmetric", true},
                               {"dynamic", false},
                               {"strategy", per_row ? "channel" : "group"}};
  if (!per_row) weights.emplace_back("group_size", kGroupCols);
  const JsonValue group(JsonValue::Object{{"targets", JsonValue::Array{"Linear"}},
                                          {"weights", JsonValue(std::move(weights))},
                                          {"input_activations", JsonValue()},
                                          {"output_activations", JsonValue()}});
  return JsonValue::Object{{"quant_method", "compressed-tensors"},
                           {"format", is_int4 ? "pack-quantized" : "int-quantized"},
                           {"quantization_status", "compressed"},
                           {"config_groups", JsonValue(JsonValue::Object{{"group_0", group}})},
                           {"ignore", JsonValue::Array{"lm_head"}}};
}

// Everything small beside the weights: tokenizer, templates, generation settings.
void copy_small_files(const fs::path& from, const fs::path& to) {
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    const bool wanted = extension == ".json" || extension == ".jinja" || extension == ".txt" ||
                        extension == ".model";
    if (!wanted || !entry.is_regular_file() || name == "config.json" ||
        name == "model.safetensors.index.json" ||
        static_cast<int64_t>(entry.file_size()) > kMaxCopiedBytes) {
      continue;
    }
    write_file_atomically((to / name).string(), MappedFile::open(entry.path().string()).bytes());
  }
}

}  // namespace

QuantizeResult quantize_to_safetensors(const ModelFiles& files, const std::string& out,
                                       const QuantizeOptions& options) {
  if (files.is_gguf()) {
    fail(ErrorCode::kUnsupported, "expected a checkpoint folder for type ", options.type,
         ", found the GGUF file ", files.path);
  }
  if (files.config.find("quantization_config") != nullptr) {
    fail(ErrorCode::kUnsupported,
         "expected weights that are not quantised yet, found a "
         "quantization_config in ",
         files.path);
  }
  std::error_code error;
  if (fs::exists(out, error)) {
    fail(ErrorCode::kInvalidArgument, "expected a folder that does not exist yet, found ", out);
  }
  const bool is_int4 = options.type == "int4";
  ThreadPool pool(options.num_threads);
  Outcome outcome;
  QuantizeResult result;
  bool per_row = !is_int4;
  const std::vector<std::string>& names = files.checkpoint->names();
  for (const std::string& name : names) {
    const TensorView view = files.checkpoint->find(name);
    if (is_int4 && is_linear(name, view) && view.shape[1] % kGroupCols != 0) per_row = true;
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const TensorView view = files.checkpoint->find(names[i]);
    result.source_bytes += view.num_bytes();
    if (is_linear(names[i], view)) {
      if (is_int4) {
        add_int4(pool, names[i], view, per_row ? view.shape[1] : kGroupCols, outcome);
      } else {
        add_int8(pool, names[i], view, outcome);
      }
      ++result.num_quantized;
    } else {
      outcome.tensors.push_back({names[i], view});
    }
    if (options.progress) {
      options.progress(static_cast<double>(i + 1) / static_cast<double>(names.size() + 1),
                       names[i]);
    }
  }
  for (const NamedTensor& t : outcome.tensors) result.target_bytes += t.view.num_bytes();
  result.num_tensors = static_cast<int64_t>(names.size());

  // Written beside the target and renamed, so that the folder is whole or absent.
  const fs::path folder = out + ".tmp";
  fs::create_directories(folder, error);
  if (error) fail(ErrorCode::kNotFound, "cannot create the folder ", folder.string());
  JsonValue config = files.config;
  config.set("quantization_config", quantization_config(is_int4, per_row));
  const std::string text = config.dump(2) + "\n";
  write_file_atomically((folder / "config.json").string(), std::as_bytes(std::span(text)));
  copy_small_files(files.path, folder);
  write_safetensors((folder / "model.safetensors").string(), outcome.tensors);
  fs::rename(folder, out, error);
  if (error) fail(ErrorCode::kNotFound, "cannot rename ", folder.string(), " to ", out);
  if (options.progress) options.progress(1.0, "done");
  return result;
}

}  // namespace onnuri
