#include "demos/cli/hub.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "demos/cli/digest.h"
#include "demos/cli/http.h"
#include "demos/cli/pull_cache.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kPublicHub[] = "https://huggingface.co";
constexpr uint64_t kMaxListBytes = uint64_t{64} << 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string endpoint() {
  std::string url = environment("HF_ENDPOINT");
  if (url.empty()) url = kPublicHub;
  while (url.ends_with('/')) url.pop_back();
  return url;
}

struct HubFile {
  std::string name;
  uint64_t bytes = 0;
  std::string sha256;   // of large files
  std::string git_sha;  // of the others
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;
};

bool is_plain(const std::string& text, const std::string& also) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           also.find(c) != std::string::npos;
  });
}

/// Names come from a server: they must stay in our folder and out of our own hidden files.
bool is_safe_path(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos ||
      name.find('\\') != std::string::npos) {
    return false;
  }
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (end == begin || name[begin] == '.') return false;
    begin = end + 1;
  }
  return !name.ends_with(".part");
}

std::string escape(const std::string& text, const std::string& keep) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_plain(std::string(1, c), keep)) {
      out += c;
    } else {
      out += '%';
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

HubListing list_files(const HubName& name) {
  const std::string url = endpoint() + "/api/models/" + name.repository + "/revision/" +
                          escape(name.revision, "._-") + "?blobs=true";
  const std::string body = http_get({url, environment("HF_TOKEN")}, kMaxListBytes);
  try {
    const json answer = json::parse(body);
    HubListing listing;
    listing.commit = answer.at("sha").get<std::string>();
    for (const json& entry : answer.at("siblings")) {
      HubFile file;
      file.name = entry.at("rfilename").get<std::string>();
      if (!is_safe_path(file.name)) continue;
      file.bytes = entry.at("size").get<uint64_t>();
      if (entry.contains("lfs") && entry["lfs"].is_object()) {
        file.sha256 = entry["lfs"].at("sha256").get<std::string>();
      } else if (entry.contains("blobId") && entry["blobId"].is_string()) {
        file.git_sha = entry["blobId"].get<std::string>();
      }
      listing.files.push_back(std::move(file));
    }
    if (!is_plain(listing.commit, "")) throw Error(ErrorCode::kCorruptData, url + ": bad commit");
    return listing;
  } catch (const json::exception&) {
    throw Error(ErrorCode::kCorruptData, url + ": expected a list of files with their sizes");
  }
}

bool is_weights(const HubFile& file) { return file.name.ends_with(".safetensors"); }

/// model.safetensors, model-00001-of-00002.safetensors and the index of such shards.
bool is_main_weights(const HubFile& file) {
  return is_weights(file) && (file.name == "model.safetensors" || file.name.starts_with("model-"));
}

bool is_companion(const HubFile& file) {
  for (const char* end : {".json", ".jinja", ".model", ".txt"}) {
    if (file.name.ends_with(end)) return true;
  }
  return file.name.starts_with("LICENSE") || file.name.starts_with("NOTICE");
}

std::vector<HubFile> choose_one(const HubListing& listing, const std::string& wanted) {
  for (const HubFile& file : listing.files) {
    if (file.name == wanted) return {file};
  }
  throw Error(ErrorCode::kNotFound, "the repository has no file \"" + wanted + "\"");
}

/// Weights and all that reads them; a lone .gguf where there are no safetensors.
std::vector<HubFile> choose_files(const HubListing& listing) {
  std::vector<HubFile> chosen, gguf;
  bool has_main = false;
  for (const HubFile& file : listing.files) has_main = has_main || is_main_weights(file);
  bool has_weights = false;
  for (const HubFile& file : listing.files) {
    if (file.name.ends_with(".gguf")) gguf.push_back(file);
    if (file.name.find('/') != std::string::npos) continue;
    const bool take_weights = is_weights(file) && (!has_main || is_main_weights(file));
    has_weights = has_weights || take_weights;
    if (take_weights || is_companion(file)) chosen.push_back(file);
  }
  if (has_weights) return chosen;
  if (gguf.size() == 1) return gguf;
  std::string names;
  for (const HubFile& file : gguf) names += (names.empty() ? "" : ", ") + file.name;
  throw Error(ErrorCode::kNotFound,
              gguf.empty()
                  ? "the repository has neither safetensors nor .gguf files"
                  : "the repository has several .gguf files, choose one with --file: " + names);
}

std::string checksum_problem(const HubFile& file, const std::string& path) {
  if (!file.sha256.empty()) {
    const std::string sum = file_digest(DigestKind::kSha256, path);
    if (sum != file.sha256) return "expected sha256 " + file.sha256 + ", found " + sum;
  } else if (file.git_sha.size() == 40) {
    const std::string prefix = "blob " + std::to_string(file.bytes) + std::string(1, '\0');
    const std::string sum = file_digest(DigestKind::kSha1, path, prefix);
    if (sum != file.git_sha) return "expected git blob " + file.git_sha + ", found " + sum;
  }
  return "";
}

class HubPull {
 public:
  HubPull(const HubName& name, const HubListing& listing, std::string folder,
          const PullProgress& progress)
      : name_(name), listing_(listing), folder_(std::move(folder)), progress_(progress) {}

  void run(const std::vector<HubFile>& files) {
    for (const HubFile& file : files) total_ += file.bytes;
    for (const HubFile& file : files) {
      fetch(file);
      done_ += file.bytes;
    }
  }

 private:
  void fetch(const HubFile& file) {
    const std::string target = folder_ + "/" + file.name;
    const std::string part = target + ".part";
    make_folders(fs::path(target).parent_path().string());
    std::error_code error;
    if (fs::file_size(target, error) == file.bytes && !error &&
        checksum_problem(file, target).empty()) {
      return;
    }
    const std::string url = endpoint() + "/" + name_.repository + "/resolve/" + listing_.commit +
                            "/" + escape(file.name, "._-/");
    http_download({url, environment("HF_TOKEN")}, part, file.bytes, [&](uint64_t have) {
      return !progress_ || progress_(fraction(have), file.name);
    });
    report(progress_, fraction(file.bytes), "checking " + file.name);
    if (const std::string problem = checksum_problem(file, part); !problem.empty()) {
      fs::remove(part, error);
      throw Error(ErrorCode::kCorruptData, file.name + ": " + problem);
    }
    rename_file(part, target);
  }

  double fraction(uint64_t have) const {
    return total_ == 0 ? 1.0 : static_cast<double>(done_ + have) / static_cast<double>(total_);
  }

  const HubName& name_;
  const HubListing& listing_;
  std::string folder_;
  const PullProgress& progress_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
};

std::string folder_of(const HubName& name, const PullOptions& options, const std::string& root) {
  std::string folder = name.repository + "@" + name.revision;
  std::replace(folder.begin(), folder.end(), '/', '+');
  folder = root + "/hub/" + folder;
  return options.file.empty() ? folder : folder + "/files/" + escape(options.file, "._-");
}

/// A checkpoint folder, or the single .gguf file in it.
std::string result_path(const std::string& folder, const PullOptions& options) {
  if (!options.file.empty()) return folder + "/" + options.file;
  std::error_code ignored;
  std::string gguf;
  for (fs::recursive_directory_iterator it(folder, ignored), end; it != end;
       it.increment(ignored)) {
    const std::string file = it->path().string();
    if (file.ends_with(".safetensors")) return folder;
    if (file.ends_with(".gguf")) gguf = file;
  }
  return gguf.empty() ? folder : gguf;
}

}  // namespace

bool parse_hub_name(const std::string& text, HubName& name) {
  const size_t at = text.find('@');
  name.repository = text.substr(0, at);
  name.revision = at == std::string::npos ? "main" : text.substr(at + 1);
  const size_t slash = name.repository.find('/');
  if (slash == std::string::npos) return false;
  const std::string parts[] = {name.repository.substr(0, slash), name.repository.substr(slash + 1)};
  for (const std::string& part : parts) {
    if (!is_plain(part, "._-") || part.front() == '.' || part.front() == '-') return false;
  }
  // What ends like a file of weights is meant to be one.
  for (const char* end : {".gguf", ".safetensors", ".json", ".bin"}) {
    if (name.repository.ends_with(end)) return false;
  }
  return is_plain(name.revision, "._-/") && name.revision.find("..") == std::string::npos;
}

std::string cached_from_hub(const HubName& name, const PullOptions& options,
                            const std::string& root) {
  const std::string folder = folder_of(name, options, root);
  return marker_holds(folder, "") ? result_path(folder, options) : "";
}

std::string pull_from_hub(const HubName& name, const PullOptions& options, const std::string& root,
                          const PullProgress& progress) {
  if (!options.file.empty() && !is_safe_path(options.file)) {
    throw Error(ErrorCode::kInvalidArgument,
                "expected a file of the repository, found \"" + options.file + "\"");
  }
  if (!options.refresh) {
    if (std::string path = cached_from_hub(name, options, root); !path.empty()) return path;
  }
  const std::string offline = environment("HF_HUB_OFFLINE");
  if (!offline.empty() && offline != "0") {
    throw Error(ErrorCode::kNotFound, name.repository +
                                          " is not in the cache, and HF_HUB_OFFLINE "
                                          "forbids asking the hub");
  }
  const std::string folder = folder_of(name, options, root);
  make_folders(folder);
  const FolderLock lock(folder, progress);
  report(progress, 0, "asking for " + name.repository);
  const HubListing listing = list_files(name);
  const std::vector<HubFile> files =
      options.file.empty() ? choose_files(listing) : choose_one(listing, options.file);
  HubPull(name, listing, folder, progress).run(files);
  std::vector<std::string> names;
  for (const HubFile& file : files) names.push_back(file.name);
  write_marker(folder, "hub " + listing.commit, names);
  return result_path(folder, options);
}

}  // namespace onnuri::cli
