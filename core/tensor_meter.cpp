#include "core/tensor_meter.h"

#include <algorithm>

namespace onnuri {
namespace {

// The scopes that are open on this thread, innermost first.
thread_local TensorMeter* innermost = nullptr;

}  // namespace

TensorMeter::TensorMeter() : outer_(innermost) { innermost = this; }

TensorMeter::~TensorMeter() { innermost = outer_; }

void TensorMeter::add(int64_t bytes) {
  for (TensorMeter* meter = innermost; meter != nullptr; meter = meter->outer_) {
    meter->live_ += bytes;
    meter->peak_ = std::max(meter->peak_, meter->live_);
  }
}

}  // namespace onnuri
