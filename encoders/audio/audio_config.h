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

/// Convolutions before the transformer. Each halving step gives (n - 1) / 2 + 1 of n frames.
enum class AudioStem {
  kConv1d,  // over time, kernels of 3: stride 1 to the hidden size, stride 2
  kConv2d,  // over time and mels, three kernels of 3 x 3 with stride 2, then a product
};

enum class AudioPositions {
  kTable,     // stored with the weights
  kSinusoid,  // sines beside cosines, timescales up to 10000
  kRope,      // queries and keys turn, timescales up to 10000
};

/// A tower: spectrogram, stem, positions, the shared transformer, pooling, norm, tail.
struct AudioConfig {
  LogMelConfig mel;
  TransformerConfig transformer;
  AudioStem stem = AudioStem::kConv1d;
  int64_t first_stride = 1;    // of kConv1d
  int64_t stem_channels = 0;   // of kConv2d
  int64_t chunk_frames = 0;    // mel frames that the stem and the positions see at once; 0: all
  bool chunks_padded = false;  // the last chunk is silent up to the length of the longest one
  AudioPositions positions = AudioPositions::kTable;
  int64_t max_positions = 1500;  // rows of a chunk after the stem
  int64_t span_chunks = 0;       // chunks that attend to each other; 0: all
  bool joins_windows = false;    // a sound longer than the padded one is cut into such windows
  bool mean_pairs = false;       // each two rows become one, an odd last one is dropped
  bool last_norm = true;         // behind the layers
  float norm_eps = 1e-5f;
  std::vector<int64_t> tail_sizes;  // products after the norm, GELU between them

  int64_t out_size() const {
    return tail_sizes.empty() ? transformer.hidden_size : tail_sizes.back();
  }
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
  int32_t start_of_previous = -1;  // opens the text of the window before
  int32_t end_of_text = -1;        // text tokens lie below it
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
