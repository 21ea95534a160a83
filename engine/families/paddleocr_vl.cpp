// PaddleOCR-VL: the ERNIE-4.5 decoder with three position axes, a SigLIP-shaped encoder with axial
// rope and a learned position grid of any size.
// Source: transformers 5.23, models/paddleocr_vl; the tensor names of the hub's file.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

using Prefixes = std::vector<std::string>;

bool matches(const ModelFiles& files) {
  return config_names(files, {"paddleocr_vl"}, {"PaddleOCRVLForConditionalGeneration"});
}

VisionConfig read_vision(const ModelFiles& files, const ConfigReader& vision) {
  VisionConfig out;
  out.processor = read_image_processor(files);
  out.processor.stretch_short_side = true;
  TransformerConfig& t = out.transformer;
  t.num_layers = vision.size("num_hidden_layers");
  t.hidden_size = vision.size("hidden_size");
  t.num_heads = vision.size("num_attention_heads");
  t.intermediate_size = vision.size("intermediate_size");
  t.norm_eps = static_cast<float>(vision.positive_or("layer_norm_eps", 1e-6));
  t.activation = Activation::kGeluTanh;
  t.rope = true;
  if (t.hidden_size % t.num_heads != 0)
    fail(ErrorCode::kCorruptData, "expected ", t.num_heads, " heads to divide the hidden size ",
         t.hidden_size, " in ", vision.where());
  t.head_dim = t.hidden_size / t.num_heads;
  out.patch_bias = true;
  out.post_norm = true;
  out.positions = VisionPositions::kLearnedGridBilinear;
  out.position_grid_side = vision.size("image_size") / out.processor.patch_size;
  const int64_t merge = vision.size_or("spatial_merge_size", out.processor.merge_size);
  if (vision.size("patch_size") != out.processor.patch_size || merge != out.processor.merge_size)
    fail(ErrorCode::kCorruptData, "expected patches of ", vision.size("patch_size"), " merged by ",
         merge, " (", vision.where(), ") in preprocessor_config.json, found ",
         out.processor.patch_size, " by ", out.processor.merge_size);
  return out;
}

ProjectorConfig make_projector(const VisionConfig& vision, int64_t hidden_size) {
  ProjectorConfig out;
  out.in_size = vision.transformer.hidden_size;
  out.group_rows = vision.processor.merge_size * vision.processor.merge_size;
  out.intermediate_size = out.in_size * out.group_rows;
  out.fc2_size = out.out_size = hidden_size;
  out.norm = ProjectorNorm::kLayerNorm;
  out.norm_eps = 1e-5f;
  return out;
}

void add_vision_names(NameTable& names) {
  const Prefixes tower = {"visual.vision_model.", "model.visual.vision_model."};
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_prefixed_names(names, tower, canonical, {stored});
  };
  const std::string from = "encoder.layers.#.";
  const std::string to = "vision.layers.#.";
  add("vision.positions", "embeddings.position_embedding.weight");
  for (const std::string kind : {".weight", ".bias"}) {
    add("vision.patch" + kind, "embeddings.patch_embedding" + kind);
    add("vision.post_norm" + kind, "post_layernorm" + kind);
    add(to + "norm1" + kind, from + "layer_norm1" + kind);
    add(to + "norm2" + kind, from + "layer_norm2" + kind);
    for (const std::string part : {"q", "k", "v"})
      add(to + part + kind, from + "self_attn." + part + "_proj" + kind);
    add(to + "o" + kind, from + "self_attn.out_proj" + kind);
    for (const std::string part : {"fc1", "fc2"})
      add(to + part + kind, from + "mlp." + part + kind);
    const Prefixes projector = {"mlp_AR.", "model.projector."};
    add_prefixed_names(names, projector, "projector.norm" + kind, {"pre_norm" + kind});
    add_prefixed_names(names, projector, "projector.fc1" + kind, {"linear_1" + kind});
    add_prefixed_names(names, projector, "projector.fc2" + kind, {"linear_2" + kind});
  }
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "paddleocr_vl");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  require_activation(text, "hidden_act", "silu");
  if (text.boolean_or("use_bias", false))
    fail(ErrorCode::kUnsupported, "expected false at ", text.place("use_bias"), ", found true");
  model.decoder = read_decoder(text, {});
  model.decoder.tied_head = read_tied_head(files, true);
  RopeTable rope = make_table(read_rope(text, model.decoder.head_dim, "", 0));
  read_mrope_sections(text, rope);
  model.decoder.rope_tables = {rope};
  for (LayerSpec& layer : model.decoder.layers) layer.rope = 0;

  const ConfigReader vision = config.sub("vision_config");
  require_activation(vision, "hidden_act", "gelu_pytorch_tanh");
  model.vision = read_vision(files, vision);
  model.projector = make_projector(*model.vision, model.decoder.hidden_size);
  read_vision_tokens(config, model.special);

  NameTable names;
  add_names(names, {"model.", "model.language_model."}, {});
  add_vision_names(names);
  model.names = names.map();
  for (const std::string prefix : {"visual.", "model.visual."}) {
    model.ignored_prefixes.push_back(prefix + "vision_model.embeddings.packing_position_embedding");
    model.ignored_prefixes.push_back(prefix + "vision_model.head.");
  }
  return model;
}

}  // namespace

Family paddleocr_vl_family() { return {"paddleocr_vl", matches, map, make_text_engine}; }

}  // namespace onnuri
