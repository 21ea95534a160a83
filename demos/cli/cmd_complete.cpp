// onnuri complete: continue a text, without a chat template.
#include <cstdio>
#include <iostream>
#include <iterator>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {

void add_complete_command(CLI::App& app) {
  struct Options {
    ModelOptions model;
    SamplingOptions sampling;
    std::string prompt;
    bool ignore_eos = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("complete", "Continue a text as it is (no chat template).");
  add_model_options(*command, options->model);
  add_trace_option(*command, options->model);
  command->add_option("prompt", options->prompt, "The text to continue; `-` reads standard input")
      ->required();
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on to --max-tokens");
  add_sampling_options(*command, options->sampling);
  set_examples(
      *command,
      "  onnuri complete model.gguf \"Once upon a time\" -n 64 --temperature 0.8 --seed 7\n"
      "  onnuri complete model.gguf \"def add(a, b):\" --stop \"\\ndef\"\n"
      "  onnuri complete model.gguf \"The answer is \" --regex \"[0-9]{1,3}\"\n"
      "  onnuri complete model.gguf \"Seoul is\" --json --logprobs 5");
  command->callback([options] {
    if (options->prompt == "-")
      options->prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    if (options->prompt.empty())
      throw Error(ErrorCode::kInvalidArgument, "expected a text to continue, found an empty one");
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    GenerateRequest request;
    request.prompt = options->prompt;
    apply_sampling(options->sampling, *engine, request);
    request.ignore_eos = options->ignore_eos;
    const GenerateResult result = run_generation(*engine, request, options->model);
    print_result(result, options->model);
    if (result.finish_reason == "cancelled") throw Interrupted{};
  });
}

}  // namespace onnuri::cli
