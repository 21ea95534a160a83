// What one request did, when, and with how much memory: spans that may nest, written as Chrome's
// trace events, which Perfetto and chrome://tracing show.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor_meter.h"

namespace onnuri {

/// Of one thread. A trace that is off records nothing and asks no clock.
class Trace {
 public:
  explicit Trace(bool on) : on_(on), start_(on ? Clock::now() : Clock::time_point()) {}

  /// Lives as long as the work that it names. A null trace is one that is off.
  class Span {
   public:
    Span(Trace* trace, const char* name, int64_t tokens = -1);
    ~Span();
    void set_tokens(int64_t tokens) {
      if (trace_ != nullptr) trace_->events_[event_].tokens = tokens;
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Trace* trace_ = nullptr;
    size_t event_ = 0;
    std::optional<TensorMeter> meter_;
  };

  bool on() const { return on_; }
  /// {"traceEvents": [...]}: complete events ("X") with tokens and the most bytes that tensors made
  /// in them held at once, and the process's memory after each ("C", no pages of files). Empty when
  /// off.
  std::string json() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Event {
    const char* name;
    double begin_us = 0;
    double duration_us = 0;
    int64_t tokens = -1;
    int64_t peak_bytes = 0;
    int64_t anonymous_bytes_now = 0;
  };
  double now_us() const {
    return std::chrono::duration<double, std::micro>(Clock::now() - start_).count();
  }

  bool on_;
  Clock::time_point start_;
  std::vector<Event> events_;  // in the order in which they began
};

}  // namespace onnuri
