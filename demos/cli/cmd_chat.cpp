// onnuri chat: a conversation, or one question.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

struct ChatOptions {
  ModelOptions model;
  SamplingOptions sampling;
  std::string message;
  std::string system;
  std::vector<std::string> images;
  std::vector<std::string> audios;
  std::vector<std::string> videos;
  std::string template_kwargs;
  std::string reasoning;
  std::string tools_file;
};

ChatMessage user_message(const ChatOptions& options, const std::string& text, bool with_media) {
  ChatMessage message{"user", {}};
  if (with_media) {
    for (const std::string& path : options.images) {
      message.content.push_back({true, "", {MediaKind::kImage, path, {}}});
    }
    for (const std::string& path : options.audios) {
      message.content.push_back({true, "", {MediaKind::kAudio, path, {}}});
    }
    for (const std::string& path : options.videos) {
      message.content.push_back({true, "", {MediaKind::kVideo, path, {}}});
    }
  }
  message.content.push_back({false, text, {}});
  return message;
}

GenerateRequest request_for(const Engine& engine, const ChatOptions& options,
                            std::vector<ChatMessage> messages) {
  GenerateRequest request;
  request.messages = std::move(messages);
  request.template_kwargs_json = options.template_kwargs;
  request.reasoning = options.reasoning;
  if (!options.tools_file.empty()) request.tools_json = read_file(options.tools_file);
  apply_sampling(options.sampling, engine, request);
  return request;
}

void answer_once(Engine& engine, const ChatOptions& options, std::vector<ChatMessage> history,
                 const std::string& text) {
  history.push_back(user_message(options, text, true));
  const GenerateResult result =
      run_generation(engine, request_for(engine, options, std::move(history)), options.model.json);
  print_result(result, options.model);
  if (result.finish_reason == "cancelled") throw Interrupted{};
}

// A line of input, or nothing at the end. The first Ctrl-C at the prompt warns, the second leaves.
std::optional<std::string> read_line() {
  for (;;) {
    std::fputs("\n> ", stderr);
    std::fflush(stderr);
    InterruptGuard::reset();
    std::string line;
    if (std::getline(std::cin, line)) return line;
    if (!InterruptGuard::interrupted()) return std::nullopt;
    std::clearerr(stdin);
    std::cin.clear();
    std::fputs("\n(Ctrl-C again leaves)\n> ", stderr);
    if (std::getline(std::cin, line)) return line;
    if (InterruptGuard::presses() > 1) throw Interrupted{};
    return std::nullopt;
  }
}

// The model's answer as a turn of the conversation.
ChatMessage answer_message(const GenerateResult& result) {
  ChatMessage message = text_message("assistant", result.text);
  message.reasoning_content = result.reasoning;
  message.tool_calls = result.tool_calls;
  return message;
}

void converse(Engine& engine, const ChatOptions& options, const std::vector<ChatMessage>& start) {
  std::vector<ChatMessage> history = start;
  std::fprintf(stderr,
               "Type a message; /reset starts over, /exit or Ctrl-D leaves, Ctrl-C stops "
               "an answer, twice leaves.\n");
  const InterruptGuard guard(3);
  bool first = true;
  while (const std::optional<std::string> line = read_line()) {
    if (line->empty()) continue;
    if (*line == "/exit" || *line == "/quit" || *line == "/bye") break;
    if (*line == "/reset") {
      history = start;
      first = true;
      continue;
    }
    history.push_back(user_message(options, *line, first));
    try {
      const GenerateResult result =
          run_generation(engine, request_for(engine, options, history), options.model.json);
      print_result(result, options.model);
      if (InterruptGuard::presses() > 1) throw Interrupted{};
      history.push_back(answer_message(result));
      first = false;
    } catch (const Error& e) {
      std::fprintf(stderr, "onnuri: %s\n", e.what());
      history.pop_back();
    }
  }
}

}  // namespace

void add_chat_command(CLI::App& app) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand(
      "chat",
      "Talk to a model. With a MESSAGE (or piped input) it answers once, else it converses.");
  add_model_options(*command, options->model);
  command->add_option("message", options->message, "What to say; `-` reads standard input");
  command->add_option("-s,--system", options->system, "System message");
  command->add_option("--image", options->images, "A picture to show first (may be repeated)");
  command->add_option("--audio", options->audios, "A sound to play first (may be repeated)");
  command->add_option("--video", options->videos, "A video to show first (may be repeated)");
  command->add_option("--template-args", options->template_kwargs,
                      "JSON object of template variables, e.g. '{\"enable_thinking\": false}'");
  command
      ->add_option("--reasoning", options->reasoning,
                   "Whether the model thinks first: auto (as published), on, off, or an effort")
      ->check(CLI::IsMember({"auto", "on", "off", "minimal", "low", "medium", "high"}));
  command->add_option("--tools", options->tools_file, "JSON list of tools that the model may call")
      ->type_name("FILE");
  add_sampling_options(*command, options->sampling);
  set_examples(
      *command,
      "  onnuri chat smollm2-135m \"Why is the sky blue?\"\n"
      "  onnuri chat ./Qwen3-0.6B --sampling model --template-args '{\"enable_thinking\": false}'\n"
      "  onnuri chat model.gguf \"A person as JSON\" --json-schema person.json\n"
      "  onnuri chat model.gguf \"Good or bad?\" --choice good --choice bad");
  command->callback([options] {
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    std::vector<ChatMessage> history;
    if (!options->system.empty()) history.push_back(text_message("system", options->system));
    const bool piped = options->message.empty() && isatty(STDIN_FILENO) == 0;
    if (options->message == "-" || piped) {
      options->message.assign(std::istreambuf_iterator<char>(std::cin), {});
      if (options->message.empty()) {
        throw Error(ErrorCode::kInvalidArgument,
                    "expected a message on standard input, found none");
      }
    }
    if (!options->message.empty())
      answer_once(*engine, *options, history, options->message);
    else
      converse(*engine, *options, history);
  });
}

}  // namespace onnuri::cli
