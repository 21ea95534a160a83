// The one exception type of Onnuri and its closed list of causes.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace onnuri {

/// Why a call failed. The list is closed: it maps one to one to exit codes, HTTP status and
/// Python exceptions.
enum class ErrorCode {
  kInvalidArgument,  ///< the caller asked for something that makes no sense
  kNotFound,         ///< a file, tensor, key or model is missing
  kCorruptData,      ///< bytes from outside contradict their format
  kUnsupported,      ///< well formed, but outside what this build can do
  kOutOfMemory,      ///< a budget or an allocation was exceeded
  kCancelled,        ///< the caller stopped the work
  kDevice,           ///< an accelerator failed
  kInternal,         ///< a bug of ours
};

/// Returns the stable lower-case name of a code, for example "corrupt_data".
std::string_view error_code_name(ErrorCode code);

/// Every failure that leaves the library. The message is one line: what was expected, what was
/// found, and where.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace onnuri
