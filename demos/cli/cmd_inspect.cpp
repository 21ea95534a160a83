// onnuri inspect: facts about a checkpoint from its config and headers alone.
#include <cstdio>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"

namespace onnuri::cli {
namespace {

std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    std::string line;
    for (const Json& item : value) line += (line.empty() ? "" : ", ") + plain(item);
    return line;
  }
  return value.dump();
}

// Layers that agree are one row: "0-4  window 512, rope 0, dense 2048".
void print_layers(const Json& layers) {
  std::string previous;
  int64_t begin = 0;
  auto flush = [&](int64_t end) {
    if (previous.empty()) return;
    const std::string range =
        begin == end ? std::to_string(begin) : std::to_string(begin) + "-" + std::to_string(end);
    write_out("    " + range + std::string(range.size() < 8 ? 8 - range.size() : 1, ' ') + previous + "\n");
  };
  int64_t index = 0;
  for (const Json& layer : layers) {
    std::string row;
    for (const auto& [key, value] : layer.items()) {
      if (key == "index") continue;
      row += (row.empty() ? "" : ", ") + key + " " + plain(value);
    }
    if (row != previous) {
      flush(index - 1);
      previous = row;
      begin = index;
    }
    ++index;
  }
  flush(index - 1);
}

void print_object(const Json& object, int indent) {
  size_t width = 0;
  for (const auto& [key, value] : object.items()) width = std::max(width, key.size());
  for (const auto& [key, value] : object.items()) {
    const std::string head = std::string(static_cast<size_t>(indent), ' ') + key;
    if (key == "layers" && value.is_array()) {
      write_out(head + "\n");
      print_layers(value);
    } else if (value.is_object()) {
      write_out(head + "\n");
      print_object(value, indent + 2);
    } else {
      write_out(head + std::string(width - key.size() + 2, ' ') + plain(value) + "\n");
    }
  }
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto options = std::make_shared<ModelOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show family, layers, parameters, types, context, cache and tokenizer of a model "
                 "without loading its weights.");
  command->add_option("model", options->model, "A checkpoint folder, a .gguf file, or a named model")
      ->required()
      ->type_name("MODEL");
  command->add_flag("--json", options->json, "Print one JSON object");
  set_examples(*command,
      "  onnuri inspect model.gguf\n"
      "  onnuri inspect ./EXAONE-4.0-32B --json\n"
      "  onnuri inspect ./config.json");
  command->callback([options] {
    const std::string text = inspect_model_json(resolve_model(*options));
    if (options->json) return write_out(text + "\n");
    print_object(Json::parse(text), 0);
  });
}

}  // namespace onnuri::cli
