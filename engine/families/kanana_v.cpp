// Kanana 1.5 V: the Llama decoder with plain positions, the encoder of Qwen2-VL without its merger,
// and an abstractor that joins 2 x 2 cells. The abstractor takes the encoder's rows, which come in
// blocks of 2 x 2 patches, for rows in raster order: the published weights were trained so.
// Source: the published checkpoint's own modelling and processing files; vLLM, models/kanana_v.py.
#include "core/check.h"
#include "engine/abstractor_mapping.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kTowerPrefixes = {"vision_model.", "model.vision_model."};
const std::vector<std::string> kProjectorPrefixes = {"abstractor.", "model.abstractor."};
constexpr int64_t kMaxDepth = 64;

bool matches(const ModelFiles& files) {
  return config_names(files, {"kanana-1.5-v", "kanana_v"}, {"KananaVForConditionalGeneration"});
}

// The processor's own; its published tokenizer has none. "content" may also be a list of parts.
constexpr const char* kTemplate =
    "{%- if bos_token is defined and bos_token %}{{- bos_token }}{%- endif %}"
    "{{- 'The following is a conversation between a curious human and AI assistant. 당신은 "
    "Kakao에서 "
    "개발된 인공지능 언어모델이고 이름은 kanana입니다.\n"
    "Knowledge Cutoff Date: June30, 2024.\nCapabilities and Limitations:\n"
    "   - I cannot search for external content such as weather, news, or the current date and "
    "time.\n   - If a URL is provided, I cannot access it directly. Insteaed, please copy and "
    "provide the relevant content for me to process.\n\n' }}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' %}{{- 'Human: ' }}"
    "{%- elif message.role == 'assistant' %}{{- 'AI: ' }}{%- endif %}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}"
    "{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<image>' }}"
    "{%- elif part.type == 'text' %}{{- part.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{%- if message.role == 'assistant' %}{{- eos_token }}{%- endif %}"
    "{%- if not loop.last %}{{- '\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '\nAI: ' }}{%- endif %}";

/// config.json whose text model is the Llama that it is, whatever it is called.
JsonValue with_llama(const JsonValue& config) {
  JsonValue out = config;
  const ConfigReader reader(config, "config.json");
  reader.sub("text_config");  // throws where there is none
  JsonValue text = *config.find("text_config");
  text.set("model_type", "llama");
  out.set("text_config", std::move(text));
  return out;
}

void read_eyes(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const ConfigReader vision = config.sub("vision_config");
  if (vision.has("hidden_act")) require_activation(vision, "hidden_act", "quick_gelu");
  VisionConfig& out = model.vision.emplace(read_block_vision(files, vision, "embed_dim"));
  out.processor.enlarge_first = true;
  out.transformer.activation = Activation::kQuickGelu;
  const double width =
      vision.positive("mlp_ratio") * static_cast<double>(out.transformer.hidden_size);
  if (!(width >= 1 && width <= 1 << 20))
    fail(ErrorCode::kCorruptData, "expected a share of at most 2^20 at ", vision.place("mlp_ratio"),
         ", found one of ", width);
  out.transformer.intermediate_size = static_cast<int64_t>(width);
}

/// The encoder stops behind the layer whose rows are asked for.
void choose_layer(int64_t index, ModelConfig& model) {
  TransformerConfig& t = model.vision->transformer;
  const int64_t stored = t.num_layers;
  const int64_t kept = index >= 0 ? index : stored + 1 + index;
  if (kept < 1 || kept > stored)
    fail(ErrorCode::kUnsupported, "expected rows behind one of ", stored,
         " encoder layers at feature_layer_index, found ", index);
  t.num_layers = kept;
  for (const std::string& prefix : kTowerPrefixes)
    for (int64_t i = kept; i < stored; ++i)
      model.ignored_prefixes.push_back(prefix + "blocks." + std::to_string(i) + ".");
}

void read_abstractor(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const ConfigReader projector = config.sub("projector_config");
  const std::string type = projector.string("projector_type");
  if (type != "dynamic-c-abs")
    fail(ErrorCode::kUnsupported, "expected dynamic-c-abs at ", projector.place("projector_type"),
         ", found \"", type, "\"");
  if (projector.has("num_eos_tokens") && projector.integer("num_eos_tokens") != 0)
    fail(ErrorCode::kUnsupported, "rows behind a picture, at ", projector.place("num_eos_tokens"));
  const VisionConfig& vision = *model.vision;
  ConvAbstractorConfig out;
  out.in_size = projector.size("encoder_hidden_size");
  out.out_size = projector.size("output_hidden_size");
  out.pool = AbstractorPool::kJoin;
  out.merge = projector.size("merge_size");
  if (out.in_size != vision.transformer.hidden_size || out.merge != vision.processor.merge_size)
    fail(ErrorCode::kCorruptData, "expected the encoder's ", vision.transformer.hidden_size,
         " columns and blocks of ", vision.processor.merge_size, " in ", projector.where(),
         ", found ", out.in_size, " and ", out.merge);
  const int64_t hidden = projector.size("hidden_size");
  const int64_t depth = projector.size("depth");
  out.num_products = projector.size("mlp_depth");
  if (depth > kMaxDepth || out.num_products > kMaxDepth || hidden > 1 << 20)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxDepth, " blocks and products in ",
         projector.where(), ", found ", depth, " and ", out.num_products);
  out.before =
      read_abstractor_blocks(files, kProjectorPrefixes, "net.0.", depth, out.in_size, hidden);
  out.after = read_abstractor_blocks(files, kProjectorPrefixes, "net.2.", depth,
                                     out.merge * out.merge * hidden, hidden);
  out.prenorm = projector.boolean_or("prenorm", false);
  if (projector.boolean("pos_emb")) out.position_side = read_square_root(projector, "pos_emb_size");
  model.abstractor = out;
  choose_layer(projector.integer("feature_layer_index"), model);
}

NameTable make_names(const TransformerConfig& tower) {
  NameTable names;
  add_block_vision_names(names, kTowerPrefixes, tower);
  add_abstractor_names(names, kProjectorPrefixes);
  return names;
}

ModelConfig map(const ModelFiles& files) {
  ModelFiles complete = files;
  complete.config = with_llama(files.config);
  const ConfigReader config(complete.config, "config.json");
  ModelConfig eyes;
  read_eyes(files, config, eyes);
  ModelConfig model =
      map_inner_text(complete, "kanana_v", {"language_model.", "model.language_model."},
                     make_names(eyes.vision->transformer));
  model.vision = eyes.vision;
  read_abstractor(files, config, model);
  model.chat_template = kTemplate;
  // Readers differ in the id: none at all, or the one behind the end of text.
  const ConfigReader text = config.sub("text_config");
  const std::vector<int32_t> ends = text.ids("eos_token_id");
  model.special.image_placeholder = static_cast<int32_t>(model.decoder.vocab_size);
  model.special.image_spellings = {-1};
  if (config.has("image_token_id"))
    model.special.image_spellings.push_back(static_cast<int32_t>(config.size("image_token_id")));
  else if (!ends.empty())
    model.special.image_spellings.push_back(ends.front() + 1);
  return model;
}

}  // namespace

Family kanana_v_family() { return {"kanana_v", matches, map, make_text_engine}; }

}  // namespace onnuri
