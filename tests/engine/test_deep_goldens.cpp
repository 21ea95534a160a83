// A tiny K-EXAONE at a depth of 32K tokens against what transformers answers there
// (tests/golden/make_deep_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/checkpoint.h"
#include "core/json.h"
#include "decoder/sampler.h"
#include "onnuri/engine.h"
#include "tests/core/checkpoint_files.h"
#include "tests/support/sanitized.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

using testing::TemporaryFolder;

const std::string kFolder = std::string(ONNURI_TEST_DATA) + "/golden/deep/exaone_moe";
constexpr double kTolerance = 1e-3;  // of the standard deviation of the logits

std::vector<int32_t> deep_ids(int64_t count, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(3 + (31 * i * i + 7 * i + i / 32) % (vocab_size - 3)));
  return ids;
}

struct DeepGolden {
  std::vector<int32_t> ids;
  std::vector<int64_t> rows;
  std::vector<float> logits;  // (rows, vocab_size)
  std::vector<int32_t> greedy_ids;
  int64_t vocab_size = 0;

  DeepGolden() {
    const auto file = Checkpoint::open(kFolder + "/golden.safetensors");
    const auto whole = [&](const char* name) {
      const TensorView view = file->find(name);
      std::vector<int64_t> out;
      for (int64_t i = 0; i < view.num_elements(); ++i) out.push_back(view.read<int64_t>(i));
      return out;
    };
    rows = whole("rows");
    for (const int64_t id : whole("greedy_ids")) greedy_ids.push_back(static_cast<int32_t>(id));
    const TensorView view = file->find("logits");
    vocab_size = view.shape[1];
    for (int64_t i = 0; i < view.num_elements(); ++i) logits.push_back(view.read<float>(i));
    ids = deep_ids(whole("num_tokens")[0], vocab_size);
  }

  double std() const {
    double sum = 0, squares = 0;
    for (const float x : logits) {
      sum += static_cast<double>(x);
      squares += static_cast<double>(x) * static_cast<double>(x);
    }
    const auto n = static_cast<double>(logits.size());
    return std::sqrt(squares / n - sum / n * sum / n);
  }
};

std::unique_ptr<Engine> load_deep(const std::string& kv_dtype) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.context_size = 40000;
  options.kv_dtype = kv_dtype;
  return Engine::load(kFolder, options);
}

TEST(DeepGolden, LogitsAt32KTokens) {
  const DeepGolden golden;
  const int64_t count = kSanitized ? 4096 : static_cast<int64_t>(golden.ids.size());
  const FloatMatrix found =
      load_deep("f32")->logits(std::span(golden.ids).first(static_cast<size_t>(count)), {}, {});
  double worst = 0;
  size_t compared = 0;
  for (size_t r = 0; r < golden.rows.size(); ++r) {
    if (golden.rows[r] >= count) continue;
    ++compared;
    const auto width = static_cast<size_t>(golden.vocab_size);
    const auto row = std::span(found.values)
                         .subspan(static_cast<size_t>(golden.rows[r] * golden.vocab_size), width);
    const auto expected = std::span(golden.logits).subspan(r * width, width);
    for (size_t i = 0; i < width; ++i)
      worst = larger(worst, std::abs(static_cast<double>(row[i]) - expected[i]));
    EXPECT_EQ(argmax(row), argmax(expected)) << "position " << golden.rows[r];
  }
  EXPECT_EQ(compared, kSanitized ? size_t{5} : golden.rows.size());
  EXPECT_LT(worst / golden.std(), kTolerance);
}

TEST(DeepGolden, DecodesAt32KTokens) {
  if (kSanitized) GTEST_SKIP() << "32K tokens take minutes under sanitizers";
  const DeepGolden golden;
  const auto engine = load_deep("");
  GenerateRequest request;
  request.input_ids = golden.ids;
  request.max_new_tokens = static_cast<int64_t>(golden.greedy_ids.size());
  request.ignore_eos = true;
  EXPECT_EQ(engine->generate(request, {}).token_ids, golden.greedy_ids);
  // Once more from what is kept of it, with another chunk at the end.
  const GenerateResult again = engine->generate(request, {});
  EXPECT_EQ(again.token_ids, golden.greedy_ids);
  EXPECT_EQ(again.usage.reused_tokens, static_cast<int64_t>(golden.ids.size()) - 1);
}

// The whole length takes minutes: with ONNURI_LONG_TESTS set.
bool runs_long() { return std::getenv("ONNURI_LONG_TESTS") != nullptr; }

// The same checkpoint, told that it may go on to 262,144 tokens, and with the full layer first: of
// the last one only the rows that are wanted are computed.
class LongContext : public ::testing::Test {
 protected:
  LongContext() {
    std::string config = read_text(kFolder + "/config.json");
    replace(config, "\"max_position_embeddings\": 65536", "\"max_position_embeddings\": 262144");
    const std::string full = "\"full_attention\"", window = "\"sliding_attention\"";
    replace(config, full, "\"\"");
    replace(config, window, full);
    replace(config, "\"\"", window);
    folder_.write("config.json", config);
    folder_.write("model.safetensors", read_text(kFolder + "/model.safetensors"));
  }

  std::unique_ptr<Engine> load(int64_t context, int64_t chunk) const {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 2;
    options.context_size = context;
    options.prefill_chunk = chunk;
    options.max_sequences = 1;
    options.kv_dtype = "bf16";
    return Engine::load(folder_.path(), options);
  }

  static void replace(std::string& text, const std::string& found, const std::string& by) {
    const size_t at = text.find(found);
    ASSERT_NE(at, std::string::npos) << found;
    text.replace(at, found.size(), by);
  }

  static std::string read_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  TemporaryFolder folder_;
};

GenerateResult answer(Engine& engine, int64_t prompt_tokens, int64_t new_tokens) {
  GenerateRequest request;
  request.input_ids = deep_ids(prompt_tokens, 256);
  request.max_new_tokens = new_tokens;
  request.ignore_eos = true;
  request.top_logprobs = 3;
  return engine.generate(request, {});
}

TEST_F(LongContext, IsFilledToItsEnd) {
  const int64_t longest = runs_long() ? 262144 : kSanitized ? 2048 : 24576, chunk = 512;
  const auto engine = load(longest, chunk);
  const GenerateResult result = answer(*engine, longest - 8, 9);
  EXPECT_EQ(result.token_ids.size(), 9u);  // the last one is never read
  for (const StepLogProbs& step : result.logprobs) EXPECT_TRUE(std::isfinite(step.chosen.logprob));
  // One full layer and three windows of 128, two heads of 16 numbers in two bytes.
  constexpr int64_t kRow = 2 * 2 * 16 * 2;
  const JsonValue metrics = parse_json(engine->metrics_json(), "metrics");
  const auto bytes = static_cast<double>(metrics.find("kv_memory_bytes")->as_int("bytes"));
  EXPECT_LE(bytes, 1.001 * static_cast<double>(kRow * (longest + 3 * (128 + chunk))));
  if (longest == 262144) {
    EXPECT_LE(bytes, 1.02 * static_cast<double>(kRow * (longest + 3 * 128)));
  }
  try {
    answer(*engine, longest + 1, 1);
    ADD_FAILURE() << "expected a prompt longer than the context to be refused";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument) << e.what();
    EXPECT_NE(std::string(e.what()).find(std::to_string(longest)), std::string::npos) << e.what();
  }
}

TEST_F(LongContext, ChunksDoNotChangeTheBits) {
  const int64_t count = runs_long() ? 65536 : kSanitized ? 2000 : 12288;
  const GenerateResult expected = answer(*load(count + 8, 512), count, 8);
  for (const int64_t chunk : {200, 2048}) {
    const GenerateResult found = answer(*load(count + 8, chunk), count, 8);
    EXPECT_EQ(found.token_ids, expected.token_ids);
    for (size_t i = 0; i < expected.logprobs.size(); ++i)
      EXPECT_EQ(found.logprobs[i].top[2].logprob, expected.logprobs[i].top[2].logprob);
  }
}

}  // namespace
}  // namespace onnuri
