#include "engine/trace.h"

#include <cstdio>

#include "core/machine_memory.h"

namespace onnuri {

Trace::Span::Span(Trace* trace, const char* name, int64_t tokens) {
  if (trace == nullptr || !trace->on_) return;
  trace_ = trace;
  event_ = trace->events_.size();
  Event event{name};
  event.tokens = tokens;
  trace->events_.push_back(event);
  meter_.emplace();
  trace->events_[event_].begin_us = trace->now_us();
}

Trace::Span::~Span() {
  if (trace_ == nullptr) return;
  Event& event = trace_->events_[event_];
  event.duration_us = trace_->now_us() - event.begin_us;
  event.peak_bytes = meter_->peak_bytes();
  event.anonymous_bytes_now = anonymous_bytes();
}

std::string Trace::json() const {
  if (!on_) return {};
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  char text[320];
  bool first = true;
  for (const Event& e : events_) {
    std::snprintf(text, sizeof text,
                  "%s\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f,"
                  "\"args\":{\"tensor_peak_bytes\":%lld",
                  first ? "" : ",", e.name, e.begin_us, e.duration_us,
                  static_cast<long long>(e.peak_bytes));
    first = false;
    out += text;
    if (e.tokens >= 0) out += ",\"tokens\":" + std::to_string(e.tokens);
    std::snprintf(text, sizeof text,
                  "}},\n{\"name\":\"memory\",\"ph\":\"C\",\"pid\":1,\"ts\":%.3f,"
                  "\"args\":{\"bytes\":%lld}}",
                  e.begin_us + e.duration_us, static_cast<long long>(e.anonymous_bytes_now));
    out += text;
  }
  return out + "\n]}\n";
}

}  // namespace onnuri
