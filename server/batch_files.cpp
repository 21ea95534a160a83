#include "server/batch_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "onnuri/error.h"

namespace onnuri {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

}  // namespace

LineReader::LineReader(const std::string& path) : buffer_(kBufferBytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    throw Error(ErrorCode::kNotFound, "expected a file of requests at " + path + ", found none");
  file_.rdbuf()->pubsetbuf(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  file_.open(path, std::ios::binary);
  if (!file_)
    throw Error(ErrorCode::kNotFound, "cannot open " + path + ": " + std::strerror(errno));
}

bool LineReader::next(std::string& line) {
  for (;;) {
    line.clear();
    cut_ = false;
    int c = file_.get();
    if (c == std::char_traits<char>::eof()) return false;
    ++number_;
    for (; c != std::char_traits<char>::eof() && c != '\n'; c = file_.get()) {
      if (line.size() < kMaxLineBytes)
        line.push_back(static_cast<char>(c));
      else
        cut_ = true;
    }
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!is_blank(line)) return true;
  }
}

void Fingerprint::add(const std::string& text) {
  const auto mix = [&](unsigned char byte) { value_ = (value_ ^ byte) * 0x100000001b3u; };
  for (const char c : text) mix(static_cast<unsigned char>(c));
  mix(0xff);  // no byte of UTF-8: "ab" and "a", "b" differ
}

std::string Fingerprint::hex() const {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value_));
  return text;
}

RowFile::RowFile(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail_errno("open");
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(fd_);
  fd_ = -1;
  throw Error(ErrorCode::kInvalidArgument,
              "expected nobody else to write " + path_ + ", found another process at it");
}

RowFile::~RowFile() {
  if (fd_ >= 0) ::close(fd_);
}

void RowFile::fail_errno(const char* action) const {
  throw Error(ErrorCode::kNotFound,
              std::string("cannot ") + action + " " + path_ + ": " + std::strerror(errno));
}

std::vector<std::string> RowFile::recover() {
  std::vector<std::string> rows;
  std::string text;
  std::vector<char> buffer(kBufferBytes);
  off_t whole = 0, at = 0;
  for (;;) {
    const ssize_t count = ::pread(fd_, buffer.data(), buffer.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno("read");
    if (count == 0) break;
    for (ssize_t i = 0; i < count; ++i) {
      if (buffer[static_cast<size_t>(i)] != '\n') {
        text.push_back(buffer[static_cast<size_t>(i)]);
        continue;
      }
      rows.push_back(std::move(text));
      text.clear();
      whole = at + i + 1;
    }
    at += count;
  }
  if (::ftruncate(fd_, whole) != 0 || ::lseek(fd_, whole, SEEK_SET) < 0) fail_errno("cut");
  return rows;
}

void RowFile::clear() {
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) < 0) fail_errno("empty");
}

void RowFile::append(const std::string& row) {
  const std::string line = row + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t count = ::write(fd_, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno("write");
    done += static_cast<size_t>(count);
  }
}

void RowFile::sync() {
  if (::fdatasync(fd_) != 0) fail_errno("sync");
}

void RowFile::rename_to(const std::string& path) {
  if (::fsync(fd_) != 0) fail_errno("sync");
  if (std::rename(path_.c_str(), path.c_str()) != 0) fail_errno("rename");
}

void write_small_file(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << text;
    file.flush();
    if (!file)
      throw Error(ErrorCode::kNotFound, "cannot write " + temporary + ": " + std::strerror(errno));
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0)
    throw Error(ErrorCode::kNotFound, "cannot rename " + temporary + ": " + std::strerror(errno));
}

std::optional<std::string> read_small_file(const std::string& path) {
  constexpr size_t kMostBytes = size_t{1} << 20;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMostBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace onnuri
