#include "engine/step_loop.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "core/pause_point.h"
#include "kernels/matrix.h"

namespace onnuri {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(50);  // between questions to those who wait
constexpr auto kShortestGather = std::chrono::milliseconds(1);
constexpr auto kLongestGather = std::chrono::milliseconds(20);

}  // namespace

StepLoop::StepLoop(Decoder& decoder, const SchedulerOptions& options)
    : decoder_(decoder), scheduler_(options), options_(options) {}

StepLoop::~StepLoop() = default;

double StepLoop::now_ms() const {
  return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
}

void StepLoop::check_thread() const {
  for (const auto& [id, member] : members_) {
    if (member->thread_ == std::this_thread::get_id())
      onnuri::fail(ErrorCode::kInvalidArgument,
                   "expected no call to an engine from inside its own callback, found one");
  }
}

void StepLoop::join(StepMember& member, ScheduledRequest request) {
  const Lock lock(mutex_);
  check_thread();
  member.id_ = request.id = next_id_;
  member.thread_ = std::this_thread::get_id();
  request.deadline_ms += now_ms();
  retired_.reserve(members_.size() + 1);  // leave() must not fail
  members_.emplace(member.id_, &member);
  try {
    scheduler_.submit(request);
    scheduler_.set_ready(member.id_, false);
  } catch (...) {
    members_.erase(member.id_);
    throw;
  }
  ++next_id_;
}

void StepLoop::leave(std::unique_ptr<StepMember> member) noexcept {
  if (!member || member->id_ == 0) return;
  const Lock lock(mutex_);
  member->thread_ = {};
  member->is_expected_ = false;
  retired_.push_back(std::move(member));
  arrived_.notify_one();
  if (busy_) return;  // whoever computes now sees to it
  retire_all();
  wake_one();
}

void StepLoop::retire_all() {
  for (const std::unique_ptr<StepMember>& member : retired_) {
    try {
      member->retire();
    } catch (const std::exception&) {
      // Nothing is kept for others then; the destructor gives back the rest.
    }
    scheduler_.end(member->id_);
    members_.erase(member->id_);
  }
  retired_.clear();
}

void StepLoop::wake_one() {
  if (num_exclusive_ > 0) machine_free_.notify_one();
  for (const auto& [id, member] : members_) {
    if (member->phase_ != StepMember::Phase::kWantsRows &&
        member->phase_ != StepMember::Phase::kWantsEncoder)
      continue;
    member->wake_.notify_one();
    return;
  }
}

void StepLoop::free_machine() {
  retire_all();
  busy_ = false;
  wake_one();
}

void StepLoop::fail(StepMember& member, std::exception_ptr error) {
  member.error_ = std::move(error);
  member.phase_ = StepMember::Phase::kAway;
  if (scheduler_.state(member.id_) != RequestState::kDone) scheduler_.set_ready(member.id_, false);
  member.wake_.notify_one();
}

void StepLoop::append_tokens(StepMember& member, int64_t count) {
  const Lock lock(mutex_);
  if (scheduler_.state(member.id_) != RequestState::kDone)
    scheduler_.append_tokens(member.id_, count);
}

void StepLoop::rewind(StepMember& member, int64_t computed, int64_t known) {
  const Lock lock(mutex_);
  if (scheduler_.state(member.id_) != RequestState::kDone)
    scheduler_.rewind(member.id_, computed, known);
}

// Polls `idle` from time to time, without the lock: others may take the member into a pass then.
void StepLoop::wait(StepMember& member, const Idle& idle, Lock& lock) {
  if (member.wake_.wait_for(lock, kPoll) == std::cv_status::no_timeout || !idle) return;
  lock.unlock();
  std::exception_ptr error;
  try {
    if (!idle()) onnuri::fail(ErrorCode::kCancelled, "stopped by the caller");
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  if (error) member.error_ = std::move(error);
}

int64_t StepLoop::advance(StepMember& member, const Idle& idle) {
  using Phase = StepMember::Phase;
  Lock lock(mutex_);
  member.is_late_ = Clock::now() - member.away_since_ > kLongestGather;
  member.is_expected_ = member.is_done_ = false;
  member.is_new_ = true;
  member.phase_ = Phase::kWantsRows;
  if (scheduler_.state(member.id_) != RequestState::kDone) scheduler_.set_ready(member.id_, true);
  arrived_.notify_one();
  std::exception_ptr error;
  while (member.phase_ == Phase::kInPass || (!member.is_done_ && !member.error_)) {
    if (member.phase_ != Phase::kInPass && may_lead()) {
      try {
        if (step(lock)) continue;
      } catch (...) {  // memory for the step itself; others try again
        error = std::current_exception();
        break;
      }
    }
    wait(member, idle, lock);
  }
  if (!error) error = member.error_;
  member.phase_ = Phase::kAway;
  if (scheduler_.state(member.id_) != RequestState::kDone) scheduler_.set_ready(member.id_, false);
  if (!busy_) wake_one();
  if (error) std::rethrow_exception(error);
  return member.rows_;
}

// Threads that were in the last pass are choosing their next token now.
void StepLoop::gather(Lock& lock) {
  const auto is_awaited = [](const auto& entry) {
    const StepMember& m = *entry.second;
    return m.is_expected_ && m.phase_ == StepMember::Phase::kAway;
  };
  const auto all_here = [&] { return std::none_of(members_.begin(), members_.end(), is_awaited); };
  const Clock::duration limit =
      std::clamp<Clock::duration>(last_pass_ / 8, kShortestGather, kLongestGather);
  if (arrived_.wait_for(lock, limit, all_here)) return;
  for (const auto& entry : members_) entry.second->is_expected_ = false;
}

bool StepLoop::step(Lock& lock) {
  busy_ = true;
  SchedulerStep step;
  std::exception_ptr error;
  try {
    gather(lock);
    retire_all();
    scheduler_.next_step(now_ms(), step);
  } catch (...) {
    error = std::current_exception();
  }
  apply(step);
  for (const auto& entry : members_) entry.second->is_new_ = false;
  if (error) {
    free_machine();
    std::rethrow_exception(error);
  }
  if (!step.decoder.empty()) run_pass(step.decoder, lock);
  if (give_turn(step)) return true;
  free_machine();
  return !step.decoder.empty() || !step.ended.empty();
}

void StepLoop::apply(const SchedulerStep& step) {
  const auto close = [this](int64_t id) -> StepMember* {
    const auto found = members_.find(id);
    if (found == members_.end()) return nullptr;
    if (found->second->is_open_) found->second->close();
    found->second->is_open_ = false;
    return found->second;
  };
  for (const EndedRequest& ended : step.ended) {
    StepMember* const member = close(ended.id);
    if (member == nullptr) continue;
    const bool late = ended.code == ErrorCode::kCancelled;
    std::exception_ptr error;
    try {
      error = std::make_exception_ptr(
          Error(ended.code, late ? "expected an answer before its deadline, found it unfinished"
                                 : "expected a text that fits into the memory for keys and values, "
                                   "found it outgrown"));
    } catch (...) {
      error = std::current_exception();
    }
    fail(*member, std::move(error));
  }
  for (const int64_t id : step.preempted) close(id);
  stats_.preemptions += static_cast<int64_t>(step.preempted.size());
}

// What a sequence holds at its beginning need not be computed.
void StepLoop::open(StepMember& member) {
  const int64_t held = member.open();
  member.is_open_ = true;
  if (held > 0) scheduler_.computed(member.id_, held);
}

void StepLoop::run_pass(const std::vector<DecoderWork>& work, Lock& lock) {
  std::vector<StepMember*> members;
  std::vector<int64_t> rows;
  for (const DecoderWork& part : work) {
    StepMember& member = *members_.at(part.id);
    try {
      if (!member.is_open_) open(member);
      members.push_back(&member);
      rows.push_back(std::min(part.num_rows, scheduler_.num_missing(part.id)));
      member.phase_ = StepMember::Phase::kInPass;
    } catch (...) {
      if (rows.size() < members.size()) members.pop_back();
      fail(member, std::current_exception());
    }
  }
  if (members.empty()) return;
  lock.unlock();
  const Clock::time_point begin = Clock::now();
  try {
    compute(members, rows);
  } catch (...) {
    // One of them may be to blame: each on its own.
    for (size_t i = 0; i < members.size(); ++i) {
      members[i]->rows_ = 0;
      try {
        compute(std::span(members).subspan(i, 1), std::span(rows).subspan(i, 1));
      } catch (...) {
        members[i]->pass_error_ = std::current_exception();
      }
    }
  }
  lock.lock();
  last_pass_ = Clock::now() - begin;
  ++stats_.passes;
  stats_.largest_batch = std::max(stats_.largest_batch, static_cast<int64_t>(members.size()));
  for (StepMember* const member : members) {
    if (member->pass_error_) {
      fail(*member, std::exchange(member->pass_error_, nullptr));
      continue;
    }
    scheduler_.computed(member->id_, member->rows_);
    stats_.rows += member->rows_;
    scheduler_.set_ready(member->id_, false);
    member->phase_ = StepMember::Phase::kAway;
    member->is_done_ = true;
    member->is_expected_ = !member->is_late_;
    member->away_since_ = Clock::now();
    member->wake_.notify_one();
  }
}

void StepLoop::compute(std::span<StepMember* const> members, std::span<const int64_t> rows) {
  const int64_t axes = decoder_.config().position_axes();
  const int64_t vocab = decoder_.config().vocab_size;
  Pass pass(axes);
  for (size_t i = 0; i < members.size(); ++i) {
    StepMember& member = *members[i];
    member.first_logit_ = static_cast<int64_t>(pass.logit_rows.size());
    member.rows_ = member.fill(rows[i], members.size() == 1, pass);
    member.num_logits_ = static_cast<int64_t>(pass.logit_rows.size()) - member.first_logit_;
  }
  positions_.clear();
  for (const std::vector<float>& axis : pass.positions)
    positions_.insert(positions_.end(), axis.begin(), axis.end());
  const auto wanted = static_cast<int64_t>(pass.logit_rows.size());
  const int64_t num_logits = pass.num_logits < 0 ? wanted : pass.num_logits;
  if (pass.logits == nullptr) logits_.resize(static_cast<size_t>(num_logits * vocab));
  const MatrixView logits =
      matrix(pass.logits != nullptr ? pass.logits : logits_.data(), num_logits, vocab);
  Batch batch;
  batch.ids = pass.ids;
  batch.positions = positions_;
  batch.sequences = pass.slices;
  batch.overrides = pass.overrides;
  batch.additions = pass.additions;
  batch.logit_rows = pass.logit_rows;
  batch.num_logits = pass.num_logits;
  if (pass.hidden_out != nullptr)
    batch.hidden_out = matrix(pass.hidden_out, wanted, decoder_.config().hidden_size);
  decoder_.forward(batch, logits);
  for (StepMember* const member : members) {
    if (pass.logits != nullptr || member->num_logits_ == 0) {
      member->take({});
      continue;
    }
    member->take({logits.row(member->first_logit_), member->num_logits_, vocab, logits.stride});
  }
}

bool StepLoop::give_turn(const SchedulerStep& step) {
  using Phase = StepMember::Phase;
  StepMember* next = encoding_;
  if (next == nullptr && num_exclusive_ == 0 && !step.encoder.empty())
    next = members_.at(step.encoder.front().id);
  if (next == nullptr || next->phase_ != Phase::kWantsEncoder || next->error_) return false;
  encoding_ = next;
  ++stats_.encoder_turns;
  next->phase_ = Phase::kEncoding;
  next->wake_.notify_one();
  return true;
}

void StepLoop::wait_for_turn(StepMember& member, const Idle& idle, Lock& lock) {
  using Phase = StepMember::Phase;
  while (member.phase_ != Phase::kEncoding && !member.error_) {
    if (!(may_lead() && step(lock))) {
      if (member.phase_ == Phase::kEncoding) break;
      wait(member, idle, lock);
    }
  }
  if (!member.error_) return;
  if (member.phase_ == Phase::kEncoding) {
    encoding_ = nullptr;
    free_machine();
  }
  member.phase_ = Phase::kAway;
  std::rethrow_exception(member.error_);
}

void StepLoop::encode(StepMember& member, const Idle& idle, const std::function<void()>& work) {
  using Phase = StepMember::Phase;
  Lock lock(mutex_);
  const auto set_ready = [&](bool ready) {
    if (scheduler_.state(member.id_) != RequestState::kDone)
      scheduler_.set_ready(member.id_, ready);
  };
  std::exception_ptr error;
  double used = 0;
  Clock::time_point asked = Clock::now();
  try {
    member.phase_ = Phase::kWantsEncoder;
    set_ready(true);
    wait_for_turn(member, idle, lock);
    member.granted_ = static_cast<double>(options_.encoder_tokens);
    lock.unlock();
    const PauseScope scope([&](double tokens) {
      used += tokens;
      pause(member, idle, used, asked);
    });
    work();
  } catch (...) {
    error = std::current_exception();
  }
  if (!lock.owns_lock()) lock.lock();
  if (encoding_ == &member) encoding_ = nullptr;
  if (member.phase_ == Phase::kEncoding) free_machine();
  member.phase_ = Phase::kAway;
  if (scheduler_.state(member.id_) != RequestState::kDone) {
    scheduler_.finish_encoding(member.id_);
    scheduler_.set_ready(member.id_, false);
  }
  if (!busy_) wake_one();
  if (error) std::rethrow_exception(error);
}

// Between two layers. A prompt that nobody has begun to read is let in at once; other requests wait
// until the encoder has used its share.
void StepLoop::pause(StepMember& member, const Idle& idle, double used, Clock::time_point& asked) {
  using Phase = StepMember::Phase;
  if (idle && Clock::now() - asked > kPoll) {
    asked = Clock::now();
    if (!idle()) onnuri::fail(ErrorCode::kCancelled, "stopped by the caller");
  }
  Lock lock(mutex_);
  if (member.error_) std::rethrow_exception(member.error_);
  bool waits = false, is_urgent = false;
  for (const auto& [id, other] : members_) {
    if (other->phase_ != Phase::kWantsRows) continue;
    waits = true;
    if (other->is_new_ && scheduler_.state(id) != RequestState::kDecoding) is_urgent = true;
  }
  const auto share = static_cast<double>(options_.encoder_tokens);
  if (!waits) {
    member.granted_ = used + share;
    return;
  }
  if (used < member.granted_ && !is_urgent) return;
  member.phase_ = Phase::kWantsEncoder;
  free_machine();
  wait_for_turn(member, idle, lock);
  member.granted_ = used + share;
}

void StepLoop::run_alone(Lock& lock, const std::function<void()>& work) {
  ++num_exclusive_;
  machine_free_.wait(lock, [this] { return !busy_ && encoding_ == nullptr; });
  --num_exclusive_;
  busy_ = true;
  lock.unlock();
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  free_machine();
  if (error) std::rethrow_exception(error);
}

void StepLoop::exclusive(const std::function<void()>& work) {
  Lock lock(mutex_);
  check_thread();
  run_alone(lock, work);
}

void StepLoop::exclusive(StepMember&, const std::function<void()>& work) {
  Lock lock(mutex_);
  run_alone(lock, work);
}

StepLoop::Stats StepLoop::stats() {
  const Lock lock(mutex_);
  return stats_;
}

void StepLoop::check_integrity() {
  const Lock lock(mutex_);
  scheduler_.check_integrity();
  for (const auto& [id, member] : members_) ONNURI_CHECK(member->id_ == id);
  ONNURI_CHECK(encoding_ == nullptr || members_.count(encoding_->id_) == 1);
}

// Of one that has ended too: it is told so when it asks for more.
int64_t StepLoop::num_missing(const StepMember& member) {
  const Lock lock(mutex_);
  return member.error_ ? 1 : scheduler_.num_missing(member.id_);
}

int64_t StepLoop::num_requests() {
  const Lock lock(mutex_);
  return static_cast<int64_t>(members_.size());
}

}  // namespace onnuri
