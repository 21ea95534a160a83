// Sound of any length to text: windows of 30 s, each encoded once and decoded until the answer
// convinces (Radford et al. 2022, section 4.5).
//
// Greedy first; an answer that repeats itself or that the model doubts is drawn again at rising
// temperatures. Windows without speech give no text. Sound longer than one window moves on by the
// timestamps of the answer, and each window reads the end of what was said before it, as the
// references do (openai-whisper 20250625, transformers 5.23).
#pragma once

#include <optional>
#include <random>

#include "decoder/cross_decoder.h"
#include "encoders/audio/audio_encoder.h"
#include "encoders/audio/log_mel.h"
#include "engine/speech_rules.h"
#include "engine/trace.h"
#include "fusion/tokenizer.h"
#include "onnuri/engine.h"

namespace onnuri {

/// The defaults are the reference's.
struct SpeechThresholds {
  std::vector<float> temperatures = {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f};
  double max_compression_ratio = 2.4;  // of the text by deflate: repetition
  double min_mean_log_prob = -1.0;
  double max_no_speech_prob = 0.6;  // with a doubtful answer
  float silence_peak = 1e-4f;       // quieter windows are not decoded at all
  float reset_temperature = 0.5f;   // text drawn above it does not lead the next window
  int64_t max_tokens = 0;           // of one answer; 0: half of the decoder's positions
};

SpeechThresholds thresholds_of(const TranscribeOptions& options);

/// Borrowed parts of a loaded speech model.
struct SpeechParts {
  Backend* backend = nullptr;
  const SpeechDecoderConfig* config = nullptr;
  const LogMel* mel = nullptr;
  const AudioEncoder* encoder = nullptr;
  const CrossDecoder* decoder = nullptr;
  const Tokenizer* tokenizer = nullptr;
};

class SpeechTranscriber {
 public:
  SpeechTranscriber(const SpeechParts& parts, CrossDecoder::State& state,
                    const SpeechThresholds& thresholds = {});

  /// Throws kInvalidArgument for another sample rate, an unknown language or task; kCancelled
  /// never: when on_text returns false the transcript so far is returned.
  Transcript run(const Waveform& audio, const TranscribeOptions& options);

 private:
  struct Answer {
    std::vector<int32_t> tokens;  // without the end token
    double mean_log_prob = 0;
    double no_speech_prob = 0;
    double compression_ratio = 0;
    float temperature = 0;
  };
  void encode_window(int64_t first_frame);
  int32_t language_token(const std::string& wanted);
  std::vector<int32_t> start_tokens(const TranscribeOptions& options);
  std::vector<int32_t> prompt() const;
  std::optional<Answer> answer_window();
  bool hear_window(int64_t first_frame, int64_t num_frames, const TranscribeOptions& options,
                   Transcript& out, int64_t& next);
  void remember(const SpeechCuts& cuts, const Answer& answer, const TranscribeOptions& options);
  Answer decode(float temperature);
  int32_t choose(std::span<const float> logits, float temperature);
  double compression_ratio(std::span<const int32_t> tokens) const;
  bool is_silent(int64_t first_frame, int64_t num_frames) const;
  bool append_segments(const SpeechCuts& cuts, const Answer& answer, int64_t first_frame,
                       const TranscribeOptions& options, Transcript& out);
  std::string text_of(std::span<const int32_t> tokens) const;

  SpeechParts parts_;
  CrossDecoder::State& state_;
  SpeechThresholds thresholds_;
  std::mt19937_64 random_{0};

  // Of the sound at hand:
  PaddedSignal signal_;
  int64_t total_frames_ = 0;  // of the padded signal
  float peak_ = 0;            // of its log-mel
  bool timestamps_ = false;
  const TranscribeOptions* options_ = nullptr;
  bool stopped_ = false;
  double language_prob_ = 1;
  std::vector<int32_t> start_;  // start of transcript, language, task
  std::vector<int32_t> said_;   // in earlier windows, timestamps among the words
  size_t said_from_ = 0;        // what leads the next window begins here
  std::vector<float> mel_, features_, logits_;
  double mel_ms_ = 0, encode_ms_ = 0, decode_ms_ = 0;
  Trace trace_{false};
};

}  // namespace onnuri
