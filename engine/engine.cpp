// The doors of the library that do not need a loaded model, and the one that loads it.
#include "onnuri/engine.h"

#include "core/check.h"
#include "core/cpu_features.h"
#include "engine/guarded_engine.h"
#include "engine/load_support.h"
#include "engine/model_config.h"
#include "kernels/backend.h"
#include "kernels/cuda_status.h"

namespace onnuri {

std::unique_ptr<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
  check_device(options.device);
  constexpr int kMaxThreads = 4096;
  if (options.num_threads < 0 || options.num_threads > kMaxThreads)
    fail(ErrorCode::kInvalidArgument, "expected num_threads in [0, ", kMaxThreads,
         "] (0: one per core), found ", options.num_threads);
  const std::string what = "load " + path;
  return guard_memory(what.c_str(), [&] {
    const ModelFiles files = open_model_files(path);
    const Family& family = find_family(files);
    ModelConfig config = map_model(files);
    return make_guarded_engine(family.make_engine(files, std::move(config), options));
  });
}

void Engine::save(const std::string&, const std::string&) {
  fail(ErrorCode::kUnsupported, "expected a model that converses, found one with nothing to save");
}

void Engine::restore(const std::string&) {
  fail(ErrorCode::kUnsupported,
       "expected a model that converses, found one with nothing to restore");
}

PromptLayout Engine::prepare(std::span<const ChatMessage>, const std::string&) {
  fail(ErrorCode::kUnsupported, "this model takes no conversations");
}

double Engine::mean_nll(std::span<const int32_t>, const GoOn&) {
  fail(ErrorCode::kUnsupported, "this model does not score text");
}

std::vector<double> Engine::token_nll(std::span<const int32_t>, const GoOn&) {
  fail(ErrorCode::kUnsupported, "this model does not score text");
}

std::vector<float> Engine::embed_image(const Image&) {
  fail(ErrorCode::kUnsupported, "this model does not turn pictures into vectors");
}

std::vector<float> Engine::embed_text(const std::string&) {
  fail(ErrorCode::kUnsupported, "this model does not turn texts into vectors");
}

std::vector<float> Engine::embed_tokens(std::span<const int32_t>) {
  fail(ErrorCode::kUnsupported, "this model does not turn texts into vectors");
}

SamplingParams Engine::model_sampling() const { return {}; }

std::string devices_json() {
  const CpuFeatures features = detect_cpu_features();
  JsonValue cpu;
  cpu.set("brand", features.brand);
  cpu.set("num_cores", features.num_cores);
  JsonValue::Array tables;
  for (const KernelTableInfo& info : list_kernel_tables()) {
    JsonValue entry;
    entry.set("name", info.name);
    entry.set("description", info.description);
    entry.set("supported", info.supported);
    entry.set("chosen", info.chosen);
    tables.push_back(std::move(entry));
  }
  cpu.set("kernel_tables", std::move(tables));
  const CudaStatus status = cuda_status();
  JsonValue cuda;
  cuda.set("available", status.available);
  cuda.set("status", status.available ? "available" : std::string(status.reason));
  JsonValue out;
  out.set("cpu", std::move(cpu));
  out.set("cuda", std::move(cuda));
  return out.dump();
}

}  // namespace onnuri
