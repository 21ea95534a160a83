// What a mapped model is, as JSON for people and programs.
#pragma once

#include "core/json.h"
#include "decoder/kv_cache.h"
#include "engine/model_config.h"

namespace onnuri {

/// What keys and values take, one entry for each kind of layer: what one more token costs, and what
/// windows cost once.
JsonValue cache_facts(const DecoderConfig& decoder, const KvCacheOptions& options);

/// Tensors and bytes by stored type.
JsonValue storage_facts(const Checkpoint& checkpoint);

/// Family, sizes, layer table, parameters, storage types, special tokens.
JsonValue model_facts(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace onnuri
