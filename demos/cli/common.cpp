#include "demos/cli/common.h"

#include <sys/stat.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <utility>

#include "demos/cli/pull.h"
#include "demos/cli/pull_cache.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {

int64_t parse_bytes(const std::string& text) {
  static constexpr std::pair<const char*, double> kUnits[] = {
      {"", 1.0},       {"B", 1.0},      {"K", 0x1p10},   {"M", 0x1p20},  {"G", 0x1p30},
      {"T", 0x1p40},   {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},    {"TB", 1e12},
      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && value > 0) {
    while (*end == ' ') ++end;
    for (const auto& [unit, factor] : kUnits)
      if (unit == std::string(end) && value * factor >= 1 && value * factor < 1e18)
        return static_cast<int64_t>(value * factor);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "expected a size such as 16GiB, 80GB or a number of bytes, found \"" + text + "\"");
}

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
  command
      .add_option("--kv-type", options.kv_type, "Type of keys and values; automatic unless given")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "int8", "fp8", "int4"}));
  command
      .add_option(
          "--kv-disk", options.kv_disk,
          "A folder for keys and values beyond --kv-ram: contexts larger than memory go on, "
          "with the same answers, at the speed of the disk")
      ->type_name("DIR");
  command
      .add_option("--kv-ram", options.kv_ram,
                  "With --kv-disk: most memory of keys and values, such as 8GiB; half of what is "
                  "free unless given")
      ->type_name("SIZE");
  command.add_flag(
      "--draft-module", options.draft_module,
      "Guess ahead with the checkpoint's own prediction module: the same answer, sooner");
  command
      .add_option("--draft-model", options.draft_model,
                  "Guess ahead with a smaller checkpoint of the same vocabulary: the same answer, "
                  "sooner where it guesses well")
      ->type_name("MODEL");
  command
      .add_option("--draft-tokens", options.draft_tokens, "Most tokens that it guesses at a time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command.add_flag("--no-prefix-caching", options.no_prefix_caching,
                   "Compute every prompt anew, even where it begins like the one before");
  command.add_flag("--json", options.json, "Print one JSON object instead of text");
  command.add_flag("-q,--quiet", options.quiet, "No progress, no statistics");
}

void add_trace_option(CLI::App& command, ModelOptions& options) {
  command
      .add_option(
          "--trace", options.trace_file,
          "Write down what was done when, and with how much memory, of the last answer; for "
          "ui.perfetto.dev or chrome://tracing")
      ->type_name("FILE");
}

std::string resolve_model(const ModelOptions& options) {
  struct stat info {};
  if (stat(options.model.c_str(), &info) == 0) return options.model;
  if (!can_pull(options.model)) {
    throw Error(ErrorCode::kNotFound,
                "expected a checkpoint folder, a .gguf file or a named model (onnuri pull --list), "
                "found nothing at \"" +
                    options.model + "\"");
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

EngineOptions engine_options(const ModelOptions& options) {
  EngineOptions engine;
  engine.compute_dtype = options.compute;
  engine.num_threads = options.threads;
  engine.isa = options.isa;
  engine.context_size = options.context;
  engine.kv_dtype = options.kv_type;
  engine.kv_disk = options.kv_disk;
  if (!options.kv_ram.empty()) engine.kv_ram_bytes = parse_bytes(options.kv_ram);
  engine.after_video = options.after_video;
  engine.load_draft_module = options.draft_module;
  engine.draft_model = options.draft_model;
  engine.draft_tokens = options.draft_tokens;
  engine.prefix_caching = !options.no_prefix_caching;
  engine.max_sequences = options.concurrency;
  return engine;
}

std::unique_ptr<Engine> load_engine(const ModelOptions& options) {
  const std::string path = resolve_model(options);
  ProgressBar bar(!options.quiet);
  EngineOptions engine = engine_options(options);
  if (!options.draft_model.empty()) {
    ModelOptions draft = options;
    draft.model = options.draft_model;
    engine.draft_model = resolve_model(draft);
  }
  InterruptGuard guard;
  engine.progress = [&bar](double fraction, const std::string& stage) {
    bar.update(fraction, stage);
    if (InterruptGuard::interrupted()) throw Interrupted{};
  };
  return Engine::load(path, engine);
}

// Numbers that a 64-bit word cannot hold are refused rather than bent.
CLI::Validator whole_number_64() {
  return CLI::Validator(
      [](std::string& text) {
        uint64_t value = 0;
        const char* end = text.data() + text.size();
        const auto [at, error] = std::from_chars(text.data(), end, value);
        return error == std::errc() && at == end
                   ? std::string()
                   : "expected a whole number from 0 to 2^64 - 1, found " + text;
      },
      "UINT64");
}

void add_sampling_options(CLI::App& command, SamplingOptions& options) {
  command.add_option("-n,--max-tokens", options.max_tokens, "Longest answer in tokens")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command
      .add_option(
          "--sampling", options.base,
          "Where the options below start from: greedy, or model: what the checkpoint recommends")
      ->capture_default_str()
      ->check(CLI::IsMember({"greedy", "model"}));
  command.add_option("--temperature", options.temperature, "0 is greedy")
      ->check(CLI::Range(0.0, 10.0));
  command.add_option("--top-k", options.top_k, "Keep the k most likely tokens; 0 is all")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--top-p", options.top_p, "Keep this much probability")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--min-p", options.min_p, "Drop tokens below this share of the best")
      ->check(CLI::Range(0.0, 1.0));
  command
      .add_option("--typical-p", options.typical_p,
                  "Keep this much of the tokens nearest to the entropy")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--repetition-penalty", options.repetition_penalty, "1 is off")
      ->check(CLI::Range(0.1, 10.0));
  command
      .add_option("--presence-penalty", options.presence_penalty,
                  "Taken once from what the answer holds")
      ->check(CLI::Range(-100.0, 100.0));
  command
      .add_option("--frequency-penalty", options.frequency_penalty,
                  "Taken each time the answer holds it")
      ->check(CLI::Range(-100.0, 100.0));
  command
      .add_option("--logit-bias", options.logit_bias, "Add to a token's logit (may be repeated)")
      ->type_name("ID:BIAS");
  command.add_option("--seed", options.seed, "Same seed, same answer")->check(whole_number_64());
  command
      .add_option("--choices", options.num_choices, "Answers to give; the prompt is computed once")
      ->check(CLI::Range(1, 1024));
  command
      .add_option("--logprobs", options.top_logprobs,
                  "With --json: log-probabilities of each token and this many of the likeliest")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option(
          "--lookup", options.lookup_tokens,
          "Guess up to this many tokens from repeats in the text and check them at once; the "
          "answer stays the same, texts that repeat themselves come faster")
      ->check(CLI::Range(0, 64));
  command.add_option("--stop", options.stop, "End before this text (may be repeated)");
  command
      .add_option("--json-schema", options.json_schema_file,
                  "The answer is JSON that this schema accepts; - is standard input")
      ->type_name("FILE");
  command.add_option("--regex", options.format.regex, "The answer matches this regular expression");
  command
      .add_option("--grammar", options.grammar_file,
                  "The answer follows this EBNF grammar (rule root)")
      ->type_name("FILE");
  command.add_option("--choice", options.format.choices, "The answer is one of these (repeat it)")
      ->type_name("TEXT");
}

namespace {

std::pair<int32_t, float> bias_from(const std::string& text) {
  try {
    const size_t colon = text.find(':');
    if (colon != std::string::npos)
      return {std::stoi(text.substr(0, colon)), std::stof(text.substr(colon + 1))};
  } catch (const std::exception&) {  // said below
  }
  throw Error(ErrorCode::kInvalidArgument, "expected --logit-bias ID:BIAS, found \"" + text + "\"");
}

}  // namespace

void apply_sampling(const SamplingOptions& options, const Engine& engine,
                    GenerateRequest& request) {
  SamplingParams params = options.base == "model" ? engine.model_sampling() : SamplingParams{};
  const auto set = [](const auto& given, auto& value) {
    if (given) value = *given;
  };
  set(options.temperature, params.temperature);
  set(options.top_k, params.top_k);
  set(options.top_p, params.top_p);
  set(options.min_p, params.min_p);
  set(options.typical_p, params.typical_p);
  set(options.repetition_penalty, params.repetition_penalty);
  set(options.presence_penalty, params.presence_penalty);
  set(options.frequency_penalty, params.frequency_penalty);
  for (const std::string& entry : options.logit_bias) params.logit_bias.push_back(bias_from(entry));
  params.seed = options.seed;
  request.sampling = params;
  request.max_new_tokens = options.max_tokens;
  request.num_choices = options.num_choices;
  request.top_logprobs = options.top_logprobs;
  request.lookup_tokens = options.lookup_tokens;
  request.stop = options.stop;
  request.format = options.format;
  if (!options.json_schema_file.empty())
    request.format.json_schema = read_file(options.json_schema_file);
  if (!options.grammar_file.empty()) request.format.grammar = read_file(options.grammar_file);
}

std::string read_file(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream in(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in.good() && !in.eof())
    throw Error(ErrorCode::kNotFound, "expected a file that can be read at \"" + path + "\"");
  return text;
}

void set_examples(CLI::App& command, const std::string& lines) {
  command.footer("Examples:\n" + lines);
}

namespace {

// An answer as it grows. Thoughts are dimmed, and left out where stdout is no terminal.
class AnswerPrinter {
 public:
  ~AnswerPrinter() { leave_thoughts(); }

  void show(const TokenEvent& event) {
    if (!event.reasoning.empty() && terminal_) {
      if (!std::exchange(thinking_, true)) write_out("\033[2m");
      write_out(event.reasoning);
    }
    if (!event.text.empty()) {
      leave_thoughts();
      write_out(event.text);
      line_open_ = !event.text.ends_with('\n');
    }
    for (const ToolCall& call : event.tool_calls) {
      leave_thoughts();
      write_out((line_open_ ? "\n" : "") + call.name + "(" + call.arguments_json + ")");
      line_open_ = true;
    }
  }

 private:
  void leave_thoughts() {
    if (std::exchange(thinking_, false)) write_out("\033[0m\n\n");
  }

  const bool terminal_ = stdout_is_terminal();
  bool thinking_ = false;
  bool line_open_ = false;
};

}  // namespace

GenerateResult run_generation(Engine& engine, GenerateRequest request,
                              const ModelOptions& options) {
  request.trace = !options.trace_file.empty();
  const bool json = options.json;
  std::optional<InterruptGuard> guard;
  if (!InterruptGuard::active()) guard.emplace();
  AnswerPrinter printer;
  int64_t shown = 0;
  return engine.generate(request, [&](const TokenEvent& event) {
    if (!json && event.choice > shown) {
      write_out("\n--- " + std::to_string(event.choice + 1) + "\n");
      shown = event.choice;
    }
    if (!json) printer.show(event);
    return !InterruptGuard::interrupted();
  });
}

void print_result(const GenerateResult& result, const ModelOptions& options) {
  if (!options.trace_file.empty()) write_text_file(options.trace_file, result.trace_json);
  if (options.json) {
    write_out(result_json(result).dump() + "\n");
    return;
  }
  write_out("\n");
  if (!options.quiet) std::fprintf(stderr, "[%s]\n", usage_line(result.usage).c_str());
}

std::string usage_line(const Usage& usage) {
  auto rate = [](int64_t tokens, double ms) {
    return ms > 0 ? fixed(static_cast<double>(tokens) * 1000 / ms, 1) : std::string("-");
  };
  std::string line;
  if (usage.encode_ms > 0) line += "media " + fixed(usage.encode_ms / 1000, 2) + " s, ";
  const int64_t computed = usage.prompt_tokens - usage.reused_tokens;
  line += "prompt " + std::to_string(usage.prompt_tokens) + " tokens ";
  if (usage.reused_tokens > 0) line += "(" + std::to_string(usage.reused_tokens) + " known) ";
  line += "in " + fixed(usage.prefill_ms / 1000, 2) + " s (" + rate(computed, usage.prefill_ms) +
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
              {"reused_tokens", usage.reused_tokens},
              {"reused_full", usage.reused_full},
              {"reused_window", usage.reused_window},
              {"reused_linear", usage.reused_linear},
              {"reused_latent", usage.reused_latent},
              {"reuse_note", usage.reuse_note},
              {"draft_tokens", usage.draft_tokens},
              {"accepted_tokens", usage.accepted_tokens},
              {"encoder_passes", usage.encoder_passes},
              {"encoder_reused", usage.encoder_reused},
              {"encoder_chunks", usage.encoder_chunks},
              {"encoder_chunks_reused", usage.encoder_chunks_reused},
              {"queue_ms", usage.queue_ms},
              {"encode_ms", usage.encode_ms},
              {"prefill_ms", usage.prefill_ms},
              {"decode_ms", usage.decode_ms},
              {"time_to_first_token_ms", usage.time_to_first_token_ms},
              {"tokens_per_second", usage.tokens_per_second},
              {"prepare_bytes", usage.prepare_bytes},
              {"encode_bytes", usage.encode_bytes},
              {"prefill_bytes", usage.prefill_bytes},
              {"decode_bytes", usage.decode_bytes}};
}

namespace {

Json choice_json(const Choice& choice) {
  Json out{{"text", choice.text},
           {"token_ids", choice.token_ids},
           {"finish_reason", choice.finish_reason}};
  if (!choice.reasoning.empty()) out["reasoning"] = choice.reasoning;
  for (const ToolCall& call : choice.tool_calls)
    out["tool_calls"].push_back(
        {{"id", call.id}, {"name", call.name}, {"arguments", Json::parse(call.arguments_json)}});
  if (choice.logprobs.empty()) return out;
  Json steps = Json::array();
  for (const StepLogProbs& step : choice.logprobs) {
    Json top = Json::array();
    for (const TokenLogProb& entry : step.top) top.push_back({entry.token_id, entry.logprob});
    steps.push_back(
        {{"token_id", step.chosen.token_id}, {"logprob", step.chosen.logprob}, {"top", top}});
  }
  out["logprobs"] = std::move(steps);
  return out;
}

}  // namespace

Json result_json(const GenerateResult& result) {
  Json out = choice_json(result);
  if (!result.more_choices.empty()) {
    out["more_choices"] = Json::array();
    for (const Choice& choice : result.more_choices)
      out["more_choices"].push_back(choice_json(choice));
  }
  out["usage"] = usage_json(result.usage);
  return out;
}

}  // namespace onnuri::cli
