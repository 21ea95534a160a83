#include "engine/speech_transcriber.h"

#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/check.h"
#include "engine/sound_encoder.h"

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

SpeechThresholds thresholds_of(const TranscribeOptions& options) {
  constexpr size_t kMaxTries = 64;
  const std::vector<float>& t = options.temperatures;
  if (t.empty() || t.size() > kMaxTries ||
      std::any_of(t.begin(), t.end(), [](float x) { return !(x >= 0) || !std::isfinite(x); }))
    fail(ErrorCode::kInvalidArgument, "expected 1 to ", kMaxTries,
         " temperatures of at least 0, found ", t.size(), " or one below");
  SpeechThresholds out;
  out.temperatures = t;
  out.max_compression_ratio = options.max_compression_ratio;
  out.min_mean_log_prob = options.min_mean_logprob;
  out.max_no_speech_prob = options.max_no_speech_prob;
  return out;
}

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
  check_sound(audio, mel.sample_rate_hz);
  const auto num_samples = static_cast<int64_t>(audio.samples.size());
  const int64_t window = parts_.mel->num_frames(mel.padded_samples);
  signal_ = {audio.samples, std::max(num_samples, mel.padded_samples)};
  total_frames_ = parts_.mel->num_frames(signal_.length);
  timestamps_ = options.timestamps || total_frames_ > window;
  // Frames with sound; the padding after it is never listened to for its own sake.
  const int64_t spoken_frames = std::max<int64_t>(1, parts_.mel->num_frames(num_samples));

  Transcript out;
  out.audio_s = static_cast<double>(num_samples) / static_cast<double>(audio.sample_rate_hz);
  options_ = &options;
  trace_ = Trace(options.trace);
  stopped_ = false;
  start_.clear();
  said_.clear();
  said_from_ = 0;
  if (const std::string lead = trimmed(options.initial_prompt); !lead.empty())
    said_ = parts_.tokenizer->encode(" " + lead, false, false);
  random_.seed(options.seed);
  peak_ = -std::numeric_limits<float>::infinity();
  for (int64_t seek = 0; seek < spoken_frames && !stopped_;) {
    if (options.progress) {
      options.progress(static_cast<double>(seek) / static_cast<double>(spoken_frames));
    }
    const int64_t num_frames = std::min(window, total_frames_ - seek);
    int64_t next = num_frames;
    if (!is_silent(seek, num_frames) && !hear_window(seek, num_frames, options, out, next)) break;
    seek += next;
  }
  if (options.progress && !stopped_) options.progress(1.0);
  out.complete = !stopped_;
  out.text = trimmed(out.text);
  for (const SpeechLanguage& l : parts_.config->languages) {
    if (start_.size() > 1 && start_[1] == l.id) out.language = l.code;
  }
  out.language_prob = language_prob_;
  out.mel_ms = mel_ms_;
  out.encode_ms = encode_ms_;
  out.decode_ms = decode_ms_;
  out.trace_json = trace_.json();
  return out;
}

// One window; `next` is how far to move on. False when the caller wants no more.
bool SpeechTranscriber::hear_window(int64_t first_frame, int64_t num_frames,
                                    const TranscribeOptions& options, Transcript& out,
                                    int64_t& next) {
  const Trace::Span window(&trace_, "window");
  encode_window(first_frame);
  if (start_.empty()) start_ = start_tokens(options);
  const std::optional<Answer> answer = answer_window();
  if (stopped_) return false;
  if (!answer) return true;
  SpeechCuts cuts{{{0, static_cast<int64_t>(answer->tokens.size()), 0, num_frames / 2}},
                  num_frames};
  if (timestamps_) cuts = cut_speech(*parts_.config, answer->tokens, num_frames);
  next = cuts.next_frame;
  remember(cuts, *answer, options);
  stopped_ = !append_segments(cuts, *answer, first_frame, options, out);
  return !stopped_;
}

// What leads the next window: the tokens of all cuts that say something, without the timestamp
// that the next window starts at.
void SpeechTranscriber::remember(const SpeechCuts& cuts, const Answer& answer,
                                 const TranscribeOptions& options) {
  const auto is_time = [&](int32_t id) { return id >= parts_.config->first_timestamp(); };
  for (const SpeechCut& cut : cuts.cuts) {
    const auto begin = answer.tokens.begin() + cut.begin;
    auto end = answer.tokens.begin() + cut.end;
    if (end - begin >= 2 && is_time(end[-1]) && is_time(end[-2])) --end;
    if (cut.start_step == cut.end_step || trimmed(text_of({begin, end})).empty()) continue;
    said_.insert(said_.end(), begin, end);
  }
  if (!options.condition_on_previous || answer.temperature > thresholds_.reset_temperature)
    said_from_ = said_.size();
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
    const Trace::Span span(&trace_, "preprocess", std::min(window, total_frames_ - first_frame));
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
  const Trace::Span span(&trace_, "encode", audio.max_positions);
  const MatrixView features =
      matrix(features_.data(), audio.max_positions, audio.transformer.hidden_size);
  parts_.encoder->encode({mel, window}, features);
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
    const auto best = std::max_element(languages.begin(), languages.end(),
                                       [&](auto& a, auto& b) { return logit(a) < logit(b); });
    double sum = 0;
    for (const SpeechLanguage& l : languages)
      sum += std::exp(static_cast<double>(logit(l)) - static_cast<double>(logit(*best)));
    language_prob_ = 1.0 / sum;
    return best->id;
  }
  std::string known;
  for (const SpeechLanguage& l : languages) {
    if (l.code == wanted) return l.id;
    known += (known.empty() ? "" : ", ") + l.code;
  }
  fail(ErrorCode::kInvalidArgument, "expected a language of ", known, "; found \"", wanted, "\"");
}

std::vector<int32_t> SpeechTranscriber::start_tokens(const TranscribeOptions& options) {
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

std::vector<int32_t> SpeechTranscriber::prompt() const {
  const auto longest =
      static_cast<size_t>(std::max<int64_t>(parts_.config->max_positions / 2 - 1, 0));
  const size_t count = std::min(said_.size() - said_from_, longest);
  std::vector<int32_t> ids;
  if (count > 0 && parts_.config->start_of_previous >= 0) {
    ids.push_back(parts_.config->start_of_previous);
    ids.insert(ids.end(), said_.end() - static_cast<long>(count), said_.end());
  }
  ids.insert(ids.end(), start_.begin(), start_.end());
  return ids;
}

std::optional<SpeechTranscriber::Answer> SpeechTranscriber::answer_window() {
  const Stopwatch watch(decode_ms_);
  Answer answer;
  for (const float temperature : thresholds_.temperatures) {
    answer = decode(temperature);
    if (stopped_) return std::nullopt;
    const bool doubtful = answer.mean_log_prob < thresholds_.min_mean_log_prob;
    if (doubtful && answer.no_speech_prob > thresholds_.max_no_speech_prob) return std::nullopt;
    if (!doubtful && answer.compression_ratio <= thresholds_.max_compression_ratio) break;
  }
  return answer;
}

SpeechTranscriber::Answer SpeechTranscriber::decode(float temperature) {
  const SpeechDecoderConfig& config = *parts_.config;
  const int64_t vocab = config.vocab_size;
  const std::vector<int32_t> lead = prompt();
  state_.truncate(0);
  Answer answer;
  answer.temperature = temperature;
  // The start token's own logits tell how likely it is that nobody speaks.
  std::vector<float> start_logits(start_.size() * static_cast<size_t>(vocab));
  {
    const Trace::Span span(&trace_, "prefill", static_cast<int64_t>(lead.size()));
    parts_.decoder->forward(
        state_, lead, matrix(start_logits.data(), static_cast<int64_t>(start_.size()), vocab));
  }
  const std::span<const float> first(start_logits.data(), static_cast<size_t>(vocab));
  answer.no_speech_prob = std::exp(
      static_cast<double>(first[static_cast<size_t>(config.no_speech)]) - log_sum_exp(first));
  std::copy_n(start_logits.end() - static_cast<long>(vocab), vocab, logits_.begin());

  double sum_log_prob = 0;
  const int64_t limit =
      thresholds_.max_tokens > 0 ? thresholds_.max_tokens : (config.max_positions + 1) / 2;
  const int64_t room = std::min(limit, config.max_positions - static_cast<int64_t>(lead.size()));
  int64_t count = 0;
  Trace::Span span(&trace_, "decode");
  while (count < room) {
    if (options_->go_on && !options_->go_on()) {
      stopped_ = true;
      break;
    }
    apply_speech_rules(config, timestamps_, answer.tokens, logits_);
    const int32_t id = choose(logits_, temperature);
    sum_log_prob += static_cast<double>(logits_[static_cast<size_t>(id)]) - log_sum_exp(logits_);
    ++count;
    if (id == config.end_of_text) break;
    answer.tokens.push_back(id);
    if (count == room) break;
    parts_.decoder->forward(state_, std::span(&id, 1), matrix(logits_.data(), 1, vocab));
  }
  span.set_tokens(count);
  answer.mean_log_prob = sum_log_prob / static_cast<double>(std::max<int64_t>(count, 1));
  answer.compression_ratio = compression_ratio(answer.tokens);
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
  const std::string text = trimmed(text_of(tokens));
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
  const Trace::Span span(&trace_, "detokenise");
  for (const SpeechCut& cut : cuts.cuts) {
    TranscriptSegment segment;
    segment.token_ids.assign(answer.tokens.begin() + cut.begin, answer.tokens.begin() + cut.end);
    segment.start_s =
        std::min(offset_s + static_cast<double>(2 * cut.start_step) * frame_s, out.audio_s);
    segment.end_s =
        std::min(offset_s + static_cast<double>(2 * cut.end_step) * frame_s, out.audio_s);
    segment.temperature = static_cast<double>(answer.temperature);
    segment.mean_logprob = answer.mean_log_prob;
    segment.compression_ratio = answer.compression_ratio;
    segment.no_speech_prob = answer.no_speech_prob;
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
