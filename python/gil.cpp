#include "python/gil.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "onnuri/error.h"

namespace onnuri::python {
namespace {

// Of the process, as the interpreter is: its end concerns every engine at once.
struct Shutdown {
  std::atomic<int64_t> calls{0};        // that are inside now
  std::atomic<bool> begun{false};       // callbacks stop, no call begins
  std::atomic<bool> lock_gone{false};   // nobody but `thread` may take the lock any more
  std::atomic<std::thread::id> thread;  // that shuts Python down
};

Shutdown& shutdown() {
  static Shutdown state;
  return state;
}

bool is_other_thread() { return shutdown().thread.load() != std::this_thread::get_id(); }

// The process is about to end, and this thread with it.
void sleep_if_lock_gone() {
  while (shutdown().lock_gone.load() && is_other_thread())
    std::this_thread::sleep_for(std::chrono::seconds(1));
}

// Calls of this thread, one inside the other.
int64_t& calls_of_thread() {
  thread_local int64_t count = 0;
  return count;
}

// The process is about to end; a thread that went on in Python would meet its ruins, and an error
// that it printed could hold what the end needs. Nobody waits for its calls any more.
[[noreturn]] void sleep_for_ever() {
  shutdown().calls -= calls_of_thread();
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace

bool must_stop() { return shutdown().begun.load() && is_other_thread(); }

void throw_if_must_stop() {
  if (must_stop()) throw Error(ErrorCode::kCancelled, "stopped because Python is shutting down");
}

InsideCall::InsideCall() {
  if (must_stop()) {
    PyEval_SaveThread();
    sleep_for_ever();
  }
  ++shutdown().calls;
  ++calls_of_thread();
}

InsideCall::~InsideCall() {
  --shutdown().calls;
  --calls_of_thread();
}

WithoutGil::WithoutGil() : state_(PyEval_SaveThread()) {}

WithoutGil::~WithoutGil() {
  if (must_stop()) sleep_for_ever();
  PyEval_RestoreThread(state_);
}

WithGil::WithGil() {
  sleep_if_lock_gone();
  state_ = PyGILState_Ensure();
}

WithGil::~WithGil() {
  sleep_if_lock_gone();
  PyGILState_Release(state_);
}

void bind_shutdown(pybind11::module_& module) {
  module.def("_begin_shutdown", [] {
    shutdown().thread = std::this_thread::get_id();
    shutdown().begun = true;
  });
  module.def("_calls_inside", [] { return shutdown().calls.load(); });
  module.def("_end_shutdown", [] { shutdown().lock_gone = true; });
  // A forked child has only the thread that forked.
  module.def("_after_fork", [] { shutdown().calls = calls_of_thread(); });
}

}  // namespace onnuri::python
