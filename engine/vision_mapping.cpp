// Key names: transformers 5.23 configuration classes (qwen2_5_vl, paddleocr_vl) and the files that
// the hub holds for them.
#include "engine/vision_mapping.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxSize = 1 << 20;

int64_t bounded_size(const ConfigReader& config, std::string_view key) {
  const int64_t value = config.size(key);
  if (value > kMaxSize)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxSize, " at ", config.place(key),
         ", found ", value);
  return value;
}

/// Areas in pixels: the plain key wins over the one inside "size".
int64_t read_area(const ConfigReader& config, std::string_view key, std::string_view edge_key) {
  if (config.has(key)) return config.size(key);
  const ConfigReader size = config.sub("size");
  return size.has(key) ? size.size(key) : size.size(edge_key);
}

}  // namespace

std::array<float, 3> read_triple(const ConfigReader& config, std::string_view key) {
  const JsonValue* value = config.find(key);
  if (value == nullptr)
    fail(ErrorCode::kCorruptData, "expected three numbers at ", config.place(key), ", found none");
  const auto& list = value->as_array(config.place(key));
  if (list.size() != 3)
    fail(ErrorCode::kCorruptData, "expected three numbers at ", config.place(key), ", found ",
         list.size());
  std::array<float, 3> out{};
  for (size_t i = 0; i < 3; ++i) out[i] = static_cast<float>(list[i].as_double(config.place(key)));
  return out;
}

ResizeFilter read_filter(const ConfigReader& config) {
  const int64_t code = config.integer_or("resample", 3);  // Pillow's numbers
  switch (code) {
    case 1: return ResizeFilter::kLanczos;
    case 2: return ResizeFilter::kBilinear;
    case 3: return ResizeFilter::kBicubic;
    default: break;
  }
  fail(ErrorCode::kUnsupported, "expected 1 (Lanczos), 2 (bilinear) or 3 (bicubic) at ",
       config.place("resample"), ", found ", code);
}

ImageProcessorConfig read_image_processor(const ModelFiles& files) {
  if (!files.preprocessor_config.is_object())
    fail(ErrorCode::kNotFound, "expected preprocessor_config.json beside the weights in ",
         files.path, ", found none");
  const ConfigReader config(files.preprocessor_config, "preprocessor_config.json");
  ImageProcessorConfig out;
  out.patch_size = bounded_size(config, "patch_size");
  out.merge_size = bounded_size(config, "merge_size");
  out.temporal_patch_size = config.size_or("temporal_patch_size", 1);
  out.min_pixels = read_area(config, "min_pixels", "shortest_edge");
  out.max_pixels = read_area(config, "max_pixels", "longest_edge");
  out.filter = read_filter(config);
  out.mean = read_triple(config, "image_mean");
  out.std = read_triple(config, "image_std");
  return out;
}

void read_vision_tokens(const ConfigReader& config, SpecialTokens& special) {
  const auto id = [&](std::string_view key) {
    return config.has(key) ? static_cast<int32_t>(config.integer(key)) : -1;
  };
  special.image_placeholder = id("image_token_id");
  special.video_placeholder = id("video_token_id");
  special.vision_start = id("vision_start_token_id");
  special.vision_end = id("vision_end_token_id");
  if (special.image_placeholder < 0)
    fail(ErrorCode::kCorruptData, "expected a token id at ", config.place("image_token_id"));
}

void read_mrope_sections(const ConfigReader& text, RopeTable& table) {
  constexpr std::string_view kKey = "mrope_section";
  for (const char* place : {"rope_parameters", "rope_scaling"}) {
    if (!text.has(place)) continue;
    const ConfigReader rope = text.sub(place);
    if (!rope.has(kKey)) continue;
    const std::vector<int32_t> sections = rope.ids(kKey);
    const int64_t sum = std::accumulate(sections.begin(), sections.end(), int64_t{0});
    const bool positive =
        std::all_of(sections.begin(), sections.end(), [](int32_t n) { return n > 0; });
    if (sections.size() != 3 || !positive || 2 * sum != table.rotary_dim)
      fail(ErrorCode::kCorruptData, "expected three sizes that add up to ", table.rotary_dim / 2,
           " at ", rope.place(kKey), ", found ", sections.size(), " that add up to ", sum);
    table.mrope_sections.assign(sections.begin(), sections.end());
    return;
  }
  fail(ErrorCode::kCorruptData, "expected mrope_section in rope_parameters or rope_scaling of ",
       text.where(), ", found none");
}

bool read_tied_head(const ModelFiles& files, bool fallback) {
  const ConfigReader config(files.config, "config.json");
  if (config.has("tie_word_embeddings")) return config.boolean("tie_word_embeddings");
  if (!config.has("text_config")) return fallback;
  return config.sub("text_config").boolean_or("tie_word_embeddings", fallback);
}

void add_prefixed_names(NameTable& table, const std::vector<std::string>& prefixes,
                        const std::string& canonical, StoredName stored) {
  const std::string pattern = stored.pattern;
  for (const std::string& prefix : prefixes) {
    stored.pattern = prefix + pattern;
    table.add(canonical, {stored});
  }
}

VisionConfig read_window_vision(const ModelFiles& files, const ConfigReader& vision) {
  VisionConfig out;
  out.processor = read_image_processor(files);
  TransformerConfig& t = out.transformer;
  t.num_layers = bounded_size(vision, "depth");
  t.hidden_size = bounded_size(vision, "hidden_size");
  t.num_heads = bounded_size(vision, "num_heads");
  t.intermediate_size = bounded_size(vision, "intermediate_size");
  if (t.hidden_size % t.num_heads != 0)
    fail(ErrorCode::kCorruptData, "expected ", t.num_heads, " heads to divide the hidden size ",
         t.hidden_size, " in ", vision.where());
  t.head_dim = t.hidden_size / t.num_heads;
  t.norm = EncoderNorm::kRmsNorm;
  t.norm_eps = 1e-6f;
  t.gated_ffn = true;
  t.activation = Activation::kSilu;
  t.rope = true;
  out.window_size = bounded_size(vision, "window_size");
  for (const int32_t layer : vision.ids("fullatt_block_indexes"))
    out.full_attention_layers.push_back(layer);
  const auto expect = [&](std::string_view key, int64_t found) {
    if (vision.has(key) && vision.size(key) != found)
      fail(ErrorCode::kCorruptData, "expected ", vision.size(key), " (", vision.place(key),
           ") in preprocessor_config.json, found ", found);
  };
  expect("patch_size", out.processor.patch_size);
  expect("spatial_merge_size", out.processor.merge_size);
  expect("temporal_patch_size", out.processor.temporal_patch_size);
  return out;
}

ProjectorConfig window_vision_projector(const VisionConfig& vision, const ConfigReader& config) {
  ProjectorConfig out;
  out.in_size = vision.transformer.hidden_size;
  out.group_rows = vision.processor.merge_size * vision.processor.merge_size;
  out.intermediate_size = out.in_size * out.group_rows;
  out.fc2_size = out.out_size = bounded_size(config, "out_hidden_size");
  out.norm = ProjectorNorm::kRmsNorm;
  return out;
}

void add_window_vision_names(NameTable& table, const std::vector<std::string>& prefixes,
                             int64_t hidden_size) {
  const auto add = [&](const std::string& canonical, const StoredName& stored) {
    add_prefixed_names(table, prefixes, canonical, stored);
  };
  add("vision.patch.weight", {"patch_embed.proj.weight"});
  const std::string layer = "vision.layers.#.";
  for (const std::string norm : {"norm1.weight", "norm2.weight"})
    add(layer + norm, {"blocks.#." + norm});
  for (const std::string kind : {".weight", ".bias"}) {
    int64_t row = 0;
    for (const std::string part : {"q", "k", "v"}) {
      add(layer + part + kind, {"blocks.#.attn.qkv" + kind, false, row, hidden_size});
      add(layer + part + kind, {"blocks.#.attn." + part + kind});
      row += hidden_size;
    }
    add(layer + "o" + kind, {"blocks.#.attn.proj" + kind});
    for (const std::string part : {"gate", "up", "down"})
      add(layer + part + kind, {"blocks.#.mlp." + part + "_proj" + kind});
    add("projector.fc1" + kind, {"merger.mlp.0" + kind});
    add("projector.fc2" + kind, {"merger.mlp.2" + kind});
  }
  add("projector.norm.weight", {"merger.ln_q.weight"});
}

}  // namespace onnuri
