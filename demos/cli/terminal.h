// What the terminal shows and hears: progress on stderr, and Ctrl-C.
#pragma once

#include <chrono>
#include <string>

namespace onnuri::cli {

bool stdout_is_terminal();
bool stderr_is_terminal();

/// A progress bar on stderr. On a terminal one line is redrawn; elsewhere nothing is shown. The
/// line is cleared by finish() or the destructor.
class ProgressBar {
 public:
  explicit ProgressBar(bool enabled);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(double fraction, const std::string& label);
  void finish();

 private:
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// While alive, Ctrl-C sets a flag, and pressing it `patience` times leaves the process at once
/// with exit code 130. A read from the terminal ends with it. One at a time.
class InterruptGuard {
 public:
  explicit InterruptGuard(int patience = 2);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool active();
  static bool interrupted();
  static int presses();
  static void reset();
};

/// "1.2 GB", "340 MB".
std::string human_bytes(double bytes);

/// "81.3".
std::string fixed(double value, int digits);

/// Writes text to stdout now and whole.
void write_out(const std::string& text);

}  // namespace onnuri::cli
