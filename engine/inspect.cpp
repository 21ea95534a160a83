// Facts about a checkpoint without its weights: the config, the headers, the tokenizer's files.
#include <algorithm>
#include <filesystem>

#include "core/check.h"
#include "core/mapped_file.h"
#include "decoder/kv_cache.h"
#include "engine/chat.h"
#include "engine/load_support.h"
#include "engine/model_facts.h"
#include "engine/model_sampling.h"
#include "fusion/tokenizer.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxListedSpecials = 64;

void add_cache(const DecoderConfig& decoder, JsonValue& facts) {
  KvCacheOptions options;
  options.max_tokens = decoder.max_position;
  options.max_chunk = std::min(options.max_chunk, options.max_tokens);
  facts.set("kv_dtype", std::string(dtype_name(options.dtype)));
  facts.set("kv_bytes_per_token", KvCache::bytes_per_token(decoder, options.dtype));
  facts.set("kv_window_bytes", KvCache::window_bytes(decoder, options));
  facts.set("kv_state_bytes", KvCache::state_bytes(decoder, options));
  facts.set("kv_cache", cache_facts(decoder, options));
}

// What a template asks about, by the names that it uses.
JsonValue template_features(const std::string& source) {
  const auto any = [&](std::initializer_list<const char*> words) {
    return std::any_of(words.begin(), words.end(),
                       [&](const char* word) { return source.find(word) != std::string::npos; });
  };
  JsonValue out;
  out.set("bytes", static_cast<int64_t>(source.size()));
  out.set("system", any({"'system'", "\"system\"", "system_message"}));
  out.set("tools", any({"tools", "tool_calls"}));
  out.set("reasoning",
          any({"enable_thinking", "reasoning_content", "<think>", "thinking", "reasoning_effort"}));
  out.set("images", any({"image"}));
  out.set("videos", any({"video"}));
  out.set("sounds", any({"audio"}));
  return out;
}

JsonValue named(const Tokenizer& tokenizer, int32_t id) {
  JsonValue out;
  out.set("id", static_cast<int64_t>(id));
  out.set("text", tokenizer.id_to_token(id));
  return out;
}

JsonValue tokenizer_facts(const ModelFiles& files, const ModelConfig& config, JsonValue& facts) {
  JsonValue out;
  const std::unique_ptr<Tokenizer> tokenizer =
      files.is_gguf() ? load_tokenizer_from_gguf(files.checkpoint->metadata())
                      : load_tokenizer(files.path);
  out.set("kind", tokenizer->kind());
  out.set("vocab_size", tokenizer->vocab_size());
  const ChatRenderer chat(files, *tokenizer);
  out.set("chat_template", chat.has_template());
  if (chat.has_template()) facts.set("template", template_features(chat.source()));
  std::vector<int32_t> eos = config.special.eos;
  add_end_tokens(*tokenizer, files.is_gguf(), eos);
  JsonValue::Array ends;
  for (const int32_t id : eos) ends.push_back(named(*tokenizer, id));
  out.set("end_tokens", std::move(ends));
  if (const std::optional<int32_t> bos = tokenizer->bos_id())
    out.set("begin_token", named(*tokenizer, *bos));
  JsonValue::Array specials;
  int64_t count = 0;
  for (int64_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (!tokenizer->is_special(static_cast<int32_t>(id))) continue;
    if (++count <= static_cast<int64_t>(kMaxListedSpecials))
      specials.push_back(named(*tokenizer, static_cast<int32_t>(id)));
  }
  out.set("num_special_tokens", count);
  out.set("special_tokens", std::move(specials));
  return out;
}

JsonValue sampling_facts(const SamplingParams& params) {
  JsonValue out;
  out.set("temperature", static_cast<double>(params.temperature));
  out.set("top_k", static_cast<int64_t>(params.top_k));
  out.set("top_p", static_cast<double>(params.top_p));
  out.set("min_p", static_cast<double>(params.min_p));
  out.set("repetition_penalty", static_cast<double>(params.repetition_penalty));
  return out;
}

JsonValue inspect(const std::string& path) {
  const ModelFiles files = open_config_files(path);
  const ModelConfig config = map_model(files);
  JsonValue facts = model_facts(config, *files.checkpoint);
  facts.set("has_weights", !files.checkpoint->names().empty());
  if (config.decoder.num_layers() > 0) add_cache(config.decoder, facts);
  facts.set("sampling", sampling_facts(read_model_sampling(files)));
  JsonValue tokenizer;
  try {
    tokenizer = tokenizer_facts(files, config, facts);
  } catch (const Error& error) {
    tokenizer.set("error", std::string(error.what()));
  }
  facts.set("tokenizer", std::move(tokenizer));
  return facts;
}

}  // namespace

std::string inspect_model_json(const std::string& path) {
  const std::string what = "inspect " + path;
  return guard_memory(what.c_str(), [&] { return inspect(path).dump(); });
}

}  // namespace onnuri
