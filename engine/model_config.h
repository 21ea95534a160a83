// What a family makes of a checkpoint: configs for every room and the names of its tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint.h"
#include "core/tensor_source.h"
#include "decoder/decoder_config.h"
#include "encoders/audio/audio_config.h"
#include "encoders/text/text_tower.h"
#include "encoders/vision/vision_config.h"
#include "encoders/vision/vision_pool.h"
#include "fusion/conv_abstractor.h"
#include "fusion/positions.h"
#include "fusion/projector.h"
#include "fusion/sequence_compressor.h"
#include "fusion/sound_in_video.h"
#include "fusion/tile_rows.h"
#include "onnuri/engine.h"

namespace onnuri {

/// The files of one model, opened but not interpreted.
struct ModelFiles {
  std::string path;
  std::shared_ptr<const Checkpoint> checkpoint;
  JsonValue config;                     // config.json; null for GGUF
  JsonValue generation_config;          // generation_config.json or null
  JsonValue preprocessor_config;        // preprocessor_config.json or null
  JsonValue video_preprocessor_config;  // video_preprocessor_config.json or null
  bool measure = false;                 // an engine for them sizes everything and computes nothing
  bool is_gguf() const { return checkpoint->format() == CheckpointFormat::kGguf; }
};

/// Token ids that steer the engine, -1 when absent.
struct SpecialTokens {
  int32_t bos = -1;
  std::vector<int32_t> eos;
  int32_t image_placeholder = -1;
  int32_t video_placeholder = -1;
  int32_t vision_start = -1;
  int32_t vision_end = -1;
  int32_t audio_placeholder = -1;
  int32_t video_audio_placeholder = -1;  // of what is heard in videos, with SoundInVideo::kBehind
  int32_t audio_start = -1;
  int32_t audio_end = -1;
  // Ids that stand for image_placeholder in prompts, the first of them that occurs; the placeholder
  // itself may then lie beyond the vocabulary.
  std::vector<int32_t> image_spellings;
};

/// How a video stands in the row of tokens.
struct VideoTokens {
  double positions_per_second = 0;  // 0: one position from one grid to the next
  double assumed_fps = 2.0;         // of frames that came without a rate
  bool frames_apart = false;        // one run of tokens per grid, text between them
  AfterVideo after = AfterVideo::kLongestSide;
  bool nominal_rate = false;    // files count as sampled at exactly the wanted rate
  bool whole_positions = true;  // in time; else they keep their fractions
  bool seconds_first = false;   // grid * seconds * rate, rounded in this order; else the rate
                                // and the seconds first
  SoundInVideo sound = SoundInVideo::kApart;
  double seconds_per_chunk = 2.0;  // of kByChunks
  bool brackets_share = false;     // the two tokens on either side of a video with its sound
};

/// Two encoders whose vectors are compared.
struct EmbedConfig {
  TextTowerConfig text;
  VisionPoolConfig pool;
  bool sigmoid = false;     // each pair is judged for itself; else shares of all texts
  bool lower_case = false;  // of texts, before they are tokenised
  bool drop_punctuation = false;
  int32_t pad_id = -1;  // texts are filled up to their longest length with it
};

/// What stands around the tokens of tiles in a prompt. "{row}" and "{col}" count from 1.
struct TileText {
  int32_t marker = -1;                          // what the template writes for a picture
  std::string lone_before, lone_after;          // around the only tile
  std::string overview_before, overview_after;  // around the overview of a picture with a grid
  std::string tile_before, tile_after;          // around each tile of the grid
  std::string between;                          // two of those tiles
  std::string row_after;
  bool overview_first = true;
};

struct CodesConfig;

struct ModelConfig {
  std::string family;  // "qwen3", "gemma3", ...
  std::string model_name;
  DecoderConfig decoder;
  std::optional<VisionConfig> vision;
  std::optional<ProjectorConfig> projector;        // of pictures, with `vision`
  std::optional<ProjectorConfig> deep_projector;   // of each tap, added after the first layers
  std::optional<ConvAbstractorConfig> abstractor;  // instead of `projector`
  VideoTokens video_tokens;                        // with vision->video
  std::optional<TileText> tile_text;               // with runs of tokens that have text around them
  std::optional<TileJoinConfig> tile_join;         // with tiles that become one run of tokens
  std::optional<EmbedConfig> embed;                // with `vision`, instead of a decoder
  bool media_sees_ahead = false;     // tokens of a picture see each other in the decoder
  std::optional<AudioConfig> audio;  // of sound
  std::optional<SpeechDecoderConfig> speech_decoder;
  std::optional<SequenceCompressorConfig> video_sound;  // with SoundInVideo::kBehind
  std::shared_ptr<const CodesConfig> codes;             // of media as words, engine/code_encoder.h
  MtpSpec mtp;                            // the prediction module that the checkpoint offers
  std::vector<std::string> mtp_prefixes;  // its stored tensors, ignored when it is not loaded
  SpecialTokens special;
  TensorNameMap names;                        // canonical -> stored, all rooms
  std::string chat_template;                  // where the checkpoint has none
  std::vector<std::string> ignored_prefixes;  // stored tensors that are known and not needed
};

/// Makes the engine of a mapped model; see engine/text_engine.h for the usual one.
using EngineFactory = std::unique_ptr<Engine> (*)(const ModelFiles& files, ModelConfig config,
                                                  const EngineOptions& options);

/// One model family: a name, a test, a mapping. One file each in engine/families.
struct Family {
  const char* name;
  bool (*matches)(const ModelFiles& files);
  /// Throws kCorruptData for a missing or wrong key, naming it.
  ModelConfig (*map)(const ModelFiles& files);
  EngineFactory make_engine;
};

/// All families, in the order they are asked.
const std::vector<Family>& families();

/// The family of the files; an unknown one throws kUnsupported listing what is known.
const Family& find_family(const ModelFiles& files);

/// Opens the files; throws kNotFound with what was looked for.
ModelFiles open_model_files(const std::string& path,
                            CheckpointParts parts = CheckpointParts::kWhole);

/// As open_model_files; a config.json, or a folder that holds one and no weights, opens with a
/// checkpoint without tensors.
ModelFiles open_config_files(const std::string& path,
                             CheckpointParts parts = CheckpointParts::kWhole);

/// Maps with find_family and validates the decoder.
ModelConfig map_model(const ModelFiles& files);

}  // namespace onnuri
