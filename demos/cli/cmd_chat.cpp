// onnuri chat: a conversation, or one question.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>
#include <utility>

#include "demos/cli/common.h"
#include "demos/cli/media_options.h"
#include "demos/cli/session.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

struct ChatOptions {
  ModelOptions model;
  SamplingOptions sampling;
  std::string message;
  std::string system;
  MediaOptions media_options;
  std::vector<ContentPart> media;  // of the first message
  std::string template_kwargs;
  std::string reasoning;
  std::string tools_file;
  std::string session_file;
};

ChatMessage user_message(std::vector<ContentPart> media, const std::string& text) {
  ChatMessage message{"user", std::move(media)};
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

// The model's answer as a turn of the conversation.
ChatMessage answer_message(const GenerateResult& result) {
  ChatMessage message = text_message("assistant", result.text);
  message.reasoning_content = result.reasoning;
  message.tool_calls = result.tool_calls;
  return message;
}

void answer_once(Engine& engine, const ChatOptions& options, std::vector<ChatMessage> history,
                 const std::string& text, Session& session) {
  history.push_back(user_message(options.media, text));
  const GenerateResult result =
      run_generation(engine, request_for(engine, options, history), options.model);
  print_result(result, options.model);
  if (!result.token_ids.empty()) {
    history.push_back(answer_message(result));
    session.save(history);
    session.close(engine);
  }
  if (result.finish_reason == "cancelled") throw Interrupted{};
}

// A line from the terminal; nothing at its end, or once Ctrl-C was pressed more than `presses`
// times. A press just before a read would not end that read, so none begins without a line.
std::optional<std::string> next_line(int presses) {
  constexpr int kPauseMs = 50;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (InterruptGuard::presses() <= presses) {
    if (poll(&input, 1, kPauseMs) <= 0) continue;
    std::string line;
    if (std::getline(std::cin, line)) return line;
    if (InterruptGuard::presses() <= presses) return std::nullopt;
  }
  std::clearerr(stdin);
  std::cin.clear();
  return std::nullopt;
}

// A line of input, or nothing at the end. The first Ctrl-C at the prompt warns, the second leaves.
std::optional<std::string> read_line(const std::string& prompt) {
  InterruptGuard::reset();
  std::fprintf(stderr, "\n%s", prompt.c_str());
  std::fflush(stderr);
  if (std::optional<std::string> line = next_line(0)) return line;
  if (!InterruptGuard::interrupted()) return std::nullopt;
  std::fprintf(stderr, "\n(Ctrl-C again leaves)\n%s", prompt.c_str());
  std::fflush(stderr);
  if (std::optional<std::string> line = next_line(1)) return line;
  if (InterruptGuard::presses() > 1) throw Interrupted{};
  return std::nullopt;
}

// What the tools gave back, as the user types it; false when there is nothing to tell the model.
bool add_tool_results(const GenerateResult& result, std::vector<ChatMessage>& history) {
  std::vector<ChatMessage> results;
  for (const ToolCall& call : result.tool_calls) {
    const std::optional<std::string> line = read_line("result of " + call.name + "> ");
    if (!line || line->empty()) return false;
    results.push_back(text_message("tool", *line));
    results.back().name = call.name;
    results.back().tool_call_id = call.id;
  }
  history.insert(history.end(), results.begin(), results.end());
  return !results.empty();
}

// One question: answers until the model asks for no more tools. Returns false when it was stopped
// before it had said anything: then the question is not part of the conversation.
bool answer(Engine& engine, const ChatOptions& options, std::vector<ChatMessage>& history,
            Session& session) {
  for (;;) {
    const GenerateResult result =
        run_generation(engine, request_for(engine, options, history), options.model);
    print_result(result, options.model);
    const bool leaves = InterruptGuard::presses() > 1;
    if (result.finish_reason == "cancelled" && result.token_ids.empty()) {
      if (leaves) throw Interrupted{};
      return false;
    }
    history.push_back(answer_message(result));
    session.save(history);
    if (leaves) throw Interrupted{};
    if (!add_tool_results(result, history)) return true;
  }
}

constexpr const char* kHelp =
    "  /help             this list\n"
    "  /reset            start over\n"
    "  /undo             forget the last question and its answer\n"
    "  /system TEXT      start over with this system message\n"
    "  /reasoning HOW    auto, on, off, minimal, low, medium or high\n"
    "  /image FILE       show a picture with the next message; /audio and /video likewise\n"
    "  /exit             leave, as Ctrl-D does\n"
    "Ctrl-C stops an answer and keeps what was said; pressed twice it leaves.\n"
    "A line that begins with a blank is a message even where a / follows.\n";

// A conversation at the terminal.
class Conversation {
 public:
  Conversation(Engine& engine, const ChatOptions& options, std::vector<ChatMessage> start,
               std::vector<ChatMessage> history, Session& session)
      : engine_(engine), options_(options), start_(std::move(start)), session_(session) {
    reset();
    if (history.empty()) return;
    history_ = std::move(history);
    for (size_t i = 0; i < history_.size(); ++i)
      if (history_[i].role == "user") questions_.push_back(i);
  }

  void run() {
    std::fputs("Type a message, or /help.\n", stderr);
    if (!options_.tools_file.empty())
      std::fputs("Where the model calls a tool, type its result; an empty line gives none.\n",
                 stderr);
    const InterruptGuard guard(3);
    try {
      converse();
    } catch (const Interrupted&) {
      session_.close(engine_);
      throw;
    }
    session_.close(engine_);
  }

 private:
  void converse() {
    while (const std::optional<std::string> line = read_line("> ")) {
      if (line->empty()) continue;
      if (line->front() == '/') {
        if (!obey(*line)) break;
      } else {
        ask(*line);
      }
    }
  }

  void reset() {
    history_ = start_;
    media_ = options_.media;
    questions_.clear();
  }

  void ask(const std::string& text) {
    const std::vector<ChatMessage> before = history_;
    history_.push_back(user_message(media_, text));
    try {
      if (answer(engine_, options_, history_, session_)) {
        media_.clear();
        questions_.push_back(before.size());
        return;
      }
      std::fputs("(stopped before the answer began: the question is dropped)\n", stderr);
    } catch (const Error& e) {
      std::fprintf(stderr, "onnuri: %s\n", e.what());
    }
    history_ = before;
    session_.save(history_);
  }

  // A line that begins with a slash; false when it says to leave.
  bool obey(const std::string& line) {
    const size_t end = std::min(line.find(' '), line.size());
    const std::string name = line.substr(1, end - 1);
    const std::string rest = line.substr(std::min(end + 1, line.size()));
    if (name == "exit" || name == "quit" || name == "bye") return false;
    if (name == "help" || name == "?") {
      std::fputs(kHelp, stderr);
    } else if (name == "reset") {
      reset();
      session_.save(history_);
      std::fputs("(a new conversation)\n", stderr);
    } else if (name == "undo") {
      undo();
    } else if (name == "system") {
      start_.clear();
      if (!rest.empty()) start_.push_back(text_message("system", rest));
      reset();
      session_.save(history_);
      std::fputs("(a new conversation)\n", stderr);
    } else if (name == "reasoning") {
      options_.reasoning = rest.empty() ? "auto" : rest;
      std::fprintf(stderr, "(reasoning %s)\n", options_.reasoning.c_str());
    } else if (name == "image" || name == "audio" || name == "video") {
      attach(name, rest);
    } else {
      std::fprintf(stderr, "onnuri: expected a command of /help, found \"/%s\"\n", name.c_str());
    }
    return true;
  }

  void undo() {
    if (questions_.empty()) {
      std::fputs("(nothing to forget)\n", stderr);
      return;
    }
    history_.resize(questions_.back());
    questions_.pop_back();
    session_.save(history_);
    std::fputs("(forgotten)\n", stderr);
  }

  void attach(const std::string& kind, const std::string& path) {
    if (access(path.c_str(), R_OK) != 0) {
      std::fprintf(stderr, "onnuri: expected a file that can be read, found \"%s\"\n",
                   path.c_str());
      return;
    }
    const MediaKind media = kind == "image"   ? MediaKind::kImage
                            : kind == "audio" ? MediaKind::kAudio
                                              : MediaKind::kVideo;
    MediaInput input{media, path, {}};
    input.use_audio_in_video =
        media == MediaKind::kVideo && options_.media_options.use_audio_in_video();
    media_.push_back({true, "", std::move(input)});
    std::fputs("(it goes with the next message)\n", stderr);
  }

  Engine& engine_;
  ChatOptions options_;
  std::vector<ChatMessage> start_;
  std::vector<ChatMessage> history_;
  std::vector<ContentPart> media_;  // of the next message
  std::vector<size_t> questions_;   // where each one begins in the history
  Session& session_;
};

// A conversation that has begun keeps its system message.
void check_system(const std::vector<ChatMessage>& history, const std::string& system) {
  if (history.empty() || system.empty()) return;
  const ChatMessage& first = history.front();
  const bool same =
      first.role == "system" && first.content.size() == 1 && first.content[0].text == system;
  if (!same)
    throw Error(ErrorCode::kInvalidArgument,
                "expected the system message that the conversation began with or none, found "
                "another; another --session FILE begins anew, and so does /system");
}

}  // namespace

void add_chat_command(CLI::App& app) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand(
      "chat",
      "Talk to a model. With a MESSAGE (or piped input) it answers once, else it converses.");
  add_model_options(*command, options->model);
  add_trace_option(*command, options->model);
  CLI::Option* message =
      command->add_option("message", options->message, "What to say; `-` reads standard input");
  command->add_option("-p,--question", options->message, "The same as MESSAGE")->excludes(message);
  command->add_option("-s,--system", options->system, "System message");
  options->media_options.add_to(*command);
  MediaOptions::add_after_video(*command, options->model.after_video);
  command->add_option("--template-args", options->template_kwargs,
                      "JSON object of template variables, e.g. '{\"enable_thinking\": false}'");
  command
      ->add_option("--reasoning", options->reasoning,
                   "Whether the model thinks first: auto (as published), on, off, or an effort")
      ->check(CLI::IsMember({"auto", "on", "off", "minimal", "low", "medium", "high"}));
  command->add_option("--tools", options->tools_file, "JSON list of tools that the model may call")
      ->type_name("FILE");
  command
      ->add_option("--session", options->session_file,
                   "Go on with the conversation in FILE, or begin it: written after every answer, "
                   "and beside it, as FILE.kv, what was computed, so that nothing is read twice")
      ->type_name("FILE");
  add_sampling_options(*command, options->sampling);
  set_examples(
      *command,
      "  onnuri chat smollm2-135m \"Why is the sky blue?\"\n"
      "  onnuri chat ./Qwen3-0.6B --sampling model --reasoning off\n"
      "  onnuri chat ./Qwen3-0.6B \"What is the weather in Seoul?\" --tools weather.json\n"
      "    with weather.json: [{\"type\": \"function\", \"function\": {\"name\": \"get_weather\",\n"
      "      \"description\": \"...\", \"parameters\": {\"type\": \"object\", \"properties\":\n"
      "      {\"city\": {\"type\": \"string\"}}}}}]\n"
      "  onnuri chat smollm2-135m --session sky.json \"And at night?\"\n"
      "  onnuri chat ./Qwen3-Omni --image a.jpg --audio b.wav --image c.jpg -p \"Which one?\"\n"
      "  onnuri chat model.gguf \"A person as JSON\" --json-schema person.json\n"
      "  onnuri chat model.gguf \"Good or bad?\" --choice good --choice bad");
  command->callback([options] {
    options->media = options->media_options.in_order();
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    std::vector<ChatMessage> start;
    if (!options->system.empty()) start.push_back(text_message("system", options->system));
    Session session(options->session_file, options->model.quiet);
    std::vector<ChatMessage> history = session.open(*engine);
    check_system(history, options->system);
    const bool piped = options->message.empty() && isatty(STDIN_FILENO) == 0;
    if (options->message == "-" || piped) {
      options->message.assign(std::istreambuf_iterator<char>(std::cin), {});
      if (options->message.empty()) {
        throw Error(ErrorCode::kInvalidArgument,
                    "expected a message on standard input, found none");
      }
    }
    if (!options->message.empty())
      answer_once(*engine, *options, history.empty() ? start : history, options->message, session);
    else
      Conversation(*engine, *options, std::move(start), std::move(history), session).run();
  });
}

}  // namespace onnuri::cli
