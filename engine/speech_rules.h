// What a speech decoder may say next, and where its answer cuts the sound: pure functions of
// tokens.
//
// Follows the reference in transformers: WhisperTimeStampLogitsProcessor, the suppress lists, and
// WhisperGenerationMixin._retrieve_segment.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "encoders/audio/audio_config.h"

namespace onnuri {

/// Sets the logits of tokens that may not follow `generated` (the tokens after the prompt) to
/// -infinity. With `timestamps`: they come in pairs, never go back, open the answer, and win when
/// together they are more likely than every text token.
void apply_speech_rules(const SpeechDecoderConfig& config, bool timestamps,
                        std::span<const int32_t> generated, std::span<float> logits);

/// A piece of one window's answer. Times in timestamp steps from the start of the window.
struct SpeechCut {
  int64_t begin = 0, end = 0;  // tokens [begin, end)
  int64_t start_step = 0, end_step = 0;
};

struct SpeechCuts {
  std::vector<SpeechCut> cuts;
  int64_t next_frame = 0;  // mel frames to move on; > 0
};

/// Splits the answer (end token removed) of a window of `num_frames` mel frames at its paired
/// timestamps. What follows the last pair is thrown away and heard again in the next window.
SpeechCuts cut_speech(const SpeechDecoderConfig& config, std::span<const int32_t> tokens,
                      int64_t num_frames);

}  // namespace onnuri
