// onnuri::quantize_model: reads a model, decides on types, streams the result into a new file.
#include "onnuri/quantize.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "core/check.h"
#include "core/printable.h"
#include "core/stored_pages.h"
#include "engine/gguf_export.h"
#include "engine/quantize_plan.h"
#include "engine/quantize_safetensors.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

/// A GGUF file with everything it says; types are changed later.
GgufExport copy_gguf(const ModelFiles& files) {
  GgufExport out;
  out.pairs = read_gguf_pairs(files.path);
  for (const std::string& name : files.checkpoint->names()) {
    out.tensors.push_back(plan_view(name, files.checkpoint->find(name)));
    if (name.starts_with("blk.")) {
      out.num_layers = std::max(out.num_layers, int64_t{std::atoll(name.c_str() + 4)} + 1);
    }
  }
  return out;
}

void set_pair(std::vector<GgufPair>& pairs, GgufPair pair) {
  for (GgufPair& old : pairs) {
    if (old.key == pair.key) {
      old = std::move(pair);
      return;
    }
  }
  pairs.push_back(std::move(pair));
}

// The reader takes any alignment; the writer has one.
void drop_alignment(std::vector<GgufPair>& pairs) {
  std::erase_if(pairs, [](const GgufPair& pair) { return pair.key == "general.alignment"; });
}

// Sums of bytes, and the weights that are stored in no more bits than the recipe wants.
QuantizeResult summary(const GgufExport& model, const Recipe& recipe) {
  QuantizeResult result;
  for (const PlannedTensor& t : model.tensors) {
    result.source_bytes += t.stored_bytes;
    result.target_bytes += dtype_bytes(t.type, t.shape.num_elements());
    result.num_quantized += t.type != t.stored;
    const DType wanted = wanted_type(recipe, t, model.num_layers);
    if (wanted == DType::kEncoded || t.type != t.stored || !is_block_quantized(t.stored)) continue;
    result.kept.push_back(
        {t.name, std::string(dtype_name(t.stored)), std::string(dtype_name(wanted))});
  }
  result.num_tensors = static_cast<int64_t>(model.tensors.size());
  result.num_left_out = model.num_left_out;
  return result;
}

void write_gguf(const std::string& out, const GgufExport& model, const QuantizeOptions& options) {
  std::vector<GgufTensor> records;
  double total = 0;
  for (const PlannedTensor& t : model.tensors) {
    records.push_back({t.name, t.shape, t.type});
    total += static_cast<double>(t.shape.num_elements());
  }
  ThreadPool pool(options.num_threads);
  GgufWriter writer(out, model.pairs, std::move(records));
  double done = 0;
  for (const PlannedTensor& t : model.tensors) {
    const auto report = [&](int64_t values) {
      done += static_cast<double>(values);
      if (options.progress) options.progress(done / total, t.name);
    };
    const SourceParts parts = t.open();
    if (is_unchanged(t)) {
      for (const TensorView& part : parts.views) {
        writer.append({part.as<std::byte>(), static_cast<size_t>(part.num_bytes())});
      }
      report(t.shape.num_elements());
    } else {
      encode_tensor(
          pool, t, parts, [&](std::span<const std::byte> bytes) { writer.append(bytes); }, report);
    }
    for (const TensorView& part : parts.views) release_pages(part);
  }
  writer.commit();
}

// Whether `out` is the model at `path`, or one of the files in its folder.
bool is_part_of(const std::string& out, const std::string& path) {
  std::error_code error;
  if (fs::equivalent(path, out, error)) return true;
  if (!fs::is_directory(path, error)) return false;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && fs::equivalent(it->path(), out, ignored)) return true;
  }
  return false;
}

void check_target(const std::string& path, const std::string& out, bool replace) {
  std::error_code error;
  const fs::file_status status = fs::status(out, error);
  if (!fs::exists(status) && !fs::is_symlink(out, error)) return;
  if (is_part_of(out, path)) {
    fail(ErrorCode::kInvalidArgument, "expected a target beside the source, found ", in_quotes(out),
         ", which the model is read from");
  }
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    fail(ErrorCode::kInvalidArgument, "expected a file to write, found ",
         fs::is_directory(status) ? "the folder " : "", in_quotes(out),
         fs::is_directory(status) ? "" : ", which is no plain file");
  }
  if (!replace) {
    fail(ErrorCode::kInvalidArgument, "expected a file that does not exist yet, found ",
         in_quotes(out), ", which is written over only when asked (--force)");
  }
}

}  // namespace

std::vector<std::string> quantize_types() {
  std::vector<std::string> names = recipe_names();
  names.insert(names.end(), {"int8", "int4"});
  return names;
}

QuantizeResult quantize_model(const std::string& path, const std::string& out,
                              const QuantizeOptions& options) {
  if (options.type == "int8" || options.type == "int4") {
    return quantize_to_safetensors(open_model_files(path), out, options);
  }
  const Recipe& recipe = find_recipe(options.type);
  check_target(path, out, options.replace);
  const ModelFiles files = open_model_files(path);
  GgufExport model = files.is_gguf() ? copy_gguf(files) : export_gguf(files);
  for (PlannedTensor& t : model.tensors) {
    t.type = choose_type(recipe, t, model.num_layers);
  }
  drop_alignment(model.pairs);
  set_pair(model.pairs, gguf_u32("general.file_type", recipe.file_type));
  set_pair(model.pairs, gguf_u32("general.quantization_version", 2));
  write_gguf(out, model, options);
  return summary(model, recipe);
}

}  // namespace onnuri
