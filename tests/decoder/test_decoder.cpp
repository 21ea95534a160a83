// The forward pass against a plain reference, and the equalities that need no reference.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/decoder/decoder_fixture.h"
#include "tests/decoder/decoder_shapes.h"
#include "tests/decoder/reference_decoder.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

std::vector<float> rows_of(const std::vector<float>& m, int64_t begin, int64_t count,
                           int64_t cols) {
  return {m.begin() + begin * cols, m.begin() + (begin + count) * cols};
}

// Largest difference over the standard deviation of the reference.
double relative_error(const std::vector<float>& found, const std::vector<double>& expected) {
  double mean = 0, square = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    mean += expected[i];
    square += expected[i] * expected[i];
    worst = larger(worst, std::fabs(static_cast<double>(found[i]) - expected[i]));
  }
  const auto n = static_cast<double>(expected.size());
  return worst / std::sqrt(square / n - mean / n * mean / n);
}

class DecoderShapes : public testing::TestWithParam<size_t> {
 protected:
  DecoderConfig config() const { return decoder_shapes()[GetParam()].config; }
};

TEST_P(DecoderShapes, AgreesWithPlainLoops) {
  TestDecoder t(config(), ComputeType::kFloat32);
  EXPECT_TRUE(t.unused.empty()) << t.unused.front();
  const std::vector<int32_t> ids = random_ids(40, t.config.vocab_size, 3);
  std::vector<float> positions;
  const int64_t axes = t.config.position_axes();
  for (int64_t axis = 0; axis < axes; ++axis) {
    for (int32_t i = 0; i < 40; ++i) {
      // With three axes, rows 10..21 are a picture of 3 x 4.
      const bool picture = axes == 3 && i >= 10 && i < 22;
      const int32_t offset = axis == 0 ? 0 : axis == 1 ? (i - 10) / 4 : (i - 10) % 4;
      positions.push_back(static_cast<float>(picture                ? 10 + offset
                                             : axes == 3 && i >= 22 ? i - 8
                                                                    : i));
    }
  }
  const auto kv = t.cache->new_sequence();
  const std::vector<float> logits = t.append(*kv, ids, positions, {});
  const std::vector<double> expected = reference_logits(t.config, *t.checkpoint, ids, positions);
  EXPECT_LT(relative_error(logits, expected), 1e-4);
}

TEST_P(DecoderShapes, ChunksDoNotChangeTheBits) {
  for (const bool exact : {true, false}) {
    TestDecoder t(config(), exact ? ComputeType::kFloat32 : ComputeType::kAuto,
                  exact ? DType::kF32 : DType::kBF16);
    const std::vector<int32_t> ids = random_ids(50, t.config.vocab_size, 5);
    const std::vector<float> whole = t.run(ids, std::vector<int64_t>{50});
    EXPECT_EQ(whole, t.run(ids, std::vector<int64_t>{1}));
    EXPECT_EQ(whole, t.run(ids, std::vector<int64_t>{7, 1, 13, 2, 3}));
    t.cache->check_integrity();
    EXPECT_EQ(t.cache->num_free_pages(), 64);
  }
}

// Of the middle row: where activations are rounded to brain floats, sharp scores differ by some
// percent, and a few rows go to other experts.
double median_row_error(const std::vector<float>& found, const std::vector<double>& expected,
                        int64_t cols) {
  std::vector<double> errors;
  const auto width = static_cast<size_t>(cols);
  for (size_t at = 0; at < found.size(); at += width)
    errors.push_back(relative_error({found.begin() + static_cast<std::ptrdiff_t>(at),
                                     found.begin() + static_cast<std::ptrdiff_t>(at + width)},
                                    {expected.begin() + static_cast<std::ptrdiff_t>(at),
                                     expected.begin() + static_cast<std::ptrdiff_t>(at + width)}));
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2),
                   errors.end());
  return errors[errors.size() / 2];
}

// Rows of a prompt may take another way through a layer than tokens of an answer: the same numbers
// but for rounding, and the same bits wherever the prompt is cut. Weights in bfloat16, latents in
// half.
TEST_P(DecoderShapes, PromptsReadTheSameInAnyChunks) {
  for (const bool exact : {true, false}) {
    TestDecoder t(config(), exact ? ComputeType::kFloat32 : ComputeType::kAuto,
                  exact ? DType::kF32 : DType::kBF16, 2, 80);
    const std::vector<int32_t> ids = random_ids(76, t.config.vocab_size, 5);
    const std::vector<float> found = t.run(ids, std::vector<int64_t>{1});
    const std::vector<double> expected(found.begin(), found.end());
    t.prompt_end = 76;
    const std::vector<float> whole = t.run(ids, std::vector<int64_t>{76});
    if (exact)
      EXPECT_LT(relative_error(whole, expected), 1e-4);
    else
      EXPECT_LT(median_row_error(whole, expected, t.config.vocab_size), 0.1);
    for (const std::vector<int64_t>& chunks :
         {std::vector<int64_t>{64, 12}, {40, 24}, {33, 1, 30}, {1, 75}, {7}})
      EXPECT_EQ(whole, t.run(ids, chunks)) << chunks[0];
  }
}

// Windows longer and shorter than a tile of keys, far from where the sequence begins.
TEST(LatentPrompts, WindowsKeepTheBitsInAnyChunks) {
  std::vector<NamedShape> shapes = decoder_shapes();
  const auto shape = std::find_if(shapes.begin(), shapes.end(), [](const auto& s) {
    return s.name == "latent_windows_one_plus_biases";
  });
  ASSERT_NE(shape, shapes.end());
  for (const int64_t window : {7, 90}) {
    for (LayerSpec& layer : shape->config.layers)
      if (layer.window > 0) layer.window = window;
    TestDecoder t(shape->config, ComputeType::kFloat32, DType::kF32, 2, 400);
    const std::vector<int32_t> ids = random_ids(397, t.config.vocab_size, 5);
    t.prompt_end = 397;
    const std::vector<float> whole = t.run(ids, std::vector<int64_t>{397});
    for (const std::vector<int64_t>& chunks :
         {std::vector<int64_t>{100}, {37}, {1, 200}, {64, 130, 150}})
      EXPECT_EQ(whole, t.run(ids, chunks)) << window << " " << chunks[0];
  }
}

// Whether the above tests anything: expanded keys round otherwise than latents.
TEST(LatentPrompts, TakeAnotherWay) {
  const std::vector<NamedShape> shapes = decoder_shapes();
  const auto shape = std::find_if(shapes.begin(), shapes.end(),
                                  [](const auto& s) { return s.name == "latent_query_rank"; });
  ASSERT_NE(shape, shapes.end());
  TestDecoder t(shape->config, ComputeType::kFloat32, DType::kF32, 2, 80);
  const std::vector<int32_t> ids = random_ids(76, t.config.vocab_size, 5);
  const std::vector<float> latents = t.run(ids, std::vector<int64_t>{76});
  t.prompt_end = 76;
  EXPECT_NE(latents, t.run(ids, std::vector<int64_t>{76}));
  t.prompt_end = 32;  // the first block ends with the prompt: nothing is expanded
  const auto half = std::span(ids).first(32);
  const std::vector<float> prompt = t.run(half, std::vector<int64_t>{32});
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), latents.begin()));
}

TEST_P(DecoderShapes, ABatchIsEachSequenceAlone) {
  TestDecoder t(config(), ComputeType::kFloat32);
  const std::vector<int64_t> lengths = {9, 1, 30, 4};
  std::vector<std::unique_ptr<KvSequence>> sequences;
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<float>> alone;
  for (size_t s = 0; s < lengths.size(); ++s) {
    ids.push_back(random_ids(lengths[s] + 12, t.config.vocab_size, static_cast<uint32_t>(s)));
    alone.push_back(t.run(ids[s], std::vector<int64_t>{lengths[s], 6}));
    sequences.push_back(t.cache->new_sequence());
  }
  std::vector<int64_t> done(lengths.size(), 0);
  for (const int64_t step : {0, 6, 6}) {
    std::vector<int32_t> row_ids;
    std::vector<int64_t> row_positions, logit_rows;
    std::vector<SequenceSlice> slices;
    for (size_t s = 0; s < lengths.size(); ++s) {
      const int64_t count = step == 0 ? lengths[s] : step;
      ASSERT_TRUE(sequences[s]->reserve(count));
      slices.push_back({static_cast<int64_t>(row_ids.size()), count, done[s], sequences[s].get()});
      for (int64_t i = 0; i < count; ++i) {
        row_ids.push_back(ids[s][static_cast<size_t>(done[s] + i)]);
        row_positions.push_back(done[s] + i);
      }
      logit_rows.push_back(static_cast<int64_t>(row_ids.size()) - 1);
    }
    std::vector<float> positions;
    for (int64_t axis = 0; axis < t.config.position_axes(); ++axis) {
      positions.insert(positions.end(), row_positions.begin(), row_positions.end());
    }
    std::vector<float> logits(lengths.size() * static_cast<size_t>(t.config.vocab_size));
    t.decoder->forward(
        {row_ids, positions, slices, {}, logit_rows},
        matrix(logits.data(), static_cast<int64_t>(lengths.size()), t.config.vocab_size));
    for (size_t s = 0; s < lengths.size(); ++s) {
      done[s] += slices[s].num_rows;
      EXPECT_EQ(rows_of(logits, static_cast<int64_t>(s), 1, t.config.vocab_size),
                rows_of(alone[s], done[s] - 1, 1, t.config.vocab_size));
    }
  }
  t.cache->check_integrity();
}

TEST_P(DecoderShapes, ThreadsDoNotChangeTheBits) {
  const std::vector<int32_t> ids = random_ids(33, 96, 8);
  TestDecoder one(config(), ComputeType::kAuto, DType::kBF16, 1);
  TestDecoder three(config(), ComputeType::kAuto, DType::kBF16, 3);
  const std::vector<int64_t> chunks = {20, 1};
  EXPECT_EQ(one.run(ids, chunks), three.run(ids, chunks));
}

DecoderConfig windowed(int64_t window) {
  DecoderConfig c = tiny_decoder_config();
  for (LayerSpec& layer : c.layers) layer.window = window;
  return c;
}

TEST(Decoder, AWideWindowIsFullAttention) {
  TestDecoder full(windowed(0), ComputeType::kFloat32);
  TestDecoder ring(windowed(60), ComputeType::kFloat32);
  const std::vector<int32_t> ids = random_ids(60, 96, 1);
  const std::vector<int64_t> chunks = {17, 1, 5};
  EXPECT_EQ(full.run(ids, chunks), ring.run(ids, chunks));
}

TEST(Decoder, RingsHoldThePromptsThatOutgrowThem) {
  // Rings of 3 pages (window 11 + chunk 8 = 19 rows): 150 tokens go round six times.
  TestDecoder t(windowed(11), ComputeType::kFloat32, DType::kF32, 2, 8);
  const std::vector<int32_t> ids = random_ids(150, 96, 2);
  std::vector<float> positions(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) positions[i] = static_cast<float>(i);
  const std::vector<double> expected = reference_logits(t.config, *t.checkpoint, ids, positions);
  const std::vector<float> chunked = t.run(ids, std::vector<int64_t>{8});
  EXPECT_LT(relative_error(chunked, expected), 1e-4);
  EXPECT_EQ(chunked, t.run(ids, std::vector<int64_t>{3, 8, 1, 7}));
}

TEST(Decoder, InterleavedSequencesDoNotMeet) {
  TestDecoder t(decoder_shapes()[2].config, ComputeType::kFloat32);
  const std::vector<int32_t> a = random_ids(48, 96, 1);
  const std::vector<int32_t> b = random_ids(48, 96, 2);
  const auto kv_a = t.cache->new_sequence();
  const auto kv_b = t.cache->new_sequence();
  std::vector<float> found_a, found_b;
  for (size_t i = 0; i < 48; i += 4) {
    const std::vector<float> part_a = t.append(*kv_a, std::span(a).subspan(i, 4));
    const std::vector<float> part_b = t.append(*kv_b, std::span(b).subspan(i, 4));
    found_a.insert(found_a.end(), part_a.begin(), part_a.end());
    found_b.insert(found_b.end(), part_b.begin(), part_b.end());
  }
  EXPECT_EQ(found_a, t.run(a, std::vector<int64_t>{48}));
  EXPECT_EQ(found_b, t.run(b, std::vector<int64_t>{48}));
}

TEST(Decoder, ATruncatedSequenceGoesOnAsIfNew) {
  TestDecoder t(decoder_shapes()[2].config, ComputeType::kFloat32);
  const std::vector<int32_t> ids = random_ids(40, 96, 4);
  const std::vector<int32_t> other = random_ids(20, 96, 9);
  const auto kv = t.cache->new_sequence();
  t.append(*kv, std::span(ids).first(30));
  t.append(*kv, other);
  ASSERT_TRUE(kv->truncate(30));
  const std::vector<float> found = t.append(*kv, std::span(ids).last(10));
  EXPECT_EQ(found, rows_of(t.run(ids, std::vector<int64_t>{30, 10}), 30, 10, 96));
}

TEST(Decoder, PrecomputedRowsReplaceEmbeddings) {
  for (const float scale : {1.0f, 3.0f}) {
    DecoderConfig c = tiny_decoder_config();
    c.embed_scale = scale;
    TestDecoder t(c, ComputeType::kFloat32);
    const std::vector<int32_t> ids = random_ids(12, 96, 4);
    std::vector<int32_t> with_placeholders = ids;
    std::vector<float> positions;
    for (int32_t i = 0; i < 12; ++i) positions.push_back(static_cast<float>(i));
    std::vector<float> features(3 * 64);
    t.decoder->embed(std::span(ids).subspan(5, 3), matrix(features.data(), 3, 64));
    for (size_t i = 5; i < 8; ++i) with_placeholders[i] = -1;
    const RowOverride rows{5, matrix(static_cast<const float*>(features.data()), 3, 64)};
    const auto kv = t.cache->new_sequence();
    EXPECT_EQ(t.append(*kv, with_placeholders, positions, {&rows, 1}),
              t.run(ids, std::vector<int64_t>{12}));
  }
}

TEST(Decoder, TheRowsAskedForAreTheRowsGiven) {
  TestDecoder t(tiny_decoder_config(), ComputeType::kFloat32);
  const std::vector<int32_t> ids = random_ids(10, 96, 6);
  const std::vector<float> all = t.run(ids, std::vector<int64_t>{10});
  const auto kv = t.cache->new_sequence();
  ASSERT_TRUE(kv->reserve(10));
  const SequenceSlice slice{0, 10, 0, kv.get()};
  const std::vector<float> positions = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int64_t> wanted = {9, 2, 2};
  std::vector<float> logits(3 * 96);
  t.decoder->forward({ids, positions, {&slice, 1}, {}, wanted}, matrix(logits.data(), 3, 96));
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(rows_of(logits, i, 1, 96), rows_of(all, wanted[static_cast<size_t>(i)], 1, 96));
  }
}

TEST_P(DecoderShapes, SubsetsOfRowsKeepTheirBits) {
  TestDecoder t(config(), ComputeType::kFloat32);
  const std::vector<int32_t> ids = random_ids(26, 96, 6);
  const std::vector<float> first = t.run(std::span(ids).first(12), std::vector<int64_t>{12});
  const std::vector<float> second = t.run(std::span(ids).last(14), std::vector<int64_t>{8, 6});
  const auto kv_a = t.cache->new_sequence();
  const auto kv_b = t.cache->new_sequence();
  ASSERT_TRUE(kv_a->reserve(12) && kv_b->reserve(14));
  const auto pass = [&](std::span<const int32_t> row_ids, std::span<const SequenceSlice> slices,
                        std::span<const int64_t> wanted) {
    std::vector<float> positions;
    for (int64_t axis = 0; axis < t.config.position_axes(); ++axis) {
      for (const SequenceSlice& s : slices) {
        for (int64_t i = 0; i < s.num_rows; ++i) {
          positions.push_back(static_cast<float>(s.start_position + i));
        }
      }
    }
    std::vector<float> logits(wanted.size() * 96);
    t.decoder->forward({row_ids, positions, slices, {}, wanted},
                       matrix(logits.data(), static_cast<int64_t>(wanted.size()), 96));
    return logits;
  };
  // Without logits: only the cache is filled.
  const SequenceSlice start{0, 8, 0, kv_b.get()};
  pass(std::span(ids).subspan(12, 8), {&start, 1}, {});
  std::vector<int32_t> both(ids.begin(), ids.begin() + 12);
  both.insert(both.end(), ids.begin() + 20, ids.end());
  const SequenceSlice slices[] = {{0, 12, 0, kv_a.get()}, {12, 6, 8, kv_b.get()}};
  const std::vector<int64_t> wanted = {11, 12, 13, 17, 3, 4, 4, 2};
  const std::vector<float> found = pass(both, slices, wanted);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const int64_t row = wanted[i];
    EXPECT_EQ(rows_of(found, static_cast<int64_t>(i), 1, 96),
              row < 12 ? rows_of(first, row, 1, 96) : rows_of(second, row - 4, 1, 96));
  }
}

INSTANTIATE_TEST_SUITE_P(All, DecoderShapes, testing::Range<size_t>(0, decoder_shapes().size()),
                         [](const testing::TestParamInfo<size_t>& shape) {
                           return decoder_shapes()[shape.param].name;
                         });

TEST(Decoder, QuantisedWeightsStayCloseToTheirValues) {
  TestDecoder t(tiny_decoder_config(), ComputeType::kAuto, DType::kQ8_0);
  const std::vector<int32_t> ids = random_ids(32, 96, 6);
  std::vector<float> positions(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) positions[i] = static_cast<float>(i);
  const std::vector<float> whole = t.run(ids, std::vector<int64_t>{32});
  EXPECT_EQ(whole, t.run(ids, std::vector<int64_t>{5, 1}));
  // int8 activations: a few per cent of the deviation at worst, through four layers.
  EXPECT_LT(relative_error(whole, reference_logits(t.config, *t.checkpoint, ids, positions)), 0.15);
}

template <typename F>
void expect_error(ErrorCode code, const std::string& part, F&& f) {
  try {
    f();
    FAIL() << "expected an error with \"" << part << "\"";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(Decoder, RefusesWhatDoesNotFit) {
  TestDecoder t(tiny_decoder_config(), ComputeType::kFloat32);
  const auto kv = t.cache->new_sequence();
  std::vector<float> logits(96);
  const std::vector<int64_t> row = {0};
  const std::vector<int32_t> id = {5};
  const std::vector<float> position = {0};
  const auto run = [&](std::span<const int32_t> ids, std::span<const float> positions,
                       const SequenceSlice& slice, std::span<const int64_t> rows) {
    t.decoder->forward({ids, positions, {&slice, 1}, {}, rows}, matrix(logits.data(), 1, 96));
  };
  expect_error(ErrorCode::kOutOfMemory, "expected room for 1 tokens", [&] {
    run(id, position, {0, 1, 0, kv.get()}, row);
  });
  ASSERT_TRUE(kv->reserve(8));
  for (const int32_t wrong : {-1, 96, 1 << 30}) {
    expect_error(ErrorCode::kInvalidArgument, std::to_string(wrong), [&] {
      run(std::vector<int32_t>{wrong}, position, {0, 1, 0, kv.get()}, row);
    });
  }
  expect_error(ErrorCode::kInvalidArgument, "position 0", [&] {
    run(id, position, {0, 1, 3, kv.get()}, row);
  });
  expect_error(ErrorCode::kInvalidArgument, "slice", [&] {
    run(id, position, {0, 2, 0, kv.get()}, row);
  });
  expect_error(ErrorCode::kInvalidArgument, "positions", [&] {
    run(id, std::vector<float>{0, 1, 2}, {0, 1, 0, kv.get()}, row);
  });
  expect_error(ErrorCode::kInvalidArgument, "logit row", [&] {
    run(id, position, {0, 1, 0, kv.get()}, std::vector<int64_t>{1});
  });
  const std::vector<int32_t> many(65, 1);
  const std::vector<float> many_positions(65, 0);
  expect_error(ErrorCode::kInvalidArgument, "at most 64", [&] {
    run(many, many_positions, {0, 65, 0, kv.get()}, row);
  });
  EXPECT_EQ(kv->num_tokens(), 0);
  run(id, position, {0, 1, 0, kv.get()}, row);
  EXPECT_EQ(kv->num_tokens(), 1);
}

TEST(Decoder, AMissingTensorIsNamed) {
  DecoderConfig without = tiny_decoder_config();
  DecoderConfig with = without;
  with.layers[2].qk_norm = true;
  const auto checkpoint = std::make_shared<RandomDecoderCheckpoint>(without, 1, DType::kF32);
  TensorSource source = source_of(checkpoint);
  Backend backend(1, "");
  expect_error(ErrorCode::kNotFound, "layers.2.q_norm.weight",
               [&] { Decoder::load(with, source, backend, ComputeType::kFloat32, nullptr); });
}

}  // namespace
}  // namespace onnuri
