// Sampling: distribution, determinism, and the edges of every parameter.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "decoder/sampler.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

SamplingParams params(float temperature, uint64_t seed = 1) {
  SamplingParams p;
  p.temperature = temperature;
  p.seed = seed;
  return p;
}

std::vector<float> log_of(const std::vector<double>& probabilities) {
  std::vector<float> z;
  for (const double p : probabilities) z.push_back(static_cast<float>(std::log(p)));
  return z;
}

std::set<int32_t> drawn(const SamplingParams& p, const std::vector<float>& logits, int count) {
  Sampler sampler(p);
  std::set<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.insert(sampler.sample(logits, {}, {}));
  return ids;
}

TEST(Sampler, GreedyTakesTheFirstLargest) {
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(std::vector<float>{1.0f, 3.0f, 3.0f, 2.0f}, {}, {}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{kNan, -3.0f, kNan}, {}, {}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{0.0f, kInf}, {}, {}), 1);
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const std::vector<double> p = {0.5, 0.3, 0.15, 0.05};
  Sampler sampler(params(1.0f, 42));
  std::vector<int> counts(4);
  const int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    ++counts[static_cast<size_t>(sampler.sample(log_of(p), {}, {}))];
  }
  double chi_square = 0;
  for (size_t i = 0; i < 4; ++i) {
    const double expected = p[i] * draws;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 16.27);  // 3 degrees of freedom, 0.1 %
}

TEST(Sampler, TemperatureSharpens) {
  const std::vector<double> p = {0.6, 0.4};
  Sampler sampler(params(0.5f));
  int first = 0;
  for (int i = 0; i < 20000; ++i) first += sampler.sample(log_of(p), {}, {}) == 0;
  EXPECT_NEAR(first / 20000.0, 0.36 / 0.52, 0.015);
}

TEST(Sampler, ASeedGivesTheSameTokens) {
  std::vector<float> logits;
  for (int i = 0; i < 1000; ++i) logits.push_back(static_cast<float>((i * 37) % 101) * 0.02f);
  const auto tokens = [&](uint64_t seed) {
    Sampler sampler(params(1.0f, seed));
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler.sample(logits, {}, {}));
    return ids;
  };
  EXPECT_EQ(tokens(7), tokens(7));
  EXPECT_NE(tokens(7), tokens(8));
}

TEST(Sampler, TopKKeepsK) {
  const std::vector<float> logits = {0.1f, 0.3f, 0.2f, 0.3f, 0.0f};
  SamplingParams p = params(1.0f);
  p.top_k = 1;
  EXPECT_EQ(drawn(p, logits, 50), (std::set<int32_t>{1}));
  p.top_k = 3;
  EXPECT_EQ(drawn(p, logits, 500), (std::set<int32_t>{1, 2, 3}));
  p.top_k = 1000;
  EXPECT_EQ(drawn(p, logits, 500), (std::set<int32_t>{0, 1, 2, 3, 4}));
}

TEST(Sampler, TopPKeepsTheSmallestSufficientSet) {
  const std::vector<float> logits = log_of({0.15, 0.5, 0.05, 0.3});
  SamplingParams p = params(1.0f);
  p.top_p = 0.0f;
  EXPECT_EQ(drawn(p, logits, 50), (std::set<int32_t>{1}));
  p.top_p = 0.49f;
  EXPECT_EQ(drawn(p, logits, 50), (std::set<int32_t>{1}));
  p.top_p = 0.79f;
  EXPECT_EQ(drawn(p, logits, 500), (std::set<int32_t>{1, 3}));
  p.top_p = 0.81f;
  EXPECT_EQ(drawn(p, logits, 500), (std::set<int32_t>{0, 1, 3}));
  p.top_p = 1.0f;
  EXPECT_EQ(drawn(p, logits, 2000).size(), 4u);
  // After top-k the mass is that of the kept ones: 0.5 of 0.8 already reaches 0.6.
  p.top_k = 2;
  p.top_p = 0.6f;
  EXPECT_EQ(drawn(p, logits, 500), (std::set<int32_t>{1}));
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const std::vector<float> logits = log_of({0.5, 0.26, 0.24});
  SamplingParams p = params(1.0f);
  p.min_p = 0.5f;
  EXPECT_EQ(drawn(p, logits, 500), (std::set<int32_t>{0, 1}));
  p.min_p = 1.0f;
  EXPECT_EQ(drawn(p, logits, 50), (std::set<int32_t>{0}));
}

TEST(Sampler, RepetitionPenaltyCountsATokenOnce) {
  SamplingParams p;
  p.repetition_penalty = 2.0f;
  Sampler sampler(p);
  const std::vector<float> logits = {3.0f, 1.6f, -1.0f};
  const std::vector<int32_t> once = {0}, often = {0, 0, 0}, outside = {-1, 99};
  EXPECT_EQ(sampler.sample(logits, {}, {}), 0);
  EXPECT_EQ(sampler.sample(logits, once, {}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{3.0f, 1.4f, -1.0f}, often, {}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{-1.0f, -1.5f}, once, {}), 1);
  EXPECT_EQ(sampler.sample(logits, outside, {}), 0);
}

// Counts over many draws against the expected probabilities.
double chi_square(const SamplingParams& p, const std::vector<float>& logits,
                  const std::vector<double>& expected, const std::vector<int32_t>& prompt = {},
                  const std::vector<int32_t>& answer = {}) {
  Sampler sampler(p);
  constexpr int kDraws = 20000;
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i)
    ++counts[static_cast<size_t>(sampler.sample(logits, prompt, answer))];
  double out = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double mean = expected[i] * kDraws;
    out += (counts[i] - mean) * (counts[i] - mean) / mean;
  }
  return out;
}

TEST(Sampler, TypicalKeepsWhatIsNearTheEntropy) {
  const std::vector<float> z = {2.0f, 1.5f, 0.3f, -1.0f, 0.9f, 1.1f};
  std::vector<double> p;
  double sum = 0, entropy = 0;
  for (const float x : z) sum += std::exp(static_cast<double>(x));
  for (const float x : z) p.push_back(std::exp(static_cast<double>(x)) / sum);
  for (const double x : p) entropy -= x * std::log(x);
  ASSERT_LT(std::abs(-std::log(p[1]) - entropy), std::abs(-std::log(p[5]) - entropy));
  SamplingParams warm;
  warm.temperature = 1.0f;
  warm.typical_p = 0.01f;
  EXPECT_EQ(drawn(warm, z, 200), (std::set<int32_t>{1}));  // not the likeliest
  warm.typical_p = static_cast<float>(p[1] + p[5] * 0.5);
  EXPECT_LT(chi_square(warm, z, {0, p[1] / (p[1] + p[5]), 0, 0, 0, p[5] / (p[1] + p[5])}), 10.83);
}

TEST(Sampler, PenaltiesAndBiasFollowTheirFormulas) {
  const std::vector<float> z = {2.0f, 1.0f, -0.5f, 0.25f};
  SamplingParams p;
  p.temperature = 0.7f;
  p.repetition_penalty = 1.3f;
  p.presence_penalty = 0.4f;
  p.frequency_penalty = 0.2f;
  p.logit_bias = {{3, 1.5f}, {1, -0.25f}};
  const std::vector<int32_t> prompt = {2, 3}, answer = {0, 0, 2};
  // bias; repetition over 0, 2, 3; 2 x 0.2 + 0.4 from token 0, 0.2 + 0.4 from token 2
  const std::vector<double> adjusted = {2.0 / 1.3 - 0.8, 0.75, -0.5 * 1.3 - 0.6, 1.75 / 1.3};
  std::vector<double> expected;
  double sum = 0;
  for (const double x : adjusted) sum += std::exp(x / 0.7);
  for (const double x : adjusted) expected.push_back(std::exp(x / 0.7) / sum);
  EXPECT_LT(chi_square(p, z, expected, prompt, answer), 16.27);
  // The same test tells a wrong formula from the right one.
  std::swap(expected[2], expected[3]);
  EXPECT_GT(chi_square(p, z, expected, prompt, answer), 16.27);
}

TEST(Sampler, BiasForbidsAndForces) {
  SamplingParams p;
  p.logit_bias = {{0, -kInf}};
  EXPECT_EQ(Sampler(p).sample(std::vector<float>{9.0f, 1.0f}, {}, {}), 1);
  p.logit_bias = {{1, 100.0f}};
  EXPECT_EQ(Sampler(p).sample(std::vector<float>{9.0f, 1.0f}, {}, {}), 1);
  p.logit_bias = {{2, 1.0f}};
  EXPECT_THROW(Sampler(p).sample(std::vector<float>{9.0f, 1.0f}, {}, {}), Error);
}

TEST(Sampler, OnlyAllowedTokensAreDrawn) {
  std::vector<float> z(200);
  for (size_t i = 0; i < z.size(); ++i) z[i] = static_cast<float>(i) * 0.01f;
  std::vector<uint64_t> allowed(4);
  for (const size_t id : {3u, 64u, 130u}) allowed[id / 64] |= uint64_t{1} << (id % 64);
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler(params(temperature));
    for (int i = 0; i < 100; ++i) {
      const int32_t id = sampler.sample(z, {}, {}, allowed);
      EXPECT_TRUE(id == 3 || id == 64 || id == 130) << id;
      if (temperature == 0.0f) {
        EXPECT_EQ(id, 130);
      }
    }
  }
  Sampler sampler({});
  EXPECT_THROW(sampler.sample(z, {}, {}, std::vector<uint64_t>(4)), Error);
}

TEST(Sampler, ChoicesHaveSeedsOfTheirOwn) {
  EXPECT_EQ(choice_seed(7, 0), 7u);
  std::set<uint64_t> seeds;
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (int64_t i = 0; i < 20; ++i) seeds.insert(choice_seed(seed, i));
  EXPECT_EQ(seeds.size(), 400u);
}

TEST(Sampler, ErrorsNameTheParameter) {
  const auto message = [](const std::function<void(SamplingParams&)>& change) {
    SamplingParams p;
    change(p);
    try {
      Sampler sampler(p);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto names = [&](const char* name, const std::function<void(SamplingParams&)>& change) {
    EXPECT_NE(message(change).find(name), std::string::npos) << name;
  };
  names("temperature", [](SamplingParams& p) { p.temperature = -1; });
  names("top_k", [](SamplingParams& p) { p.top_k = -1; });
  names("top_p", [](SamplingParams& p) { p.top_p = 1.5f; });
  names("min_p", [](SamplingParams& p) { p.min_p = kNan; });
  names("typical_p", [](SamplingParams& p) { p.typical_p = -0.5f; });
  names("repetition_penalty", [](SamplingParams& p) { p.repetition_penalty = 0; });
  names("presence_penalty", [](SamplingParams& p) { p.presence_penalty = 1000; });
  names("frequency_penalty", [](SamplingParams& p) { p.frequency_penalty = kNan; });
  names("logit_bias", [](SamplingParams& p) { p.logit_bias = {{-1, 1.0f}}; });
  names("logit_bias", [](SamplingParams& p) { p.logit_bias = {{1, kNan}}; });
}

TEST(Sampler, ImpossibleTokensAreNeverDrawn) {
  const std::vector<float> logits = {kNan, 0.0f, -kInf, 0.1f, kNan};
  EXPECT_EQ(drawn(params(2.0f), logits, 200), (std::set<int32_t>{1, 3}));
  for (const float z : {kNan, -kInf}) {
    Sampler greedy({}), warm(params(1.0f));
    const std::vector<float> nothing(3, z);
    EXPECT_THROW(greedy.sample(nothing, {}, {}), Error);
    EXPECT_THROW(warm.sample(nothing, {}, {}), Error);
  }
  Sampler sampler({});
  EXPECT_THROW(sampler.sample({}, {}, {}), Error);
}

TEST(Sampler, RefusesParametersOutOfRange) {
  for (const auto change :
       {+[](SamplingParams& p) { p.temperature = -0.1f; },
        +[](SamplingParams& p) { p.temperature = kNan; }, +[](SamplingParams& p) { p.top_k = -1; },
        +[](SamplingParams& p) { p.top_p = 1.1f; }, +[](SamplingParams& p) { p.min_p = -0.1f; },
        +[](SamplingParams& p) { p.repetition_penalty = 0.0f; }}) {
    SamplingParams p;
    change(p);
    EXPECT_THROW(Sampler{p}, Error);
  }
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  EXPECT_EQ(drawn(params(1e-30f), {1.0f, 1.001f, 0.5f}, 50), (std::set<int32_t>{1}));
}

TEST(Argmax, FindsEveryPosition) {
  for (size_t n = 1; n < 40; ++n) {
    for (size_t best = 0; best < n; ++best) {
      std::vector<float> z(n, -1.0f);
      z[best] = 0.5f;
      if (best + 1 < n) z[n - 1] = 0.5f;
      EXPECT_EQ(argmax(z), static_cast<int32_t>(best));
      z[best] = kNan;
      EXPECT_NE(argmax(z), static_cast<int32_t>(best));
    }
  }
  EXPECT_EQ(argmax(std::vector<float>{kNan, kNan}), -1);
  EXPECT_EQ(argmax({}), -1);
}

TEST(LogProbability, AnInfiniteLogitTakesAll) {
  const std::vector<float> logits = {3.0f, kInf, -kInf};
  EXPECT_EQ(log_probability(logits, 1), 0);
  EXPECT_EQ(log_probability(logits, 0), -static_cast<double>(kInf));
  EXPECT_EQ(top_log_probabilities(logits, 2)[0].second, 0);
  EXPECT_EQ(log_probability(std::vector<float>{-kInf, -kInf}, 0), -static_cast<double>(kInf));
}

TEST(Sampler, ABiasThatLeavesNothingIsTheCallersMistake) {
  SamplingParams params;
  params.logit_bias = {{0, -kInf}, {1, -kInf}};
  Sampler sampler(params);
  try {
    sampler.sample(std::vector<float>{1.0f, 2.0f}, {}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  }
}

TEST(LogProbability, IsNormalised) {
  const std::vector<float> logits = {1000.0f, 999.0f, kNan, 998.0f};
  const double sum = 1 + std::exp(-1.0) + std::exp(-2.0);
  EXPECT_NEAR(log_probability(logits, 0), -std::log(sum), 1e-12);
  EXPECT_NEAR(log_probability(logits, 3), -2 - std::log(sum), 1e-12);
  EXPECT_EQ(log_probability(logits, 2), -std::numeric_limits<double>::infinity());
  EXPECT_THROW(log_probability(logits, 4), Error);
  const auto best = top_log_probabilities(logits, 2);
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[1].first, 1);
  EXPECT_NEAR(best[1].second, -1 - std::log(sum), 1e-12);
  EXPECT_EQ(top_log_probabilities(logits, 10).size(), 3u);
}

}  // namespace
}  // namespace onnuri
