// What families with ears share when they read config.json and preprocessor_config.json.
#pragma once

#include <string>
#include <vector>

#include "encoders/audio/audio_config.h"
#include "engine/config_reader.h"
#include "engine/model_config.h"
#include "engine/name_table.h"

namespace onnuri {

/// Sizes of the transformer and the spectrogram's bins from an "audio_config" (d_model,
/// encoder_layers, ...). Throws kUnsupported for another activation than "gelu".
AudioConfig read_audio_tower(const ConfigReader& audio);

/// Where preprocessor_config.json describes a log-mel front end, its window ("n_samples" or
/// "chunk_length"); else `published_samples`. Other settings than the tower's throw kUnsupported.
int64_t read_sound_window(const ModelFiles& files, int64_t published_samples);

/// "audio_token_id" or "audio_token_index"; throws kCorruptData when there is neither.
int32_t read_audio_token(const ConfigReader& config);

/// Names of the layers and of one-dimensional stems under each prefix ("audio_tower.").
void add_audio_names(NameTable& table, const std::vector<std::string>& prefixes);
/// One tensor's weight and bias.
void add_audio_product(NameTable& table, const std::vector<std::string>& prefixes,
                       const std::string& canonical, const std::string& stored);

}  // namespace onnuri
