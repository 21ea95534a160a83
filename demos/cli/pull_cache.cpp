#include "demos/cli/pull_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kMarker[] = "/.pulled.json";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

json file_facts(const std::string& folder, const std::string& name) {
  struct stat info {};
  if (::stat((folder + "/" + name).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  return {
      {"name", name},
      {"bytes", static_cast<int64_t>(info.st_size)},
      {"time_ns", static_cast<int64_t>(info.st_mtim.tv_sec) * 1000000000 + info.st_mtim.tv_nsec}};
}

}  // namespace

std::string cache_root(const std::string& chosen) {
  if (!chosen.empty()) return chosen;
  if (const std::string root = environment("ONNURI_CACHE"); !root.empty()) return root;
  if (const std::string xdg = environment("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/onnuri";
  if (const std::string home = environment("HOME"); !home.empty()) return home + "/.cache/onnuri";
  throw Error(ErrorCode::kNotFound, "expected a cache folder: set ONNURI_CACHE or HOME");
}

void make_folders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    throw Error(ErrorCode::kNotFound, path + ": cannot create the folder: " + error.message());
  }
}

FolderLock::FolderLock(const std::string& folder, const PullProgress& progress) {
  const std::string path = folder + "/.lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw Error(ErrorCode::kNotFound, path + ": cannot lock the folder: " + std::strerror(errno));
  }
  try {
    while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      report(progress, 0, "waiting for another pull");
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

FolderLock::~FolderLock() { ::close(fd_); }

void write_marker(const std::string& folder, const std::string& identity,
                  const std::vector<std::string>& files) {
  json marker = {{"identity", identity}, {"files", json::array()}};
  for (const std::string& name : files) marker["files"].push_back(file_facts(folder, name));
  write_text_file(folder + kMarker, marker.dump(1) + "\n");
}

bool marker_holds(const std::string& folder, const std::string& identity) {
  std::error_code error;
  if (!fs::exists(folder + kMarker, error)) return false;
  try {
    const json marker = json::parse(read_whole_file(folder + kMarker, 1 << 24));
    if (!identity.empty() && marker.at("identity").get<std::string>() != identity) return false;
    const json& files = marker.at("files");
    return !files.empty() && std::all_of(files.begin(), files.end(), [&](const json& facts) {
      return facts == file_facts(folder, facts.at("name").get<std::string>());
    });
  } catch (const json::exception&) {
    return false;
  }
}

void write_text_file(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
  if (!out) throw Error(ErrorCode::kNotFound, path + ": cannot write the file");
  rename_file(part, path);
}

std::string read_whole_file(const std::string& path, uint64_t max_bytes) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) throw Error(ErrorCode::kNotFound, path + ": cannot read the file");
  if (bytes > max_bytes) {
    throw Error(ErrorCode::kCorruptData, path + ": expected at most " + std::to_string(max_bytes) +
                                             " bytes, found " + std::to_string(bytes));
  }
  std::string text(bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  if (!in) throw Error(ErrorCode::kNotFound, path + ": cannot read the file");
  return text;
}

void rename_file(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) throw Error(ErrorCode::kNotFound, to + ": cannot rename the file: " + error.message());
}

void report(const PullProgress& progress, double fraction, const std::string& label) {
  if (progress && !progress(fraction, label)) {
    throw Error(ErrorCode::kCancelled, "the pull was interrupted; run it again to resume");
  }
}

}  // namespace onnuri::cli
