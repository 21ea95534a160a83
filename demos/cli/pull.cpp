#include "demos/cli/pull.h"

#include <optional>

#include "demos/cli/hub.h"
#include "demos/cli/packages.h"
#include "demos/cli/pull_cache.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

std::optional<PackagedModel> find_packaged(const std::string& name) {
  for (PackagedModel& model : packaged_models()) {
    if (model.name == name) return std::move(model);
  }
  return std::nullopt;
}

[[noreturn]] void fail_unknown(const std::string& name) {
  std::string known;
  for (const NamedModel& model : named_models()) known += model.name + ", ";
  throw Error(
      ErrorCode::kNotFound,
      "expected one of " + known + "or org/name[@revision] on the hub, found \"" + name + "\"");
}

}  // namespace

std::vector<NamedModel> named_models() {
  std::vector<NamedModel> models;
  for (const PackagedModel& model : packaged_models()) {
    models.push_back(
        {model.name, model.about, model.license, static_cast<int64_t>(model.files.front().bytes)});
  }
  return models;
}

bool can_pull(const std::string& name) {
  HubName hub;
  return find_packaged(name).has_value() || parse_hub_name(name, hub);
}

std::string cached_model(const PullOptions& options) {
  const std::string root = cache_root(options.cache_dir);
  if (const auto model = find_packaged(options.name)) {
    return cached_packaged(*model, root + "/models/" + model->name);
  }
  HubName hub;
  if (!parse_hub_name(options.name, hub)) fail_unknown(options.name);
  return cached_from_hub(hub, options, root);
}

std::string pull_model(const PullOptions& options, const PullProgress& progress) {
  const std::string root = cache_root(options.cache_dir);
  if (const auto model = find_packaged(options.name)) {
    const std::string folder = root + "/models/" + model->name;
    if (std::string path = cached_packaged(*model, folder); !path.empty()) return path;
    return pull_packaged(*model, folder, progress);
  }
  HubName hub;
  if (!parse_hub_name(options.name, hub)) fail_unknown(options.name);
  return pull_from_hub(hub, options, root, progress);
}

}  // namespace onnuri::cli
