// A checkpoint of float32 tensors made in memory, for tests of rooms that load weights.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/checkpoint.h"
#include "core/tensor_source.h"

namespace onnuri {

class MemoryCheckpoint : public Checkpoint {
 public:
  /// Adds a tensor; the values are kept.
  void add(const std::string& name, const Shape& shape, std::vector<float> values) {
    tensors_[name] = {shape, std::move(values)};
    names_.clear();
    for (const auto& entry : tensors_) names_.push_back(entry.first);
  }

  /// Adds offset + scale * normal noise.
  void add_random(const std::string& name, const Shape& shape, float scale, float offset = 0.0f) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(shape.num_elements()));
    for (float& v : values) v = offset + scale * normal(random_);
    add(name, shape, std::move(values));
  }

  const std::vector<float>& values(const std::string& name) const {
    return tensors_.at(name).values;
  }

  CheckpointFormat format() const override { return CheckpointFormat::kSafetensors; }
  TensorView find(std::string_view name) const override {
    const auto it = tensors_.find(std::string(name));
    if (it == tensors_.end()) return {};
    return {it->second.values.data(), DType::kF32, it->second.shape};
  }
  const std::vector<std::string>& names() const override { return names_; }
  const JsonValue& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  struct Entry {
    Shape shape;
    std::vector<float> values;
  };
  std::map<std::string, Entry> tensors_;
  std::vector<std::string> names_;
  JsonValue metadata_;
  std::string path_ = "memory";
  std::mt19937 random_{7};
};

/// A source whose canonical names are the stored names.
inline TensorSource identity_source(std::shared_ptr<const Checkpoint> checkpoint) {
  return TensorSource(std::move(checkpoint), [](const std::string& canonical) {
    return std::vector<TensorRef>{TensorRef{canonical, {}, 0, -1}};
  });
}

}  // namespace onnuri
