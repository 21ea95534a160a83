// Tiny random checkpoints of every text family against what transformers answers for them
// (tests/golden/make_text_goldens.py), or a NumPy reference where it has no such family
// (tests/golden/make_numpy_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/checkpoint.h"
#include "core/mapped_file.h"
#include "decoder/decoder.h"
#include "decoder/kv_cache.h"
#include "decoder/sampler.h"
#include "engine/model_config.h"
#include "onnuri/engine.h"
#include "tests/core/checkpoint_files.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

using testing::TemporaryFolder;

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

class TextGolden : public ::testing::TestWithParam<const char*> {};
class GgufGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TextGolden, LogitsOfOnePrefill) {
  const Golden golden(GetParam());
  expect_logits(golden, load(GetParam())->logits(golden.input_ids, {}, {}));
}

TEST_P(TextGolden, LogitsOfTheReferenceKernels) {
  const Golden golden(GetParam());
  expect_logits(golden, load(GetParam(), 512, "ref")->logits(golden.input_ids, {}, {}));
}

// "auto" keeps plain weights as they are stored; activations may be rounded to bfloat16 on the way
// into a product, keys and values to half. Rounding to 8 bits errs by 2^-8 / sqrt(3) of a number's
// size at most and on average over magnitudes. Errors of independent products add in squares; about
// six products of a layer follow one another or meet in a sum, and the head is one more. What lies
// between them (softmax, a gate times another factor) may double an error. A token near the border
// of two experts or two keys may change sides, which few rows do: the middle row tells about
// rounding, the share of equal best tokens about the rest.
TEST_P(TextGolden, AutoStaysWithinTheRoundingOfItsProducts) {
  const Golden golden(GetParam());
  EngineOptions options;
  options.num_threads = 2;
  const FloatMatrix found =
      Engine::load(folder(GetParam()), options)->logits(golden.input_ids, {}, {});
  ASSERT_EQ(found.values.size(), golden.logits.size());
  const DecoderConfig decoder = map_model(open_model_files(folder(GetParam()))).decoder;
  const double products = 6.0 * static_cast<double>(decoder.num_layers()) + 1.0;
  const double bound = 2.0 * std::exp2(-8) / std::sqrt(3.0) * std::sqrt(products);
  const auto width = static_cast<size_t>(found.cols);
  const auto rows = static_cast<size_t>(found.rows);
  std::vector<double> deviations;
  size_t equal = 0;
  for (size_t row = 0; row < rows; ++row) {
    const std::span ours = std::span(found.values).subspan(row * width, width);
    const std::span theirs = std::span(golden.logits).subspan(row * width, width);
    double squares = 0;
    for (size_t i = 0; i < width; ++i) squares += std::pow(double{ours[i]} - theirs[i], 2);
    deviations.push_back(std::sqrt(squares / static_cast<double>(width)) / golden.std);
    equal += argmax(ours) == argmax(theirs);
  }
  std::sort(deviations.begin(), deviations.end());
  EXPECT_LT(deviations[rows / 2], bound);
  const bool chooses = std::any_of(decoder.layers.begin(), decoder.layers.end(), [](const auto& l) {
    return l.ffn == FfnKind::kMoe || l.sparse_index;
  });
  // Two best logits of 200 normal ones lie closer than sqrt(2) bound in some three of a hundred
  // rows; a changed expert moves more.
  EXPECT_GE(static_cast<double>(equal), (chooses ? 0.8 : 0.9) * static_cast<double>(rows));
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

/// Sequences that run together in one decoder.
class SequenceGroup {
 public:
  SequenceGroup(const std::string& family, size_t num_sequences)
      : SequenceGroup(map_model(open_model_files(folder(family))), num_sequences, family) {}
  SequenceGroup(ModelConfig model, size_t num_sequences, const std::string& family)
      : model_(std::move(model)), backend_(2, ""), cache_(model_.decoder, cache_options()) {
    TensorSource source(open_model_files(folder(family)).checkpoint, model_.names);
    decoder_ = Decoder::load(model_.decoder, source, backend_, ComputeType::kFloat32, nullptr);
    for (size_t i = 0; i < num_sequences; ++i) sequences_.push_back(cache_.new_sequence());
  }

  /// The next ids of every sequence, in one pass; (ids, vocab) logits of each.
  std::vector<std::vector<float>> forward(std::span<const std::span<const int32_t>> parts,
                                          std::span<const int64_t> prompt_ends = {}) {
    std::vector<int32_t> ids;
    std::vector<float> positions;
    std::vector<SequenceSlice> slices;
    std::vector<int64_t> rows;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto count = static_cast<int64_t>(parts[i].size());
      if (count == 0) continue;
      EXPECT_TRUE(sequences_[i]->reserve(count));
      const int64_t begin = sequences_[i]->num_tokens();
      slices.push_back({static_cast<int64_t>(ids.size()), count, begin, sequences_[i].get()});
      if (!prompt_ends.empty()) slices.back().prompt_end = prompt_ends[i];
      for (int64_t t = 0; t < count; ++t) {
        rows.push_back(static_cast<int64_t>(ids.size()));
        ids.push_back(parts[i][static_cast<size_t>(t)]);
        positions.push_back(static_cast<float>(begin + t));
      }
    }
    const int64_t vocab = model_.decoder.vocab_size;
    std::vector<float> logits(ids.size() * static_cast<size_t>(vocab));
    decoder_->forward({ids, positions, slices, {}, rows},
                      matrix(logits.data(), static_cast<int64_t>(rows.size()), vocab));
    std::vector<std::vector<float>> out;
    auto next = logits.begin();
    for (const std::span<const int32_t>& part : parts) {
      const auto end = next + static_cast<std::ptrdiff_t>(part.size()) * vocab;
      out.emplace_back(next, end);
      next = end;
    }
    return out;
  }

  int64_t vocab_size() const { return model_.decoder.vocab_size; }

 private:
  static KvCacheOptions cache_options() {
    KvCacheOptions options;
    options.dtype = DType::kF32;
    options.page_rows = 4;
    options.max_tokens = 384;
    options.max_sequences = 3;
    return options;
  }

  ModelConfig model_;
  Backend backend_;
  KvCache cache_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<std::unique_ptr<KvSequence>> sequences_;
};

// Three sequences of different length in one pass, each split in two chunks, against each alone.
TEST_P(TextGolden, SequencesOfABatchDoNotMeet) {
  const Golden golden(GetParam());
  const std::span<const int32_t> ids(golden.input_ids);
  const std::array<std::span<const int32_t>, 3> prompts = {ids, ids.subspan(3, 31), ids.last(17)};
  const std::array<size_t, 3> cuts = {29, 1, 16};
  const auto join = [](std::vector<float>& to, const std::vector<float>& more) {
    to.insert(to.end(), more.begin(), more.end());
  };
  std::array<std::span<const int32_t>, 3> first, rest;
  for (size_t i = 0; i < 3; ++i) {
    first[i] = prompts[i].first(cuts[i]);
    rest[i] = prompts[i].subspan(cuts[i]);
  }
  SequenceGroup group(GetParam(), 3);
  std::vector<std::vector<float>> together = group.forward(first);
  const std::vector<std::vector<float>> more = group.forward(rest);
  for (size_t i = 0; i < 3; ++i) {
    join(together[i], more[i]);
    SequenceGroup single(GetParam(), 1);
    std::vector<float> alone = single.forward(std::span(&first[i], 1))[0];
    join(alone, single.forward(std::span(&rest[i], 1))[0]);
    EXPECT_EQ(alone, together[i]) << "sequence " << i;
  }
  expect_logits(golden, {static_cast<int64_t>(ids.size()), golden.vocab_size, together[0]});
}

/// Greedy continuations of prompts that are read in chunks and then decoded in one batch.
std::vector<std::vector<int32_t>> greedy_batch(const std::string& family,
                                               std::span<const std::span<const int32_t>> prompts,
                                               size_t chunk, size_t num_new) {
  SequenceGroup group(family, prompts.size());
  const auto width = static_cast<size_t>(group.vocab_size());
  std::vector<int64_t> ends;
  for (const auto& prompt : prompts) ends.push_back(static_cast<int64_t>(prompt.size()));
  std::vector<std::vector<int32_t>> out(prompts.size());
  std::vector<size_t> read(prompts.size());
  const auto done = [&] {
    return std::all_of(out.begin(), out.end(), [&](const auto& o) { return o.size() == num_new; });
  };
  while (!done()) {
    std::vector<std::span<const int32_t>> parts;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const size_t left = prompts[i].size() - read[i];
      if (left > 0)
        parts.push_back(prompts[i].subspan(read[i], std::min(left, chunk)));
      else
        parts.push_back(std::span<const int32_t>(out[i]).last(out[i].size() < num_new ? 1 : 0));
    }
    const std::vector<std::vector<float>> logits = group.forward(parts, ends);
    for (size_t i = 0; i < prompts.size(); ++i) {
      if (parts[i].empty()) continue;
      if (read[i] < prompts[i].size()) read[i] += parts[i].size();
      if (read[i] == prompts[i].size()) out[i].push_back(argmax(std::span(logits[i]).last(width)));
    }
  }
  return out;
}

// Prompts end at different steps: chunks of one sequence run beside single tokens of another.
TEST_P(TextGolden, GreedyTokensOfABatch) {
  const Golden golden(GetParam());
  const std::span<const int32_t> ids(golden.input_ids);
  const std::array<std::span<const int32_t>, 3> prompts = {ids.first(19), ids, ids.last(5)};
  const size_t count = golden.greedy_ids.size();
  for (const size_t chunk : {13, 5}) {
    SCOPED_TRACE(chunk);
    const auto together = greedy_batch(GetParam(), prompts, chunk, count);
    EXPECT_EQ(together[1], golden.greedy_ids);
    for (size_t i = 0; i < prompts.size(); ++i)
      EXPECT_EQ(greedy_batch(GetParam(), std::span(&prompts[i], 1), chunk, count)[0], together[i]);
  }
}

// What the config says in sum against what the file holds: the modules that predict further tokens
// and the towers of other senses are not the decoder's.
TEST_P(TextGolden, TotalOfTheConfigIsThatOfTheFile) {
  const ModelFiles files = open_model_files(folder(GetParam()));
  const ModelConfig model = map_model(files);
  const auto foreign = [&](const std::string& name) {
    return name.find(".visual.") != std::string::npos ||
           std::any_of(model.mtp_prefixes.begin(), model.mtp_prefixes.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); });
  };
  int64_t stored = 0;
  for (const std::string& name : files.checkpoint->names()) {
    if (foreign(name) || name.ends_with("_scales")) continue;
    stored += files.checkpoint->find(name).num_elements();
  }
  EXPECT_EQ(model.decoder.num_parameters(), stored);
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

// As the reference loads it: a head with numbers of its own is not tied, whatever the config says.
TEST(TiedHead, ThatIsStoredWithOtherNumbersIsRead) {
  const std::string from = folder("llama");
  const TemporaryFolder to;
  JsonValue config = parse_json(read_text_file(from + "/config.json", 1 << 20), "config.json");
  ASSERT_FALSE(config.at("tie_word_embeddings", "config.json").as_bool("config.json"));
  config.set("tie_word_embeddings", true);
  to.write("config.json", config.dump());
  to.write("model.safetensors", read_text_file(from + "/model.safetensors", 1 << 24));
  const Golden golden("llama");
  expect_logits(golden, load_path(to.path())->logits(golden.input_ids, {}, {}));
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
                         ::testing::Values("llama", "qwen3", "gemma3", "exaone4_hybrid",
                                           "exaone_moe", "qwen3_moe", "gpt_oss", "granite",
                                           "ernie4_5", "solar_open", "qwen2", "exaone4_full"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(Families, TextGolden,
                         ::testing::Values("llama", "qwen2", "qwen3", "gemma3", "exaone4_hybrid",
                                           "exaone4_full", "exaone_moe", "exaone_moe_odd",
                                           "llama_biases", "mistral", "qwen2_windows",
                                           "qwen3_windows", "qwen3_moe", "qwen3_moe_sparse",
                                           "hyperclovax", "hyperclovax_plain", "granite",
                                           "exaone4_5", "solar_open", "gpt_oss", "gpt_oss_mxfp4",
                                           "ernie4_5", "qwen3_next", "qwen3_5", "qwen3_5_moe"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(NumpyReferences, TextGolden,
                         ::testing::Values("motif", "motif_grouped", "solar_pro", "exaone_moe_mtp",
                                           "exaone_moe2", "deepseek_mtp"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(LatentAttention, TextGolden,
                         ::testing::Values("deepseek_v3", "kanana2", "axk1", "axk2", "axk2_groups",
                                           "vaetki"),
                         [](const auto& param) { return std::string(param.param); });

class LatentGguf : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(LatentGguf, SameLogitsAsTheFolder) {
  const auto& [file, family] = GetParam();
  const Golden golden(family);
  const auto engine =
      load_path(std::string(ONNURI_TEST_DATA) + "/golden/gguf/" + file + ".gguf", 7);
  expect_logits(golden, engine->logits(golden.input_ids, {}, {}));
}

INSTANTIATE_TEST_SUITE_P(Layouts, LatentGguf,
                         ::testing::Values(std::pair("deepseek_v3_split", "deepseek_v3"),
                                           std::pair("deepseek_v3_whole", "deepseek_v3"),
                                           std::pair("kanana2_split", "kanana2")),
                         [](const auto& param) { return std::string(param.param.first); });

class LatentAuto : public ::testing::TestWithParam<const char*> {};

// How far each row of logits is from the golden ones, beside their spread.
std::vector<double> row_errors(const Golden& golden, const char* family, const std::string& isa) {
  EngineOptions options;
  options.num_threads = 2;
  options.compute_dtype = "auto";
  options.isa = isa;
  const FloatMatrix found = Engine::load(folder(family), options)->logits(golden.input_ids, {}, {});
  std::vector<double> errors;
  for (int64_t row = 0; row < found.rows; ++row) {
    double squares = 0;
    for (int64_t i = row * found.cols; i < (row + 1) * found.cols; ++i) {
      const auto at = static_cast<size_t>(i);
      const double difference = static_cast<double>(found.values[at]) - golden.logits[at];
      squares += difference * difference;
    }
    errors.push_back(std::sqrt(squares / static_cast<double>(found.cols)) / golden.std);
  }
  return errors;
}

// The cache loses bits; weights and activations are the same.
TEST_P(LatentAuto, IsCloseToFloat32) {
  const Golden golden(GetParam());
  double squares = 0;
  const std::vector<double> errors = row_errors(golden, GetParam(), "ref");
  for (const double error : errors) squares += error * error;
  EXPECT_LT(std::sqrt(squares / static_cast<double>(errors.size())), 0.02);
}

// Kernels that round activations to brain floats (one part in 512 at each product, and random
// weights forgive nothing) send a few tokens to other experts: those rows are far off, as they are
// in any run of such a model in its own type. Most rows are not.
TEST_P(LatentAuto, MostRowsOfTheFastestKernelsAreCloseToFloat32) {
  const Golden golden(GetParam());
  std::vector<double> errors = row_errors(golden, GetParam(), "");
  const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  EXPECT_LT(*middle, 0.04);
}

// Rows in whole blocks of a prompt read keys and values that are expanded from the latents.
TEST_P(LatentAuto, PromptsWithExpandedKeysAgree) {
  const Golden golden(GetParam());
  ModelConfig model = map_model(open_model_files(folder(GetParam())));
  model.decoder.mla.prompt_block = 38;
  SequenceGroup group(std::move(model), 1, GetParam());
  const std::span<const int32_t> ids(golden.input_ids);
  const auto count = static_cast<int64_t>(ids.size());
  const std::vector<std::vector<float>> found =
      group.forward(std::span(&ids, 1), std::span(&count, 1));
  expect_logits(golden, {count, golden.vocab_size, found[0]});
}

INSTANTIATE_TEST_SUITE_P(Families, LatentAuto,
                         ::testing::Values("deepseek_v3", "kanana2", "axk1", "axk2", "axk2_groups",
                                           "vaetki"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace onnuri
