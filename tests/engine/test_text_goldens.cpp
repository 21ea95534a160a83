// Tiny random checkpoints of every text family against what transformers answers for them
// (tests/golden/make_text_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "decoder/sampler.h"
#include "onnuri/engine.h"

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
    worst = std::max(worst, std::abs(static_cast<double>(found.values[i]) - golden.logits[i]));
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
                         testing::Values("llama", "qwen3", "gemma3", "exaone4_hybrid", "exaone_moe"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(Families, TextGolden,
                         testing::Values("llama", "qwen2", "qwen3", "gemma3", "exaone4_hybrid",
                                         "exaone4_full", "exaone_moe", "exaone_moe_odd"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(LatentAttention, TextGolden, testing::Values("deepseek_v3", "kanana2"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace onnuri
