// Random decoders built in memory: every tensor that a DecoderConfig asks for, at its canonical
// name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/checkpoint.h"
#include "core/tensor_source.h"
#include "decoder/decoder_config.h"

namespace onnuri {

/// A checkpoint that holds its tensors as float32 and as one stored type.
class RandomDecoderCheckpoint : public Checkpoint {
 public:
  /// Matrices are stored as `matrix_dtype` (f32, f16, bf16 or q8_0), vectors as float32.
  RandomDecoderCheckpoint(const DecoderConfig& config, uint64_t seed, DType matrix_dtype);

  /// The values as the stored type represents them; empty when absent.
  const std::vector<float>& values(const std::string& name) const;

  CheckpointFormat format() const override { return CheckpointFormat::kSafetensors; }
  TensorView find(std::string_view name) const override;
  const std::vector<std::string>& names() const override { return names_; }
  const JsonValue& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  struct Entry {
    Shape shape;
    DType dtype = DType::kF32;
    std::vector<float> values;
    std::vector<uint8_t> bytes;
  };
  void add(const std::string& name, const Shape& shape, float mean, float deviation, DType dtype);
  void add_layer(const DecoderConfig& config, const LayerSpec& layer, const std::string& prefix);
  void add_latent(const DecoderConfig& config, const LayerSpec& layer, const std::string& prefix);
  void add_ffn(const std::string& prefix, int64_t hidden, int64_t intermediate, bool bias);
  void add_matrix(const std::string& name, int64_t rows, int64_t cols);
  float normal();

  std::map<std::string, Entry> entries_;
  std::vector<std::string> names_;
  JsonValue metadata_;
  std::string path_ = "random decoder";
  uint64_t state_;
  DType matrix_dtype_;
};

/// Canonical names are the stored names.
TensorSource source_of(std::shared_ptr<const RandomDecoderCheckpoint> checkpoint);

/// 4 layers, hidden 64, 4 heads over 2 of 16, rope everywhere, pre-norm, dense: tests change it.
DecoderConfig tiny_decoder_config();

}  // namespace onnuri
