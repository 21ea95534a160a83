// The cache folder of pulled models: where it is, who may write in it, and what is whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "demos/cli/pull.h"

namespace onnuri::cli {

/// `chosen`, else the folder that the environment names.
std::string cache_root(const std::string& chosen);

/// Creates a folder and its parents. Throws kNotFound.
void make_folders(const std::string& path);

/// Only one process fills a folder at a time; others wait. Lives as long as the work.
class FolderLock {
 public:
  FolderLock(const std::string& folder, const PullProgress& progress);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

/// The marker ".pulled.json": the files of a folder that were verified, with size and time, so that
/// no hash is computed twice. `identity` says what they were verified against.
void write_marker(const std::string& folder, const std::string& identity,
                  const std::vector<std::string>& files);
/// True when the marker has this identity (any, when empty) and every file is as it was.
bool marker_holds(const std::string& folder, const std::string& identity);

void write_text_file(const std::string& path, const std::string& text);
/// Throws kNotFound, or kCorruptData above `max_bytes`.
std::string read_whole_file(const std::string& path, uint64_t max_bytes);
/// Throws kNotFound.
void rename_file(const std::string& from, const std::string& to);

/// Throws kCancelled when the callback says so.
void report(const PullProgress& progress, double fraction, const std::string& label);

}  // namespace onnuri::cli
