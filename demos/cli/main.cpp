// onnuri: the command line. Each subcommand is a file of its own; this one only gathers them, and
// turns failures into one clear line and an exit code.
#include <cstdio>
#include <exception>
#include <string>

#include "demos/cli/common.h"
#include "demos/cli/python_runner.h"
#include "onnuri/error.h"

namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  onnuri chat smollm2-135m \"Why is the sky blue?\"\n"
    "  onnuri transcribe whisper-base speech.mp3\n"
    "  onnuri describe ./PaddleOCR-VL street.jpg -p \"Read the signs.\"\n"
    "  onnuri inspect model.gguf\n"
    "  onnuri plan ./K-EXAONE-236B --context 262144\n"
    "  onnuri perplexity model.gguf text.txt\n"
    "  onnuri bench qwen2.5-coder-0.5b\n"
    "\nExit codes: 0 success, 1 error, 2 wrong usage, 130 interrupted.";

}  // namespace

int main(int argc, char** argv) {
  using namespace onnuri::cli;  // NOLINT(google-build-using-namespace)
  set_program_path(argc > 0 ? argv[0] : nullptr);
  CLI::App app{"Onnuri runs text, vision and speech models from their published checkpoints."};
  app.name("onnuri");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", "onnuri 0.1.0");
  add_chat_command(app);
  add_complete_command(app);
  add_transcribe_command(app);
  add_describe_command(app);
  add_embed_command(app);
  add_inspect_command(app);
  add_plan_command(app);
  add_batch_command(app);
  add_bench_command(app);
  add_perplexity_command(app);
  add_devices_command(app);
  add_pull_command(app);
  add_quantize_command(app);
  const std::string first = argc > 1 ? argv[1] : "-";
  const auto is_first = [&first](CLI::App* command) { return command->get_name() == first; };
  if (first.rfind('-', 0) != 0 && app.get_subcommands(is_first).empty()) {
    std::fprintf(stderr, "onnuri: expected a subcommand (see `onnuri --help`), found \"%s\"\n",
                 first.c_str());
    return 2;
  }
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::RuntimeError& e) {
    return e.get_exit_code();
  } catch (const CLI::ParseError& e) {
    app.exit(e);
    return 2;
  } catch (const Interrupted&) {
    return kExitInterrupted;
  } catch (const onnuri::Error& e) {
    if (e.code() == onnuri::ErrorCode::kCancelled) return kExitInterrupted;
    std::fprintf(stderr, "onnuri: %s [%s]\n", e.what(),
                 std::string(onnuri::error_code_name(e.code())).c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "onnuri: not enough memory [out_of_memory]\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "onnuri: %s [internal]\n", e.what());
  }
  return kExitError;
}
