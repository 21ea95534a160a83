// A file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace onnuri {

/// Writes to a new file beside the target; commit() renames it, destruction without commit removes
/// it. Failures of the file system throw kNotFound with the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  void commit();

 private:
  [[noreturn]] void fail_errno(const char* action) const;
  std::string path_;
  std::string temporary_path_;
  int fd_ = -1;
};

}  // namespace onnuri
