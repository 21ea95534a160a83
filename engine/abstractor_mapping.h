// What families with a convolutional abstractor share: its blocks as they are stored, their names.
#pragma once

#include <string>
#include <vector>

#include "engine/model_config.h"
#include "engine/name_table.h"

namespace onnuri {

/// The blocks on one side of the pool ("net.0.", "net.2."), below the first of `prefixes` that has
/// them: how many channels mix, and the width of the gate, are those of the tensors.
std::vector<AbstractorBlock> read_abstractor_blocks(const ModelFiles& files,
                                                    const std::vector<std::string>& prefixes,
                                                    const std::string& stage, int64_t depth,
                                                    int64_t in_size, int64_t out_size);

/// Names below "projector.".
void add_abstractor_names(NameTable& names, const std::vector<std::string>& prefixes);

}  // namespace onnuri
