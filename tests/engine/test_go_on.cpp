// Long calls ask whether to go on before every chunk; a no ends them at once, and the engine goes
// on to answer as before.
#include <gtest/gtest.h>

#include <numeric>

#include "onnuri/engine.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

class GoOnTest : public ::testing::Test {
 protected:
  GoOnTest() {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 1;
    options.prefill_chunk = 8;
    engine_ = Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/text/qwen2", options);
    std::iota(ids_.begin(), ids_.end(), 3);
  }

  /// Runs `call` with a hook that says no at its third question.
  template <typename Call>
  void expect_cancelled(const Call& call) {
    int asked = 0;
    try {
      call([&] { return ++asked < 3; });
      ADD_FAILURE() << "not cancelled";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCancelled) << error.what();
    }
    EXPECT_EQ(asked, 3);
  }

  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> ids_ = std::vector<int32_t>(40);
};

TEST_F(GoOnTest, ScoresAndLogitsEndWhenAsked) {
  const std::vector<double> before = engine_->token_nll(ids_);
  expect_cancelled([&](const GoOn& go_on) { engine_->token_nll(ids_, go_on); });
  expect_cancelled([&](const GoOn& go_on) { engine_->mean_nll(ids_, go_on); });
  expect_cancelled([&](const GoOn& go_on) { engine_->logits(ids_, {}, {}, {}, go_on); });
  EXPECT_EQ(engine_->token_nll(ids_), before);
}

TEST_F(GoOnTest, TheHookIsAskedOncePerChunk) {
  int asked = 0;
  const GoOn go_on = [&] { return ++asked > 0; };
  EXPECT_EQ(engine_->logits(ids_, {}, {}, {}, go_on).rows, 40);
  EXPECT_EQ(asked, 5);
  EXPECT_EQ(engine_->token_nll(ids_, go_on), engine_->token_nll(ids_));
  EXPECT_EQ(asked, 10);
}

// What the hook throws comes out of the call as it is.
TEST_F(GoOnTest, TheHookMayThrow) {
  struct Stop {};
  EXPECT_THROW(engine_->token_nll(ids_, []() -> bool { throw Stop(); }), Stop);
  EXPECT_EQ(engine_->token_nll(ids_).size(), 39u);
}

}  // namespace
}  // namespace onnuri
