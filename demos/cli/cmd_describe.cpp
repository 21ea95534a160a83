// onnuri describe: look at pictures. A vision-language checkpoint answers in our own engine; the
// named stand-in "rapidocr" reads text with a packaged OCR model in Python, for machines where no
// such checkpoint can be had.
#include <cstdio>

#include "demos/cli/common.h"
#include "demos/cli/media_options.h"
#include "demos/cli/python_runner.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

constexpr const char* kStandIn = "rapidocr";

struct DescribeCli {
  ModelOptions model;
  SamplingOptions sampling;
  MediaOptions media_options;
  std::vector<ContentPart> media;
  std::string question = "Describe this picture.";
};

int run_stand_in(const DescribeCli& options) {
  std::vector<std::string> arguments = {"-m", "onnuri.signs"};
  if (options.model.json) arguments.push_back("--json");
  for (const ContentPart& part : options.media) {
    if (part.media.kind != MediaKind::kImage)
      throw Error(ErrorCode::kUnsupported,
                  "expected pictures for " + std::string(kStandIn) + ", found " + part.media.path);
    arguments.push_back(part.media.path);
  }
  return run_python(arguments);
}

void describe(const DescribeCli& options) {
  const std::unique_ptr<Engine> engine = load_engine(options.model);
  GenerateRequest request;
  ChatMessage message{"user", options.media};
  message.content.push_back({false, options.question, {}});
  request.messages = {message};
  apply_sampling(options.sampling, *engine, request);
  const GenerateResult result = run_generation(*engine, request, options.model);
  print_result(result, options.model);
  if (result.finish_reason == "cancelled") throw Interrupted{};
}

}  // namespace

void add_describe_command(CLI::App& app) {
  auto options = std::make_shared<DescribeCli>();
  CLI::App* command = app.add_subcommand(
      "describe",
      "Ask about pictures, sounds and videos. MODEL is a vision-language checkpoint (PaddleOCR-VL, "
      "Qwen2.5-VL, ...), "
      "or "
      "\"rapidocr\": a stand-in that reads text with a packaged OCR model in Python.");
  add_model_options(*command, options->model);
  add_trace_option(*command, options->model);
  options->media_options.add_pictures(*command, "Picture files");
  options->media_options.add_to(*command);
  MediaOptions::add_after_video(*command, options->model.after_video);
  command->add_option("-p,--question", options->question, "What to ask")->capture_default_str();
  add_sampling_options(*command, options->sampling);
  set_examples(*command,
               "  onnuri describe ./PaddleOCR-VL street.jpg -p \"Read the signs.\"\n"
               "  onnuri describe ./Qwen2.5-VL-3B-Instruct a.png b.png -p \"What differs?\"\n"
               "  onnuri describe ./Qwen3-Omni --audio a.wav --image b.png --video c.mp4\n"
               "  onnuri describe rapidocr street.jpg --json");
  command->callback([options] {
    options->media = options->media_options.in_order();
    if (options->media.empty()) throw CLI::RequiredError("IMAGE, --image, --audio or --video");
    if (options->model.model != kStandIn) return describe(*options);
    const int code = run_stand_in(*options);
    if (code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace onnuri::cli
