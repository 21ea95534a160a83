// onnuri quantize: writes a model in a smaller storage type.
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/quantize.h"

namespace onnuri::cli {
namespace {

struct QuantizeCommand {
  ModelOptions model;
  QuantizeOptions options;
  std::string out;
};

Json kept_json(const QuantizeResult& result) {
  Json list = Json::array();
  for (const KeptWeight& kept : result.kept) {
    list.push_back({{"name", kept.name}, {"stored", kept.stored}, {"wanted", kept.wanted}});
  }
  return list;
}

// One line per pair of types: how many weights, some of their names, and why.
std::string kept_text(const QuantizeResult& result) {
  constexpr size_t kShown = 3;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> groups;
  for (const KeptWeight& kept : result.kept) {
    groups[{kept.stored, kept.wanted}].push_back(kept.name);
  }
  std::string text;
  for (const auto& [types, names] : groups) {
    const auto& [stored, wanted] = types;
    text += "kept as stored: " + std::to_string(names.size()) + " x " + stored +
            (stored == wanted ? "" : ", no wider than the " + wanted + " asked for") + " (";
    for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
      text += (i > 0 ? ", " : "") + names[i];
    }
    text += (names.size() > kShown ? ", ...)\n" : ")\n");
  }
  if (result.num_left_out > 0) {
    text += "left out: " + std::to_string(result.num_left_out) +
            " tensors of encoders or prediction modules\n";
  }
  return text;
}

void run(QuantizeCommand& command) {
  const std::string path = resolve_model(command.model);
  QuantizeOptions options = command.options;
  options.num_threads = command.model.threads;
  const auto start = std::chrono::steady_clock::now();
  QuantizeResult result;
  {
    ProgressBar bar(!command.model.quiet);
    InterruptGuard guard;
    options.progress = [&bar](double fraction, const std::string& tensor) {
      bar.update(fraction, tensor);
      if (InterruptGuard::interrupted()) throw Interrupted();
    };
    result = quantize_model(path, command.out, options);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (command.model.json) {
    write_out(Json{{"path", command.out},
                   {"type", options.type},
                   {"tensors", result.num_tensors},
                   {"quantized", result.num_quantized},
                   {"source_bytes", result.source_bytes},
                   {"bytes", result.target_bytes},
                   {"kept", kept_json(result)},
                   {"left_out", result.num_left_out},
                   {"seconds", seconds}}
                  .dump() +
              "\n");
    return;
  }
  write_out(command.out + ": " + human_bytes(static_cast<double>(result.source_bytes)) + " to " +
            human_bytes(static_cast<double>(result.target_bytes)) + ", " +
            std::to_string(result.num_quantized) + " of " + std::to_string(result.num_tensors) +
            " tensors, " + fixed(seconds, 1) + " s\n" + kept_text(result));
}

}  // namespace

void add_quantize_command(CLI::App& app) {
  auto command = std::make_shared<QuantizeCommand>();
  CLI::App* quantize = app.add_subcommand(
      "quantize", "Write a model in a smaller storage type: GGUF, or a folder for int8 and int4");
  std::string types;
  for (const std::string& type : quantize_types()) types += (types.empty() ? "" : ", ") + type;
  quantize->add_option("model", command->model.model, "A checkpoint folder or a .gguf file")
      ->required()
      ->type_name("MODEL");
  quantize->add_option("-t,--type", command->options.type, "One of " + types)
      ->capture_default_str();
  quantize
      ->add_option("--group-size", command->options.group_size,
                   "int4: columns that share a scale and a zero point")
      ->capture_default_str()
      ->check(CLI::IsMember({32, 64, 128}));
  quantize->add_option("out", command->out, "The file, or for int8 and int4 the folder, to write")
      ->required()
      ->type_name("OUT");
  quantize->add_flag("-f,--force", command->options.replace,
                     "Write over a file that exists; never over the model itself, or a folder");
  quantize->add_option("--threads", command->model.threads, "Threads; 0 is one per core")
      ->check(CLI::NonNegativeNumber);
  quantize->add_flag("--json", command->model.json, "Print one JSON object");
  quantize->add_flag("-q,--quiet", command->model.quiet, "No progress");
  std::string families;
  for (const std::string& family : gguf_families())
    families += (families.empty() ? "" : ", ") + family;
  set_examples(
      *quantize,
      "  onnuri quantize ./EXAONE-4.0-1.2B -t q4_k exaone.gguf\n"
      "  onnuri quantize model.gguf -t q8_0 smaller.gguf\n"
      "  onnuri quantize ./Qwen3-0.6B -t int8 ./Qwen3-0.6B-int8\n\n"
      "GGUF is written from any .gguf file, and from checkpoint folders whose config.json\n"
      "has a model_type out of: " +
          families);
  quantize->callback([command] { run(*command); });
}

}  // namespace onnuri::cli
