// The Engine of models that put pictures and texts into one space of vectors.
#pragma once

#include <memory>

#include "engine/model_config.h"
#include "onnuri/engine.h"

namespace onnuri {

/// `config` has vision and embed set. Throws as Engine::load does.
std::unique_ptr<Engine> make_embed_engine(const ModelFiles& files, ModelConfig config,
                                          const EngineOptions& options);

}  // namespace onnuri
