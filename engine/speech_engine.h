// The Engine of speech models: an audio encoder and the text decoder that attends to it.
#pragma once

#include <memory>

#include "engine/model_config.h"
#include "onnuri/engine.h"

namespace onnuri {

/// `config` has audio and speech_decoder set. Throws as Engine::load does.
std::unique_ptr<Engine> make_speech_engine(const ModelFiles& files, ModelConfig config,
                                           const EngineOptions& options);

}  // namespace onnuri
