// Which experts a row of router logits chooses, and with what weights.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "decoder/moe.h"

namespace onnuri {
namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed run(const RouterSpec& router, int64_t k, std::vector<float> logits,
           const std::vector<float>& correction = {}) {
  MoeSpec spec;
  spec.num_experts = static_cast<int64_t>(logits.size());
  spec.num_experts_per_token = k;
  spec.router = router;
  Routed r;
  r.experts.resize(static_cast<size_t>(k));
  r.weights.resize(static_cast<size_t>(k));
  RouterScratch scratch;
  route(spec, logits, correction.empty() ? nullptr : correction.data(), r.experts, r.weights,
        scratch);
  return r;
}

float sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }

TEST(Router, SoftmaxThenTopk) {
  RouterSpec router;
  router.renormalize = false;
  const Routed r = run(router, 2, {0.0f, 2.0f, 1.0f, -1.0f});
  EXPECT_EQ(r.experts, (std::vector<int32_t>{1, 2}));
  const float sum = 1 + std::exp(2.0f) + std::exp(1.0f) + std::exp(-1.0f);
  EXPECT_FLOAT_EQ(r.weights[0], std::exp(2.0f) / sum);
  EXPECT_FLOAT_EQ(r.weights[1], std::exp(1.0f) / sum);
  router.renormalize = true;
  router.scale = 2.0f;
  EXPECT_FLOAT_EQ(run(router, 2, {0.0f, 2.0f, 1.0f, -1.0f}).weights[0], 2.0f * sigmoid(1.0f));
}

TEST(Router, SoftmaxAfterTopk) {
  RouterSpec router;
  router.score = RouterScore::kSoftmaxAfterTopk;
  const Routed r = run(router, 2, {3.0f, -5.0f, 0.0f, 4.0f});
  EXPECT_EQ(r.experts, (std::vector<int32_t>{0, 3}));
  EXPECT_FLOAT_EQ(r.weights[0], sigmoid(-1.0f));
  EXPECT_FLOAT_EQ(r.weights[1], sigmoid(1.0f));
}

TEST(Router, TheCorrectionChoosesButDoesNotWeigh) {
  RouterSpec router;
  router.score = RouterScore::kSigmoid;
  router.correction_bias = true;
  router.renormalize = false;
  router.scale = 2.5f;
  const Routed r = run(router, 1, {2.0f, -2.0f, 0.0f}, {0.0f, 3.0f, 0.0f});
  EXPECT_EQ(r.experts, (std::vector<int32_t>{1}));
  EXPECT_FLOAT_EQ(r.weights[0], 2.5f * sigmoid(-2.0f));
}

TEST(Router, GroupsAreRankedByTheirTwoBest) {
  RouterSpec router;
  router.score = RouterScore::kSigmoid;
  router.num_groups = 3;
  // Sums of two: 0.97 + 0.02, 0.73 + 0.73, 0.5 + 0.5.
  const std::vector<float> logits = {3.5f, -4.0f, 1.0f, 1.0f, 0.0f, 0.0f};
  EXPECT_EQ(run(router, 1, logits).experts, (std::vector<int32_t>{2}));
  router.group_score = GroupScore::kMax;
  EXPECT_EQ(run(router, 1, logits).experts, (std::vector<int32_t>{0}));
  router.group_score = GroupScore::kSumOfTop2;
  router.num_groups_kept = 2;
  EXPECT_EQ(run(router, 3, logits).experts, (std::vector<int32_t>{2, 3, 4}));
}

TEST(Router, ExcludedGroupsMayScoreZero) {
  RouterSpec router;
  router.score = RouterScore::kSigmoid;
  router.num_groups = 2;
  router.correction_bias = true;
  const std::vector<float> logits = {0.0f, 0.0f, 0.0f, 0.0f};
  // The first group wins, yet its second expert falls below zero.
  const std::vector<float> correction = {2.0f, -0.9f, 0.1f, -0.6f};
  EXPECT_EQ(run(router, 2, logits, correction).experts, (std::vector<int32_t>{0, 1}));
  router.mask_with_zero = true;
  EXPECT_EQ(run(router, 2, logits, correction).experts, (std::vector<int32_t>{0, 2}));
}

TEST(Router, EqualScoresGoToTheLowerId) {
  RouterSpec router;
  EXPECT_EQ(run(router, 3, std::vector<float>(6, 1.0f)).experts, (std::vector<int32_t>{0, 1, 2}));
  router.num_groups = 3;
  EXPECT_EQ(run(router, 2, std::vector<float>(6, 1.0f)).experts, (std::vector<int32_t>{0, 1}));
}

void expect_nan_weights(const Routed& r) {
  for (const int32_t e : r.experts) EXPECT_TRUE(e >= 0 && e < 4) << e;
  for (const float w : r.weights) EXPECT_TRUE(std::isnan(w)) << w;
}

TEST(Router, NanAmongTheLogitsStays) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const RouterScore score :
       {RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSoftmaxAfterTopk}) {
    RouterSpec router;
    router.score = score;
    for (const int64_t groups : {1, 2}) {
      router.num_groups = router.num_groups_kept = groups;
      expect_nan_weights(run(router, 2, {5.0f, 4.0f, nan, -3.0f}));
      expect_nan_weights(run(router, 2, {nan, nan, nan, nan}));
    }
  }
}

TEST(Router, NanInTheCorrectionStays) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  RouterSpec router;
  router.score = RouterScore::kSigmoid;
  router.correction_bias = true;
  const std::vector<float> logits = {3.0f, 0.0f, 1.0f, 2.0f};
  expect_nan_weights(run(router, 2, logits, {0.0f, nan, 0.0f, 0.0f}));
  router.num_groups = 2;
  router.mask_with_zero = true;
  expect_nan_weights(run(router, 2, logits, {0.0f, nan, 0.0f, 0.0f}));
}

}  // namespace
}  // namespace onnuri
