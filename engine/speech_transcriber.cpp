#include "engine/speech_transcriber.h"

#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

/// Adds the time of its own life to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(double& total_ms) : total_ms_(total_ms) {}
  ~Stopwatch() {
    const std::chrono::duration<double, std::milli> t = std::chrono::steady_clock::now() - start_;
    total_ms_ += t.count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& total_ms_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n\t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \n\t") - begin + 1);
}

// log of the sum of exponentials.
double log_sum_exp(std::span<const float> logits) {
  const float best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += static_cast<double>(std::exp(x - best));
  return static_cast<double>(best) + std::log(sum);
}

}  // namespace

SpeechTranscriber::SpeechTranscriber(const SpeechParts& parts, CrossDecoder::State& state,
                                     const SpeechThresholds& thresholds)
    : parts_(parts), state_(state), thresholds_(thresholds) {
  const AudioConfig& audio = parts_.encoder->config();
  mel_.resize(static_cast<size_t>(2 * audio.max_positions * audio.mel.num_mels));
  features_.resize(static_cast<size_t>(audio.max_positions * audio.transformer.hidden_size));
  logits_.resize(static_cast<size_t>(parts_.config->vocab_size));
}

Transcript SpeechTranscriber::run(const Waveform& audio, const TranscribeOptions& options) {
  const LogMelConfig& mel = parts_.mel->config();
  if (audio.sample_rate_hz != mel.sample_rate_hz) {
    fail(ErrorCode::kInvalidArgument, "expected sound at ", mel.sample_rate_hz, " Hz, found ",
         audio.sample_rate_hz, " Hz");
  }
  if (audio.samples.empty()) fail(ErrorCode::kInvalidArgument, "expected sound, found no samples");
  const auto num_samples = static_cast<int64_t>(audio.samples.size());
  const int64_t window = parts_.mel->num_frames(mel.padded_samples);
  signal_ = {audio.samples, std::max(num_samples, mel.padded_samples)};
  total_frames_ = parts_.mel->num_frames(signal_.length);
  timestamps_ = options.timestamps || total_frames_ > window;
  // Frames with sound; the padding after it is never listened to for its own sake.
  const int64_t spoken_frames = std::max<int64_t>(1, parts_.mel->num_frames(num_samples));

  Transcript out;
  out.audio_s = static_cast<double>(num_samples) / static_cast<double>(audio.sample_rate_hz);
  prompt_.clear();
  peak_ = -std::numeric_limits<float>::infinity();
  for (int64_t seek = 0; seek < spoken_frames;) {
    if (options.progress) {
      options.progress(static_cast<double>(seek) / static_cast<double>(spoken_frames));
    }
    const int64_t num_frames = std::min(window, total_frames_ - seek);
    int64_t next = num_frames;
    if (!is_silent(seek, num_frames)) {
      encode_window(seek);
      if (prompt_.empty()) prompt_ = prompt(options);
      if (const std::optional<Answer> answer = answer_window()) {
        SpeechCuts cuts{{{0, static_cast<int64_t>(answer->tokens.size()), 0, num_frames / 2}},
                        num_frames};
        if (timestamps_) cuts = cut_speech(*parts_.config, answer->tokens, num_frames);
        next = cuts.next_frame;
        if (!append_segments(cuts, *answer, seek, options, out)) break;
      }
    }
    seek += next;
  }
  if (options.progress) options.progress(1.0);
  out.text = trimmed(out.text);
  if (!prompt_.empty()) {
    for (const SpeechLanguage& l : parts_.config->languages) {
      if (prompt_.size() > 1 && prompt_[1] == l.id) out.language = l.code;
    }
  }
  out.mel_ms = mel_ms_;
  out.encode_ms = encode_ms_;
  out.decode_ms = decode_ms_;
  return out;
}

bool SpeechTranscriber::is_silent(int64_t first_frame, int64_t num_frames) const {
  const int64_t hop = parts_.mel->config().hop_length;
  const auto size = static_cast<int64_t>(signal_.samples.size());
  const auto begin = static_cast<size_t>(std::min(size, first_frame * hop));
  const auto end = static_cast<size_t>(std::min(size, (first_frame + num_frames) * hop));
  return std::all_of(signal_.samples.begin() + static_cast<long>(begin),
                     signal_.samples.begin() + static_cast<long>(end),
                     [&](float x) { return std::abs(x) < thresholds_.silence_peak; });
}

// The peak that normalises the spectrogram is the whole signal's. Long sound is therefore heard
// twice, which costs 1 % of encoding it and keeps memory at one window.
void SpeechTranscriber::encode_window(int64_t first_frame) {
  const AudioConfig& audio = parts_.encoder->config();
  const int64_t window = 2 * audio.max_positions, mels = audio.mel.num_mels;
  const MatrixView mel = matrix(mel_.data(), window, mels);
  ThreadPool& pool = parts_.backend->pool();
  {
    const Stopwatch watch(mel_ms_);
    const auto rows_at = [&](int64_t frame) { return std::min(window, total_frames_ - frame); };
    if (peak_ == -std::numeric_limits<float>::infinity() && total_frames_ > window) {
      for (int64_t f = 0; f < total_frames_; f += window) {
        const MatrixView part = matrix(mel_.data(), rows_at(f), mels);
        peak_ = std::max(peak_, parts_.mel->log_frames(pool, signal_, f, part));
      }
    }
    const MatrixView part = matrix(mel_.data(), rows_at(first_frame), mels);
    const float found = parts_.mel->log_frames(pool, signal_, first_frame, part);
    if (total_frames_ <= window && first_frame == 0) peak_ = found;
    LogMel::normalize(pool, peak_, part);
    std::fill(mel_.begin() + static_cast<long>(part.rows * mels), mel_.end(), 0.0f);
  }
  const Stopwatch watch(encode_ms_);
  const MatrixView features =
      matrix(features_.data(), audio.max_positions, audio.transformer.hidden_size);
  parts_.encoder->encode(mel, features);
  parts_.decoder->attend_to(state_, features);
}

int32_t SpeechTranscriber::language_token(const std::string& wanted) {
  const auto& languages = parts_.config->languages;
  if (wanted.empty()) {
    const Stopwatch watch(decode_ms_);
    state_.truncate(0);
    const int32_t start = parts_.config->start_of_transcript;
    parts_.decoder->forward(state_, std::span(&start, 1),
                            matrix(logits_.data(), 1, parts_.config->vocab_size));
    const auto logit = [&](const SpeechLanguage& l) { return logits_[static_cast<size_t>(l.id)]; };
    return std::max_element(languages.begin(), languages.end(),
                            [&](const auto& a, const auto& b) { return logit(a) < logit(b); })
        ->id;
  }
  std::string known;
  for (const SpeechLanguage& l : languages) {
    if (l.code == wanted) return l.id;
    known += (known.empty() ? "" : ", ") + l.code;
  }
  fail(ErrorCode::kInvalidArgument, "expected a language of ", known, "; found \"", wanted, "\"");
}

std::vector<int32_t> SpeechTranscriber::prompt(const TranscribeOptions& options) {
  const SpeechDecoderConfig& config = *parts_.config;
  if (options.task != "transcribe" && options.task != "translate") {
    fail(ErrorCode::kInvalidArgument, "expected the task \"transcribe\" or \"translate\", found \"",
         options.task, "\"");
  }
  std::vector<int32_t> ids = {config.start_of_transcript};
  if (!config.languages.empty()) {
    ids.push_back(language_token(options.language));
    ids.push_back(options.task == "translate" ? config.task_translate : config.task_transcribe);
  } else if (options.task == "translate" ||
             (!options.language.empty() && options.language != "en")) {
    fail(ErrorCode::kUnsupported,
         "expected English to be transcribed by this model, found language \"", options.language,
         "\" and task \"", options.task, "\"");
  }
  if (!timestamps_) ids.push_back(config.no_timestamps);
  return ids;
}

std::optional<SpeechTranscriber::Answer> SpeechTranscriber::answer_window() {
  const Stopwatch watch(decode_ms_);
  Answer answer;
  for (const float temperature : thresholds_.temperatures) {
    answer = decode(temperature);
    const bool doubtful = answer.mean_log_prob < thresholds_.min_mean_log_prob;
    if (doubtful && answer.no_speech_prob > thresholds_.max_no_speech_prob) return std::nullopt;
    if (!doubtful && compression_ratio(answer.tokens) <= thresholds_.max_compression_ratio) break;
  }
  return answer;
}

SpeechTranscriber::Answer SpeechTranscriber::decode(float temperature) {
  const SpeechDecoderConfig& config = *parts_.config;
  const int64_t vocab = config.vocab_size;
  state_.truncate(0);
  Answer answer;
  // The start token's own logits tell how likely it is that nobody speaks.
  std::vector<float> prompt_logits(prompt_.size() * static_cast<size_t>(vocab));
  parts_.decoder->forward(
      state_, prompt_, matrix(prompt_logits.data(), static_cast<int64_t>(prompt_.size()), vocab));
  const std::span<const float> first(prompt_logits.data(), static_cast<size_t>(vocab));
  answer.no_speech_prob = std::exp(
      static_cast<double>(first[static_cast<size_t>(config.no_speech)]) - log_sum_exp(first));
  std::copy_n(prompt_logits.end() - static_cast<long>(vocab), vocab, logits_.begin());

  double sum_log_prob = 0;
  const int64_t room = config.max_positions - static_cast<int64_t>(prompt_.size());
  int64_t count = 0;
  while (count < room) {
    apply_speech_rules(config, timestamps_, answer.tokens, logits_);
    const int32_t id = choose(logits_, temperature);
    sum_log_prob += static_cast<double>(logits_[static_cast<size_t>(id)]) - log_sum_exp(logits_);
    ++count;
    if (id == config.end_of_text) break;
    answer.tokens.push_back(id);
    if (count == room) break;
    parts_.decoder->forward(state_, std::span(&id, 1), matrix(logits_.data(), 1, vocab));
  }
  answer.mean_log_prob = sum_log_prob / static_cast<double>(std::max<int64_t>(count, 1));
  return answer;
}

int32_t SpeechTranscriber::choose(std::span<const float> logits, float temperature) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0.0f) return static_cast<int32_t>(best - logits.begin());
  std::vector<double> weights(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    sum += std::exp(static_cast<double>((logits[i] - *best) / temperature));
    weights[i] = sum;
  }
  // The top 53 bits as a number in [0, 1): the same on every platform.
  const double draw = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
  const auto chosen = std::upper_bound(weights.begin(), weights.end(), draw);
  return static_cast<int32_t>(std::min(chosen, weights.end() - 1) - weights.begin());
}

double SpeechTranscriber::compression_ratio(std::span<const int32_t> tokens) const {
  const std::string text = text_of(tokens);
  if (text.empty()) return 0.0;
  uLongf size = compressBound(text.size());
  std::vector<Bytef> packed(size);
  if (compress(packed.data(), &size, reinterpret_cast<const Bytef*>(text.data()), text.size()) !=
      Z_OK) {
    fail(ErrorCode::kOutOfMemory, "expected memory to compress ", text.size(),
         " bytes, found none");
  }
  return static_cast<double>(text.size()) / static_cast<double>(size);
}

std::string SpeechTranscriber::text_of(std::span<const int32_t> tokens) const {
  std::vector<int32_t> words;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(words),
               [&](int32_t id) { return id < parts_.config->end_of_text; });
  return parts_.tokenizer->decode(words, true);
}

bool SpeechTranscriber::append_segments(const SpeechCuts& cuts, const Answer& answer,
                                        int64_t first_frame, const TranscribeOptions& options,
                                        Transcript& out) {
  const LogMelConfig& mel = parts_.mel->config();
  const double frame_s =
      static_cast<double>(mel.hop_length) / static_cast<double>(mel.sample_rate_hz);
  const double offset_s = static_cast<double>(first_frame) * frame_s;
  for (const SpeechCut& cut : cuts.cuts) {
    TranscriptSegment segment;
    segment.token_ids.assign(answer.tokens.begin() + cut.begin, answer.tokens.begin() + cut.end);
    segment.start_s =
        std::min(offset_s + static_cast<double>(2 * cut.start_step) * frame_s, out.audio_s);
    segment.end_s =
        std::min(offset_s + static_cast<double>(2 * cut.end_step) * frame_s, out.audio_s);
    const std::string text = text_of(segment.token_ids);
    segment.text = trimmed(text);
    if (segment.text.empty()) continue;
    out.text += text;
    out.segments.push_back(std::move(segment));
    const std::string& spoken = out.segments.size() == 1 ? out.segments.back().text : text;
    if (options.on_text && !options.on_text(spoken)) return false;
  }
  return true;
}

}  // namespace onnuri
