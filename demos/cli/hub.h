// Models from the Hugging Face hub, or a server with its interface (HF_ENDPOINT).
//
// GET api/models/<repo>/revision/<rev>?blobs=true lists the files, <repo>/resolve/<commit>/<file>
// brings one. Large files carry a sha256, small ones the hash of their git blob: both are checked.
#pragma once

#include <string>

#include "demos/cli/pull.h"

namespace onnuri::cli {

struct HubName {
  std::string repository;  ///< "org/name"
  std::string revision;    ///< "main" unless given after "@"
};

/// Returns false when the text is not of the form org/name[@revision].
bool parse_hub_name(const std::string& text, HubName& name);

/// Fills the model's folder below `root` and returns its path, or the path of `options.file` in it.
std::string pull_from_hub(const HubName& name, const PullOptions& options, const std::string& root,
                          const PullProgress& progress);

/// The path when the cache holds what `options` asks for, else an empty string.
std::string cached_from_hub(const HubName& name, const PullOptions& options,
                            const std::string& root);

}  // namespace onnuri::cli
