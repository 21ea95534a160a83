#include "engine/model_facts.h"

#include <algorithm>
#include <map>

#include "core/quantized_checkpoint.h"

namespace onnuri {
namespace {

const char* mixer_name(MixerKind kind) {
  switch (kind) {
    case MixerKind::kGqa: return "grouped-query";
    case MixerKind::kMla: return "latent";
    case MixerKind::kDifferential: return "differential";
    case MixerKind::kGroupedDifferential: return "grouped differential";
    case MixerKind::kGatedDelta: return "gated delta rule";
  }
  return "unknown";
}

// Rotary tables: the columns that turn, and the longest wavelength in tokens.
JsonValue rope_facts(const RopeTable& table, size_t index) {
  constexpr double kTurn = 6.283185307179586;
  JsonValue out;
  out.set("index", static_cast<int64_t>(index));
  out.set("rotary_dim", table.rotary_dim);
  double slowest = 0;
  for (const float f : table.inv_freq)
    if (f > 0) slowest = std::max(slowest, kTurn / static_cast<double>(f));
  out.set("longest_wavelength", slowest);
  out.set("attention_factor", static_cast<double>(table.attention_factor));
  out.set("layout", table.layout == RopeLayout::kHalf ? "half" : "pairs");
  return out;
}

std::string expert_text(const MoeSpec& moe) {
  std::string out = std::to_string(moe.num_experts) + " experts of " +
                    std::to_string(moe.intermediate_size) + ", " +
                    std::to_string(moe.num_experts_per_token) + " per token";
  if (moe.router.num_groups > 1)
    out += " from " + std::to_string(moe.router.num_groups_kept) + " of " +
           std::to_string(moe.router.num_groups) + " groups";
  if (moe.shared_intermediate_size > 0)
    out += ", shared " + std::to_string(moe.shared_intermediate_size);
  return out;
}

JsonValue layer_facts(const DecoderConfig& decoder, size_t index) {
  const LayerSpec& layer = decoder.layers[index];
  JsonValue out;
  out.set("index", static_cast<int64_t>(index));
  out.set("mixer", mixer_name(layer.mixer));
  out.set("attention", layer.is_linear()  ? "linear"
                       : layer.window > 0 ? "window " + std::to_string(layer.window)
                                          : "full");
  out.set("rope", layer.rope < 0 ? JsonValue("none") : JsonValue(layer.rope));
  out.set("norms", std::string(layer.pre_mixer_norm || layer.pre_ffn_norm ? "pre" : "") +
                       (layer.pre_mixer_norm && layer.post_mixer_norm ? "+" : "") +
                       (layer.post_mixer_norm || layer.post_ffn_norm ? "post" : ""));
  if (layer.qk_norm) out.set("qk_norm", true);
  if (layer.sinks) out.set("sinks", true);
  if (layer.output_gate) out.set("output_gate", true);
  if (layer.sparse_index) out.set("indexed_keys", decoder.mla.index.top_k);
  out.set("ffn", layer.ffn == FfnKind::kMoe ? expert_text(decoder.moe)
                                            : "dense " + std::to_string(layer.intermediate_size));
  return out;
}

void add_decoder(const DecoderConfig& decoder, JsonValue& out) {
  out.set("vocab_size", decoder.vocab_size);
  out.set("hidden_size", decoder.hidden_size);
  out.set("num_layers", decoder.num_layers());
  out.set("num_heads", decoder.num_heads);
  out.set("num_kv_heads", decoder.num_kv_heads);
  out.set("head_dim", decoder.head_dim);
  out.set("context_length", decoder.max_position);
  out.set("tied_head", decoder.tied_head);
  out.set("parameters", decoder.num_parameters());
  out.set("active_parameters", decoder.num_active_parameters());
  JsonValue::Array tables;
  for (size_t i = 0; i < decoder.rope_tables.size(); ++i)
    tables.push_back(rope_facts(decoder.rope_tables[i], i));
  out.set("rope_tables", std::move(tables));
  JsonValue::Array layers;
  for (size_t i = 0; i < decoder.layers.size(); ++i) layers.push_back(layer_facts(decoder, i));
  out.set("layers", std::move(layers));
}

// Stored tensors that are known and not loaded, by what their names begin with, and how many
// numbers the others hold: the config's own total, where they are plain and the decoder's alone.
void add_left_out(const ModelConfig& config, const Checkpoint& checkpoint, JsonValue& out) {
  std::vector<std::string> prefixes = config.ignored_prefixes;
  prefixes.insert(prefixes.end(), config.mtp_prefixes.begin(), config.mtp_prefixes.end());
  std::vector<std::string> heads;
  if (config.decoder.tied_head && config.names)
    for (const TensorRef& ref : config.names("head.weight")) heads.push_back(ref.name);
  prefixes.insert(prefixes.end(), heads.begin(), heads.end());
  const auto is_head = [&](const std::string& name) {
    return std::find(heads.begin(), heads.end(), name) != heads.end();
  };
  std::map<std::string, int64_t> ignored;
  int64_t elements = 0;
  bool plain = true;
  for (const std::string& name : checkpoint.names()) {
    const auto prefix = std::find_if(prefixes.begin(), prefixes.end(),
                                     [&](const std::string& p) { return name.starts_with(p); });
    if (prefix != prefixes.end()) {
      ++ignored[*prefix];
      // One tensor that is not needed is still a parameter of the model; a tied head is none.
      if (name == *prefix && !is_head(name)) elements += checkpoint.find(name).num_elements();
      continue;
    }
    const TensorView view = checkpoint.find(name);
    plain = plain && view.encoding == nullptr &&
            (checkpoint.format() == CheckpointFormat::kGguf || view.dtype == DType::kF32 ||
             view.dtype == DType::kF16 || view.dtype == DType::kBF16);
    elements += view.num_elements();
  }
  JsonValue::Array list;
  for (const auto& [prefix, count] : ignored) {
    JsonValue entry;
    entry.set("prefix", prefix);
    entry.set("tensors", count);
    list.push_back(std::move(entry));
  }
  out.set("ignored", std::move(list));
  if (plain && elements > 0 && !config.vision && !config.audio)
    out.set("stored_parameters", elements);
}

enum class LayerKind { kFull, kWindow, kLinear };

LayerKind kind_of(const LayerSpec& layer) {
  if (layer.is_linear()) return LayerKind::kLinear;
  return layer.window > 0 ? LayerKind::kWindow : LayerKind::kFull;
}

// The layers of one kind.
JsonValue cache_of(const DecoderConfig& decoder, const KvCacheOptions& options, const char* name,
                   LayerKind kind) {
  DecoderConfig part = decoder;
  std::erase_if(part.layers, [&](const LayerSpec& layer) { return kind_of(layer) != kind; });
  JsonValue out;
  out.set("kind", name);
  out.set("layers", part.num_layers());
  if (kind == LayerKind::kLinear) out.set("fixed_bytes", KvCache::state_bytes(part, options));
  if (kind == LayerKind::kWindow) {
    int64_t longest = 0;
    for (const LayerSpec& layer : part.layers) longest = std::max(longest, layer.window);
    out.set("window", longest);
    out.set("fixed_bytes", KvCache::window_bytes(part, options));
    for (LayerSpec& layer : part.layers) layer.window = 0;
  }
  out.set("bytes_per_token", KvCache::bytes_per_token(part, options.dtype));
  return out;
}

JsonValue id_or_null(int32_t id) {
  return id < 0 ? JsonValue() : JsonValue(static_cast<int64_t>(id));
}

}  // namespace

JsonValue storage_facts(const Checkpoint& checkpoint) {
  std::map<std::string, std::pair<int64_t, int64_t>> by_type;  // tensors, bytes
  for (const std::string& name : checkpoint.names()) {
    const TensorView view = checkpoint.find(name);
    auto& [count, bytes] = by_type[stored_type(view)];
    ++count;
    bytes += stored_bytes(view);
  }
  JsonValue out{JsonValue::Object{}};
  for (const auto& [type, totals] : by_type) {
    JsonValue entry;
    entry.set("tensors", totals.first);
    entry.set("bytes", totals.second);
    out.set(type, std::move(entry));
  }
  return out;
}

JsonValue cache_facts(const DecoderConfig& decoder, const KvCacheOptions& options) {
  JsonValue::Array kinds;
  const auto add = [&](const char* name, LayerKind kind) {
    if (std::any_of(decoder.layers.begin(), decoder.layers.end(),
                    [&](const LayerSpec& layer) { return kind_of(layer) == kind; }))
      kinds.push_back(cache_of(decoder, options, name, kind));
  };
  add("full", LayerKind::kFull);
  add("window", LayerKind::kWindow);
  add("linear", LayerKind::kLinear);
  return kinds;
}

JsonValue model_facts(const ModelConfig& config, const Checkpoint& checkpoint) {
  JsonValue out;
  out.set("model_name", config.model_name);
  out.set("family", config.family);
  out.set("path", checkpoint.path());
  out.set("format", checkpoint.format() == CheckpointFormat::kGguf ? "gguf" : "safetensors");
  if (config.decoder.num_layers() > 0) add_decoder(config.decoder, out);
  out.set("storage", storage_facts(checkpoint));
  add_left_out(config, checkpoint, out);
  JsonValue special;
  special.set("bos", id_or_null(config.special.bos));
  JsonValue::Array eos;
  for (int32_t id : config.special.eos) eos.emplace_back(static_cast<int64_t>(id));
  special.set("eos", std::move(eos));
  if (config.special.image_placeholder >= 0)
    special.set("image_placeholder", id_or_null(config.special.image_placeholder));
  out.set("special_tokens", std::move(special));
  return out;
}

}  // namespace onnuri
