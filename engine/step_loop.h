// Many requests on one decoder: each is a thread that prepares its prompt, chooses its tokens and
// calls its listener; what they want computed is put together into passes here.
//
//   request threads:  advance() ----+                            +--> rows computed: go on
//                     advance() ----+--> one of them: Scheduler  |
//                     encode()  ----+    -> pass of the decoder -+
//                                        -> turn of an encoder, until it has used its share
//
// There is no thread of the loop's own: whoever waits and finds the machine free makes the next
// step, for all. Between two steps it waits a moment for the threads that were in the last one, so
// that answers stay together in one pass. What a pass holds changes no bit of an answer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "decoder/decoder.h"
#include "engine/scheduler.h"

namespace onnuri {

/// What is computed together, in parts that members add.
struct Pass {
  explicit Pass(int64_t num_axes) : positions(static_cast<size_t>(num_axes)) {}

  std::vector<int32_t> ids;
  std::vector<std::vector<float>> positions;  // of each axis
  std::vector<SequenceSlice> slices;
  std::vector<RowOverride> overrides;
  std::vector<RowAddition> additions;
  std::vector<int64_t> logit_rows;
  // Of a member that is alone in the pass:
  float* logits = nullptr;  // where they go at once, or null
  float* hidden_out = nullptr;
  int64_t num_logits = -1;  // see Batch

  int64_t num_rows() const { return static_cast<int64_t>(ids.size()); }
};

/// A request as the loop sees it. The virtual functions are called by the thread that makes the
/// step, one at a time, while the member's own thread waits or has left.
class StepMember {
 public:
  virtual ~StepMember() = default;
  /// Begins a sequence; returns the tokens that it holds already.
  virtual int64_t open() = 0;
  /// The sequence has to go: its rows will be computed again.
  virtual void close() = 0;
  /// Adds a slice of about `most_rows` rows to the pass, more only where they can not be cut.
  /// Returns their number.
  virtual int64_t fill(int64_t most_rows, bool alone, Pass& pass) = 0;
  /// The logits of the rows that fill() wanted them for; no data where they went to Pass::logits.
  virtual void take(ConstMatrixView logits) = 0;
  /// The request has ended: what may be kept for others is kept, the rest given back.
  virtual void retire() = 0;

  int64_t id() const { return id_; }

 private:
  friend class StepLoop;
  enum class Phase { kAway, kWantsRows, kInPass, kWantsEncoder, kEncoding };
  int64_t id_ = 0;
  Phase phase_ = Phase::kAway;
  bool is_open_ = false;
  bool is_expected_ = false;  // was in the last pass, and should be back soon
  bool is_late_ = false;      // took long to come back the last time
  bool is_new_ = false;       // no step has been made since it came
  bool is_done_ = false;      // rows were computed
  std::chrono::steady_clock::time_point away_since_{};
  int64_t rows_ = 0;  // in the pass
  int64_t first_logit_ = 0, num_logits_ = 0;
  double granted_ = 0;  // encoder tokens
  std::exception_ptr error_, pass_error_;
  std::thread::id thread_;
  std::condition_variable wake_;
};

class StepLoop {
 public:
  /// Asked now and then while a request waits; false ends it with kCancelled. May throw.
  using Idle = std::function<bool()>;

  /// `decoder` must outlive the loop.
  StepLoop(Decoder& decoder, const SchedulerOptions& options);
  ~StepLoop();

  /// Stands in line. Throws kOutOfMemory when the line is too long, and kInvalidArgument when this
  /// thread is in line already. `deadline_ms` of `request` counts from now; its id is ignored.
  void join(StepMember& member, ScheduledRequest request);
  /// Ends the request, in any state.
  void leave(std::unique_ptr<StepMember> member) noexcept;

  /// Waits until some of the rows that are known but not computed have been; returns their number.
  int64_t advance(StepMember& member, const Idle& idle);
  /// More tokens are known / fewer are (see Scheduler).
  void append_tokens(StepMember& member, int64_t count);
  void rewind(StepMember& member, int64_t computed, int64_t known);

  /// Runs `work`, which uses encoders, in turns with the passes of others.
  void encode(StepMember& member, const Idle& idle, const std::function<void()>& work);
  /// Runs `work` when nobody else computes. No member may call it.
  void exclusive(const std::function<void()>& work);
  /// The same for a member, between its passes.
  void exclusive(StepMember& member, const std::function<void()>& work);

  struct Stats {
    int64_t passes = 0;
    int64_t rows = 0;           // of all passes
    int64_t largest_batch = 0;  // sequences in one pass
    int64_t encoder_turns = 0;
    int64_t preemptions = 0;
  };
  Stats stats();
  /// Throws kInternal unless all is where it should be.
  void check_integrity();
  int64_t num_requests();
  /// Rows of the member that are known and not computed.
  int64_t num_missing(const StepMember& member);

 private:
  using Lock = std::unique_lock<std::mutex>;
  using Clock = std::chrono::steady_clock;

  double now_ms() const;
  void check_thread() const;
  /// Calls that want the machine for themselves go first, unless media are half encoded.
  bool may_lead() const { return !busy_ && (num_exclusive_ == 0 || encoding_ != nullptr); }
  /// One step, by this thread; false when there was nothing to do.
  bool step(Lock& lock);
  void gather(Lock& lock);
  void apply(const SchedulerStep& step);
  void open(StepMember& member);
  /// Computes the rows granted; failures go to the members concerned.
  void run_pass(const std::vector<DecoderWork>& work, Lock& lock);
  void compute(std::span<StepMember* const> members, std::span<const int64_t> rows);
  /// True when an encoder has the machine now.
  bool give_turn(const SchedulerStep& step);
  void wait_for_turn(StepMember& member, const Idle& idle, Lock& lock);
  void pause(StepMember& member, const Idle& idle, double used, Clock::time_point& asked);
  void wait(StepMember& member, const Idle& idle, Lock& lock);
  void run_alone(Lock& lock, const std::function<void()>& work);
  void retire_all();
  void free_machine();
  void wake_one();
  void fail(StepMember& member, std::exception_ptr error);

  Decoder& decoder_;
  Scheduler scheduler_;
  SchedulerOptions options_;
  std::mutex mutex_;
  std::condition_variable machine_free_;  // for exclusive()
  std::condition_variable arrived_;       // for gather()
  bool busy_ = false;                     // some thread computes
  int64_t num_exclusive_ = 0;             // that wait
  StepMember* encoding_ = nullptr;        // whose encoders hold unfinished work
  int64_t next_id_ = 1;
  std::map<int64_t, StepMember*> members_;
  std::vector<std::unique_ptr<StepMember>> retired_;  // left while the machine was busy
  std::vector<float> logits_;                         // of a pass of several members
  std::vector<float> positions_;
  Clock::time_point start_ = Clock::now();
  Clock::duration last_pass_{};
  Stats stats_;
};

}  // namespace onnuri
