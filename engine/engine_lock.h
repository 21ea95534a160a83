// One call at a time per engine: others wait, but a callback that calls its own engine is told so
// instead of waiting for itself for ever.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#include "core/check.h"

namespace onnuri {

class EngineMutex {
 public:
  void lock() {
    if (owner_.load() == std::this_thread::get_id()) {
      fail(ErrorCode::kInvalidArgument,
           "expected no call to an engine from inside its own callback, found one");
    }
    mutex_.lock();
    owner_.store(std::this_thread::get_id());
  }
  void unlock() {
    owner_.store(std::thread::id());
    mutex_.unlock();
  }

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

}  // namespace onnuri
