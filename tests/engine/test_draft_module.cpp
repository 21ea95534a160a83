// The module that guesses the token after next: a tiny checkpoint against a NumPy reference
// (tests/golden/make_numpy_goldens.py), and what the engine does with its tensors.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/checkpoint.h"
#include "decoder/decoder.h"
#include "decoder/sampler.h"
#include "engine/model_config.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/support/error_of.h"

namespace onnuri {
namespace {

std::string folder(const std::string& name) {
  return std::string(ONNURI_TEST_DATA) + "/golden/text/" + name;
}

std::vector<float> floats(const TensorView& view) {
  return {view.as<float>(), view.as<float>() + view.num_elements()};
}

double deviation(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (const float v : values) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum / n * sum / n);
}

/// A trunk with its module, and the golden answers.
struct DraftModel {
  explicit DraftModel(const std::string& name = "exaone_moe_mtp") : backend(2, "") {
    const ModelFiles files = open_model_files(folder(name));
    ModelConfig model = map_model(files);
    config = model.decoder;
    config.mtp = model.mtp;
    TensorSource source(files.checkpoint, model.names);
    decoder = Decoder::load(config, source, backend, ComputeType::kFloat32, nullptr);
    unused = source.unused();
    golden = Checkpoint::open(folder(name) + "/golden.safetensors");
    const TensorView view = golden->find("input_ids");
    for (int64_t i = 0; i < view.num_elements(); ++i)
      ids.push_back(static_cast<int32_t>(view.as<int64_t>()[i]));
    for (size_t i = 0; i < ids.size() + 8; ++i) positions.push_back(static_cast<float>(i));
  }

  std::unique_ptr<KvCache> cache(const DecoderConfig& shape, int64_t max_chunk) const {
    KvCacheOptions options;
    options.dtype = DType::kF32;
    options.page_rows = 4;
    options.max_tokens = 256;
    options.max_sequences = 3;
    options.max_chunk = max_chunk;
    return std::make_unique<KvCache>(shape, options);
  }

  /// What the trunk hands over for every prompt row.
  Tensor trunk_rows() {
    const auto kv_cache = cache(config, 64);
    const auto kv = kv_cache->new_sequence();
    const auto rows = static_cast<int64_t>(ids.size());
    EXPECT_TRUE(kv->reserve(rows));
    const SequenceSlice slice{0, rows, 0, kv.get()};
    std::vector<int64_t> all;
    for (int64_t i = 0; i < rows; ++i) all.push_back(i);
    Tensor hidden(DType::kF32, {rows, config.hidden_size});
    Tensor logits(DType::kF32, {rows, config.vocab_size});
    Batch batch;
    batch.ids = ids;
    batch.positions = std::span(positions).first(ids.size());
    batch.sequences = std::span(&slice, 1);
    batch.logit_rows = all;
    batch.hidden_out = matrix(hidden.f32(), rows, config.hidden_size);
    decoder->forward(batch, matrix(logits.f32(), rows, config.vocab_size));
    return hidden;
  }

  /// `count` rows from row `begin` of `hidden`, which stands at the end of `kv`.
  std::vector<float> draft(KvSequence& kv, const float* hidden, std::span<const int32_t> next_ids,
                           float* hidden_out = nullptr) {
    const auto rows = static_cast<int64_t>(next_ids.size());
    EXPECT_TRUE(kv.reserve(rows));
    const int64_t first = kv.num_tokens();
    const SequenceSlice slice{0, rows, first, &kv};
    std::vector<int64_t> all;
    for (int64_t i = 0; i < rows; ++i) all.push_back(i);
    std::vector<float> logits(static_cast<size_t>(rows * config.vocab_size));
    DraftBatch batch;
    batch.hidden = matrix(hidden, rows, config.hidden_size);
    batch.next_ids = next_ids;
    batch.positions = std::span(positions).subspan(static_cast<size_t>(first), next_ids.size());
    batch.sequences = std::span(&slice, 1);
    batch.logit_rows = all;
    if (hidden_out != nullptr) batch.hidden_out = matrix(hidden_out, rows, config.hidden_size);
    decoder->draft(batch, matrix(logits.data(), rows, config.vocab_size));
    return logits;
  }

  Backend backend;
  DecoderConfig config;
  std::unique_ptr<Decoder> decoder;
  std::vector<std::string> unused;
  std::shared_ptr<const Checkpoint> golden;
  std::vector<int32_t> ids;
  std::vector<float> positions;
};

void expect_logits(const std::vector<float>& found, const std::vector<float>& expected,
                   int64_t vocab_size) {
  ASSERT_EQ(found.size(), expected.size());
  const double limit = 1e-3 * deviation(expected);
  const auto width = static_cast<size_t>(vocab_size);
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], limit) << i;
  for (size_t row = 0; row < found.size() / width; ++row)
    EXPECT_EQ(argmax(std::span(found).subspan(row * width, width)),
              argmax(std::span(expected).subspan(row * width, width)));
}

class DraftModule : public testing::TestWithParam<const char*> {};

TEST_P(DraftModule, AgreesWithTheReference) {
  DraftModel m(GetParam());
  EXPECT_TRUE(m.unused.empty()) << m.unused.front();
  ASSERT_TRUE(m.decoder->has_draft());
  const Tensor hidden = m.trunk_rows();
  const auto kv_cache = m.cache(m.decoder->draft_config(), 64);
  const auto kv = kv_cache->new_sequence();
  const auto rows = static_cast<int64_t>(m.ids.size()) - 1;
  Tensor own(DType::kF32, {rows, m.config.hidden_size});
  const std::vector<float> logits =
      m.draft(*kv, hidden.f32(), std::span(m.ids).subspan(1), own.f32());
  expect_logits(logits, floats(m.golden->find("draft_logits")), m.config.vocab_size);

  // Applied again to its own last row.
  const auto width = static_cast<size_t>(m.config.vocab_size);
  const int32_t best = argmax(std::span(logits).last(width));
  const std::vector<float> second =
      m.draft(*kv, own.f32() + (rows - 1) * m.config.hidden_size, std::span(&best, 1));
  expect_logits(second, floats(m.golden->find("second_draft")), m.config.vocab_size);
}

TEST_P(DraftModule, ChunksDoNotChangeTheBits) {
  DraftModel m(GetParam());
  const Tensor hidden = m.trunk_rows();
  const std::span next = std::span<const int32_t>(m.ids).subspan(1);
  const auto kv_cache = m.cache(m.decoder->draft_config(), 64);
  const auto whole = kv_cache->new_sequence();
  const std::vector<float> expected = m.draft(*whole, hidden.f32(), next);
  for (const size_t chunk : {size_t{7}, size_t{1}}) {
    const auto kv = kv_cache->new_sequence();
    std::vector<float> found;
    for (size_t begin = 0; begin < next.size(); begin += chunk) {
      const size_t count = std::min(chunk, next.size() - begin);
      const float* rows = hidden.f32() + static_cast<int64_t>(begin) * m.config.hidden_size;
      const std::vector<float> part = m.draft(*kv, rows, next.subspan(begin, count));
      found.insert(found.end(), part.begin(), part.end());
    }
    EXPECT_EQ(found, expected) << chunk;
  }
}

// An embedding and a head of the module's own are copies: they do not count.
TEST_P(DraftModule, CountsItsParameters) {
  DraftModel m(GetParam());
  DecoderConfig trunk = m.config;
  trunk.mtp = {};
  const std::string extra = "model.layers." + std::to_string(trunk.num_layers()) + ".";
  const auto checkpoint = Checkpoint::open(folder(GetParam()) + "/model.safetensors");
  int64_t stored = 0, module = 0;
  for (const std::string& name : checkpoint->names()) {
    if (name == extra + "embed_tokens.weight" || name == extra + "shared_head.head.weight")
      continue;
    const int64_t count = checkpoint->find(name).num_elements();
    (name.starts_with("mtp.") || name.starts_with(extra) ? module : stored) += count;
  }
  EXPECT_EQ(trunk.num_parameters(), stored);
  EXPECT_EQ(m.config.num_parameters(), stored + module);
}

TEST_P(DraftModule, IsLoadedWhenAskedForAndElseIgnored) {
  EngineOptions options;
  options.num_threads = 2;
  const auto plain = Engine::load(folder(GetParam()), options);
  options.load_draft_module = true;
  const auto with_module = Engine::load(folder(GetParam()), options);
  GenerateRequest request;
  request.input_ids = {5, 6, 7};
  request.max_new_tokens = 8;
  request.ignore_eos = true;
  EXPECT_EQ(plain->generate(request, {}).token_ids, with_module->generate(request, {}).token_ids);
  EXPECT_NE(error_of([&] {
              Engine::load(folder("llama"), options);
            }).find("expected a module that predicts further tokens"),
            std::string::npos);
}

TEST_P(DraftModule, RefusesWhatDoesNotFit) {
  DraftModel m(GetParam());
  const Tensor hidden = m.trunk_rows();
  const auto kv_cache = m.cache(m.decoder->draft_config(), 64);
  const auto kv = kv_cache->new_sequence();
  std::vector<float> logits(static_cast<size_t>(m.config.vocab_size));
  const SequenceSlice slice{0, 1, 0, kv.get()};
  const int64_t row = 0;
  const int32_t id = 3;
  const float position = 0;
  const auto attempt = [&](const std::function<void(DraftBatch&)>& change) {
    ASSERT_TRUE(kv->reserve(1));
    DraftBatch batch;
    batch.hidden = matrix(hidden.f32(), 1, m.config.hidden_size);
    batch.next_ids = std::span(&id, 1);
    batch.positions = std::span(&position, 1);
    batch.sequences = std::span(&slice, 1);
    batch.logit_rows = std::span(&row, 1);
    change(batch);
    EXPECT_THROW(m.decoder->draft(batch, matrix(logits.data(), 1, m.config.vocab_size)), Error);
    EXPECT_EQ(kv->num_tokens(), 0);
  };
  attempt([](DraftBatch& b) { b.next_ids = {}; });
  attempt([](DraftBatch& b) { b.hidden.cols -= 1; });
  attempt([](DraftBatch& b) { b.hidden.rows = 2; });
  attempt([](DraftBatch& b) { b.positions = {}; });
  attempt([](DraftBatch& b) { b.sequences = {}; });
  attempt([](DraftBatch& b) { b.logit_rows = {}; });
  const int32_t beyond = static_cast<int32_t>(m.config.vocab_size);
  attempt([&](DraftBatch& b) { b.next_ids = std::span(&beyond, 1); });
}

INSTANTIATE_TEST_SUITE_P(Families, DraftModule,
                         testing::Values("exaone_moe_mtp", "exaone_moe2", "deepseek_mtp"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace onnuri
