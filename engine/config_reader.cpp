// Key names and defaults follow transformers (modeling_rope_utils.py, configuration_utils.py) and
// the key list of GGUF.
#include "engine/config_reader.h"

#include <limits>

#include "core/check.h"

namespace onnuri {

ConfigReader::ConfigReader(const JsonValue& object, std::string where, std::string prefix)
    : object_(&object), where_(std::move(where)), prefix_(std::move(prefix)) {}

const JsonValue* ConfigReader::find(std::string_view key) const {
  const JsonValue* value = object_->find(prefix_ + std::string(key));
  return value && !value->is_null() ? value : nullptr;
}

bool ConfigReader::contains(std::string_view key) const {
  return object_->find(prefix_ + std::string(key)) != nullptr;
}

std::string ConfigReader::place(std::string_view key) const {
  return where_ + ": " + prefix_ + std::string(key);
}

namespace {

const JsonValue& require(const ConfigReader& config, std::string_view key) {
  const JsonValue* value = config.find(key);
  if (!value) fail(ErrorCode::kCorruptData, "missing key at ", config.place(key));
  return *value;
}

int64_t checked_size(int64_t value, const std::string& place) {
  if (value < 1 || value > std::numeric_limits<int32_t>::max())
    fail(ErrorCode::kCorruptData, "expected a positive size at ", place, ", found ", value);
  return value;
}

}  // namespace

ConfigReader ConfigReader::sub(std::string_view key) const {
  const JsonValue& value = require(*this, key);
  if (!value.is_object()) fail(ErrorCode::kCorruptData, "expected an object at ", place(key));
  return ConfigReader(value, place(key) + "");
}

int64_t ConfigReader::integer(std::string_view key) const {
  return require(*this, key).as_int(place(key));
}
int64_t ConfigReader::size(std::string_view key) const {
  return checked_size(integer(key), place(key));
}
double ConfigReader::number(std::string_view key) const {
  return require(*this, key).as_double(place(key));
}
double ConfigReader::positive(std::string_view key) const {
  const double value = number(key);
  // What is kept as a float must not become 0 or infinity there.
  if (!(value >= std::numeric_limits<float>::min() && value <= std::numeric_limits<float>::max()))
    fail(ErrorCode::kCorruptData, "expected a positive number at ", place(key), ", found ", value);
  return value;
}
int64_t ConfigReader::count(std::string_view key) const {
  const int64_t value = integer(key);
  if (value < 0 || value > std::numeric_limits<int32_t>::max())
    fail(ErrorCode::kCorruptData, "expected a count at ", place(key), ", found ", value);
  return value;
}
bool ConfigReader::boolean(std::string_view key) const {
  return require(*this, key).as_bool(place(key));
}
std::string ConfigReader::string(std::string_view key) const {
  return require(*this, key).as_string(place(key));
}
std::vector<std::string> ConfigReader::strings(std::string_view key) const {
  std::vector<std::string> out;
  for (const JsonValue& item : require(*this, key).as_array(place(key)))
    out.push_back(item.as_string(place(key)));
  return out;
}

int64_t ConfigReader::size_or(std::string_view key, int64_t fallback) const {
  return has(key) ? size(key) : fallback;
}
int64_t ConfigReader::integer_or(std::string_view key, int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}
double ConfigReader::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}
double ConfigReader::positive_or(std::string_view key, double fallback) const {
  return has(key) ? positive(key) : fallback;
}
double ConfigReader::nonzero_or(std::string_view key, double fallback) const {
  return has(key) && number(key) != 0.0 ? positive(key) : fallback;
}
int64_t ConfigReader::count_or(std::string_view key, int64_t fallback) const {
  return has(key) ? count(key) : fallback;
}
bool ConfigReader::boolean_or(std::string_view key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}
std::string ConfigReader::string_or(std::string_view key, std::string fallback) const {
  return has(key) ? string(key) : std::move(fallback);
}

std::vector<int32_t> ConfigReader::ids(std::string_view key) const {
  const JsonValue* value = find(key);
  if (!value) return {};
  auto checked = [&](const JsonValue& item) {
    const int64_t id = item.as_int(place(key));
    if (id < -1 || id > std::numeric_limits<int32_t>::max())
      fail(ErrorCode::kCorruptData, "expected a token id at ", place(key), ", found ", id);
    return static_cast<int32_t>(id);
  };
  std::vector<int32_t> out;
  if (value->is_array()) {
    for (const JsonValue& item : value->as_array(place(key))) out.push_back(checked(item));
  } else {
    out.push_back(checked(*value));
  }
  std::erase(out, -1);
  return out;
}

int64_t ConfigReader::size_of_any(std::initializer_list<std::string_view> keys) const {
  std::string tried;
  for (std::string_view key : keys) {
    if (has(key)) return size(key);
    tried += (tried.empty() ? "" : " or ") + std::string(key);
  }
  fail(ErrorCode::kCorruptData, "missing key at ", place(tried));
}

RopeScaling read_rope_scaling(const ConfigReader& scaling, int64_t max_position) {
  RopeScaling out;
  const bool named = scaling.has("rope_type") || scaling.has("type");
  if (!named && scaling.has("factor")) scaling.string("rope_type");  // a scaling of no kind
  const std::string type =
      scaling.has("rope_type") ? scaling.string("rope_type") : scaling.string_or("type", "default");
  if (type == "default" || type == "mrope") return out;
  const auto original = [&] {
    return scaling.positive_or("original_max_position_embeddings",
                               static_cast<double>(max_position));
  };
  // Null under yarn stands for the ratio of the lengths; the key has to be there.
  if (type == "yarn" && scaling.contains("factor") && !scaling.has("factor"))
    out.factor =
        static_cast<double>(max_position) / scaling.positive("original_max_position_embeddings");
  else if (type != "longrope")
    out.factor = scaling.positive("factor");
  // Dynamic scaling begins behind max_position_embeddings, where the context ends here.
  if (type == "dynamic") return out;
  if (type == "linear") {
    out.kind = RopeScaling::Kind::kLinear;
  } else if (type == "llama3") {
    out.kind = RopeScaling::Kind::kByWavelength;
    out.low_freq_factor = scaling.positive("low_freq_factor");
    out.high_freq_factor = scaling.positive("high_freq_factor");
    if (out.high_freq_factor <= out.low_freq_factor)
      fail(ErrorCode::kCorruptData, "expected more than low_freq_factor, ", out.low_freq_factor,
           ", at ", scaling.place("high_freq_factor"), ", found ", out.high_freq_factor);
    out.original_max_position = original();
  } else if (type == "yarn") {
    out.kind = RopeScaling::Kind::kYarn;
    out.original_max_position = original();
    out.beta_fast = scaling.positive_or("beta_fast", 32.0);
    out.beta_slow = scaling.positive_or("beta_slow", 1.0);
    out.mscale = scaling.nonzero_or("mscale", 0.0);
    out.mscale_all_dim = scaling.nonzero_or("mscale_all_dim", 0.0);
    out.attention_factor = scaling.positive_or("attention_factor", 0.0);
    out.truncate = scaling.boolean_or("truncate", true);
  } else {
    fail(ErrorCode::kUnsupported, "rope scaling \"", type, "\" at ", scaling.where(),
         "; known: default, dynamic, linear, llama3, yarn");
  }
  return out;
}

namespace {

bool has_keys(const ConfigReader& config, std::string_view key) {
  return config.has(key) && !config.find(key)->as_object(config.place(key)).empty();
}

}  // namespace

namespace {

double read_share(const ConfigReader& config, double fallback) {
  constexpr std::string_view kKey = "partial_rotary_factor";
  const double share = config.number_or(kKey, fallback);
  if (!(share > 0 && share <= 1))
    fail(ErrorCode::kCorruptData, "expected a share in (0, 1] at ", config.place(kKey), ", found ",
         share);
  return share;
}

}  // namespace

RopeSettings read_rope(const ConfigReader& config, int64_t head_dim, std::string_view layer_type,
                       double theta_fallback, double share) {
  RopeSettings out;
  const int64_t max_position = config.size("max_position_embeddings");
  double partial = read_share(config, share);
  const bool old_spelling = has_keys(config, "rope_scaling") && layer_type.empty();
  const char* place =
      old_spelling || !config.has("rope_parameters") ? "rope_scaling" : "rope_parameters";
  ConfigReader rope = config.has(place) ? config.sub(place) : config;
  if (!layer_type.empty() && rope.has(layer_type)) rope = rope.sub(layer_type);
  if (rope.has("rope_theta") || config.has("rope_theta") || theta_fallback <= 0)
    out.theta = (rope.has("rope_theta") ? rope : config).positive("rope_theta");
  else
    out.theta = theta_fallback;
  if (config.has(place)) out.scaling = read_rope_scaling(rope, max_position);
  partial = read_share(rope, partial);
  // A length beside the rope keys wins over one among them.
  if (out.scaling.kind != RopeScaling::Kind::kNone &&
      config.has("original_max_position_embeddings"))
    out.scaling.original_max_position = config.positive("original_max_position_embeddings");
  out.rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  if (out.rotary_dim < 2 || out.rotary_dim % 2 != 0)
    fail(ErrorCode::kCorruptData, "expected an even number of columns to turn, of head_dim ",
         head_dim, " in ", config.where(), ", found ", out.rotary_dim);
  return out;
}

std::vector<bool> read_sliding_layers(const ConfigReader& config, int64_t num_layers,
                                      int64_t fallback_pattern) {
  std::vector<bool> sliding(static_cast<size_t>(num_layers));
  if (config.has("layer_types")) {
    const std::vector<std::string> types = config.strings("layer_types");
    if (types.size() != sliding.size())
      fail(ErrorCode::kCorruptData, "expected ", num_layers, " entries at ",
           config.place("layer_types"), ", found ", types.size());
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] != "sliding_attention" && types[i] != "full_attention")
        fail(ErrorCode::kUnsupported, "layer type \"", types[i], "\" at ",
             config.place("layer_types"), "; known: full_attention, sliding_attention");
      sliding[i] = types[i] == "sliding_attention";
    }
    return sliding;
  }
  const JsonValue* pattern = config.find("sliding_window_pattern");
  if (!pattern) pattern = config.find("_sliding_window_pattern");
  if (pattern && pattern->is_string()) {
    const std::string& letters = pattern->as_string(config.place("sliding_window_pattern"));
    if (letters.empty() || letters.find_first_not_of("LG") != std::string::npos)
      fail(ErrorCode::kCorruptData, "expected a pattern of L and G at ",
           config.place("sliding_window_pattern"), ", found \"", letters, "\"");
    for (size_t i = 0; i < sliding.size(); ++i) sliding[i] = letters[i % letters.size()] == 'L';
    return sliding;
  }
  int64_t period = fallback_pattern;
  if (pattern) period = pattern->as_int(config.place("sliding_window_pattern"));
  if (pattern && period <= 0)
    fail(ErrorCode::kCorruptData, "expected a positive number at ",
         config.place("sliding_window_pattern"), ", found ", period);
  if (period <= 0)
    fail(ErrorCode::kCorruptData, "missing key at ", config.place("layer_types"), " or ",
         "sliding_window_pattern");
  for (int64_t i = 0; i < num_layers; ++i) sliding[static_cast<size_t>(i)] = (i + 1) % period != 0;
  return sliding;
}

}  // namespace onnuri
