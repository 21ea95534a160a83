// What omni checkpoints share: the part that thinks lies under "thinker_config" and "thinker.", or
// is a checkpoint of its own.
#pragma once

#include <string>
#include <vector>

#include "engine/config_reader.h"
#include "engine/model_config.h"
#include "engine/name_table.h"

namespace onnuri {

/// "thinker_config", or config.json itself.
ConfigReader thinker_config(const ModelFiles& files);

/// Stored prefixes of a part of the thinker, of all layouts: "audio_tower." also as
/// "thinker.audio_tower." and "model.audio_tower.".
std::vector<std::string> thinker_prefixes(const std::string& part);

/// Name, end tokens, placeholder ids, and what speaks as ignored prefixes.
ModelConfig thinker_model(const ModelFiles& files, std::string family);

/// Whether the head is the embedding table: where no head is stored. The configs of both levels may
/// contradict each other; they count only without tensors.
bool thinker_tied_head(const ModelFiles& files);

/// Names of the text decoder and its head.
void add_thinker_text_names(NameTable& names);

}  // namespace onnuri
