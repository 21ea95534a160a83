// onnuri pull: brings a model to the cache and prints where it lies.
#include <memory>

#include "demos/cli/common.h"
#include "demos/cli/pull.h"
#include "demos/cli/terminal.h"

namespace onnuri::cli {
namespace {

struct PullCommand {
  PullOptions options;
  bool list = false;
  bool check = false;
  bool json = false;
  bool quiet = false;
};

void print_list(bool as_json) {
  Json rows = Json::array();
  std::string text;
  for (const NamedModel& model : named_models()) {
    PullOptions options;
    options.name = model.name;
    const std::string path = cached_model(options);
    rows.push_back({{"name", model.name},
                    {"about", model.about},
                    {"license", model.license},
                    {"bytes", model.bytes},
                    {"path", path.empty() ? Json() : Json(path)}});
    text += model.name + std::string(model.name.size() < 20 ? 20 - model.name.size() : 1, ' ') +
            model.about + ", " + human_bytes(static_cast<double>(model.bytes)) +
            (path.empty() ? "" : ", here") + "\n";
  }
  write_out(as_json ? rows.dump() + "\n" : text);
}

void print_path(const std::string& path, const PullCommand& command) {
  write_out(command.json ? Json{{"name", command.options.name}, {"path", path}}.dump() + "\n"
                         : path + "\n");
}

void run(const PullCommand& command) {
  if (command.list) return print_list(command.json);
  if (command.options.name.empty()) throw CLI::RequiredError("NAME");
  if (command.check) {
    const std::string path = cached_model(command.options);
    if (path.empty()) throw CLI::RuntimeError(kExitError);
    return print_path(path, command);
  }
  std::string path;
  {
    ProgressBar bar(!command.quiet);
    InterruptGuard guard;
    path = pull_model(command.options, [&](double fraction, const std::string& label) {
      bar.update(fraction, label);
      return !InterruptGuard::interrupted();
    });
  }
  print_path(path, command);
}

}  // namespace

void add_pull_command(CLI::App& app) {
  auto command = std::make_shared<PullCommand>();
  CLI::App* pull = app.add_subcommand(
      "pull", "Bring a model to the cache ($ONNURI_CACHE), resumable, and print its path");
  pull->add_option("name", command->options.name,
                   "A named model (see --list), or org/name[@revision] of the hub")
      ->type_name("NAME");
  pull->add_option("--file", command->options.file, "Only this file of the repository (a .gguf)");
  pull->add_option("--cache", command->options.cache_dir, "Cache folder");
  pull->add_flag("--refresh", command->options.refresh, "Ask the hub again");
  pull->add_flag("--list", command->list, "List the named models");
  pull->add_flag("--check", command->check, "Only say whether the model is in the cache");
  pull->add_flag("--json", command->json, "Print JSON");
  pull->add_flag("-q,--quiet", command->quiet, "No progress");
  set_examples(*pull,
               "  onnuri pull --list\n"
               "  onnuri pull smollm2-135m\n"
               "  onnuri pull Qwen/Qwen3-0.6B@main\n"
               "  HF_ENDPOINT=https://hub.example.org onnuri pull org/name\n"
               "\nEnvironment:\n"
               "  ONNURI_CACHE    where models are kept\n"
               "  HF_ENDPOINT     another hub than the usual one\n"
               "  HF_HUB_OFFLINE  1: never ask the network, use what is in the cache");
  pull->callback([command] { run(*command); });
}

}  // namespace onnuri::cli
