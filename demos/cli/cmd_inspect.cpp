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

std::string count(double n) {
  if (n >= 1e9) return fixed(n / 1e9, 2) + " B";
  if (n >= 1e6) return fixed(n / 1e6, 2) + " M";
  return fixed(n, 0);
}

void row(const std::string& head, const std::string& text) {
  if (text.empty()) return;
  write_out(head + std::string(head.size() < 14 ? 14 - head.size() : 1, ' ') + text + "\n");
}

// Layers that agree are one row: "0-4  window 512, rope 0, dense 2048".
void print_layers(const Json& layers) {
  std::string previous;
  int64_t begin = 0;
  auto flush = [&](int64_t end) {
    if (previous.empty()) return;
    row("  " + (begin == end ? std::to_string(begin)
                             : std::to_string(begin) + "-" + std::to_string(end)),
        previous);
  };
  int64_t index = 0;
  for (const Json& layer : layers) {
    std::string text;
    for (const auto& [key, value] : layer.items()) {
      if (key == "index") continue;
      const bool bare = key == "mixer" || key == "attention" || key == "ffn";
      text += (text.empty() ? "" : ", ") + (bare ? plain(value) : key + " " + plain(value));
    }
    if (text != previous) {
      flush(index - 1);
      previous = text;
      begin = index;
    }
    ++index;
  }
  flush(index - 1);
}

std::string storage_line(const Json& storage) {
  std::string line;
  for (const auto& [type, entry] : storage.items())
    line += (line.empty() ? "" : ", ") + type + " " + human_bytes(entry.value("bytes", 0.0)) +
            " in " + std::to_string(entry.value("tensors", 0)) + " tensors";
  return line.empty() ? "no weights here: everything is from the config" : line;
}

std::string token_text(const Json& token) {
  return std::to_string(token.value("id", -1)) + " " + token.value("text", "");
}

// Some vocabularies hold thousands of reserved tokens: `total` counts them, `tokens` has the first.
std::string token_list(const Json& tokens, size_t total) {
  constexpr size_t kMostShown = 24;
  std::string line;
  size_t shown = 0;
  for (const Json& token : tokens) {
    if (shown == kMostShown) break;
    line += (shown++ == 0 ? "" : ", ") + token_text(token);
  }
  return shown < total ? line + " and " + std::to_string(total - shown) + " more" : line;
}

std::string cache_line(const Json& kind) {
  std::string line = std::to_string(kind.value("layers", 0)) + " " + kind.value("kind", "") +
                     " layers: " + human_bytes(kind.value("bytes_per_token", 0.0)) + " per token";
  if (kind.value("kind", "") == "linear")
    return std::to_string(kind.value("layers", 0)) +
           " linear layers: " + human_bytes(kind.value("fixed_bytes", 0.0)) +
           " however long the text";
  if (kind.contains("fixed_bytes"))
    line += ", at most " + human_bytes(kind.value("fixed_bytes", 0.0)) + " (window " +
            std::to_string(kind.value("window", int64_t{0})) + ")";
  return line;
}

void print_template(const Json& features) {
  std::string line;
  for (const char* name : {"system", "tools", "reasoning", "images", "videos", "sounds"})
    if (features.value(name, false)) line += (line.empty() ? "" : ", ") + std::string(name);
  row("template", line.empty() ? "plain turns only" : line);
}

void print_tokenizer(const Json& facts) {
  const Json& tokenizer = facts.at("tokenizer");
  if (tokenizer.contains("error")) return row("tokenizer", tokenizer.value("error", ""));
  row("tokenizer", tokenizer.value("kind", "") + ", " +
                       std::to_string(tokenizer.value("vocab_size", 0)) + " tokens, " +
                       std::to_string(tokenizer.value("num_special_tokens", 0)) +
                       " of them special");
  if (facts.contains("template"))
    print_template(facts.at("template"));
  else
    row("template", "none");
  if (tokenizer.contains("begin_token"))
    row("begin token", token_text(tokenizer.at("begin_token")));
  const Json& ends = tokenizer.at("end_tokens");
  row("end tokens", token_list(ends, ends.size()));
  row("special",
      token_list(tokenizer.at("special_tokens"), tokenizer.value("num_special_tokens", size_t{0})));
}

void print_decoder(const Json& facts) {
  row("parameters", count(facts.value("parameters", 0.0)) + ", of which active " +
                        count(facts.value("active_parameters", 0.0)));
  row("shape", std::to_string(facts.value("num_layers", 0)) + " layers, hidden " +
                   std::to_string(facts.value("hidden_size", 0)) + ", " +
                   std::to_string(facts.value("num_heads", 0)) + " heads over " +
                   std::to_string(facts.value("num_kv_heads", 0)) + " of " +
                   std::to_string(facts.value("head_dim", 0)) + ", vocabulary " +
                   std::to_string(facts.value("vocab_size", 0)) +
                   (facts.value("tied_head", false) ? ", tied head" : ""));
  row("context", std::to_string(facts.value("context_length", 0)) + " tokens");
  std::string head = "KV cache";
  for (const Json& kind : facts.at("kv_cache")) {
    row(head, cache_line(kind) + " as " + facts.value("kv_dtype", ""));
    head = "";
  }
  for (const Json& table : facts.at("rope_tables"))
    row("rope " + std::to_string(table.value("index", 0)),
        std::to_string(table.value("rotary_dim", 0)) + " columns (" + table.value("layout", "") +
            "), longest wavelength " + fixed(table.value("longest_wavelength", 0.0), 0) +
            " tokens, attention factor " + fixed(table.value("attention_factor", 1.0), 4));
  write_out("layers\n");
  print_layers(facts.at("layers"));
}

std::string sampling_line(const Json& sampling) {
  if (sampling.value("temperature", 0.0) == 0.0) return "greedy";
  std::string line;
  for (const auto& [key, value] : sampling.items()) {
    const double number = value.get<double>();
    std::string text = fixed(number, 3);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    line += (line.empty() ? "" : ", ") + key + " " + text;
  }
  return line;
}

void print_facts(const Json& facts) {
  row("model", facts.value("model_name", ""));
  row("family", facts.value("family", ""));
  row("storage", facts.value("format", "") + ": " + storage_line(facts.at("storage")));
  for (const Json& entry : facts.at("ignored"))
    row("not loaded",
        std::to_string(entry.value("tensors", 0)) + " tensors of " + entry.value("prefix", ""));
  if (facts.contains("layers")) print_decoder(facts);
  const auto stored = facts.value("stored_parameters", int64_t{0});
  const auto asked = facts.value("parameters", int64_t{0});
  if (stored > 0 && asked > 0 && stored != asked)
    row("warning", "the weights hold " + std::to_string(stored) + " numbers, the config asks for " +
                       std::to_string(asked));
  row("sampling", sampling_line(facts.at("sampling")));
  print_tokenizer(facts);
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto options = std::make_shared<ModelOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect",
      "Show family, layers, parameters, types, context, cache and tokenizer of a model "
      "without loading its weights.");
  command
      ->add_option("model", options->model,
                   "A checkpoint folder, a .gguf file, a config.json, or a named model")
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
    print_facts(Json::parse(text));
  });
}

}  // namespace onnuri::cli
