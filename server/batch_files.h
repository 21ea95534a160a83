// The files of a batch job: its input line by line, its rows so far, its journal.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace onnuri {

/// Lines of a file, bounded in length. Blank ones are passed over.
class LineReader {
 public:
  static constexpr size_t kMaxLineBytes = size_t{256} << 20;

  /// Throws kNotFound.
  explicit LineReader(const std::string& path);
  /// False at the end. A line that is longer than kMaxLineBytes comes cut, with is_cut() true.
  bool next(std::string& line);
  bool is_cut() const { return cut_; }
  /// Of the file, counting from 1.
  int64_t line_number() const { return number_; }

 private:
  std::ifstream file_;
  std::vector<char> buffer_;
  int64_t number_ = 0;
  bool cut_ = false;
};

/// 64-bit FNV-1a of what is added: names a job's input, nothing more.
class Fingerprint {
 public:
  void add(const std::string& text);
  std::string hex() const;

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

/// The rows that are written. One process at a time: the others are refused.
class RowFile {
 public:
  /// Opens or makes `path`. Throws kInvalidArgument when another process has it open, kNotFound
  /// when it cannot be made.
  explicit RowFile(std::string path);
  ~RowFile();
  RowFile(const RowFile&) = delete;
  RowFile& operator=(const RowFile&) = delete;

  /// The whole rows that are there; what was written in part is cut off.
  std::vector<std::string> recover();
  /// Empties the file.
  void clear();
  /// One row and its line end, in one write.
  void append(const std::string& row);
  /// What was appended reaches the disk.
  void sync();
  /// Syncs, and gives the file its name.
  void rename_to(const std::string& path);

 private:
  [[noreturn]] void fail_errno(const char* action) const;
  std::string path_;
  int fd_ = -1;
};

/// Writes a small file whole or not at all. Throws kNotFound.
void write_small_file(const std::string& path, const std::string& text);
/// Its text, or nothing when it is not there.
std::optional<std::string> read_small_file(const std::string& path);

}  // namespace onnuri
