// Sound front ends and encoders as data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "encoders/transformer.h"

namespace onnuri {

/// Whisper-style log-mel (Radford et al. 2022).
struct LogMelConfig {
  int64_t sample_rate_hz = 16000;
  int64_t n_fft = 400;
  int64_t hop_length = 160;
  int64_t num_mels = 80;
  int64_t padded_samples = 480000;  // 0: the real length
};

/// Two convolutions, positions from a table, then the shared transformer and a final norm.
struct AudioConfig {
  LogMelConfig mel;
  TransformerConfig transformer;
  int64_t max_positions = 1500;  // frames after the convolutions
};

struct SpeechLanguage {
  std::string code;  // "en"
  int32_t id = -1;
};

/// The text decoder that attends to an audio encoder, and the tokens that steer it.
struct SpeechDecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_positions = 448;
  int32_t start_of_transcript = -1;
  int32_t end_of_text = -1;  // text tokens lie below it
  int32_t no_speech = -1;
  int32_t no_timestamps = -1;  // timestamps follow it in steps of two mel frames
  int32_t task_transcribe = -1;
  int32_t task_translate = -1;
  int32_t max_initial_timestamp = -1;     // in steps; -1: any
  std::vector<SpeechLanguage> languages;  // empty: one language, no task tokens
  std::vector<int32_t> suppress_tokens;
  std::vector<int32_t> begin_suppress_tokens;

  int32_t first_timestamp() const { return no_timestamps + 1; }
};

}  // namespace onnuri
