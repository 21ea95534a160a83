// onnuri perplexity: how surprised a model is by a text.
//
// The text is cut into windows of --context tokens that begin --stride tokens after one another;
// every token after the first is scored once, in the first window that holds it. The perplexity is
// exp of the mean negative log-likelihood over all scored tokens.
#include <chrono>
#include <cmath>
#include <cstdio>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t window = 0;  // 0: 1024, or the whole context of a smaller model
  int64_t stride = 0;
  bool second_half = false;
  bool add_bos = false;
};

struct Window {
  size_t begin = 0;
  size_t end = 0;
  size_t score_from = 0;  // the first token whose likelihood counts
};

std::vector<Window> make_windows(const PerplexityOptions& options, size_t total) {
  const auto length = static_cast<size_t>(options.window);
  const auto stride = options.stride > 0 ? static_cast<size_t>(options.stride) : length;
  std::vector<Window> windows;
  size_t scored = 1;  // the first token of a text has nothing before it
  for (size_t begin = 0; begin + 1 < total; begin += stride) {
    const size_t end = std::min(begin + length, total);
    if (options.second_half) {
      if (begin + length > total) break;  // whole windows only
      windows.push_back({begin, end, begin + length / 2 + 1});
      continue;
    }
    // The first token of a window that touches no other is context only.
    const size_t from = std::max(scored, begin + 1);
    if (from < end) windows.push_back({begin, end, from});
    scored = end;
    if (end == total) break;
  }
  return windows;
}

struct Score {
  double sum = 0;
  double sum_of_squares = 0;
  int64_t scored = 0;
  int64_t read = 0;
  double seconds = 0;
  double mean() const { return sum / static_cast<double>(scored); }
  double error() const {  // of the mean, taking tokens as independent
    const double n = static_cast<double>(scored);
    return scored > 1 ? std::sqrt(std::max(0.0, sum_of_squares / n - mean() * mean()) / (n - 1))
                      : 0;
  }
};

Score score_text(Engine& engine, const PerplexityOptions& options, const std::vector<int32_t>& ids,
                 int32_t bos) {
  Score score;
  const std::vector<Window> windows = make_windows(options, ids.size());
  if (windows.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "expected a text of at least " +
                    std::to_string(options.second_half ? options.window : 2) + " tokens, found " +
                    std::to_string(ids.size()));
  ProgressBar bar(!options.model.quiet);
  InterruptGuard guard;
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < windows.size(); ++i) {
    const Window& w = windows[i];
    std::vector<int32_t> part(ids.begin() + static_cast<std::ptrdiff_t>(w.begin),
                              ids.begin() + static_cast<std::ptrdiff_t>(w.end));
    if (options.second_half && bos >= 0) part[0] = bos;
    const std::vector<double> nll =
        engine.token_nll(part, [] { return !InterruptGuard::interrupted(); });
    for (size_t t = w.score_from; t < w.end; ++t) {
      const double value = nll[t - w.begin - 1];
      score.sum += value;
      score.sum_of_squares += value * value;
      ++score.scored;
    }
    score.read += static_cast<int64_t>(part.size());
    score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (InterruptGuard::interrupted()) throw Interrupted{};
    bar.update(static_cast<double>(i + 1) / static_cast<double>(windows.size()),
               "perplexity " + fixed(std::exp(score.mean()), 4) + ", " +
                   fixed(static_cast<double>(score.read) / score.seconds, 0) + " tokens/s");
  }
  return score;
}

// The length of the UTF-8 character at `at`, or 0 where there is none (RFC 3629).
size_t character_size(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(at);
  const unsigned second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < size; ++i)
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second > 0x9F;
  const bool too_high = first == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_high ? 0 : size;
}

// Whoever has the wrong file should not wait for a model first.
void require_utf8(const std::string& text, const std::string& file) {
  for (size_t at = 0; at < text.size();) {
    const size_t size = character_size(text, at);
    if (size == 0)
      throw Error(ErrorCode::kInvalidArgument, "expected UTF-8 text in \"" + file +
                                                   "\", found a broken character at byte " +
                                                   std::to_string(at));
    at += size;
  }
}

void run(PerplexityOptions options) {
  const std::string text = read_file(options.file);
  require_utf8(text, options.file);
  options.model.context = options.window;
  const std::unique_ptr<Engine> engine = load_engine(options.model);
  if (options.window == 0)
    options.window = std::min<int64_t>(
        1024, Json::parse(engine->describe_json()).at("context_size").get<int64_t>());
  if (options.stride > options.window)
    throw Error(ErrorCode::kInvalidArgument, "expected a stride of at most the context, found " +
                                                 std::to_string(options.stride) + " over " +
                                                 std::to_string(options.window));
  const std::vector<int32_t> plain = engine->tokenize(text, false, false);
  const std::vector<int32_t> special = engine->tokenize(text, true, false);
  const bool has_bos = special.size() > plain.size() && (plain.empty() || special[0] != plain[0]);
  const std::vector<int32_t>& ids = options.add_bos || options.second_half ? special : plain;
  const Score score = score_text(*engine, options, ids, has_bos ? special[0] : -1);
  const double perplexity = std::exp(score.mean());
  const double rate = static_cast<double>(score.read) / score.seconds;
  if (options.model.json) {
    write_out(Json{{"perplexity", perplexity},
                   {"mean_nll", score.mean()},
                   {"standard_error", perplexity * score.error()},
                   {"tokens", ids.size()},
                   {"scored_tokens", score.scored},
                   {"window", options.window},
                   {"stride", options.stride > 0 ? options.stride : options.window},
                   {"tokens_per_s", rate},
                   {"seconds", score.seconds}}
                  .dump() +
              "\n");
    return;
  }
  write_out("perplexity " + fixed(perplexity, 4) + " +- " + fixed(perplexity * score.error(), 4) +
            " over " + std::to_string(score.scored) + " of " + std::to_string(ids.size()) +
            " tokens, " + fixed(rate, 1) + " tokens/s\n");
}

}  // namespace

void add_perplexity_command(CLI::App& app) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App* command = app.add_subcommand(
      "perplexity",
      "Measure the perplexity of a text: exp of the mean negative log-likelihood per token.");
  add_model_options(*command, options->model);
  command->remove_option(command->get_option("--context"));
  command->add_option("file", options->file, "A UTF-8 text; - is standard input")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("-c,--context", options->window,
                   "Tokens per window; 0 is 1024, or what the model has")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  command
      ->add_option("--stride", options->stride,
                   "Tokens between the starts of windows; smaller gives later tokens more context. "
                   "0: the window")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--bos", options->add_bos, "Begin the text with the model's own first token");
  command->add_flag(
      "--second-half", options->second_half,
      "As llama.cpp's tool: whole windows only, each begun with the first token, and only the "
      "second half of each is scored");
  set_examples(*command,
               "  onnuri perplexity model.gguf text.txt\n"
               "  onnuri perplexity ./Qwen3-0.6B text.txt --context 2048 --stride 1024 --json\n"
               "  onnuri perplexity model.gguf wiki.test.raw --context 512 --second-half");
  command->callback([options] {
    if (options->window == 1)
      throw Error(ErrorCode::kInvalidArgument, "expected windows of at least 2 tokens, found 1");
    run(*options);
  });
}

}  // namespace onnuri::cli
