// The scheduler against a simulated machine: its own clock, its own count of rows and pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/scheduler.h"

namespace onnuri {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

SchedulerOptions small_options() {
  SchedulerOptions options;
  options.max_sequences = 4;
  options.max_queue = 8;
  options.decoder_rows = 16;
  options.max_chunk = 12;
  options.encoder_tokens = 10;
  options.page_rows = 4;
  options.num_pages = 32;
  return options;
}

ScheduledRequest request_of(int64_t id, int64_t prompt, int64_t priority = 0,
                            const std::string& tenant = "", int64_t encoder = 0) {
  ScheduledRequest request;
  request.id = id;
  request.priority = priority;
  request.tenant = tenant;
  request.prompt_tokens = prompt;
  request.encoder_tokens = encoder;
  return request;
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

/// Does what a scheduler says and doubts every word of it.
class Machine {
 public:
  explicit Machine(const SchedulerOptions& options) : options_(options), scheduler_(options) {}

  void submit(const ScheduledRequest& request, int64_t answer) {
    scheduler_.submit(request);
    jobs_[request.id] = {request, answer};
  }
  void cancel(int64_t id) {
    scheduler_.end(id);
    jobs_.erase(id);
  }
  SchedulerStep step() {
    SchedulerStep step;
    scheduler_.next_step(now_ms_, step);
    now_ms_ += 1;
    scheduler_.check_integrity();
    for (const EndedRequest& ended : step.ended) {
      EXPECT_EQ(jobs_.count(ended.id), 1u);
      EXPECT_EQ(scheduler_.state(ended.id), RequestState::kDone);
      ended_[ended.id] = ended.code;
      jobs_.erase(ended.id);
    }
    for (const int64_t id : step.preempted) {
      EXPECT_EQ(jobs_.count(id), 1u);
      if (jobs_.count(id) > 0) jobs_[id].rows = 0;
      preemptions_ += 1;
    }
    encode(step);
    decode(step);
    scheduler_.check_integrity();
    return step;
  }
  /// Until nothing is left; fails when that takes more than `limit` steps.
  void run(int64_t limit) {
    for (int64_t i = 0; i < limit && !jobs_.empty(); ++i) step();
    EXPECT_TRUE(jobs_.empty()) << jobs_.size() << " requests starved";
    EXPECT_EQ(scheduler_.num_requests(), 0);
    EXPECT_EQ(scheduler_.num_free_pages(), options_.num_pages);
  }

  Scheduler& scheduler() { return scheduler_; }
  const std::vector<int64_t>& finished() const { return finished_; }
  const std::map<int64_t, ErrorCode>& ended() const { return ended_; }
  bool has(int64_t id) const { return jobs_.count(id) > 0; }
  double now_ms() const { return now_ms_; }
  int64_t preemptions() const { return preemptions_; }

 private:
  struct Job {
    ScheduledRequest asked;
    int64_t answer = 0;  // tokens to generate
    int64_t made = 0;
    int64_t rows = 0;  // in the cache
    int64_t encoded = 0;
  };

  void encode(const SchedulerStep& step) {
    int64_t total = 0;
    for (const EncoderWork& work : step.encoder) {
      ASSERT_EQ(jobs_.count(work.id), 1u);
      EXPECT_GT(work.num_tokens, 0);
      jobs_[work.id].encoded += work.num_tokens;
      EXPECT_LE(jobs_[work.id].encoded, jobs_[work.id].asked.encoder_tokens);
      total += work.num_tokens;
      scheduler_.encoded(work.id, work.num_tokens);
    }
    EXPECT_LE(total, options_.encoder_tokens);
  }

  void decode(const SchedulerStep& step) {
    int64_t total = 0;
    std::set<int64_t> seen;
    for (const DecoderWork& work : step.decoder) {
      ASSERT_EQ(jobs_.count(work.id), 1u);
      EXPECT_TRUE(seen.insert(work.id).second);
      Job& job = jobs_[work.id];
      EXPECT_EQ(job.encoded, job.asked.encoder_tokens);
      EXPECT_GT(work.num_rows, 0);
      EXPECT_LE(work.num_rows, options_.max_chunk);
      job.rows += work.num_rows;
      total += work.num_rows;
      EXPECT_LE(job.rows, scheduler_.num_pages(work.id) * options_.page_rows);
      EXPECT_EQ(work.wants_logits, job.rows == job.asked.prompt_tokens + job.made);
    }
    EXPECT_LE(total, options_.decoder_rows);
    EXPECT_LE(seen.size(), static_cast<size_t>(options_.max_sequences));
    check_pages();
    for (const DecoderWork& work : step.decoder) {
      scheduler_.computed(work.id, work.num_rows);
      if (work.wants_logits) take_token(work.id);
    }
  }

  void take_token(int64_t id) {
    Job& job = jobs_[id];
    job.made += 1;
    if (job.made < job.answer) {
      scheduler_.append_tokens(id);
      return;
    }
    finished_.push_back(id);
    scheduler_.end(id);
    jobs_.erase(id);
  }

  // What the sequences really hold, counted without the scheduler.
  void check_pages() const {
    int64_t pages = 0;
    for (const auto& entry : jobs_)
      pages += (entry.second.rows + options_.page_rows - 1) / options_.page_rows;
    EXPECT_LE(pages, options_.num_pages);
  }

  SchedulerOptions options_;
  Scheduler scheduler_;
  std::map<int64_t, Job> jobs_;
  std::vector<int64_t> finished_;
  std::map<int64_t, ErrorCode> ended_;
  double now_ms_ = 0;
  int64_t preemptions_ = 0;
};

TEST(Scheduler, RunsAnswersBesideChunksOfPrompts) {
  Machine machine(small_options());
  machine.submit(request_of(1, 3), 20);
  SchedulerStep step = machine.step();
  ASSERT_EQ(step.decoder.size(), 1u);
  EXPECT_EQ(step.decoder[0].num_rows, 3);
  EXPECT_TRUE(step.decoder[0].wants_logits);

  machine.submit(request_of(2, 30), 1);
  step = machine.step();
  ASSERT_EQ(step.decoder.size(), 2u);
  EXPECT_EQ(step.decoder[0].id, 1);
  EXPECT_EQ(step.decoder[0].num_rows, 1);
  EXPECT_EQ(step.decoder[1].num_rows, 12);  // max_chunk
  EXPECT_FALSE(step.decoder[1].wants_logits);
  EXPECT_EQ(machine.scheduler().state(1), RequestState::kDecoding);
  EXPECT_EQ(machine.scheduler().state(2), RequestState::kPrefilling);

  machine.submit(request_of(3, 9), 1);
  machine.step();  // one row, twelve of the older prompt, what is left of sixteen
  step = machine.step();
  ASSERT_EQ(step.decoder.size(), 3u);
  EXPECT_EQ(step.decoder[1].id, 2);
  EXPECT_EQ(step.decoder[1].num_rows, 6);
  EXPECT_TRUE(step.decoder[1].wants_logits);
  EXPECT_EQ(step.decoder[2].num_rows, 6);
  EXPECT_TRUE(step.decoder[2].wants_logits);
  machine.run(100);
}

TEST(Scheduler, EncodersHaveABudgetOfTheirOwn) {
  Machine machine(small_options());
  machine.submit(request_of(1, 8, 0, "", 25), 2);
  machine.submit(request_of(2, 8), 2);
  SchedulerStep step = machine.step();
  ASSERT_EQ(step.encoder.size(), 1u);
  EXPECT_EQ(step.encoder[0].num_tokens, 10);
  ASSERT_EQ(step.decoder.size(), 1u);  // the text does not wait for the picture
  EXPECT_EQ(step.decoder[0].id, 2);
  EXPECT_EQ(machine.scheduler().state(1), RequestState::kEncoding);
  machine.step();
  EXPECT_EQ(machine.finished(), std::vector<int64_t>{2});
  machine.run(20);
  EXPECT_EQ(machine.finished(), (std::vector<int64_t>{2, 1}));
}

TEST(Scheduler, HigherPriorityGoesFirst) {
  SchedulerOptions options = small_options();
  options.max_sequences = 1;
  Machine machine(options);
  machine.submit(request_of(1, 4, 0), 1);
  machine.submit(request_of(2, 4, 1), 1);
  machine.submit(request_of(3, 4, 5), 1);
  machine.run(20);
  EXPECT_EQ(machine.finished(), (std::vector<int64_t>{3, 2, 1}));
}

TEST(Scheduler, AHigherPriorityTakesThePlaceOfTheYoungestLower) {
  SchedulerOptions options = small_options();
  options.max_sequences = 2;
  Machine machine(options);
  machine.submit(request_of(1, 4), 30);
  machine.submit(request_of(2, 4), 30);
  machine.step();
  machine.submit(request_of(3, 4, 1), 3);
  const SchedulerStep step = machine.step();
  EXPECT_EQ(step.preempted, std::vector<int64_t>{2});
  EXPECT_EQ(machine.scheduler().state(2), RequestState::kPreempted);
  EXPECT_EQ(machine.scheduler().num_pages(2), 0);
  machine.run(100);
  EXPECT_EQ(machine.finished(), (std::vector<int64_t>{3, 1, 2}));
}

TEST(Scheduler, EqualPriorityTakesNobodysPlace) {
  SchedulerOptions options = small_options();
  options.max_sequences = 1;
  Machine machine(options);
  machine.submit(request_of(1, 4), 10);
  machine.step();
  machine.submit(request_of(2, 4), 1);
  machine.run(40);
  EXPECT_EQ(machine.preemptions(), 0);
  EXPECT_EQ(machine.finished(), (std::vector<int64_t>{1, 2}));
}

TEST(Scheduler, TenantsShareWhatThereIs) {
  SchedulerOptions options = small_options();
  options.max_sequences = 1;
  options.max_queue = 64;
  Machine machine(options);
  for (int64_t i = 0; i < 20; ++i) machine.submit(request_of(i, 8, 0, "many"), 4);
  for (int64_t i = 0; i < 4; ++i) machine.submit(request_of(100 + i, 8, 0, "few"), 4);
  machine.run(400);
  // Both get every other turn for as long as both ask: the fourth of the few is among the first 8.
  const auto last = std::find(machine.finished().begin(), machine.finished().end(), 103);
  EXPECT_LT(last - machine.finished().begin(), 8);
}

TEST(Scheduler, ATenantSavesUpNoTime) {
  SchedulerOptions options = small_options();
  options.max_sequences = 1;
  options.max_queue = 64;
  Machine machine(options);
  for (int64_t i = 0; i < 12; ++i) machine.submit(request_of(i, 8, 0, "early"), 4);
  while (machine.finished().size() < 6) machine.step();
  for (int64_t i = 0; i < 6; ++i) machine.submit(request_of(100 + i, 8, 0, "late"), 4);
  machine.run(400);
  const auto last_early = std::find(machine.finished().begin(), machine.finished().end(), 8);
  EXPECT_LT(last_early - machine.finished().begin(), 12);  // not behind all six of the late
}

TEST(Scheduler, RowsComputedAgainAreNotChargedAgain) {
  SchedulerOptions options = small_options();
  options.max_sequences = 1;
  Machine machine(options);
  machine.submit(request_of(1, 12, 0, "steady"), 9);
  machine.submit(request_of(2, 12, 0, "pushed"), 4);
  machine.submit(request_of(3, 4, 0, "steady"), 1);
  machine.submit(request_of(4, 4, 0, "pushed"), 1);
  while (machine.scheduler().state(2) != RequestState::kDecoding) machine.step();
  machine.submit(request_of(5, 4, 1, "urgent"), 1);
  machine.run(60);
  EXPECT_EQ(machine.preemptions(), 1);
  // Of 20 rows and 15 the fewer go first, though the pushed one computed 12 of its own twice.
  EXPECT_EQ(machine.finished(), (std::vector<int64_t>{1, 5, 2, 4, 3}));
}

TEST(Scheduler, TheYoungestGivesWayWhenPagesRunOut) {
  SchedulerOptions options = small_options();
  options.num_pages = 6;
  Machine machine(options);
  machine.submit(request_of(1, 8), 9);
  machine.submit(request_of(2, 8), 9);
  machine.submit(request_of(3, 8), 9);
  SchedulerStep step = machine.step();  // all pages are taken
  EXPECT_EQ(machine.scheduler().num_free_pages(), 0);
  for (int i = 0; i < 3 && step.preempted.empty(); ++i) step = machine.step();
  EXPECT_EQ(step.preempted, std::vector<int64_t>{3});
  machine.run(200);
  EXPECT_EQ(machine.finished(), (std::vector<int64_t>{1, 2, 3}));
}

TEST(Scheduler, OnlyWhatOutgrowsThePoolFails) {
  SchedulerOptions options = small_options();
  options.num_pages = 6;
  Machine machine(options);
  machine.submit(request_of(1, 8), 100);
  machine.submit(request_of(2, 4), 3);
  machine.run(200);
  EXPECT_EQ(machine.finished(), std::vector<int64_t>{2});
  ASSERT_EQ(machine.ended().size(), 1u);
  EXPECT_EQ(machine.ended().at(1), ErrorCode::kOutOfMemory);
}

TEST(Scheduler, RefusesClearly) {
  Machine machine(small_options());
  EXPECT_EQ(code_of([&] { machine.submit(request_of(1, 4 * 32 + 1), 1); }),
            ErrorCode::kOutOfMemory);
  EXPECT_EQ(code_of([&] { machine.submit(request_of(1, 0), 1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { machine.submit(request_of(1, 4, 0, "", -1), 1); }),
            ErrorCode::kInvalidArgument);
  for (int64_t i = 0; i < 8; ++i) machine.submit(request_of(i, 4), 1);
  EXPECT_EQ(code_of([&] { machine.submit(request_of(3, 4), 1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { machine.submit(request_of(8, 4), 1); }), ErrorCode::kOutOfMemory);
  machine.scheduler().check_integrity();
  machine.step();  // four of them begin
  machine.submit(request_of(8, 4), 1);
  machine.run(40);
  EXPECT_EQ(machine.finished().size(), 9u);

  SchedulerOptions options = small_options();
  options.decoder_rows = 3;
  EXPECT_EQ(code_of([&] { const Scheduler scheduler(options); }), ErrorCode::kInvalidArgument);
  options = small_options();
  options.num_pages = 0;
  EXPECT_EQ(code_of([&] { const Scheduler scheduler(options); }), ErrorCode::kInvalidArgument);
}

TEST(Scheduler, DeadlinesEndWhatWaitsAndWhatRuns) {
  SchedulerOptions options = small_options();
  options.max_sequences = 1;
  Machine machine(options);
  ScheduledRequest running = request_of(1, 4);
  running.deadline_ms = 5;
  ScheduledRequest waiting = request_of(2, 4);
  waiting.deadline_ms = 3;
  machine.submit(running, 50);
  machine.submit(waiting, 1);
  machine.submit(request_of(3, 4), 1);
  while (machine.now_ms() < 4) machine.step();
  EXPECT_TRUE(machine.has(1));
  EXPECT_EQ(machine.ended(), (std::map<int64_t, ErrorCode>{{2, ErrorCode::kCancelled}}));
  machine.run(20);
  EXPECT_EQ(machine.ended().at(1), ErrorCode::kCancelled);
  EXPECT_EQ(machine.finished(), std::vector<int64_t>{3});
}

TEST(Scheduler, ACancelledRequestLeavesNothing) {
  Machine machine(small_options());
  machine.submit(request_of(1, 20, 0, "a", 15), 5);
  machine.submit(request_of(2, 20, 0, "b"), 5);
  machine.step();
  machine.cancel(1);  // while it is encoded
  machine.cancel(2);  // in the middle of its prompt
  machine.cancel(2);
  machine.scheduler().check_integrity();
  EXPECT_EQ(machine.scheduler().state(2), RequestState::kDone);
  EXPECT_EQ(machine.scheduler().num_free_pages(), 32);
  machine.submit(request_of(2, 4), 1);  // its id is free again
  machine.run(10);
  EXPECT_EQ(machine.finished(), std::vector<int64_t>{2});
}

// Any traffic: every request ends as it should, budgets hold in each step, no page is lost.
TEST(Scheduler, PropertiesHoldUnderRandomTraffic) {
  int64_t preemptions = 0;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    SchedulerOptions options;
    options.max_sequences = draw(1, 8);
    options.max_queue = draw(1, 40);
    options.decoder_rows = options.max_sequences + draw(0, 30);
    options.max_chunk = draw(1, 40);
    options.encoder_tokens = draw(1, 30);
    options.page_rows = draw(1, 9);
    options.num_pages = draw(4, 40);
    Machine machine(options);
    const int64_t capacity = options.num_pages * options.page_rows;
    std::set<int64_t> accepted, cancelled, too_long, in_a_hurry;
    for (int64_t id = 0; id < 60; ++id) {
      ScheduledRequest request =
          request_of(id, draw(1, capacity), draw(0, 2), std::string(1, char('a' + draw(0, 3))),
                     draw(0, 3) == 0 ? draw(1, 60) : 0);
      const int64_t answer = draw(1, 30);
      if (draw(0, 9) == 0) request.deadline_ms = machine.now_ms() + double(draw(0, 60));
      try {
        machine.submit(request, answer);
        accepted.insert(id);
        if (request.prompt_tokens + answer - 1 > capacity) too_long.insert(id);
        if (request.deadline_ms != kNever) in_a_hurry.insert(id);
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kOutOfMemory);
      }
      for (int64_t steps = draw(0, 6); steps > 0; --steps) machine.step();
      const int64_t victim = draw(0, id);
      if (draw(0, 7) == 0 && machine.has(victim)) {
        machine.cancel(victim);
        cancelled.insert(victim);
      }
    }
    machine.run(200000);
    for (const int64_t id : accepted) {
      const auto& done = machine.finished();
      const bool finished = std::count(done.begin(), done.end(), id) == 1;
      const auto ended = machine.ended().find(id);
      const bool failed = ended != machine.ended().end();
      EXPECT_EQ(finished + failed + static_cast<int>(cancelled.count(id)), 1) << seed << " " << id;
      if (finished) {
        EXPECT_EQ(too_long.count(id), 0u);
      }
      if (failed && ended->second == ErrorCode::kOutOfMemory) {
        EXPECT_EQ(too_long.count(id), 1u);
      }
      if (failed && ended->second == ErrorCode::kCancelled) {
        EXPECT_EQ(in_a_hurry.count(id), 1u);
      }
    }
    preemptions += machine.preemptions();
    if (HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(preemptions, 1000);  // the traffic was heavy enough to mean something
}

}  // namespace
}  // namespace onnuri
