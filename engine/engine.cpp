// The doors of the library that do not need a loaded model, and the one that loads it.
#include "onnuri/engine.h"

#include <algorithm>

#include "core/check.h"
#include "core/cpu_features.h"
#include "decoder/kv_cache.h"
#include "engine/chat.h"
#include "engine/guarded_engine.h"
#include "engine/load_support.h"
#include "engine/model_facts.h"
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

double Engine::mean_nll(std::span<const int32_t>) {
  fail(ErrorCode::kUnsupported, "this model does not score text");
}

std::vector<double> Engine::token_nll(std::span<const int32_t>) {
  fail(ErrorCode::kUnsupported, "this model does not score text");
}

SamplingParams Engine::model_sampling() const { return {}; }

std::string inspect_model_json(const std::string& path) {
  const ModelFiles files = open_model_files(path);
  const ModelConfig config = map_model(files);
  JsonValue facts = model_facts(config, *files.checkpoint);
  if (config.decoder.num_layers() > 0) {
    KvCacheOptions kv;
    kv.max_tokens = config.decoder.max_position;
    kv.max_chunk = std::min(kv.max_chunk, kv.max_tokens);
    facts.set("kv_bytes_per_token", KvCache::bytes_per_token(config.decoder, kv.dtype));
    facts.set("kv_window_bytes", KvCache::window_bytes(config.decoder, kv));
  }
  JsonValue tokenizer;
  try {
    const std::unique_ptr<Tokenizer> loaded =
        files.is_gguf() ? load_tokenizer_from_gguf(files.checkpoint->metadata())
                        : load_tokenizer(files.path);
    tokenizer.set("vocab_size", loaded->vocab_size());
    tokenizer.set("chat_template", ChatRenderer(files, *loaded).has_template());
  } catch (const Error& error) {
    tokenizer.set("error", std::string(error.what()));
  }
  facts.set("tokenizer", std::move(tokenizer));
  return facts.dump();
}

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
