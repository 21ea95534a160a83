#include "decoder/kv_disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int64_t kMostAtOnce = int64_t{1} << 30;  // of one call; the system cuts longer ones

[[noreturn]] void fail_errno(const std::string& directory, const char* action) {
  const int error = errno;
  const ErrorCode code = error == ENOSPC || error == EDQUOT || error == EFBIG
                             ? ErrorCode::kOutOfMemory
                             : ErrorCode::kDevice;
  fail(code, directory, ": cannot ", action, " keys and values on disk: ", std::strerror(error));
}

// A file that nobody else sees and nothing is left of. Not every file system can make it at once.
int open_nameless(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
  std::string path = directory + "/onnuri-kv-XXXXXX";
  const int named = ::mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(path.c_str());
  return named;
}

}  // namespace

KvDisk::KvDisk(const std::string& directory, int64_t num_pages, std::vector<PageBytes> layers)
    : directory_(directory), num_pages_(num_pages), layers_(std::move(layers)) {
  layer_begin_.push_back(0);
  int64_t longest = 0;
  for (const PageBytes& bytes : layers_) {
    const int64_t layer = num_pages_ * std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
    longest = std::max(longest, layer);
    layer_begin_.push_back(layer_begin_.back() + layer);
  }
  memory_ = Tensor(DType::kU8, {longest});
  present_.assign(static_cast<size_t>(num_pages_), 0);
  changed_.assign(static_cast<size_t>(num_pages_), 0);
  wanted_.reserve(static_cast<size_t>(num_pages_));

  if (directory.find('\0') != std::string::npos)
    fail(ErrorCode::kInvalidArgument, "expected a folder for keys and values without NUL bytes");
  fd_ = open_nameless(directory);
  if (fd_ < 0)
    fail(ErrorCode::kInvalidArgument, "expected a folder for keys and values that can be written, ",
         "found ", directory, ": ", std::strerror(errno));
  // Room is taken now, or a request would find the disk full. Where the file system cannot, writes
  // tell.
  if (::fallocate(fd_, 0, 0, file_bytes()) != 0 && errno != EOPNOTSUPP) {
    const int error = errno;
    ::close(fd_);
    fail(error == ENOSPC || error == EFBIG || error == EDQUOT ? ErrorCode::kOutOfMemory
                                                              : ErrorCode::kInvalidArgument,
         "expected room for ", file_bytes(), " bytes of keys and values in ", directory,
         ", found: ", std::strerror(error));
  }
}

KvDisk::~KvDisk() { ::close(fd_); }

void KvDisk::stage(int64_t layer, std::span<const int32_t> pages, size_t num_filled,
                   size_t first_changed) {
  if (layer != staged_) {
    flush();
    std::fill(present_.begin(), present_.end(), uint8_t{0});
    staged_ = layer;
  }
  wanted_.clear();
  for (size_t i = 0; i < std::min(num_filled, pages.size()); ++i)
    if (!present_[static_cast<size_t>(pages[i])]) wanted_.push_back(pages[i]);
  if (!wanted_.empty()) {
    std::sort(wanted_.begin(), wanted_.end());
    move(layer, Move::kRead);
    announce((layer + 1) % static_cast<int64_t>(layers_.size()));
  }
  for (const int32_t page : pages) present_[static_cast<size_t>(page)] = 1;
  for (size_t i = first_changed; i < pages.size(); ++i) changed_[static_cast<size_t>(pages[i])] = 1;
}

std::byte* KvDisk::rows(int64_t layer, size_t part) {
  ONNURI_CHECK(layer == staged_);
  const PageBytes& bytes = layers_[static_cast<size_t>(layer)];
  return memory_.bytes() +
         num_pages_ * std::accumulate(bytes.begin(), bytes.begin() + part, int64_t{0});
}

void KvDisk::flush() {
  wanted_.clear();
  for (int32_t page = 0; page < static_cast<int32_t>(num_pages_); ++page)
    if (changed_[static_cast<size_t>(page)]) wanted_.push_back(page);
  if (wanted_.empty()) return;
  move(staged_, Move::kWrite);
  std::fill(changed_.begin(), changed_.end(), uint8_t{0});
}

// Pages that follow one another move together.
void KvDisk::move(int64_t layer, Move move) {
  int64_t offset = layer_begin_[static_cast<size_t>(layer)];
  for (size_t part = 0; part < 3; ++part) {
    const int64_t bytes = layers_[static_cast<size_t>(layer)][part];
    if (bytes == 0) continue;
    std::byte* memory = rows(layer, part);
    for (size_t i = 0; i < wanted_.size();) {
      size_t end = i + 1;
      while (end < wanted_.size() && wanted_[end] == wanted_[end - 1] + 1) ++end;
      transfer(move, memory + wanted_[i] * bytes, offset + wanted_[i] * bytes,
               static_cast<int64_t>(end - i) * bytes);
      i = end;
    }
    offset += num_pages_ * bytes;
  }
}

void KvDisk::transfer(Move move, std::byte* memory, int64_t offset, int64_t bytes) {
  (move == Move::kRead ? read_bytes_ : written_bytes_) += bytes;
  while (bytes > 0) {
    const auto count = static_cast<size_t>(std::min(bytes, kMostAtOnce));
    const ssize_t done = move == Move::kRead ? ::pread(fd_, memory, count, offset)
                                             : ::pwrite(fd_, memory, count, offset);
    if (done < 0) {
      if (errno == EINTR) continue;
      fail_errno(directory_, move == Move::kRead ? "read" : "write");
    }
    if (done == 0) {  // beyond the end of a file that could not be made long: never written
      std::memset(memory, 0, static_cast<size_t>(bytes));
      return;
    }
    memory += done;
    offset += done;
    bytes -= done;
  }
}

// The same pages of the layer that comes next may be read while this one is computed.
void KvDisk::announce(int64_t layer) {
  int64_t offset = layer_begin_[static_cast<size_t>(layer)];
  for (const int64_t bytes : layers_[static_cast<size_t>(layer)]) {
    if (bytes > 0)
      ::posix_fadvise(fd_, offset + wanted_.front() * bytes,
                      (wanted_.back() - wanted_.front() + 1) * bytes, POSIX_FADV_WILLNEED);
    offset += num_pages_ * bytes;
  }
}

}  // namespace onnuri
