// Part names: transformers integrations (finegrained_fp8, mxfp4), compressed-tensors compressors,
// gptqmodel and AutoAWQ linear layers, TensorRT Model Optimizer's export.
#include "core/quantized_checkpoint.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <set>
#include <string_view>

#include "core/check.h"
#include "core/encoding_parts.h"
#include "core/printable.h"
#include "core/weight_encoding.h"

namespace onnuri {
namespace {

using Suffixes = std::initializer_list<std::string_view>;

// Scales of activations and key-value caches: the runtime keeps both as floats.
bool is_runtime_scale(std::string_view name) {
  const std::string_view leaf = name.substr(name.rfind('.') + 1);
  static constexpr std::string_view kNames[] = {
      "input_scale",    "input_zero_point",  "input_global_scale",
      "input_scale_ub", "input_g_idx",       "activation_scale",
      "output_scale",   "output_zero_point", "k_scale",
      "v_scale",        "q_scale",           "kv_scale",
      "prob_scale",     "k_zero_point",      "v_zero_point",
      "q_zero_point",   "k_global_scale",    "v_global_scale",
      "q_global_scale"};
  return std::find(std::begin(kNames), std::end(kNames), leaf) != std::end(kNames) ||
         leaf.ends_with("_activation_scale") || leaf.ends_with("_input_scale");
}

class QuantizedCheckpoint : public Checkpoint {
 public:
  QuantizedCheckpoint(std::shared_ptr<const Checkpoint> stored, const QuantizationConfig& config)
      : stored_(std::move(stored)), config_(config) {
    collect();
    for (auto& [name, view] : views_) names_.push_back(name);
  }

  CheckpointFormat format() const override { return stored_->format(); }
  const std::vector<std::string>& names() const override { return names_; }
  const JsonValue& metadata() const override { return stored_->metadata(); }
  const std::string& path() const override { return stored_->path(); }
  TensorView find(std::string_view name) const override {
    const auto it = views_.find(name);
    return it == views_.end() ? TensorView() : it->second;
  }

 private:
  // The stored tensor prefix + suffix, and a note that it is no tensor of its own.
  TensorView take(const std::string& prefix, std::string_view suffix) {
    const std::string name = prefix + std::string(suffix);
    const TensorView view = stored_->find(name);
    if (!view.empty()) parts_.insert(name);
    return view;
  }

  void collect() {
    for (const std::string& name : stored_->names()) {
      const TensorView view = stored_->find(name);
      if (name.ends_with(".qweight") && uses_words())
        add_words(name, view);
      else if (name.ends_with("_packed"))
        add_packed(name, view);
      else if (name.ends_with("_blocks") && view.dtype == DType::kU8)
        add_blocks(name, view);
      else if (view.dtype == DType::kF8E4M3 || view.dtype == DType::kI8 || view.dtype == DType::kU8)
        add_scaled(name, view);
    }
    for (const std::string& name : stored_->names()) {
      if (parts_.contains(name) || is_runtime_scale(name)) continue;
      reject_orphan(name);
      views_.emplace(name, stored_->find(name));
    }
  }

  bool uses_words() const {
    return config_.method == QuantMethod::kGptq || config_.method == QuantMethod::kAwq;
  }

  void add_words(const std::string& name, const TensorView& words) {
    const std::string module = name.substr(0, name.size() - std::string_view("qweight").size());
    EncodingParts parts = parts_of(module + "weight", words);
    parts.scales = take(module, "scales");
    parts.zeros = take(module, "qzeros");
    parts.groups = take(module, "g_idx");
    parts_.insert(name);
    publish(module + "weight", config_.method == QuantMethod::kGptq ? encode_gptq(parts, config_)
                                                                    : encode_awq(parts, config_));
  }

  void add_packed(const std::string& name, const TensorView& packed) {
    const std::string base = name.substr(0, name.size() - std::string_view("_packed").size());
    EncodingParts parts = parts_of(base, packed);
    parts.scales = take(base, "_scale");
    parts.zeros = take(base, "_zero_point");
    parts.logical_shape = take(base, "_shape");
    parts.groups = take(base, "_g_idx");
    parts.tensor_scale = take(base, "_global_scale");
    parts.divide_tensor_scale = true;
    parts_.insert(name);
    publish(base, packed.dtype == DType::kU8 ? encode_float4(parts, config_)
                                             : encode_packed(parts, config_));
  }

  void add_blocks(const std::string& name, const TensorView& blocks) {
    const std::string base = name.substr(0, name.size() - std::string_view("_blocks").size());
    EncodingParts parts = parts_of(name, blocks);
    parts.scales = take(base, "_scales");
    parts_.insert(name);
    publish(name, encode_blocks(parts));
  }

  // A weight of one-byte elements beside its scales.
  void add_scaled(const std::string& name, const TensorView& bytes) {
    if (parts_.contains(name) || is_runtime_scale(name) || is_part_name(name)) return;
    EncodingParts parts = parts_of(name, bytes);
    parts.scales = take(name, "_scale_inv");
    if (parts.scales.empty()) parts.scales = take(name, "_scale");
    parts.tensor_scale = take(name, "_scale_2");
    parts.zeros = take(name, "_zero_point");
    if (parts.scales.empty()) {
      if (bytes.dtype != DType::kF8E4M3) return;
      fail(ErrorCode::kCorruptData, parts.where, ": expected ", in_quotes(name + "_scale_inv"),
           " or ", in_quotes(name + "_scale"), " beside it, found neither");
    }
    parts_.insert(name);
    if (bytes.dtype == DType::kU8)
      publish(name, encode_float4(parts, config_));
    else
      publish(name, encode_scaled(parts, config_));
  }

  // Names that end like a part of another tensor that is there.
  bool is_part_name(const std::string& name) const {
    for (std::string_view suffix : {"_scale", "_scale_inv", "_scale_2", "_zero_point", "_scales"}) {
      if (!name.ends_with(suffix)) continue;
      const std::string base = name.substr(0, name.size() - suffix.size());
      for (std::string_view main : {"", "_packed", "_blocks"}) {
        if (!stored_->find(base + std::string(main)).empty()) return true;
      }
    }
    return false;
  }

  // Scales without the matrix that they belong to.
  void reject_orphan(const std::string& name) const {
    for (std::string_view part :
         {".weight_scale", ".weight_scale_inv", ".weight_zero_point", ".weight_shape", ".qzeros",
          ".scales", ".g_idx", ".weight_g_idx", ".weight_global_scale", ".weight_scale_2"}) {
      if (!name.ends_with(part)) continue;
      fail(ErrorCode::kCorruptData, stored_->path(), ": tensor ", in_quotes(name),
           ": expected a quantised weight beside it, found none");
    }
  }

  EncodingParts parts_of(const std::string& base, const TensorView& codes) const {
    EncodingParts parts;
    parts.where = stored_->path() + ": tensor " + in_quotes(base);
    parts.codes = codes;
    return parts;
  }

  void publish(const std::string& name, EncodedWeight weight) {
    if (!stored_->find(name).empty() && !parts_.contains(name)) {
      fail(ErrorCode::kCorruptData, stored_->path(), ": tensor ", in_quotes(name),
           " is stored twice: plain and quantised");
    }
    encodings_.push_back(std::move(weight.encoding));
    const WeightEncoding& encoding = encodings_.back();
    TensorView view;
    view.data = encoding.codes;
    view.dtype = DType::kEncoded;
    view.shape = weight.shape;
    view.encoding = &encoding;
    view.file = encoding.file;
    views_.emplace(name, view);
  }

  std::shared_ptr<const Checkpoint> stored_;
  QuantizationConfig config_;
  std::set<std::string> parts_;
  std::deque<WeightEncoding> encodings_;  // views point at them
  std::map<std::string, TensorView, std::less<>> views_;
  std::vector<std::string> names_;
};

}  // namespace

std::shared_ptr<const Checkpoint> open_quantized(std::shared_ptr<const Checkpoint> stored,
                                                 const QuantizationConfig& config) {
  return std::make_shared<QuantizedCheckpoint>(std::move(stored), config);
}

std::string stored_type(const TensorView& view) {
  return view.encoding ? view.encoding->scheme : std::string(dtype_name(view.dtype));
}

int64_t stored_bytes(const TensorView& view) {
  return view.encoding ? view.encoding->stored_bytes : view.num_bytes();
}

}  // namespace onnuri
