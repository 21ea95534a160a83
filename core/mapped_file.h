// A read-only file in memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace onnuri {

/// The pages of a mapped file.
struct FilePages {
  const std::byte* data = nullptr;
  size_t size = 0;
};

/// Owns a mapping of a whole regular file. Move-only. Thread-safe to read.
class MappedFile {
 public:
  /// Throws kNotFound (no such file, not a regular file, no permission) with the path.
  static MappedFile open(const std::string& path);
  /// As above; a file that is shorter than `size` bytes is followed by zeros, which take no memory.
  static MappedFile open_extended(const std::string& path, size_t size);
  /// That many zeros and no file; they take no memory.
  static MappedFile zeros(size_t size);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {pages_->data, pages_->size}; }
  /// Stays where it is when the owner is moved.
  const FilePages* pages() const { return pages_.get(); }
  const std::string& path() const { return path_; }

 private:
  MappedFile();
  static MappedFile map(const std::string& path, size_t at_least);
  std::unique_ptr<FilePages> pages_;  // null after a move
  std::string path_;
};

/// Reads a small text file. Throws kNotFound, or kCorruptData above `max_bytes`.
std::string read_text_file(const std::string& path, size_t max_bytes = size_t{256} << 20);

/// Writes beside the target and renames, so the file is whole or absent.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

}  // namespace onnuri
