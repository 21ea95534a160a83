// Ends a text before a stop string, even when the string arrives in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onnuri {

class StopMatcher {
 public:
  /// Throws kInvalidArgument for an empty stop string.
  explicit StopMatcher(std::vector<std::string> stops);

  /// Takes new text and returns what is now safe to show: everything up to a stop string, less a
  /// tail that may still grow into one.
  std::string push(std::string_view text);
  /// What was held back, once no more text comes. Empty after a stop.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace onnuri
