// Names and keys follow llama.cpp's converter (convert_hf_to_gguf.py) as far as its reader asks for
// them: the llama architecture turns rope over neighbouring pairs, so rows of q and k are
// reordered; Gemma's norms have the one added; llama3 rope scaling is a tensor of divisors.
#include "engine/gguf_export.h"

#include <cmath>
#include <filesystem>

#include "core/check.h"
#include "core/printable.h"
#include "onnuri/quantize.h"

namespace onnuri {
namespace {

struct Rename {
  std::string_view from, to;
};

constexpr Rename kLayerNames[] = {
    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"}};
constexpr Rename kPreNorms[] = {{"input_layernorm", "attn_norm"},
                                {"post_attention_layernorm", "ffn_norm"}};
constexpr Rename kPostNorms[] = {{"post_attention_layernorm", "post_attention_norm"},
                                 {"post_feedforward_layernorm", "post_ffw_norm"}};
constexpr Rename kBothNorms[] = {{"input_layernorm", "attn_norm"},
                                 {"post_attention_layernorm", "post_attention_norm"},
                                 {"pre_feedforward_layernorm", "ffn_norm"},
                                 {"post_feedforward_layernorm", "post_ffw_norm"}};

struct ExportFamily {
  std::string_view model_type;  // of config.json
  std::string_view arch;        // of GGUF
  std::span<const Rename> norms;
  bool paired_rope;
  bool norms_plus_one;
};

constexpr ExportFamily kFamilies[] = {{"llama", "llama", kPreNorms, true, false},
                                      {"qwen2", "qwen2", kPreNorms, false, false},
                                      {"qwen3", "qwen3", kPreNorms, false, false},
                                      {"gemma3_text", "gemma3", kBothNorms, false, true},
                                      {"exaone4", "exaone4", kPostNorms, false, false}};

const ExportFamily& find_export(const JsonValue& config) {
  const std::string& type = config.at("model_type", "config.json").as_string("model_type");
  std::string known;
  for (const ExportFamily& family : kFamilies) {
    if (family.model_type == type) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  fail(ErrorCode::kUnsupported, "expected a model_type out of ", known,
       " to write GGUF from a folder, found ", in_quotes(type));
}

class Exporter {
 public:
  explicit Exporter(const ModelFiles& files)
      : files_(files), config_(files.config), family_(find_export(config_)) {}

  GgufExport run() {
    heads_ = integer("num_attention_heads");
    kv_heads_ = integer_or("num_key_value_heads", heads_);
    head_dim_ = integer_or("head_dim", integer("hidden_size") / std::max<int64_t>(heads_, 1));
    out_.num_layers = integer("num_hidden_layers");
    if (heads_ < 1 || kv_heads_ < 1 || head_dim_ < 2 || head_dim_ % 2 != 0) {
      fail(ErrorCode::kCorruptData, "config.json: expected heads of an even width, found ", heads_,
           " of ", head_dim_);
    }
    for (const std::string& name : files_.checkpoint->names()) add_tensor(name);
    write_keys();
    write_rope();
    const TensorView table = files_.checkpoint->find("model.embed_tokens.weight");
    if (table.empty() || table.shape.rank() != 2) {
      fail(ErrorCode::kNotFound, files_.path, ": tensor \"model.embed_tokens.weight\" is missing");
    }
    key_u32("vocab_size", table.shape[0]);
    for (GgufPair& pair : export_vocabulary(files_.path, config_, table.shape[0])) {
      out_.pairs.push_back(std::move(pair));
    }
    return std::move(out_);
  }

 private:
  int64_t integer(const char* key) const {
    return config_.at(key, "config.json").as_int(std::string("config.json: ") + key);
  }
  int64_t integer_or(const char* key, int64_t fallback) const {
    const JsonValue* value = config_.find(key);
    return value == nullptr || value->is_null() ? fallback : value->as_int(key);
  }
  double number(const JsonValue& object, const char* key) const {
    return object.at(key, "config.json").as_double(std::string("config.json: ") + key);
  }
  std::string key(const char* name) const { return std::string(family_.arch) + "." + name; }
  void key_u32(const char* name, int64_t value) {
    if (value < 0 || value > UINT32_MAX) {
      fail(ErrorCode::kCorruptData, "config.json: expected 32 bits for ", name, ", found ", value);
    }
    out_.pairs.push_back(gguf_u32(key(name), static_cast<uint32_t>(value)));
  }
  void key_f32(const char* name, double value) {
    out_.pairs.push_back(gguf_f32(key(name), static_cast<float>(value)));
  }

  /// "blk.3.attn_q.weight" for "model.layers.3.self_attn.q_proj.weight"; empty: no such name.
  std::string gguf_name(const std::string& name) const {
    if (name == "lm_head.weight") return "output.weight";
    if (name == "model.embed_tokens.weight") return "token_embd.weight";
    if (name == "model.norm.weight") return "output_norm.weight";
    constexpr std::string_view kPrefix = "model.layers.";
    const size_t dot = name.find('.', kPrefix.size());
    const size_t last = name.rfind('.');
    if (!name.starts_with(kPrefix) || dot == std::string::npos || last <= dot) return {};
    const std::string part = name.substr(dot + 1, last - dot - 1);
    const auto rename = [&](std::span<const Rename> table) -> std::string {
      for (const Rename& r : table) {
        if (r.from == part) {
          return "blk." + name.substr(kPrefix.size(), dot - kPrefix.size()) + "." +
                 std::string(r.to) + name.substr(last);
        }
      }
      return {};
    };
    const std::string norm = rename(family_.norms);
    return norm.empty() ? rename(kLayerNames) : norm;
  }

  void add_tensor(const std::string& name) {
    if (name.ends_with("rotary_emb.inv_freq")) return;  // follows from the config
    const bool is_tied = config_.find("tie_word_embeddings") != nullptr &&
                         config_.find("tie_word_embeddings")->is_bool() &&
                         config_.find("tie_word_embeddings")->as_bool("tie_word_embeddings");
    if (is_tied && name == "lm_head.weight") return;
    PlannedTensor tensor;
    tensor.name = gguf_name(name);
    if (tensor.name.empty()) {
      fail(ErrorCode::kUnsupported, files_.path, ": tensor ", in_quotes(name),
           " has no place in a GGUF file of ", family_.arch);
    }
    tensor.source = files_.checkpoint->find(name);
    const bool is_q = tensor.name.find(".attn_q.") != std::string::npos;
    const bool is_k = tensor.name.find(".attn_k.") != std::string::npos;
    if (family_.paired_rope && (is_q || is_k)) {
      tensor.change = Change::kPairRows;
      tensor.num_heads = is_q ? heads_ : kv_heads_;
      if (tensor.source.shape[0] != tensor.num_heads * head_dim_) {
        fail(ErrorCode::kCorruptData, files_.path, ": tensor ", in_quotes(name), ": expected ",
             tensor.num_heads * head_dim_, " rows, found ", tensor.source.shape.to_string());
      }
    }
    if (family_.norms_plus_one && tensor.name.find("norm") != std::string::npos) {
      tensor.change = Change::kPlusOne;
      if (tensor.name.find("attn_q_norm") != std::string::npos) tensor.factor = query_factor();
    }
    out_.tensors.push_back(std::move(tensor));
  }

  // GGUF readers scale scores by 1 / sqrt(head_dim), but for the one model of 62 layers; another
  // scale goes into the norm of the queries.
  float query_factor() const {
    const JsonValue* scalar = config_.find("query_pre_attn_scalar");
    if (scalar == nullptr || out_.num_layers == 62) return 1.0f;
    const double width = scalar->as_double("config.json: query_pre_attn_scalar");
    if (!(width > 0.0)) {
      fail(ErrorCode::kCorruptData, "config.json: expected query_pre_attn_scalar above 0, found ",
           width);
    }
    return static_cast<float>(std::sqrt(static_cast<double>(head_dim_) / width));
  }

  void write_keys() {
    out_.pairs.push_back(gguf_string("general.architecture", family_.arch));
    out_.pairs.push_back(gguf_string("general.type", "model"));
    const std::string folder = std::filesystem::path(files_.path + "/.").parent_path().filename();
    out_.pairs.push_back(gguf_string("general.name", folder));
    key_u32("block_count", out_.num_layers);
    key_u32("context_length", integer("max_position_embeddings"));
    key_u32("embedding_length", integer("hidden_size"));
    key_u32("feed_forward_length", integer("intermediate_size"));
    key_u32("attention.head_count", heads_);
    key_u32("attention.head_count_kv", kv_heads_);
    key_u32("attention.key_length", head_dim_);
    key_u32("attention.value_length", head_dim_);
    key_f32("attention.layer_norm_rms_epsilon", number(config_, "rms_norm_eps"));
    key_u32("rope.dimension_count", head_dim_);
    const int64_t window = integer_or("sliding_window", 0);
    const bool slides = family_.arch == "gemma3" || family_.arch == "exaone4";
    if (window <= 0 || !slides) return;
    key_u32("attention.sliding_window", window);
    if (const JsonValue* kinds = config_.find("layer_types"); kinds && kinds->is_array()) {
      std::vector<bool> pattern;
      for (const JsonValue& kind : kinds->as_array("layer_types")) {
        pattern.push_back(kind.as_string("layer_types") == "sliding_attention");
      }
      out_.pairs.push_back(gguf_bools(key("attention.sliding_window_pattern"), pattern));
    }
  }

  // Both spellings: "rope_parameters" (perhaps one set per layer kind), and "rope_theta" beside
  // "rope_scaling".
  void write_rope() {
    const JsonValue* parameters = config_.find("rope_parameters");
    if (parameters != nullptr && parameters->is_null()) parameters = nullptr;
    const JsonValue* full = parameters ? parameters->find("full_attention") : nullptr;
    if (full == nullptr) full = parameters;
    const JsonValue* local = parameters ? parameters->find("sliding_attention") : nullptr;
    const JsonValue* scaling = full ? full : config_.find("rope_scaling");
    const JsonValue& base = full ? *full : config_;
    const bool has_default = family_.arch == "llama" && base.find("rope_theta") == nullptr;
    const double theta = has_default ? 10000.0 : number(base, "rope_theta");
    key_f32("rope.freq_base", theta);
    if (local != nullptr) {
      key_f32("rope.freq_base_swa", number(*local, "rope_theta"));
    } else if (config_.find("rope_local_base_freq") != nullptr) {
      key_f32("rope.freq_base_swa", number(config_, "rope_local_base_freq"));
    }
    if (scaling == nullptr || !scaling->is_object()) return;
    const JsonValue* type = scaling->find("rope_type");
    if (type == nullptr) type = scaling->find("type");
    const std::string name = type ? type->as_string("rope_type") : "default";
    if (name == "default") return;
    if (name == "llama3") return write_llama3_factors(*scaling, theta);
    if (name != "linear" && name != "yarn") {
      fail(ErrorCode::kUnsupported, "config.json: rope_type ", in_quotes(name),
           " cannot be written to GGUF");
    }
    out_.pairs.push_back(gguf_string(key("rope.scaling.type"), name));
    key_f32("rope.scaling.factor", number(*scaling, "factor"));
    if (name == "yarn") {
      key_u32(
          "rope.scaling.original_context_length",
          scaling->at("original_max_position_embeddings", "rope_scaling").as_int("rope_scaling"));
    }
  }

  // What llama3 scaling divides each frequency by.
  void write_llama3_factors(const JsonValue& scaling, double theta) {
    const double factor = number(scaling, "factor");
    const double low = number(scaling, "low_freq_factor");
    const double high = number(scaling, "high_freq_factor");
    const double context = number(scaling, "original_max_position_embeddings");
    Tensor factors(DType::kF32, {head_dim_ / 2});
    for (int64_t i = 0; i < head_dim_ / 2; ++i) {
      const double exponent = static_cast<double>(2 * i) / static_cast<double>(head_dim_);
      const double wavelength = 2.0 * M_PI * std::pow(theta, exponent);
      double divisor = 1.0;
      if (wavelength > context / low) {
        divisor = factor;
      } else if (wavelength >= context / high) {
        const double smooth = (context / wavelength - low) / (high - low);
        divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
      }
      factors.f32()[i] = static_cast<float>(divisor);
    }
    PlannedTensor tensor;
    tensor.name = "rope_freqs.weight";
    tensor.source = factors.view();
    out_.owned.push_back(std::move(factors));
    out_.tensors.push_back(std::move(tensor));
  }

  const ModelFiles& files_;
  const JsonValue& config_;
  const ExportFamily& family_;
  GgufExport out_;
  int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0;
};

}  // namespace

std::vector<std::string> gguf_families() {
  std::vector<std::string> names;
  for (const ExportFamily& family : kFamilies) names.emplace_back(family.model_type);
  return names;
}

GgufExport export_gguf(const ModelFiles& files) { return Exporter(files).run(); }

}  // namespace onnuri
