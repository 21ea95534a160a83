// Does a model fit, before it is loaded?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnuri/engine.h"

namespace onnuri {

struct PlanOptions {
  /// As for Engine::load; context_size 0 means what an engine would take.
  EngineOptions engine;
  int64_t concurrency = 1;     ///< sequences that are all as long as the context
  int64_t memory_bytes = 0;    ///< what may be used; 0: what this machine has free
  int64_t image_width = 1920;  ///< largest picture that is to be read, in pixels
  int64_t image_height = 1080;
  double sound_s = 30;  ///< longest sound that is to be heard at once
  /// Whose memory it is: "cpu", this machine's, or an accelerator of plan_device_names(), the
  /// memory that its maker states; memory_bytes above 0 wins.
  std::string device = "cpu";
  /// Devices that share the model (tensor parallel): all sizes are then those of one of them. Query
  /// heads, columns of FFNs and experts and rows of tables are shared out, heads of keys and values
  /// too, at least one to each; latents, routers, encoders and the memory of a pass are everywhere.
  int64_t tensor_parallel = 1;
};

/// "cpu", then the accelerators whose memory is known.
std::vector<std::string> plan_device_names();

/// The memory that a model takes, from its config and headers alone, as a JSON object: `items`
/// (name, bytes), `needed_bytes`, `available_bytes`, `fits`, `limit` (the item that is too large,
/// or null), `largest_context`, `largest_concurrency`, `kv_cache` by kind of layer, `device`,
/// `tensor_parallel`, `needed_bytes_of_all` devices. `path` is a
/// checkpoint folder, a .gguf file or a config.json; files of weights may be cut off after their
/// headers. Throws as Engine::load.
std::string plan_model_json(const std::string& path, const PlanOptions& options);

/// Loads the model, runs one pass of the planned size, and compares the memory of this process with
/// the plan: `planned_bytes`, `measured_bytes`, `error` (a share of what was measured), `plan`.
std::string check_plan_json(const std::string& path, const PlanOptions& options);

}  // namespace onnuri
