#include "demos/cli/common.h"

#include <sys/stat.h>

#include <cstdio>

#include "onnuri/error.h"
#include "demos/cli/pull.h"
#include "demos/cli/terminal.h"

namespace onnuri::cli {

void add_model_options(CLI::App& command, ModelOptions& options) {
  command
      .add_option("model", options.model,
                  "A checkpoint folder, a .gguf file, a named model (see `onnuri pull --list`), or "
                  "org/name from the hub")
      ->required()
      ->type_name("MODEL");
  command.add_option("-t,--threads", options.threads, "Threads; 0 is one per core")
      ->check(CLI::Range(0, 1024))
      ->envname("ONNURI_THREADS");
  command.add_option("--isa", options.isa, "Kernel table by name (see `onnuri devices`)")
      ->envname("ONNURI_ISA");
  command.add_option("--compute", options.compute, "auto: fastest; float32: reference precision")
      ->check(CLI::IsMember({"auto", "float32"}));
  command.add_option("-c,--context", options.context, "Longest sequence in tokens; 0 is automatic")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--json", options.json, "Print one JSON object instead of text");
  command.add_flag("-q,--quiet", options.quiet, "No progress, no statistics");
}

std::string resolve_model(const ModelOptions& options) {
  struct stat info {};
  if (stat(options.model.c_str(), &info) == 0) return options.model;
  if (!can_pull(options.model)) {
    throw Error(ErrorCode::kNotFound,
                "expected a checkpoint folder, a .gguf file or a named model (onnuri pull --list), "
                "found nothing at \"" + options.model + "\"");
  }
  ProgressBar bar(!options.quiet);
  PullOptions pull;
  pull.name = options.model;
  InterruptGuard guard;
  return pull_model(pull, [&](double fraction, const std::string& label) {
    bar.update(fraction, label);
    return !InterruptGuard::interrupted();
  });
}

std::unique_ptr<Engine> load_engine(const ModelOptions& options) {
  const std::string path = resolve_model(options);
  ProgressBar bar(!options.quiet);
  EngineOptions engine;
  engine.compute_dtype = options.compute;
  engine.num_threads = options.threads;
  engine.isa = options.isa;
  engine.context_size = options.context;
  engine.progress = [&](double fraction, const std::string& stage) { bar.update(fraction, stage); };
  return Engine::load(path, engine);
}

void add_sampling_options(CLI::App& command, SamplingOptions& options) {
  command.add_option("-n,--max-tokens", options.max_tokens, "Longest answer in tokens")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--temperature", options.params.temperature, "0 is greedy")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 10.0));
  command.add_option("--top-k", options.params.top_k, "Keep the k most likely tokens; 0 is all")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--top-p", options.params.top_p, "Keep this much probability")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--min-p", options.params.min_p, "Drop tokens below this share of the best")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--repetition-penalty", options.params.repetition_penalty, "1 is off")
      ->check(CLI::Range(0.1, 10.0));
  command.add_option("--seed", options.params.seed, "Same seed, same answer");
  command.add_option("--stop", options.stop, "End before this text (may be repeated)");
}

GenerateResult run_generation(Engine& engine, const GenerateRequest& request, bool json) {
  InterruptGuard guard;
  return engine.generate(request, [&](const TokenEvent& event) {
    if (!json && !event.text.empty()) write_out(event.text);
    return !InterruptGuard::interrupted();
  });
}

std::string usage_line(const Usage& usage) {
  auto rate = [](int64_t tokens, double ms) {
    return ms > 0 ? fixed(static_cast<double>(tokens) * 1000 / ms, 1) : std::string("-");
  };
  std::string line;
  if (usage.encode_ms > 0) line += "media " + fixed(usage.encode_ms / 1000, 2) + " s, ";
  line += "prompt " + std::to_string(usage.prompt_tokens) + " tokens in " +
          fixed(usage.prefill_ms / 1000, 2) + " s (" + rate(usage.prompt_tokens, usage.prefill_ms) +
          " tokens/s), answer " + std::to_string(usage.completion_tokens) + " tokens in " +
          fixed(usage.decode_ms / 1000, 2) + " s";
  if (usage.completion_tokens > 1) {
    line += " (" + rate(usage.completion_tokens - 1, usage.decode_ms) + " tokens/s)";
  }
  return line;
}

Json usage_json(const Usage& usage) {
  return Json{{"prompt_tokens", usage.prompt_tokens},
              {"completion_tokens", usage.completion_tokens},
              {"encode_ms", usage.encode_ms},
              {"prefill_ms", usage.prefill_ms},
              {"decode_ms", usage.decode_ms}};
}

Json result_json(const GenerateResult& result) {
  return Json{{"text", result.text},
              {"token_ids", result.token_ids},
              {"finish_reason", result.finish_reason},
              {"usage", usage_json(result.usage)}};
}

}  // namespace onnuri::cli
