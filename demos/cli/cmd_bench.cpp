// onnuri bench: prompt and generation speed of a model, beside what the memory allows.
#include <algorithm>
#include <cstdio>

#include "demos/cli/bandwidth.h"
#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

struct BenchCli {
  ModelOptions model;
  int64_t prompt_tokens = 512;
  int64_t new_tokens = 128;
  int64_t depth = 0;
  int repeats = 3;
};

struct Sample {
  double prefill_rate = 0;
  double decode_rate = 0;
};

// Ids without meaning but with spread, so that no row of the embedding is favoured.
std::vector<int32_t> spread_ids(int64_t count, int64_t vocab_size) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  uint64_t state = 88172645463325252ull;
  for (int32_t& id : ids) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    id = static_cast<int32_t>(state % static_cast<uint64_t>(vocab_size));
  }
  return ids;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

GenerateResult run(Engine& engine, int64_t prompt, int64_t fresh, int64_t vocab_size) {
  GenerateRequest request;
  request.input_ids = spread_ids(prompt, vocab_size);
  request.max_new_tokens = fresh;
  request.ignore_eos = true;
  const GenerateResult result =
      engine.generate(request, [](const TokenEvent&) { return !InterruptGuard::interrupted(); });
  if (result.finish_reason == "cancelled") throw Interrupted{};
  return result;
}

void bench_text(Engine& engine, const BenchCli& options, const Json& facts) {
  const int64_t vocab_size = facts.at("vocab_size").get<int64_t>();
  InterruptGuard guard;
  ProgressBar bar(!options.model.quiet);
  std::vector<double> prefill;
  std::vector<double> decode;
  run(engine, 16, 4, vocab_size);  // touches every weight once
  for (int i = 0; i < options.repeats; ++i) {
    bar.update(static_cast<double>(i) / options.repeats, "measuring");
    if (options.prompt_tokens > 0) {
      const GenerateResult r = run(engine, options.prompt_tokens, 1, vocab_size);
      prefill.push_back(static_cast<double>(options.prompt_tokens) * 1000 / r.usage.prefill_ms);
    }
    if (options.new_tokens > 0) {
      const int64_t depth = std::max<int64_t>(options.depth, 1);
      const GenerateResult r = run(engine, depth, options.new_tokens + 1, vocab_size);
      decode.push_back(static_cast<double>(options.new_tokens) * 1000 / r.usage.decode_ms);
    }
  }
  bar.finish();
  const int threads = facts.value("num_threads", 1);
  const double bandwidth = measure_read_bandwidth(threads);
  const double per_token =
      facts.value("streamed_bytes_per_token", 0.0) +
      facts.value("kv_bytes_per_token", 0.0) * static_cast<double>(options.depth);
  Json out{{"model", facts.value("model_name", options.model.model)},
           {"family", facts.value("family", "")},
           {"kernels", facts.value("kernels", "")},
           {"threads", threads},
           {"read_bandwidth_gb_s", bandwidth / 1e9},
           {"bytes_per_token", per_token}};
  if (!prefill.empty()) {
    out["prompt_tokens"] = options.prompt_tokens;
    out["prefill_tokens_per_s"] = median(prefill);
  }
  if (!decode.empty()) {
    out["new_tokens"] = options.new_tokens;
    out["depth"] = options.depth;
    out["decode_tokens_per_s"] = median(decode);
    out["decode_gb_s"] = median(decode) * per_token / 1e9;
    out["decode_share_of_bandwidth"] = median(decode) * per_token / bandwidth;
  }
  if (options.model.json) return write_out(out.dump() + "\n");
  write_out(out["model"].get<std::string>() + " (" + out["family"].get<std::string>() +
            "), kernels " + out["kernels"].get<std::string>() + ", " + std::to_string(threads) +
            " threads\n");
  if (!prefill.empty()) {
    write_out("  prompt " + std::to_string(options.prompt_tokens) + " tokens   " +
              fixed(median(prefill), 1) + " tokens/s\n");
  }
  if (!decode.empty()) {
    write_out("  generate " + std::to_string(options.new_tokens) + " at depth " +
              std::to_string(options.depth) + "   " + fixed(median(decode), 1) + " tokens/s, " +
              fixed(median(decode) * per_token / 1e9, 1) +
              " GB/s = " + fixed(median(decode) * per_token / bandwidth * 100, 0) +
              " % of the measured " + fixed(bandwidth / 1e9, 1) + " GB/s\n");
  }
}

void bench_speech(Engine& engine, const BenchCli& options) {
  Waveform noise;
  uint32_t state = 12345;
  for (int i = 0; i < 30 * 16000; ++i) {
    state = state * 1664525u + 1013904223u;
    noise.samples.push_back((static_cast<float>(state >> 8) / 8388608.0f - 1.0f) * 0.05f);
  }
  std::vector<double> mel;
  std::vector<double> encode;
  for (int i = 0; i < options.repeats + 1; ++i) {
    TranscribeOptions transcribe;
    transcribe.language = "en";
    const Transcript t = engine.transcribe(noise, transcribe);
    if (i == 0) continue;
    mel.push_back(t.mel_ms);
    encode.push_back(t.encode_ms);
  }
  const Json out{
      {"model", options.model.model}, {"mel_ms", median(mel)}, {"encode_ms", median(encode)}};
  if (options.model.json) return write_out(out.dump() + "\n");
  write_out("30 s of sound: mel " + fixed(median(mel), 1) + " ms, encoder " +
            fixed(median(encode), 1) + " ms\n");
}

}  // namespace

void add_bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchCli>();
  CLI::App* command = app.add_subcommand(
      "bench", "Measure prompt and generation speed, and the share of the memory bandwidth.");
  add_model_options(*command, options->model);
  command->add_option("-p,--prompt-tokens", options->prompt_tokens, "Prompt length; 0 skips")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("-n,--new-tokens", options->new_tokens, "Generated tokens; 0 skips")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("-d,--depth", options->depth, "Tokens in the cache before generating")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("-r,--repeats", options->repeats, "Runs; the median is printed")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  set_examples(*command,
               "  onnuri bench qwen2.5-coder-0.5b\n"
               "  onnuri bench model.gguf -p 1024 -n 64 -d 4096 --json");
  command->callback([options] {
    options->model.no_prefix_caching = true;  // every repetition reads its prompt
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    const Json facts = Json::parse(engine->describe_json());
    if (facts.value("kind", "text") == "speech")
      bench_speech(*engine, *options);
    else
      bench_text(*engine, *options, facts);
  });
}

}  // namespace onnuri::cli
