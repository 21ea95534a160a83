// What vision families share when they read config.json and preprocessor_config.json.
#pragma once

#include <array>

#include "decoder/decoder_config.h"
#include "encoders/vision/vision_config.h"
#include "engine/config_reader.h"
#include "engine/model_config.h"
#include "engine/name_table.h"

namespace onnuri {

/// The picture geometry of preprocessor_config.json. Older files hold "min_pixels" and
/// "max_pixels", newer ones "size" with them or with "shortest_edge" and "longest_edge" (areas).
/// Throws kNotFound without the file and kCorruptData for keys that are missing.
ImageProcessorConfig read_image_processor(const ModelFiles& files);

/// "image_mean" and the like; "resample", in Pillow's numbers (bicubic where it is absent).
std::array<float, 3> read_triple(const ConfigReader& config, std::string_view key);
ResizeFilter read_filter(const ConfigReader& config);

/// The number whose square stands at `key`; throws kCorruptData for other numbers.
int64_t read_square_root(const ConfigReader& config, std::string_view key);

/// Placeholder and bracket ids ("image_token_id", ...) of config.json.
void read_vision_tokens(const ConfigReader& config, SpecialTokens& special);

/// Frequencies per axis from "mrope_section", wherever a file keeps it; checked against the table.
void read_mrope_sections(const ConfigReader& text, RopeTable& table);

/// "tie_word_embeddings" of the whole file, else of the text part, else `fallback`.
bool read_tied_head(const ModelFiles& files, bool fallback);

/// Adds candidates for each prefix, in order.
void add_prefixed_names(NameTable& table, const std::vector<std::string>& prefixes,
                        const std::string& canonical, StoredName stored);

// Encoders over blocks of merge x merge patches, grids of any size, axial rope, and their merger.
/// Sizes and geometry; norm and feed-forward are the family's. The width stands at `width_key`.
VisionConfig read_block_vision(const ModelFiles& files, const ConfigReader& vision,
                               std::string_view width_key);
ProjectorConfig block_vision_projector(const VisionConfig& vision, int64_t out_size);
/// Every spelling of the tensors below "visual." that is known.
void add_block_vision_names(NameTable& table, const std::vector<std::string>& prefixes,
                            const TransformerConfig& transformer);

// Of them, the encoder with windows, RMS norms and gated feed-forward.
VisionConfig read_window_vision(const ModelFiles& files, const ConfigReader& vision);
ProjectorConfig window_vision_projector(const VisionConfig& vision, const ConfigReader& config);

// Of them, the encoder with a learned grid of positions and features of several depths.
VisionConfig read_tapped_vision(const ModelFiles& files, const ConfigReader& vision);
/// The merger of one of those depths: its norm comes after the rows are joined.
ProjectorConfig tap_projector(const ProjectorConfig& projector);

/// Frames and their sizes, of video_preprocessor_config.json; without it pictures set the sizes.
VideoConfig read_video(const ModelFiles& files);

}  // namespace onnuri
