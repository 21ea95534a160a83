// What all commands share: options, model lookup, loading with progress, statistics.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "onnuri/engine.h"

namespace onnuri::cli {

using Json = nlohmann::ordered_json;

/// Exit codes: 0 success, 1 an onnuri::Error, 2 wrong usage, 130 interrupted.
inline constexpr int kExitError = 1;
inline constexpr int kExitInterrupted = 130;

/// Thrown to leave with kExitInterrupted after everything is put in order.
struct Interrupted {};

struct ModelOptions {
  std::string model;
  int threads = 0;
  std::string isa;
  std::string compute = "auto";
  int64_t context = 0;
  std::string kv_type;
  std::string kv_disk;
  std::string kv_ram;
  std::string after_video;
  bool draft_module = false;
  std::string draft_model;
  int64_t draft_tokens = 4;
  bool no_prefix_caching = false;
  int64_t concurrency = 1;  // requests at a time, of commands that have several
  std::string trace_file;
  bool json = false;
  bool quiet = false;
};

/// "16GiB", "80GB", "1.5G" (binary, as free and top count), "512MiB", or plain bytes.
int64_t parse_bytes(const std::string& text);

/// Adds MODEL and the options that concern loading.
void add_model_options(CLI::App& command, ModelOptions& options);

/// --trace, of commands that answer.
void add_trace_option(CLI::App& command, ModelOptions& options);

/// A path that exists, or the local path of a named model, pulled first when it is not there yet.
std::string resolve_model(const ModelOptions& options);

/// Without progress.
EngineOptions engine_options(const ModelOptions& options);

std::unique_ptr<Engine> load_engine(const ModelOptions& options);

/// What was given on the command line; the rest comes from `base`.
struct SamplingOptions {
  std::string base = "greedy";
  std::optional<float> temperature, top_p, min_p, typical_p;
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int32_t> top_k;
  std::vector<std::string> logit_bias;  // ID:BIAS
  uint64_t seed = 0;
  int64_t max_tokens = 512;
  int64_t num_choices = 1;
  int64_t lookup_tokens = 0;
  int64_t top_logprobs = -1;
  std::vector<std::string> stop;
  std::string json_schema_file;
  std::string grammar_file;
  AnswerFormat format;
};
void add_sampling_options(CLI::App& command, SamplingOptions& options);

/// Writes the options into a request; reads the files that they name.
void apply_sampling(const SamplingOptions& options, const Engine& engine, GenerateRequest& request);

/// A whole file as text; `-` is standard input.
std::string read_file(const std::string& path);

/// Shows examples below the options of `--help`.
void set_examples(CLI::App& command, const std::string& lines);

/// Runs a generation, streaming text to stdout unless `json`: thoughts dimmed and only where
/// somebody watches, tool calls on lines of their own. Ctrl-C stops it.
GenerateResult run_generation(Engine& engine, GenerateRequest request, const ModelOptions& options);

/// What follows an answer: its JSON, or the end of the line and the statistics; and its trace,
/// where a file is named for it.
void print_result(const GenerateResult& result, const ModelOptions& options);

/// "prompt 25 tokens in 0.11 s (227 tokens/s), answer 64 tokens in 0.9 s (71.2 tokens/s)".
std::string usage_line(const Usage& usage);
Json usage_json(const Usage& usage);
Json result_json(const GenerateResult& result);

// One per file: each adds its subcommand to the app.
void add_chat_command(CLI::App& app);
void add_complete_command(CLI::App& app);
void add_transcribe_command(CLI::App& app);
void add_describe_command(CLI::App& app);
void add_embed_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_batch_command(CLI::App& app);
void add_devices_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_perplexity_command(CLI::App& app);
void add_pull_command(CLI::App& app);
void add_quantize_command(CLI::App& app);

}  // namespace onnuri::cli
