// Source of the layout: compressed-tensors, formats "int-quantized" and "pack-quantized". Codes of
// the packed format are unsigned, the first column in the lowest bits; four bits have zero points.
#include "engine/quantize_safetensors.h"

#include <algorithm>
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

constexpr int64_t kMaxCopiedBytes = int64_t{256} << 20;

bool is_linear(const std::string& name, const TensorView& view) {
  return view.shape.rank() == 2 && name.ends_with("_proj.weight") &&
         name.find(".layers.") != std::string::npos &&
         (view.dtype == DType::kF32 || view.dtype == DType::kF16 || view.dtype == DType::kBF16);
}

bool is_table(const std::string& name, const TensorView& view) {
  return view.shape.rank() == 2 &&
         (name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight")) &&
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

// Unsigned codes of `bits` bits as 32-bit words of each row, first column in the lowest bits.
class PackedCodes {
 public:
  PackedCodes(int64_t rows, int64_t cols, int bits)
      : per_word_(32 / bits), bits_(bits), words_((cols + per_word_ - 1) / per_word_) {
    packed_ = Tensor::zeros(DType::kI32, {rows, words_});
    shape_ = Tensor(DType::kI64, {2});
    reinterpret_cast<int64_t*>(shape_.bytes())[0] = rows;
    reinterpret_cast<int64_t*>(shape_.bytes())[1] = cols;
  }
  void put(int64_t row, int64_t col, int code) {
    auto* words = reinterpret_cast<uint32_t*>(packed_.bytes());
    words[row * words_ + col / per_word_] |= static_cast<uint32_t>(code)
                                             << (col % per_word_ * bits_);
  }
  void add_to(const std::string& name, Outcome& out) {
    out.add(name + "_packed", std::move(packed_));
    out.add(name + "_shape", std::move(shape_));
  }

 private:
  int64_t per_word_;
  int bits_;
  int64_t words_;
  Tensor packed_, shape_;
};

// Four bits with a scale and a zero point for every group of columns.
void add_int4(ThreadPool& pool, const std::string& name, const TensorView& view, int64_t group,
              Outcome& out) {
  const int64_t rows = view.shape[0], cols = view.shape[1];
  const int64_t groups = cols / group;
  PackedCodes codes(rows, cols, 4);
  Tensor scales(DType::kBF16, {rows, groups});
  // Zero points are packed along rows, eight to a word.
  Tensor zeros = Tensor::zeros(DType::kI32, {(rows + 7) / 8, groups});
  auto* scale = reinterpret_cast<uint16_t*>(scales.bytes());
  auto* zero = reinterpret_cast<uint32_t*>(zeros.bytes());
  pool.run((rows + 7) / 8, [&](int64_t eighth, int) {
    std::vector<float> values(static_cast<size_t>(cols));
    for (int64_t r = eighth * 8; r < std::min(rows, eighth * 8 + 8); ++r) {
      decode_row(name, view, r, values);
      for (int64_t g = 0; g < groups; ++g) {
        const AffineFit fit = fit_affine_codes(values.data() + g * group, group, 15);
        scale[r * groups + g] = bfloat16_from_float(fit.scale);
        const float stored = float_from_bfloat16(scale[r * groups + g]);
        zero[eighth * groups + g] |= static_cast<uint32_t>(fit.zero) << (r % 8 * 4);
        const auto low = static_cast<float>(-fit.zero), high = static_cast<float>(15 - fit.zero);
        for (int64_t k = g * group; k < (g + 1) * group; ++k) {
          codes.put(r, k, code_of(values[static_cast<size_t>(k)], stored, low, high) + fit.zero);
        }
      }
    }
  });
  codes.add_to(name, out);
  out.add(name + "_scale", std::move(scales));
  out.add(name + "_zero_point", std::move(zeros));
}

// Eight bits with a scale for every row, packed as the four bits beside them are.
void add_packed_int8(ThreadPool& pool, const std::string& name, const TensorView& view,
                     Outcome& out) {
  const int64_t rows = view.shape[0], cols = view.shape[1];
  PackedCodes codes(rows, cols, 8);
  Tensor scales(DType::kBF16, {rows, 1});
  auto* scale = reinterpret_cast<uint16_t*>(scales.bytes());
  pool.run(rows, [&](int64_t r, int) {
    std::vector<float> values(static_cast<size_t>(cols));
    decode_row(name, view, r, values);
    float largest = 0.0f;
    for (const float v : values) largest = std::fmax(largest, std::fabs(v));
    scale[r] = bfloat16_from_float(largest / 127.0f);
    const float stored = float_from_bfloat16(scale[r]);
    for (int64_t k = 0; k < cols; ++k) {
      codes.put(r, k, code_of(values[static_cast<size_t>(k)], stored, -127.0f, 127.0f) + 128);
    }
  });
  codes.add_to(name, out);
  out.add(name + "_scale", std::move(scales));
}

// How `targets` are stored; a group of 0 is a whole row.
JsonValue config_group(const char* target, int bits, bool symmetric, int64_t group) {
  JsonValue::Object weights = {{"num_bits", bits},
                               {"type", "int"},
                               {"symmetric", symmetric},
                               {"dynamic", false},
                               {"strategy", group == 0 ? "channel" : "group"}};
  if (group != 0) weights.emplace_back("group_size", group);
  return JsonValue::Object{{"targets", JsonValue::Array{target}},
                           {"weights", JsonValue(std::move(weights))},
                           {"input_activations", JsonValue()},
                           {"output_activations", JsonValue()}};
}

JsonValue quantization_config(bool is_int4, int64_t group) {
  JsonValue::Object groups;
  JsonValue::Array ignore;
  if (is_int4) {
    groups.emplace_back("group_0", config_group("re:.*_proj$", 4, false, group));
    groups.emplace_back("group_1", config_group("re:.*(embed_tokens|lm_head)$", 8, true, 0));
  } else {
    groups.emplace_back("group_0", config_group("Linear", 8, true, 0));
    ignore.push_back("lm_head");
  }
  return JsonValue::Object{{"quant_method", "compressed-tensors"},
                           {"format", is_int4 ? "pack-quantized" : "int-quantized"},
                           {"quantization_status", "compressed"},
                           {"config_groups", JsonValue(std::move(groups))},
                           {"ignore", JsonValue(std::move(ignore))}};
}

// The widest group of at most `wanted` columns that divides the rows of every matrix; 0: none.
int64_t choose_group(const Checkpoint& checkpoint, int64_t wanted) {
  for (int64_t group = wanted; group >= 8; group /= 2) {
    bool fits = true;
    for (const std::string& name : checkpoint.names()) {
      const TensorView view = checkpoint.find(name);
      fits = fits && (!is_linear(name, view) || view.shape[1] % group == 0);
    }
    if (fits) return group;
  }
  return 0;
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
         ", found the GGUF file ", files.path, "; in GGUF the types of as many bits are ",
         options.type == "int8" ? "q8_0" : "q4_0 and q4_k");
  }
  if (files.config.find("quantization_config") != nullptr) {
    fail(ErrorCode::kUnsupported,
         "expected weights that are not quantised yet, found a "
         "quantization_config in ",
         files.path);
  }
  if (options.group_size != 32 && options.group_size != 64 && options.group_size != 128) {
    fail(ErrorCode::kInvalidArgument, "expected groups of 32, 64 or 128 columns, found ",
         options.group_size);
  }
  std::error_code error;
  if (fs::exists(out, error)) {
    fail(ErrorCode::kInvalidArgument, "expected a folder that does not exist yet, found ",
         in_quotes(out), "; folders are never written over");
  }
  const bool is_int4 = options.type == "int4";
  ThreadPool pool(options.num_threads);
  Outcome outcome;
  QuantizeResult result;
  const std::vector<std::string>& names = files.checkpoint->names();
  const int64_t group = is_int4 ? choose_group(*files.checkpoint, options.group_size) : 0;
  for (size_t i = 0; i < names.size(); ++i) {
    const TensorView view = files.checkpoint->find(names[i]);
    result.source_bytes += view.num_bytes();
    if (is_linear(names[i], view)) {
      if (is_int4) {
        add_int4(pool, names[i], view, group == 0 ? view.shape[1] : group, outcome);
      } else {
        add_int8(pool, names[i], view, outcome);
      }
      ++result.num_quantized;
    } else if (is_int4 && is_table(names[i], view)) {
      add_packed_int8(pool, names[i], view, outcome);
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
  config.set("quantization_config", quantization_config(is_int4, group));
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
