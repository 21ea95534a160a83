// What a mapped model is, as JSON for people and programs.
#pragma once

#include "core/json.h"
#include "engine/model_config.h"

namespace onnuri {

/// Family, sizes, layer table, parameters, storage types, special tokens.
JsonValue model_facts(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace onnuri
