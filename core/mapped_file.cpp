#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/printable.h"

namespace onnuri {
namespace {

/// Closes at scope end; the mapping outlives it.
struct Descriptor {
  int fd;
  ~Descriptor() { ::close(fd); }
};

// Read-only pages that were never written share one page of zeros.
const std::byte* map_zeros(size_t size, const std::string& what) {
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED)
    fail(ErrorCode::kOutOfMemory, what, ": cannot map ", size, " bytes: ", std::strerror(errno));
  return static_cast<const std::byte*>(data);
}

}  // namespace

MappedFile MappedFile::open(const std::string& path) { return map(path, 0); }

MappedFile MappedFile::open_extended(const std::string& path, size_t size) {
  return map(path, size);
}

MappedFile MappedFile::map(const std::string& path, size_t at_least) {
  if (path.find('\0') != std::string::npos) {
    fail(ErrorCode::kNotFound, in_quotes(path), ": expected a path without NUL bytes");
  }
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(ErrorCode::kNotFound, path, ": cannot open the file: ", std::strerror(errno));
  const Descriptor descriptor{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    fail(ErrorCode::kNotFound, path, ": expected a regular file");
  }
  MappedFile file;
  file.path_ = path;
  const auto file_size = static_cast<size_t>(info.st_size);
  const size_t size = std::max(file_size, at_least);
  if (size == 0) return file;
  const auto check = [&](const void* data) {
    if (data != MAP_FAILED) return;
    fail(ErrorCode::kOutOfMemory, path, ": cannot map ", size, " bytes: ", std::strerror(errno));
  };
  if (size == file_size) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    check(data);
    *file.pages_ = {static_cast<const std::byte*>(data), size};
    return file;
  }
  const std::byte* zeros = map_zeros(size, path);
  *file.pages_ = {zeros, size};
  void* front = const_cast<std::byte*>(zeros);
  if (file_size > 0) check(::mmap(front, file_size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0));
  return file;
}

MappedFile MappedFile::zeros(size_t size) {
  MappedFile file;
  if (size == 0) return file;
  *file.pages_ = {map_zeros(size, "zeros"), size};
  return file;
}

MappedFile::MappedFile() : pages_(std::make_unique<FilePages>()) {}
MappedFile::MappedFile(MappedFile&& other) noexcept = default;

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (pages_ && pages_->data) ::munmap(const_cast<std::byte*>(pages_->data), pages_->size);
}

std::string read_text_file(const std::string& path, size_t max_bytes) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  if (bytes.size() > max_bytes) {
    fail(ErrorCode::kCorruptData, path, ": expected at most ", max_bytes, " bytes, found ",
         bytes.size());
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.append(bytes);
  file.commit();
}

}  // namespace onnuri
