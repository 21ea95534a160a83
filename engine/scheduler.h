// Which requests run in the next step, and with how many rows. Decisions alone: it holds no tensor,
// reads no clock and takes no lock; one thread asks it and does what it says.
//
//   submit -> waiting -> encoding -> prefilling -> decoding -> end
//                ^          |            |            |
//                +------ preempted <-----+------------+      pages given back, rows computed again
//
// Higher priorities go first. Inside one priority the tenant that got least goes first, and of a
// tenant the oldest request. A request that begins gets the pages of all its known tokens at once;
// after that it grows page by page. When pages run out, the youngest request of the lowest priority
// gives way, never to one that ranks below it, and never when it runs alone. Whoever is next to
// begin and does not fit is waited for, so long prompts are not overtaken for ever.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "onnuri/error.h"

namespace onnuri {

struct SchedulerOptions {
  int64_t max_sequences = 8;      // that hold pages at once
  int64_t max_queue = 256;        // that wait for their first step
  int64_t decoder_rows = 512;     // of one step, prompts and answers together
  int64_t max_chunk = 512;        // of those, the rows of one sequence
  int64_t encoder_tokens = 1024;  // of one step
  int64_t page_rows = 64;
  int64_t num_pages = 0;
};

struct ScheduledRequest {
  int64_t id = 0;
  int64_t priority = 0;  // higher goes first
  std::string tenant;
  double deadline_ms = std::numeric_limits<double>::infinity();  // on the clock of next_step
  int64_t prompt_tokens = 0;
  int64_t encoder_tokens = 0;  // to be encoded before the prompt can be read
};

enum class RequestState { kWaiting, kEncoding, kPrefilling, kDecoding, kPreempted, kDone };

struct EncoderWork {
  int64_t id = 0;
  int64_t num_tokens = 0;
};

struct DecoderWork {
  int64_t id = 0;
  int64_t num_rows = 0;
  bool wants_logits = false;  // its last row is the last known token
};

struct EndedRequest {
  int64_t id = 0;
  ErrorCode code = ErrorCode::kCancelled;  // kCancelled: too late; kOutOfMemory: outgrew the pool
};

/// What is to be done now, in this order: drop what has ended, empty the sequences that were
/// preempted, then compute.
struct SchedulerStep {
  std::vector<EndedRequest> ended;
  std::vector<int64_t> preempted;
  std::vector<EncoderWork> encoder;
  std::vector<DecoderWork> decoder;  // answers first, then chunks of prompts
};

class Scheduler {
 public:
  /// Throws kInvalidArgument for options under which a step could stand still.
  explicit Scheduler(const SchedulerOptions& options);

  /// Throws kOutOfMemory when the queue is full or the prompt can never fit.
  void submit(const ScheduledRequest& request);
  /// Requests that are not ready (whoever asked is busy with something else) get no work, but keep
  /// their pages and their place. All are ready at first.
  void set_ready(int64_t id, bool ready);
  /// Fills `step`. Should memory run out in the middle, what `step` says by then has happened.
  void next_step(double now_ms, SchedulerStep& step);

  // What came of a step. Work may be less than was granted; a chunk of a prompt that cannot be cut
  // may be more.
  void encoded(int64_t id, int64_t num_tokens);
  /// All media of the request are encoded, whatever was granted.
  void finish_encoding(int64_t id);
  void computed(int64_t id, int64_t num_rows);
  /// More tokens are known: they run in later steps.
  void append_tokens(int64_t id, int64_t count = 1);
  /// The first `known` tokens are all that is known now, and the first `computed` rows of the cache
  /// are of use: guesses that failed, or another answer to the same prompt.
  void rewind(int64_t id, int64_t computed, int64_t known);
  /// Finished, failed or cancelled, in any state. Ids that have ended already are let pass.
  void end(int64_t id);

  /// kDone for ids that have ended or never were.
  RequestState state(int64_t id) const;
  int64_t num_pages(int64_t id) const;
  /// Rows that are known and not computed.
  int64_t num_missing(int64_t id) const;
  int64_t num_free_pages() const { return free_pages_; }
  int64_t num_requests() const { return static_cast<int64_t>(requests_.size()); }
  int64_t num_running() const;
  /// Throws kInternal unless every page and every request is where it should be.
  void check_integrity() const;

 private:
  struct Request {
    ScheduledRequest asked;
    RequestState state = RequestState::kWaiting;
    int64_t order = 0;     // of submission
    int64_t known = 0;     // tokens of prompt and answer
    int64_t computed = 0;  // of those, rows in the cache
    int64_t served = 0;    // most rows ever computed: recomputing them is not charged again
    int64_t encoded = 0;
    int64_t pages = 0;
    bool ready = true;
    bool is_running() const {
      return state == RequestState::kEncoding || state == RequestState::kPrefilling ||
             state == RequestState::kDecoding;
    }
  };
  struct Tenant {
    int64_t service = 0;  // rows and encoder tokens it got
    int64_t requests = 0;
  };

  Request& at(int64_t id);
  int64_t pages_for(int64_t rows) const;
  void serve(const Request& request, int64_t amount);
  void forget_tenants();
  void release(Request& request);
  void preempt(Request& request, SchedulerStep& step);
  void end_late(double now_ms, SchedulerStep& step);
  /// Pages for the next rows of running requests; some may have to give way.
  void grow(SchedulerStep& step);
  /// Makes `request` hold the pages of its known tokens; false when it can not go on now.
  bool grow_one(Request& request, SchedulerStep& step);
  void admit(SchedulerStep& step);
  bool make_room(const Request& request, SchedulerStep& step);
  void share_encoder(SchedulerStep& step) const;
  void share_decoder(SchedulerStep& step) const;
  bool goes_before(const Request& a, const Request& b) const;
  static bool outranks(const Request& a, const Request& b);
  /// Running requests, those that are served first in front.
  std::vector<const Request*> in_turn() const;
  /// Running requests, those that give way last in front.
  std::vector<Request*> by_rank();

  SchedulerOptions options_;
  std::map<int64_t, Request> requests_;
  std::map<std::string, Tenant> tenants_;
  int64_t floor_ = 0;  // the least service among tenants with requests: where newcomers begin
  int64_t next_order_ = 0;
  int64_t free_pages_ = 0;
};

}  // namespace onnuri
