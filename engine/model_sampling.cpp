#include "engine/model_sampling.h"

#include "core/check.h"

namespace onnuri {
namespace {

void read(const JsonValue& json, const char* key, const std::string& where, double low, double high,
          float& value) {
  const JsonValue* found = json.find(key);
  if (!found || found->is_null()) return;
  const double number = found->as_double(where + ": " + key);
  if (!(number >= low && number <= high))
    fail(ErrorCode::kCorruptData, "expected ", key, " in [", low, ", ", high, "] in ", where,
         ", found ", number);
  value = static_cast<float>(number);
}

void read_top_k(const JsonValue& json, const char* key, const std::string& where, int32_t& value) {
  float number = static_cast<float>(value);
  read(json, key, where, -1, 1 << 24, number);
  value = number < 0 ? 0 : static_cast<int32_t>(number);  // -1 is a spelling of "all"
}

SamplingParams from_json(const JsonValue& json) {
  const std::string where = "generation_config.json";
  SamplingParams params;
  const JsonValue* do_sample = json.find("do_sample");
  const bool has_temperature = json.find("temperature") && !json.find("temperature")->is_null();
  // Some publishers write the temperature and leave do_sample out; none means greedy by that.
  const bool samples = do_sample && !do_sample->is_null()
                           ? do_sample->as_bool(where + ": do_sample")
                           : has_temperature;
  read(json, "repetition_penalty", where, 1e-6, 1e6, params.repetition_penalty);
  if (!samples) return params;
  params.temperature = 1.0f;
  read(json, "temperature", where, 0, 1e6, params.temperature);
  read_top_k(json, "top_k", where, params.top_k);
  read(json, "top_p", where, 0, 1, params.top_p);
  read(json, "min_p", where, 0, 1, params.min_p);
  read(json, "typical_p", where, 0, 1, params.typical_p);
  return params;
}

SamplingParams from_gguf(const JsonValue& metadata) {
  const std::string where = "the GGUF metadata";
  SamplingParams params;
  read(metadata, "general.sampling.temp", where, 0, 1e6, params.temperature);
  read_top_k(metadata, "general.sampling.top_k", where, params.top_k);
  read(metadata, "general.sampling.top_p", where, 0, 1, params.top_p);
  read(metadata, "general.sampling.min_p", where, 0, 1, params.min_p);
  read(metadata, "general.sampling.penalty_repeat", where, 1e-6, 1e6, params.repetition_penalty);
  return params;
}

}  // namespace

SamplingParams read_model_sampling(const ModelFiles& files) {
  return files.is_gguf() ? from_gguf(files.checkpoint->metadata())
                         : from_json(files.generation_config);
}

}  // namespace onnuri
