#include "core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>

#include "core/check.h"

namespace onnuri {

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  if (path_.find('\0') != std::string::npos) {
    fail(ErrorCode::kInvalidArgument, "expected a path without NUL bytes");
  }
  std::random_device random;
  for (int attempt = 0; attempt < 16; ++attempt) {
    temporary_path_ = path_ + ".tmp" + std::to_string(random());
    fd_ = ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0) return;
    if (errno != EEXIST) break;
  }
  fail_errno("create");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_path_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  ONNURI_CHECK(fd_ >= 0);
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_errno("write");
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  ONNURI_CHECK(fd_ >= 0);
  if (::fsync(fd_) != 0) fail_errno("write");
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) fail_errno("rename");
  ::close(fd_);
  fd_ = -1;
}

void AtomicFile::fail_errno(const char* action) const {
  const int error = errno;
  fail(ErrorCode::kNotFound, path_, ": cannot ", action, " the file: ", std::strerror(error));
}

}  // namespace onnuri
