// Who holds Python's lock, and how calls end when Python does.
//
// CPython ends any other thread that asks for the lock once it is shutting down, by unwinding its
// stack; C++ frames with destructors that want the lock do not survive that. So every call counts
// itself, a hook at exit asks the calls of other threads to stop and waits for them, and such a
// thread sleeps from where it would have asked for the lock again until the process ends.
#pragma once

#include <pybind11/pybind11.h>

namespace onnuri::python {

/// A call that is in C++, or in a callback of it. Needs the lock. Threads that begin one while
/// Python is shutting down do not come back.
class InsideCall {
 public:
  InsideCall();
  ~InsideCall();
  InsideCall(const InsideCall&) = delete;
  InsideCall& operator=(const InsideCall&) = delete;
};

/// Gives the lock up for its scope.
class WithoutGil {
 public:
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  InsideCall inside_;
  PyThreadState* state_;
};

/// Takes the lock for its scope; in callbacks, after must_stop() has said no.
class WithGil {
 public:
  WithGil();
  ~WithGil();
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;

 private:
  PyGILState_STATE state_;
};

/// Whether Python is shutting down, in any thread but the one that does it. Needs no lock.
bool must_stop();
/// The same for callbacks that cannot answer: throws kCancelled.
void throw_if_must_stop();

/// Adds the three functions that the hook at exit calls.
void bind_shutdown(pybind11::module_& module);

}  // namespace onnuri::python
