// onnuri embed: vectors of pictures and texts, and how alike they are.
#include <cmath>
#include <cstdio>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"
#include "onnuri/media_io.h"

namespace onnuri::cli {
namespace {

struct EmbedCli {
  ModelOptions model;
  std::vector<std::string> images;
  std::vector<std::string> texts;
};

/// How alike a picture is to each text, as the model was trained to say it.
std::vector<double> compare(const Json& facts, const std::vector<float>& image,
                            const std::vector<std::vector<float>>& texts) {
  std::vector<double> logits;
  for (const std::vector<float>& text : texts) {
    double dot = 0;
    for (size_t i = 0; i < text.size(); ++i)
      dot += static_cast<double>(image[i]) * static_cast<double>(text[i]);
    logits.push_back(facts.at("logit_scale").get<double>() * dot +
                     facts.at("logit_bias").get<double>());
  }
  return logits;
}

std::vector<double> probabilities(const Json& facts, std::vector<double> logits) {
  if (facts.at("similarity") == "sigmoid") {
    for (double& x : logits) x = 1 / (1 + std::exp(-x));
    return logits;
  }
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - logits.front());
  const double first = logits.front();
  for (double& x : logits) x = std::exp(x - first) / sum;
  return logits;
}

void embed(const EmbedCli& options) {
  if (options.images.empty() && options.texts.empty())
    throw Error(ErrorCode::kInvalidArgument, "expected at least one picture or --text, found none");
  const std::unique_ptr<Engine> engine = load_engine(options.model);
  std::vector<std::vector<float>> texts;
  Json out = {{"images", Json::array()}, {"texts", Json::array()}};
  for (const std::string& text : options.texts) {
    texts.push_back(engine->embed_text(text));
    out["texts"].push_back({{"text", text}, {"embedding", texts.back()}});
  }
  const Json facts = Json::parse(engine->describe_json());
  for (const std::string& path : options.images) {
    const std::vector<float> vector =
        engine->embed_image(load_image(media_file(MediaKind::kImage, path)));
    Json entry = {{"file", path}, {"embedding", vector}};
    if (!texts.empty()) {
      const std::vector<double> logits = compare(facts, vector, texts);
      entry["logits"] = logits;
      entry["probabilities"] = probabilities(facts, logits);
    }
    out["images"].push_back(std::move(entry));
  }
  if (options.model.json) return write_out(out.dump() + "\n");
  for (const Json& entry : out["images"]) {
    write_out(entry["file"].get<std::string>() + "\n");
    for (size_t i = 0; i < options.texts.size(); ++i) {
      char line[32];
      std::snprintf(line, sizeof(line), "  %6.2f %%  ",
                    100 * entry["probabilities"][i].get<double>());
      write_out(line + options.texts[i] + "\n");
    }
    if (texts.empty()) write_out("  " + entry["embedding"].dump() + "\n");
  }
  if (options.images.empty())
    for (const Json& entry : out["texts"])
      write_out(entry["text"].get<std::string>() + "\n  " + entry["embedding"].dump() + "\n");
}

}  // namespace

void add_embed_command(CLI::App& app) {
  auto options = std::make_shared<EmbedCli>();
  CLI::App* command = app.add_subcommand("embed",
                                         "Turn pictures and texts into vectors and compare them. "
                                         "MODEL is a CLIP or SigLIP checkpoint.");
  add_model_options(*command, options->model);
  command->add_option("images", options->images, "Picture files")->type_name("IMAGE");
  command->add_option("--text", options->texts, "A text to compare with; may be repeated")
      ->type_name("TEXT")
      ->expected(1);
  set_examples(*command,
               "  onnuri embed ./clip-vit-base-patch32 cat.jpg --text \"a cat\" --text \"a dog\"\n"
               "  onnuri embed ./siglip-base-patch16-224 *.jpg --json");
  command->callback([options] { embed(*options); });
}

}  // namespace onnuri::cli
