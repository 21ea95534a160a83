// Tiny random checkpoints of every text family against what transformers answers for them
// (tests/golden/make_text_goldens.py), or a NumPy reference where it has no such family
// (tests/golden/make_numpy_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/checkpoint.h"
#include "decoder/decoder.h"
#include "decoder/kv_cache.h"
#include "decoder/sampler.h"
#include "engine/model_config.h"
#include "onnuri/engine.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

constexpr double kTolerance = 1e-3;  // of the standard deviation of the logits

std::string folder(const std::string& family) {
  return std::string(ONNURI_TEST_DATA) + "/golden/text/" + family;
}

struct Golden {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> greedy_ids;
  std::vector<float> logits;
  int64_t vocab_size = 0;
  double std = 0;

  explicit Golden(const std::string& family) {
    const auto file = Checkpoint::open(folder(family) + "/golden.safetensors");
    input_ids = ids(file->find("input_ids"));
    greedy_ids = ids(file->find("greedy_ids"));
    const TensorView view = file->find("logits");
    logits.assign(view.as<float>(), view.as<float>() + view.num_elements());
    vocab_size = view.shape[1];
    double sum = 0, squares = 0;
    for (float value : logits) {
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const auto n = static_cast<double>(logits.size());
    std = std::sqrt(squares / n - sum / n * sum / n);
  }

  static std::vector<int32_t> ids(const TensorView& view) {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < view.num_elements(); ++i)
      out.push_back(static_cast<int32_t>(view.as<int64_t>()[i]));
    return out;
  }
};

std::unique_ptr<Engine> load_path(const std::string& path, int64_t prefill_chunk = 512,
                                  const std::string& isa = "") {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.prefill_chunk = prefill_chunk;
  options.isa = isa;
  return Engine::load(path, options);
}

std::unique_ptr<Engine> load(const std::string& family, int64_t prefill_chunk = 512,
                             const std::string& isa = "") {
  return load_path(folder(family), prefill_chunk, isa);
}

void expect_logits(const Golden& golden, const FloatMatrix& found) {
  ASSERT_EQ(found.rows, static_cast<int64_t>(golden.input_ids.size()));
  ASSERT_EQ(found.cols, golden.vocab_size);
  double worst = 0;
  for (size_t i = 0; i < golden.logits.size(); ++i)
    worst = larger(worst, std::abs(static_cast<double>(found.values[i]) - golden.logits[i]));
  EXPECT_LT(worst / golden.std, kTolerance);
  for (int64_t row = 0; row < found.rows; ++row) {
    const auto at = static_cast<size_t>(row * found.cols);
    const auto width = static_cast<size_t>(found.cols);
    EXPECT_EQ(argmax(std::span(found.values).subspan(at, width)),
              argmax(std::span(golden.logits).subspan(at, width)))
        << "position " << row;
  }
}

class TextGolden : public testing::TestWithParam<const char*> {};
class GgufGolden : public testing::TestWithParam<const char*> {};

TEST_P(TextGolden, LogitsOfOnePrefill) {
  const Golden golden(GetParam());
  expect_logits(golden, load(GetParam())->logits(golden.input_ids, {}, {}));
}

TEST_P(TextGolden, LogitsOfTheReferenceKernels) {
  const Golden golden(GetParam());
  expect_logits(golden, load(GetParam(), 512, "ref")->logits(golden.input_ids, {}, {}));
}

TEST_P(TextGolden, ChunksAndSingleTokensGiveTheSameLogits) {
  const Golden golden(GetParam());
  for (int64_t chunk : {7, 1}) {
    SCOPED_TRACE(chunk);
    expect_logits(golden, load(GetParam(), chunk)->logits(golden.input_ids, {}, {}));
  }
}

TEST_P(TextGolden, GreedyTokensThroughTheCache) {
  const Golden golden(GetParam());
  for (int64_t chunk : {512, 7, 1}) {
    SCOPED_TRACE(chunk);
    const auto engine = load(GetParam(), chunk);
    GenerateRequest request;
    request.input_ids = golden.input_ids;
    request.max_new_tokens = static_cast<int64_t>(golden.greedy_ids.size());
    request.ignore_eos = true;
    std::vector<int32_t> streamed;
    const GenerateResult result = engine->generate(request, [&](const TokenEvent& event) {
      if (event.token_id >= 0) streamed.push_back(event.token_id);
      return true;
    });
    EXPECT_EQ(result.token_ids, golden.greedy_ids);
    EXPECT_EQ(streamed, golden.greedy_ids);
    EXPECT_EQ(result.finish_reason, "length");
  }
}

// Three sequences of different length in one pass, each split in two chunks, against each alone.
TEST_P(TextGolden, SequencesOfABatchDoNotMeet) {
  const Golden golden(GetParam());
  const ModelFiles files = open_model_files(folder(GetParam()));
  const ModelConfig model = map_model(files);
  Backend backend(2, "");
  TensorSource source(files.checkpoint, model.names);
  const auto decoder =
      Decoder::load(model.decoder, source, backend, ComputeType::kFloat32, nullptr);
  KvCacheOptions options;
  options.dtype = DType::kF32;
  options.page_rows = 4;
  options.max_tokens = 256;
  options.max_sequences = 3;
  KvCache cache(model.decoder, options);
  const std::span<const int32_t> ids(golden.input_ids);
  const std::array<std::span<const int32_t>, 3> prompts = {ids, ids.subspan(3, 31), ids.last(17)};
  const std::array<std::array<size_t, 2>, 3> cuts = {{{29, 11}, {1, 30}, {16, 1}}};

  std::array<std::vector<float>, 3> alone, together;
  const auto run = [&](std::span<const size_t> which, std::span<std::vector<float>> out) {
    std::vector<std::unique_ptr<KvSequence>> caches;
    for (size_t i = 0; i < which.size(); ++i) caches.push_back(cache.new_sequence());
    for (size_t step = 0; step < 2; ++step) {
      std::vector<int32_t> batch_ids, positions;
      std::vector<SequenceSlice> slices;
      std::vector<int64_t> rows;
      for (size_t i = 0; i < which.size(); ++i) {
        const size_t begin = step == 0 ? 0 : cuts[which[i]][0];
        const size_t count = cuts[which[i]][step];
        ASSERT_TRUE(caches[i]->reserve(static_cast<int64_t>(count)));
        slices.push_back({static_cast<int64_t>(batch_ids.size()), static_cast<int64_t>(count),
                          static_cast<int64_t>(begin), caches[i].get()});
        for (size_t t = begin; t < begin + count; ++t) {
          rows.push_back(static_cast<int64_t>(batch_ids.size()));
          batch_ids.push_back(prompts[which[i]][t]);
          positions.push_back(static_cast<int32_t>(t));
        }
      }
      const auto vocab = static_cast<size_t>(model.decoder.vocab_size);
      std::vector<float> logits(batch_ids.size() * vocab);
      decoder->forward(
          {batch_ids, positions, slices, {}, rows},
          matrix(logits.data(), static_cast<int64_t>(rows.size()), model.decoder.vocab_size));
      for (size_t i = 0; i < which.size(); ++i) {
        const auto first = logits.begin() + static_cast<std::ptrdiff_t>(
                                                static_cast<size_t>(slices[i].first_row) * vocab);
        out[which[i]].insert(
            out[which[i]].end(), first,
            first + static_cast<std::ptrdiff_t>(static_cast<size_t>(slices[i].num_rows) * vocab));
      }
    }
  };
  for (size_t i = 0; i < 3; ++i) run(std::array<size_t, 1>{i}, alone);
  run(std::array<size_t, 3>{0, 1, 2}, together);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(alone[i], together[i]) << "sequence " << i;
  expect_logits(golden, {static_cast<int64_t>(ids.size()), golden.vocab_size, together[0]});
}

// The prompt twice over, so that there is something to look up.
TEST_P(TextGolden, GuessingAheadChangesNothing) {
  const Golden golden(GetParam());
  const auto engine = load(GetParam(), 64);
  GenerateRequest request;
  for (int i = 0; i < 2; ++i)
    request.input_ids.insert(request.input_ids.end(), golden.input_ids.begin(),
                             golden.input_ids.end());
  request.max_new_tokens = 24;
  request.ignore_eos = true;
  request.top_logprobs = 1;
  for (const float temperature : {0.0F, 0.7F}) {
    SCOPED_TRACE(temperature);
    request.sampling.temperature = temperature;
    request.lookup_tokens = 0;
    const GenerateResult plain = engine->generate(request, nullptr);
    EXPECT_EQ(plain.usage.draft_tokens, 0);
    for (const int64_t guesses : {1, 6}) {
      request.lookup_tokens = guesses;
      const GenerateResult guessed = engine->generate(request, nullptr);
      EXPECT_EQ(guessed.token_ids, plain.token_ids);
      for (size_t i = 0; i < plain.logprobs.size(); ++i)
        EXPECT_EQ(guessed.logprobs[i].chosen.logprob, plain.logprobs[i].chosen.logprob) << i;
      EXPECT_LE(guessed.usage.accepted_tokens, guessed.usage.draft_tokens);
      EXPECT_EQ(guessed.usage.completion_tokens, plain.usage.completion_tokens);
    }
  }
}

TEST_P(TextGolden, MeanNllMatchesTheLogits) {
  const Golden golden(GetParam());
  double sum = 0;
  for (size_t i = 0; i + 1 < golden.input_ids.size(); ++i) {
    const auto width = static_cast<size_t>(golden.vocab_size);
    sum -= log_probability(std::span(golden.logits).subspan(i * width, width),
                           golden.input_ids[i + 1]);
  }
  const double expected = sum / static_cast<double>(golden.input_ids.size() - 1);
  EXPECT_NEAR(load(GetParam(), 7)->mean_nll(golden.input_ids), expected, 1e-3);
}

TEST_P(GgufGolden, SameLogitsAndTokensAsTheFolder) {
  const Golden golden(GetParam());
  const auto engine =
      load_path(std::string(ONNURI_TEST_DATA) + "/golden/gguf/" + GetParam() + ".gguf");
  expect_logits(golden, engine->logits(golden.input_ids, {}, {}));
  GenerateRequest request;
  request.input_ids = golden.input_ids;
  request.max_new_tokens = static_cast<int64_t>(golden.greedy_ids.size());
  request.ignore_eos = true;
  EXPECT_EQ(engine->generate(request, {}).token_ids, golden.greedy_ids);
}

INSTANTIATE_TEST_SUITE_P(Families, GgufGolden,
                         testing::Values("llama", "qwen3", "gemma3", "exaone4_hybrid", "exaone_moe",
                                         "qwen3_moe", "gpt_oss", "granite", "ernie4_5",
                                         "solar_open"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(Families, TextGolden,
                         testing::Values("llama", "qwen2", "qwen3", "gemma3", "exaone4_hybrid",
                                         "exaone4_full", "exaone_moe", "exaone_moe_odd",
                                         "llama_biases", "qwen2_windows", "qwen3_windows",
                                         "qwen3_moe", "qwen3_moe_sparse", "hyperclovax",
                                         "hyperclovax_plain", "granite", "exaone4_5", "solar_open",
                                         "gpt_oss", "gpt_oss_mxfp4", "ernie4_5"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(NumpyReferences, TextGolden,
                         testing::Values("motif", "motif_grouped", "solar_pro", "exaone_moe_mtp",
                                         "deepseek_mtp"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(LatentAttention, TextGolden,
                         testing::Values("deepseek_v3", "kanana2", "axk1", "axk2", "axk2_groups",
                                         "vaetki"),
                         [](const auto& param) { return std::string(param.param); });

class LatentGguf : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(LatentGguf, SameLogitsAsTheFolder) {
  const auto& [file, family] = GetParam();
  const Golden golden(family);
  const auto engine =
      load_path(std::string(ONNURI_TEST_DATA) + "/golden/gguf/" + file + ".gguf", 7);
  expect_logits(golden, engine->logits(golden.input_ids, {}, {}));
}

INSTANTIATE_TEST_SUITE_P(Layouts, LatentGguf,
                         testing::Values(std::pair("deepseek_v3_split", "deepseek_v3"),
                                         std::pair("deepseek_v3_whole", "deepseek_v3"),
                                         std::pair("kanana2_split", "kanana2")),
                         [](const auto& param) { return std::string(param.param.first); });

class LatentAuto : public testing::TestWithParam<const char*> {};

// Activations and the cache lose bits; the weights are the same.
TEST_P(LatentAuto, IsCloseToFloat32) {
  const Golden golden(GetParam());
  EngineOptions options;
  options.num_threads = 2;
  options.compute_dtype = "auto";
  const FloatMatrix found =
      Engine::load(folder(GetParam()), options)->logits(golden.input_ids, {}, {});
  double squares = 0;
  for (size_t i = 0; i < golden.logits.size(); ++i) {
    const double difference = static_cast<double>(found.values[i]) - golden.logits[i];
    squares += difference * difference;
  }
  const double error = std::sqrt(squares / static_cast<double>(golden.logits.size())) / golden.std;
  EXPECT_LT(error, 0.02);
}

INSTANTIATE_TEST_SUITE_P(Families, LatentAuto,
                         testing::Values("deepseek_v3", "kanana2", "axk1", "vaetki"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace onnuri
