// Key names: transformers 5.23 configuration classes (qwen2_5_vl, paddleocr_vl) and the files that
// the hub holds for them.
#include "engine/vision_mapping.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "engine/decoder_mapping.h"

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

int64_t read_square_root(const ConfigReader& config, std::string_view key) {
  const int64_t square = bounded_size(config, key);
  const int64_t root = std::lround(std::sqrt(static_cast<double>(square)));
  if (root * root != square)
    fail(ErrorCode::kCorruptData, "expected a square number at ", config.place(key), ", found ",
         square);
  return root;
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

VisionConfig read_block_vision(const ModelFiles& files, const ConfigReader& vision,
                               std::string_view width_key) {
  VisionConfig out;
  out.processor = read_image_processor(files);
  TransformerConfig& t = out.transformer;
  t.num_layers = bounded_size(vision, "depth");
  t.hidden_size = bounded_size(vision, width_key);
  t.num_heads = bounded_size(vision, "num_heads");
  if (t.hidden_size % t.num_heads != 0)
    fail(ErrorCode::kCorruptData, "expected ", t.num_heads, " heads to divide the hidden size ",
         t.hidden_size, " in ", vision.where());
  t.head_dim = t.hidden_size / t.num_heads;
  t.norm_eps = 1e-6f;
  t.rope = true;
  const auto expect = [&](std::string_view key, int64_t found) {
    if (vision.has(key) && vision.size(key) != found)
      fail(ErrorCode::kCorruptData, "expected ", vision.size(key), " (", vision.place(key),
           ") in preprocessor_config.json, found ", found);
  };
  expect("patch_size", out.processor.patch_size);
  expect("spatial_patch_size", out.processor.patch_size);
  expect("spatial_merge_size", out.processor.merge_size);
  expect("temporal_patch_size", out.processor.temporal_patch_size);
  return out;
}

VisionConfig read_window_vision(const ModelFiles& files, const ConfigReader& vision) {
  VisionConfig out = read_block_vision(files, vision, "hidden_size");
  TransformerConfig& t = out.transformer;
  t.intermediate_size = bounded_size(vision, "intermediate_size");
  t.norm = EncoderNorm::kRmsNorm;
  t.gated_ffn = true;
  t.activation = Activation::kSilu;
  out.window_size = bounded_size(vision, "window_size");
  for (const int32_t layer : vision.ids("fullatt_block_indexes"))
    out.full_attention_layers.push_back(layer);
  return out;
}

VisionConfig read_tapped_vision(const ModelFiles& files, const ConfigReader& vision) {
  require_activation(vision, "hidden_act", "gelu_pytorch_tanh");
  VisionConfig out = read_block_vision(files, vision, "hidden_size");
  out.transformer.intermediate_size = bounded_size(vision, "intermediate_size");
  out.transformer.activation = Activation::kGeluTanh;
  out.patch_bias = true;
  out.positions = VisionPositions::kLearnedGridCorners;
  out.position_grid_side = read_square_root(vision, "num_position_embeddings");
  for (const int32_t layer : vision.ids("deepstack_visual_indexes")) {
    if (!out.tap_layers.empty() && layer <= out.tap_layers.back())
      fail(ErrorCode::kCorruptData, "expected ascending layers at ",
           vision.place("deepstack_visual_indexes"));
    out.tap_layers.push_back(layer);
  }
  return out;
}

ProjectorConfig tap_projector(const ProjectorConfig& projector) {
  ProjectorConfig out = projector;
  out.norm_joined = true;
  return out;
}

VideoConfig read_video(const ModelFiles& files) {
  const bool own = files.video_preprocessor_config.is_object();
  const ConfigReader config(own ? files.video_preprocessor_config : files.preprocessor_config,
                            own ? "video_preprocessor_config.json" : "preprocessor_config.json");
  VideoConfig out;
  out.min_pixels = read_area(config, "min_pixels", "shortest_edge");
  out.max_pixels = read_area(config, "max_pixels", "longest_edge");
  out.frames_per_second = config.positive_or("fps", out.frames_per_second);
  out.min_frames = config.size_or("min_frames", out.min_frames);
  out.max_frames = config.size_or("max_frames", out.max_frames);
  return out;
}

ProjectorConfig block_vision_projector(const VisionConfig& vision, int64_t out_size) {
  ProjectorConfig out;
  out.in_size = vision.transformer.hidden_size;
  out.group_rows = vision.processor.merge_size * vision.processor.merge_size;
  out.intermediate_size = out.in_size * out.group_rows;
  out.fc2_size = out.out_size = out_size;
  out.norm = vision.transformer.norm == EncoderNorm::kRmsNorm ? ProjectorNorm::kRmsNorm
                                                              : ProjectorNorm::kLayerNorm;
  return out;
}

ProjectorConfig window_vision_projector(const VisionConfig& vision, const ConfigReader& config) {
  return block_vision_projector(vision, bounded_size(config, "out_hidden_size"));
}

namespace {

void add_merger_names(NameTable& table, const std::vector<std::string>& prefixes,
                      const std::string& canonical, const std::string& stored,
                      const std::string& kind) {
  const std::pair<const char*, const char*> parts[] = {
      {"norm", "ln_q"}, {"fc1", "mlp.0"},      {"fc2", "mlp.2"},
      {"norm", "norm"}, {"fc1", "linear_fc1"}, {"fc2", "linear_fc2"}};
  for (const auto& [part, name] : parts)
    add_prefixed_names(table, prefixes, canonical + part + kind, {stored + name + kind});
}

}  // namespace

void add_block_vision_names(NameTable& table, const std::vector<std::string>& prefixes,
                            const TransformerConfig& transformer) {
  const auto add = [&](const std::string& canonical, const StoredName& stored) {
    add_prefixed_names(table, prefixes, canonical, stored);
  };
  const int64_t q_width = transformer.num_heads * transformer.head_dim;
  const int64_t kv_width = transformer.kv_heads() * transformer.head_dim;
  const std::string layer = "vision.layers.#.";
  const std::string block = "blocks.#.";
  for (const std::string kind : {".weight", ".bias"}) {
    add("vision.patch" + kind, {"patch_embed.proj" + kind});
    for (const std::string norm : {"norm1", "norm2"})
      add(layer + norm + kind, {block + norm + kind});
    int64_t row = 0;
    for (const std::string part : {"q", "k", "v"}) {
      const int64_t count = part == "q" ? q_width : kv_width;
      add(layer + part + kind, {block + "attn.qkv" + kind, false, row, count});
      add(layer + part + kind, {block + "attn." + part + kind});
      row += count;
    }
    add(layer + "o" + kind, {block + "attn.proj" + kind});
    for (const std::string part : {"gate", "up", "down"})
      add(layer + part + kind, {block + "mlp." + part + "_proj" + kind});
    for (const std::string part : {"fc1", "fc2"}) {
      add(layer + part + kind, {block + "mlp." + part + kind});
      add(layer + part + kind, {block + "mlp.linear_" + part + kind});
    }
    add_merger_names(table, prefixes, "projector.", "merger.", kind);
    add_merger_names(table, prefixes, "deep_projector.#.", "deepstack_merger_list.#.", kind);
    add_merger_names(table, prefixes, "deep_projector.#.", "merger_list.#.", kind);
  }
  add("vision.positions", {"pos_embed.weight"});
}

}  // namespace onnuri
