// Reads config.json and GGUF metadata key by key; what is missing or impossible is named.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "decoder/decoder_config.h"

namespace onnuri {

/// A view of one JSON object. Keys are looked up as prefix + key, so that GGUF's flat
/// "qwen2.block_count" reads as "block_count". Cheap to copy; the object must outlive it.
class ConfigReader {
 public:
  ConfigReader(const JsonValue& object, std::string where, std::string prefix = "");

  /// Absent and null are the same.
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Whether the key is there, null included: some classes read null and absent differently.
  bool contains(std::string_view key) const;
  const JsonValue* find(std::string_view key) const;
  /// The nested object `key`; throws kCorruptData when it is missing.
  ConfigReader sub(std::string_view key) const;

  // Reads throw kCorruptData for a missing key, a wrong type or a value out of range.
  int64_t integer(std::string_view key) const;
  /// A size: in [1, 2^31).
  int64_t size(std::string_view key) const;
  double number(std::string_view key) const;
  /// A finite number above zero that float32 holds.
  double positive(std::string_view key) const;
  /// A count that may be zero: in [0, 2^31).
  int64_t count(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::string string(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;
  // With a default for absent keys; used where the reference implementation has the same default.
  int64_t size_or(std::string_view key, int64_t fallback) const;
  int64_t integer_or(std::string_view key, int64_t fallback) const;
  double number_or(std::string_view key, double fallback) const;
  double positive_or(std::string_view key, double fallback) const;
  /// The same for keys whose 0 stands for absent.
  double nonzero_or(std::string_view key, double fallback) const;
  int64_t count_or(std::string_view key, int64_t fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string string_or(std::string_view key, std::string fallback) const;
  /// One integer or a list of them; empty when absent.
  std::vector<int32_t> ids(std::string_view key) const;
  /// The first of several spellings that is present; throws naming all of them.
  int64_t size_of_any(std::initializer_list<std::string_view> keys) const;

  /// "config.json: hidden_size", for messages.
  std::string place(std::string_view key) const;
  const std::string& where() const { return where_; }

 private:
  const JsonValue* object_;
  std::string where_;
  std::string prefix_;
};

/// Rotary settings of one kind of layer.
struct RopeSettings {
  double theta = 10000.0;
  int64_t rotary_dim = 0;
  RopeScaling scaling;
};

/// Reads rope keys of a config.json. transformers 5 has "rope_parameters" (nested per layer type in
/// some families: `layer_type`), older files have "rope_theta" and "rope_scaling", which wins where
/// a file has both. `theta_fallback` 0 means that theta is required; `share` of the columns turns
/// where "partial_rotary_factor" is absent.
RopeSettings read_rope(const ConfigReader& config, int64_t head_dim, std::string_view layer_type,
                       double theta_fallback, double share = 1.0);

/// Reads only a scaling object: {"rope_type": "yarn", "factor": 4, ...}.
RopeScaling read_rope_scaling(const ConfigReader& scaling, int64_t max_position);

/// Which layers are sliding: "layer_types", else "sliding_window_pattern" as n (every n-th layer is
/// full) or as a string like "LLLG". `fallback_pattern` 0 means that one of the keys is required.
std::vector<bool> read_sliding_layers(const ConfigReader& config, int64_t num_layers,
                                      int64_t fallback_pattern);

}  // namespace onnuri
