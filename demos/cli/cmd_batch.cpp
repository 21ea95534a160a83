// onnuri batch: a file of requests becomes a file of answers, however often the job is interrupted.
#include <chrono>
#include <cstdio>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/batch.h"

namespace onnuri::cli {
namespace {

using Clock = std::chrono::steady_clock;

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  return std::to_string(s / 3600) + " h " + std::to_string(s % 3600 / 60) + " min";
}

// "120 of 2000, 3 failed, 45.1 tokens/s, 12 min left".
std::string label(const BatchProgress& p, double seconds) {
  std::string text = std::to_string(p.done) + " of " + std::to_string(p.total);
  if (p.failed > 0) text += ", " + std::to_string(p.failed) + " failed";
  const int64_t fresh = p.done - p.resumed;
  if (fresh == 0 || seconds <= 0) return text;
  text += ", " + fixed(static_cast<double>(p.completion_tokens) / seconds, 1) + " tokens/s";
  return text + ", " +
         duration(seconds / static_cast<double>(fresh) * static_cast<double>(p.total - p.done)) +
         " left";
}

Json summary(const BatchProgress& p, double seconds) {
  return Json{{"done", p.done},
              {"total", p.total},
              {"failed", p.failed},
              {"resumed", p.resumed},
              {"prompt_tokens", p.prompt_tokens},
              {"completion_tokens", p.completion_tokens},
              {"seconds", seconds}};
}

}  // namespace

void add_batch_command(CLI::App& app) {
  struct Options {
    ModelOptions model;
    std::string input, output;
    BatchOptions batch;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "batch",
      "Answer a file of requests in OpenAI's batch format, one row each, in their order. A job "
      "that "
      "was stopped or killed goes on where it was when the same command is given again, and its "
      "output has the same bytes as that of a run that was never interrupted.");
  add_model_options(*command, options->model);
  command->add_option("input", options->input, "Requests, one JSON object a line")
      ->required()
      ->type_name("IN.jsonl");
  command
      ->add_option("output", options->output,
                   "Answers; gathers in OUT.partial, and gets its name when all are there")
      ->required()
      ->type_name("OUT.jsonl");
  options->model.concurrency = 8;
  command
      ->add_option("--concurrency", options->model.concurrency,
                   "Requests that are computed together; the answers do not depend on it")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--restart", options->batch.restart, "Throw away what an unfinished job left");
  command->add_flag("--allow-files", options->batch.allow_files,
                    "Requests may name pictures and sounds as file:// addresses");
  command->add_option("--model-name", options->batch.model_name,
                      "Name of the model in the answers; as each request says unless given");
  set_examples(*command,
               "  onnuri batch model.gguf requests.jsonl answers.jsonl\n"
               "  onnuri batch ./Qwen3-0.6B requests.jsonl answers.jsonl --restart");
  command->callback([options] {
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    BatchProgress last;
    const auto start = Clock::now();
    const auto seconds = [&] {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    {
      ProgressBar bar(!options->model.quiet);
      InterruptGuard guard;
      options->batch.on_progress = [&](const BatchProgress& p) {
        bar.update(static_cast<double>(p.done) / static_cast<double>(p.total), label(p, seconds()));
        return !InterruptGuard::interrupted();
      };
      last = run_batch(*engine, options->input, options->output, options->batch);
    }
    if (options->model.json)
      write_out(summary(last, seconds()).dump() + "\n");
    else if (!options->model.quiet)
      std::fprintf(stderr, "[%s%s]\n", label(last, seconds()).c_str(),
                   last.done < last.total ? "; the same command goes on from here" : "");
    if (last.done < last.total) throw Interrupted{};
  });
}

}  // namespace onnuri::cli
