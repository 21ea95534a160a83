#include "core/pause_point.h"

#include <utility>

namespace onnuri {
namespace {

thread_local PauseScope* innermost = nullptr;

}  // namespace

PauseScope::PauseScope(std::function<void(double)> pause)
    : pause_(std::move(pause)), outer_(innermost) {
  innermost = this;
}

PauseScope::~PauseScope() { innermost = outer_; }

void pause_point(double tokens) {
  if (innermost != nullptr && innermost->pause_) innermost->pause_(tokens);
}

}  // namespace onnuri
