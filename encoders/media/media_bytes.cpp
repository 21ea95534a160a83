#include "encoders/media/media_bytes.h"

#include "core/check.h"

namespace onnuri {

MediaBytes::MediaBytes(const MediaInput& input, const MediaLimits& limits, const char* expected) {
  if (!input.path.empty() && !input.bytes.empty()) {
    fail(ErrorCode::kInvalidArgument, "expected ", expected,
         " as a path or as bytes, found both: '", input.path, "'");
  }
  if (!input.path.empty()) {
    file_ = MappedFile::open(input.path);
    bytes_ = file_->bytes();
    where_ = "'" + input.path + "'";
  } else {
    bytes_ = std::as_bytes(std::span(input.bytes));
    where_ = std::to_string(bytes_.size()) + " bytes in memory";
  }
  if (bytes_.empty()) {
    fail(ErrorCode::kCorruptData, "expected ", expected, ", found no bytes in ",
         input.path.empty() ? "memory" : where_);
  }
  if (static_cast<int64_t>(bytes_.size()) > limits.max_file_bytes) {
    fail(ErrorCode::kOutOfMemory, "expected ", expected, " of at most ", limits.max_file_bytes,
         " bytes, found ", bytes_.size(), " bytes in ", where_);
  }
}

}  // namespace onnuri
