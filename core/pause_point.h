// Where a long computation lets others have a turn: between the layers of an encoder, say.
#pragma once

#include <functional>

namespace onnuri {

/// While it lives, pause_point() on this thread calls `pause`. Scopes may nest; the innermost
/// counts.
class PauseScope {
 public:
  /// `pause` gets how much was done since the last call, in tokens that went the whole way. It may
  /// wait, and it may throw to end the computation.
  explicit PauseScope(std::function<void(double tokens)> pause);
  ~PauseScope();
  PauseScope(const PauseScope&) = delete;
  PauseScope& operator=(const PauseScope&) = delete;

 private:
  friend void pause_point(double tokens);
  std::function<void(double)> pause_;
  PauseScope* outer_;  // of this thread, null for the outermost
};

/// Nothing that others may touch is half done. Without a scope, nothing happens.
void pause_point(double tokens);

}  // namespace onnuri
