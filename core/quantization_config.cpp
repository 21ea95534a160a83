// Keys: transformers utils/quantization_config.py, compressed-tensors quantization/quant_config.py,
// and the configs that gptqmodel, AutoAWQ and TensorRT Model Optimizer write.
#include "core/quantization_config.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "core/check.h"
#include "core/printable.h"

namespace onnuri {
namespace {

using Names = std::initializer_list<std::string_view>;

const JsonValue* find_value(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

int64_t int_or(const JsonValue& object, std::string_view key, int64_t fallback,
               const std::string& where) {
  const JsonValue* value = find_value(object, key);
  return value ? value->as_int(where + "." + std::string(key)) : fallback;
}

bool bool_or(const JsonValue& object, std::string_view key, bool fallback,
             const std::string& where) {
  const JsonValue* value = find_value(object, key);
  return value ? value->as_bool(where + "." + std::string(key)) : fallback;
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::string string_or(const JsonValue& object, std::string_view key, const char* fallback,
                      const std::string& where) {
  const JsonValue* value = find_value(object, key);
  return value ? lower(value->as_string(where + "." + std::string(key))) : fallback;
}

void require_one_of(const std::string& found, Names known, const std::string& where,
                    std::string_view key) {
  if (std::find(known.begin(), known.end(), found) != known.end()) return;
  std::string list;
  for (std::string_view name : known) list += (list.empty() ? "" : ", ") + std::string(name);
  fail(ErrorCode::kUnsupported, where, ".", key, ": expected one of ", list, ", found ",
       in_quotes(found));
}

int64_t checked_group_size(int64_t size, const std::string& where) {
  if (size != -1 && (size < 1 || size > (int64_t{1} << 24))) {
    fail(ErrorCode::kCorruptData, where, ".group_size: expected -1 or a positive size, found ",
         size);
  }
  return size;
}

std::array<int64_t, 2> read_block(const JsonValue& object, std::string_view key,
                                  const std::string& where) {
  const JsonValue* value = find_value(object, key);
  if (value == nullptr) return {0, 0};
  const std::string place = where + "." + std::string(key);
  const JsonValue::Array& list = value->as_array(place);
  if (list.size() != 2) {
    fail(ErrorCode::kCorruptData, place, ": expected two sizes, found ", list.size());
  }
  std::array<int64_t, 2> block{};
  for (size_t i = 0; i < 2; ++i) {
    block[i] = list[i].as_int(place);
    if (block[i] < 1 || block[i] > (int64_t{1} << 24)) {
      fail(ErrorCode::kCorruptData, place, ": expected positive sizes, found ", block[i]);
    }
  }
  return block;
}

void read_bits(const JsonValue& object, Names known, const std::string& where, int* bits) {
  const int64_t found = object.at("bits", where).as_int(where + ".bits");
  require_one_of(std::to_string(found), known, where, "bits");
  *bits = static_cast<int>(found);
}

void read_gptq(const JsonValue& object, const std::string& where, QuantizationConfig* out) {
  read_bits(object, {"2", "4", "8"}, where, &out->bits);
  const std::string format = string_or(object, "checkpoint_format", "gptq", where);
  require_one_of(format, {"gptq", "gptq_v2"}, where, "checkpoint_format");
  out->zero_is_stored_less_one = format == "gptq";
  out->act_order = bool_or(object, "desc_act", false, where);
  const int64_t size = object.at("group_size", where).as_int(where + ".group_size");
  checked_group_size(size, where);
  // Rules per module may change the group size; then only the tensors know it.
  if (find_value(object, "dynamic") == nullptr) out->group_sizes = {size};
}

void read_awq(const JsonValue& object, const std::string& where, QuantizationConfig* out) {
  read_bits(object, {"4"}, where, &out->bits);
  const std::string version = string_or(object, "version", "gemm", where);
  require_one_of(version, {"gemm"}, where, "version");
  out->centred = !bool_or(object, "zero_point", true, where);
  const char* key = find_value(object, "q_group_size") ? "q_group_size" : "group_size";
  out->group_sizes = {checked_group_size(object.at(key, where).as_int(where + "." + key), where)};
}

void read_group(const JsonValue& group, const std::string& where, QuantizationConfig* out) {
  const std::string format = string_or(group, "format", "dense", where);
  require_one_of(format,
                 {"dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
                  "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision"},
                 where, "format");
  const JsonValue* weights = find_value(group, "weights");
  if (weights == nullptr) return;
  const std::string place = where + ".weights";
  const std::string strategy = string_or(*weights, "strategy", "", place);
  if (find_value(*weights, "group_size") != nullptr) {
    const int64_t size = checked_group_size(int_or(*weights, "group_size", -1, place), place);
    out->group_sizes.push_back(size);
  } else {
    out->group_sizes.push_back(-1);
  }
  const std::array<int64_t, 2> block = read_block(*weights, "block_structure", place);
  if (block[0] == 0) return;
  if (out->block[0] != 0 && out->block != block) {
    fail(ErrorCode::kUnsupported, place,
         ".block_structure: expected one block size for all groups");
  }
  out->block = block;
}

void read_compressed_tensors(const JsonValue& object, const std::string& where,
                             QuantizationConfig* out) {
  read_group(JsonValue::Object{{"format", string_or(object, "format", "dense", where)}}, where,
             out);
  if (const JsonValue* sparsity = find_value(object, "sparsity_config")) {
    if (sparsity->is_object() && find_value(*sparsity, "format") != nullptr) {
      require_one_of(string_or(*sparsity, "format", "", where + ".sparsity_config"), {"dense"},
                     where + ".sparsity_config", "format");
    }
  }
  const JsonValue* groups = find_value(object, "config_groups");
  if (groups == nullptr) return;
  const std::string place = where + ".config_groups";
  bool any = false, all = true;
  for (const auto& [name, group] : groups->as_object(place)) {
    if (!group.is_object()) continue;
    read_group(group, place + "." + name, out);
    const JsonValue* weights = find_value(group, "weights");
    if (weights == nullptr) continue;
    any = true;
    all = all && !bool_or(*weights, "symmetric", true, place + "." + name + ".weights");
  }
  out->needs_zeros = any && all;
}

void read_fp8(const JsonValue& object, const std::string& where, QuantizationConfig* out) {
  require_one_of(string_or(object, "fmt", "e4m3", where), {"e4m3", "float8_e4m3fn"}, where, "fmt");
  out->block = read_block(object, "weight_block_size", where);
}

void read_modelopt(const JsonValue& object, const std::string& where) {
  const JsonValue* inner = find_value(object, "quantization");
  const JsonValue& source = inner != nullptr && inner->is_object() ? *inner : object;
  require_one_of(string_or(source, "quant_algo", "", where), {"fp8", "nvfp4"}, where, "quant_algo");
}

}  // namespace

QuantizationConfig read_quantization_config(const JsonValue& config, const std::string& file) {
  const JsonValue& object = config.at("quantization_config", file);
  const std::string where = file + ": quantization_config";
  object.as_object(where);
  const std::string method = lower(object.at("quant_method", where).as_string(where));
  require_one_of(method,
                 {"fp8", "fbgemm_fp8", "gptq", "awq", "compressed-tensors", "mxfp4", "modelopt",
                  "modelopt_fp4"},
                 where, "quant_method");
  QuantizationConfig out;
  if (method == "fp8") {
    out.method = QuantMethod::kFp8;
    read_fp8(object, where, &out);
  } else if (method == "fbgemm_fp8") {
    out.method = QuantMethod::kFbgemmFp8;
  } else if (method == "gptq") {
    out.method = QuantMethod::kGptq;
    read_gptq(object, where, &out);
  } else if (method == "awq") {
    out.method = QuantMethod::kAwq;
    read_awq(object, where, &out);
  } else if (method == "compressed-tensors") {
    out.method = QuantMethod::kCompressedTensors;
    read_compressed_tensors(object, where, &out);
  } else if (method == "mxfp4") {
    out.method = QuantMethod::kMxfp4;
  } else {
    out.method = QuantMethod::kModelOpt;
    read_modelopt(object, where);
  }
  return out;
}

}  // namespace onnuri
