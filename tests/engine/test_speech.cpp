// Speech models: a tiny random one against transformers (goldens by make_audio_goldens.py), and the
// rules of tokens on their own.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/checkpoint.h"
#include "decoder/cross_decoder.h"
#include "engine/speech_engine.h"
#include "engine/speech_rules.h"
#include "engine/speech_transcriber.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"

namespace onnuri {
namespace {

const std::string kFolder = std::string(ONNURI_TEST_DATA) + "/golden/speech/";
constexpr double kTolerance = 1e-3;  // of the standard deviation

std::vector<float> golden_floats(const Checkpoint& golden, const char* name) {
  const TensorView view = golden.find(name);
  return {view.as<float>(), view.as<float>() + view.num_elements()};
}
std::vector<int32_t> golden_ids(const Checkpoint& golden, const char* name) {
  const TensorView view = golden.find(name);
  return {view.as<int32_t>(), view.as<int32_t>() + view.num_elements()};
}

double deviation(std::span<const float> x) {
  double sum = 0, squares = 0;
  for (const float v : x) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const auto n = static_cast<double>(x.size());
  return std::sqrt(squares / n - sum / n * sum / n);
}

EngineOptions exact(const std::string& isa = "") {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.isa = isa;
  return options;
}

TEST(Speech, EncoderAgreesWithTheReference) {
  const auto golden = Checkpoint::open(kFolder + "expected.safetensors");
  const auto engine = Engine::load(kFolder + "tiny", exact());
  const FloatMatrix found = engine->encode_audio({16000, golden_signal(48000)});
  ASSERT_EQ(found.rows, 1500);
  const auto rows = golden_ids(*golden, "encoder.rows");
  const auto expected = golden_floats(*golden, "encoder.values");
  const double limit = kTolerance * static_cast<double>(golden_floats(*golden, "encoder.std")[0]);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (int64_t c = 0; c < found.cols; ++c) {
      ASSERT_NEAR(found.values[static_cast<size_t>(rows[r] * found.cols + c)],
                  expected[r * static_cast<size_t>(found.cols) + static_cast<size_t>(c)], limit)
          << "row " << rows[r];
    }
  }
}

TEST(Speech, LogitsAgreeWithTheReference) {
  const auto golden = Checkpoint::open(kFolder + "expected.safetensors");
  const auto ids = golden_ids(*golden, "ids");
  const auto expected = golden_floats(*golden, "logits");
  const Waveform audio{16000, golden_signal(48000)};
  for (const char* isa : {"ref", ""}) {
    const auto engine = Engine::load(kFolder + "tiny", exact(isa));
    const FloatMatrix found = engine->logits(ids, {}, std::span(&audio, 1));
    ASSERT_EQ(found.values.size(), expected.size());
    const double limit = kTolerance * deviation(expected);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(found.values[i], expected[i], limit) << "isa '" << isa << "' at " << i;
    }
  }
}

/// The parts of the tiny model, for calls below the Engine.
struct TinyModel {
  TinyModel() {
    const ModelFiles files = open_model_files(kFolder + "tiny");
    config = map_model(files);
    TensorSource source(files.checkpoint, config.names);
    const SpeechDecoderConfig& s = *config.speech_decoder;
    CrossDecoderConfig d;
    d.vocab_size = s.vocab_size;
    d.hidden_size = s.hidden_size;
    d.num_layers = s.num_layers;
    d.num_heads = s.num_heads;
    d.intermediate_size = s.intermediate_size;
    d.max_positions = s.max_positions;
    d.max_features = config.audio->max_positions;
    mel = std::make_unique<LogMel>(config.audio->mel);
    encoder = AudioEncoder::load(*config.audio, source, backend, ComputeType::kFloat32);
    decoder = CrossDecoder::load(d, source, backend, ComputeType::kFloat32);
    tokenizer = load_tokenizer(files.path);
    state = decoder->new_state();
  }
  Transcript transcribe(const Waveform& audio, const TranscribeOptions& options) {
    SpeechThresholds once;  // the goldens are plain greedy answers
    once.max_tokens = 64;
    once.temperatures = {0.0f};
    once.min_mean_log_prob = -1e9;
    const SpeechParts parts{&backend,      &*config.speech_decoder, mel.get(),
                            encoder.get(), decoder.get(),           tokenizer.get()};
    return SpeechTranscriber(parts, state, once).run(audio, options);
  }

  Backend backend{2, ""};
  ModelConfig config;
  std::unique_ptr<LogMel> mel;
  std::unique_ptr<AudioEncoder> encoder;
  std::unique_ptr<CrossDecoder> decoder;
  std::unique_ptr<Tokenizer> tokenizer;
  CrossDecoder::State state;
};

std::vector<int32_t> all_tokens(const Transcript& transcript) {
  std::vector<int32_t> ids;
  for (const TranscriptSegment& s : transcript.segments) {
    ids.insert(ids.end(), s.token_ids.begin(), s.token_ids.end());
  }
  return ids;
}

TEST(Speech, GreedyTokensAgreeWithTheReference) {
  const auto golden = Checkpoint::open(kFolder + "expected.safetensors");
  TinyModel model;
  TranscribeOptions options;
  options.language = "en";
  auto found = all_tokens(model.transcribe({16000, golden_signal(48000)}, options));
  const auto expected = golden_ids(*golden, "plain");
  ASSERT_GE(found.size(), expected.size());  // the golden stops after 32
  found.resize(expected.size());
  EXPECT_EQ(found, expected);
}

TEST(Speech, LongSoundMovesOnByTimestampsAsTheReference) {
  const auto golden = Checkpoint::open(kFolder + "expected.safetensors");
  TinyModel model;
  TranscribeOptions options;
  options.language = "ko";
  options.task = "translate";
  options.timestamps = true;
  double fraction = -1;
  options.progress = [&](double f) {
    EXPECT_GE(f, fraction);
    fraction = f;
  };
  const Transcript found = model.transcribe({16000, golden_signal(500000)}, options);
  EXPECT_EQ(all_tokens(found), golden_ids(*golden, "timed"));
  EXPECT_EQ(fraction, 1.0);
  EXPECT_EQ(found.language, "ko");
  double last = 0;
  for (const TranscriptSegment& s : found.segments) {
    EXPECT_LE(last, s.start_s);
    EXPECT_LE(s.start_s, s.end_s);
    last = s.start_s;
  }
}

TEST(Speech, TextOfEarlierWindowsLeadsAsInTheReference) {
  const auto golden = Checkpoint::open(kFolder + "expected.safetensors");
  TinyModel model;
  TranscribeOptions options;
  options.language = "ko";
  options.task = "translate";
  options.timestamps = true;
  options.condition_on_previous = true;
  const Waveform sound{16000, golden_signal(1300000)};
  const Transcript found = model.transcribe(sound, options);
  EXPECT_EQ(all_tokens(found), golden_ids(*golden, "led"));
  EXPECT_TRUE(found.complete);
  options.condition_on_previous = false;
  EXPECT_NE(all_tokens(model.transcribe(sound, options)), golden_ids(*golden, "led"));
}

TEST(Speech, StopsBetweenTokensAndKeepsWhatWasSaid) {
  TinyModel model;
  TranscribeOptions options;
  options.timestamps = true;
  const Waveform sound{16000, golden_signal(1300000)};
  const Transcript whole = model.transcribe(sound, options);
  ASSERT_GT(whole.segments.size(), 3u);
  int tokens = 0;
  options.go_on = [&] { return ++tokens < 60; };
  const Transcript part = model.transcribe(sound, options);
  EXPECT_FALSE(part.complete);
  ASSERT_FALSE(part.segments.empty());
  ASSERT_LT(part.segments.size(), whole.segments.size());
  for (size_t i = 0; i < part.segments.size(); ++i)
    EXPECT_EQ(part.segments[i].token_ids, whole.segments[i].token_ids);
}

TEST(Speech, RefusesImpossibleOptionsAndSounds) {
  const auto engine = Engine::load(kFolder + "tiny", exact());
  const Waveform sound{16000, golden_signal(16000)};
  TranscribeOptions options;
  options.temperatures = {};
  EXPECT_THROW(engine->transcribe(sound, options), Error);
  options.temperatures = {-1.0f};
  EXPECT_THROW(engine->transcribe(sound, options), Error);
  Waveform broken = sound;
  broken.samples[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(engine->transcribe(broken, {}), Error);
  EXPECT_THROW(engine->transcribe({16000, {}}, {}), Error);
  EXPECT_NO_THROW(engine->transcribe(sound, {}));
}

TEST(Speech, LanguageAgreesWithTheReference) {
  const auto golden = Checkpoint::open(kFolder + "expected.safetensors");
  TinyModel model;
  const Transcript found = model.transcribe({16000, golden_signal(48000)}, {});
  EXPECT_EQ(golden_ids(*golden, "language")[0], found.language == "en" ? 258 : 259);
}

TEST(Speech, PrefillAndStepsAgree) {
  TinyModel model;
  const int64_t vocab = model.config.speech_decoder->vocab_size;
  std::vector<float> features(1500 * 32);
  const auto noise = golden_signal(1500 * 32);
  std::copy(noise.begin(), noise.end(), features.begin());
  model.decoder->attend_to(model.state, matrix(features.data(), 1500, 32));
  const std::vector<int32_t> ids = {257, 258, 261, 265, 9, 90, 200, 13, 14, 15, 16};
  const auto rows = static_cast<int64_t>(ids.size());
  std::vector<float> whole(ids.size() * static_cast<size_t>(vocab)), step(whole.size());
  model.decoder->forward(model.state, ids, matrix(whole.data(), rows, vocab));
  model.state.truncate(4);
  for (int64_t i = 4; i < rows; ++i) {
    model.decoder->forward(model.state, std::span(&ids[static_cast<size_t>(i)], 1),
                           matrix(step.data() + i * vocab, 1, vocab));
  }
  EXPECT_TRUE(std::equal(whole.begin() + 4 * vocab, whole.end(), step.begin() + 4 * vocab));
}

TEST(Speech, SilenceGivesNoText) {
  TinyModel model;
  const Transcript found = model.transcribe({16000, std::vector<float>(40 * 16000, 0.0f)}, {});
  EXPECT_EQ(found.text, "");
  EXPECT_TRUE(found.segments.empty());
}

TEST(Speech, StreamsSegmentsAndStopsWhenAsked) {
  TinyModel model;
  TranscribeOptions options;
  options.timestamps = true;
  std::string streamed;
  options.on_text = [&](const std::string& text) {
    streamed += text;
    return true;
  };
  const Waveform audio{16000, golden_signal(500000)};
  const Transcript whole = model.transcribe(audio, options);
  ASSERT_GT(whole.segments.size(), 1u);
  EXPECT_EQ(streamed.find(whole.segments[0].text), 0u);
  options.on_text = [](const std::string&) { return false; };
  EXPECT_EQ(model.transcribe(audio, options).segments.size(), 1u);
}

TEST(Speech, RefusesWhatItCannotDo) {
  const auto engine = Engine::load(kFolder + "tiny", exact());
  const Waveform audio{16000, golden_signal(16000)};
  TranscribeOptions options;
  options.language = "tlh";
  EXPECT_THROW(engine->transcribe(audio, options), Error);
  options = {};
  options.task = "sing";
  EXPECT_THROW(engine->transcribe(audio, options), Error);
  EXPECT_THROW(engine->transcribe({8000, golden_signal(16000)}, {}), Error);
  EXPECT_THROW(engine->transcribe({16000, {}}, {}), Error);
  EXPECT_THROW(engine->generate({}, {}), Error);
  const std::vector<int32_t> bad = {257, 99999}, many(65, 257);
  EXPECT_THROW(engine->logits(bad, {}, std::span(&audio, 1)), Error);
  EXPECT_THROW(engine->logits(many, {}, std::span(&audio, 1)), Error);
  EXPECT_THROW(engine->logits(std::vector<int32_t>{257}, {}, {}), Error);
}

// A vocabulary of 4 words, end 4, start 5, no_speech 6, no_timestamps 7, steps 0..9 from 8.
SpeechDecoderConfig toy() {
  SpeechDecoderConfig c;
  c.vocab_size = 18;
  c.end_of_text = 4;
  c.start_of_transcript = 5;
  c.no_speech = 6;
  c.no_timestamps = 7;
  c.max_initial_timestamp = 3;
  return c;
}

std::vector<int32_t> allowed(const std::vector<int32_t>& generated, std::vector<float> logits) {
  apply_speech_rules(toy(), true, generated, logits);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 18; ++i) {
    if (std::isfinite(logits[static_cast<size_t>(i)])) ids.push_back(i);
  }
  return ids;
}

TEST(SpeechRules, TimestampsComeInPairsAndNeverGoBack) {
  std::vector<float> words(18, 0.0f);
  for (size_t i = 0; i < 4; ++i) words[i] = 9.0f;
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(allowed({}, words), (Ids{8, 9, 10, 11}));
  EXPECT_EQ(allowed({9}, words), (Ids{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(allowed({9, 2}, words), (Ids{0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17}));
  words[4] = 9.0f;
  EXPECT_EQ(allowed({9, 2, 12}, words), (Ids{4, 5, 6, 12, 13, 14, 15, 16, 17}));
  EXPECT_EQ(allowed({9, 2, 12, 12}, words), (Ids{0, 1, 2, 3, 4, 5, 6}));
  // Together more likely than any word: ten timestamps of logit 0 against words of logit 1.
  for (size_t i = 0; i < 5; ++i) words[i] = 1.0f;
  EXPECT_EQ(allowed({9, 2}, words), (Ids{10, 11, 12, 13, 14, 15, 16, 17}));
}

TEST(SpeechRules, CutsAtPairs) {
  const SpeechDecoderConfig c = toy();
  SpeechCuts cuts = cut_speech(c, std::vector<int32_t>{8, 1, 10, 10, 2, 12}, 3000);
  ASSERT_EQ(cuts.cuts.size(), 2u);
  EXPECT_EQ(cuts.cuts[0].end_step, 2);
  EXPECT_EQ(cuts.cuts[1].start_step, 2);
  EXPECT_EQ(cuts.cuts[1].end_step, 4);
  EXPECT_EQ(cuts.next_frame, 3000);  // a single timestamp at the end: nothing after it
  cuts = cut_speech(c, std::vector<int32_t>{8, 1, 10, 10, 2, 3}, 3000);
  ASSERT_EQ(cuts.cuts.size(), 1u);  // the words after the pair are heard again
  EXPECT_EQ(cuts.next_frame, 4);
  cuts = cut_speech(c, std::vector<int32_t>{1, 2, 3}, 1200);
  ASSERT_EQ(cuts.cuts.size(), 1u);
  EXPECT_EQ(cuts.cuts[0].end_step, 600);
  EXPECT_EQ(cuts.next_frame, 1200);
  EXPECT_EQ(cut_speech(c, std::vector<int32_t>{8, 8}, 1200).next_frame, 1200);  // always moves on
  EXPECT_EQ(cut_speech(c, {}, 1200).next_frame, 1200);
}

}  // namespace
}  // namespace onnuri
