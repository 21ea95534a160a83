// A family's tensors are asked for by their canonical names and written under the names that the
// reader of GGUF files knows for them: one table serves both ways. What differs in the values: some
// architectures turn neighbouring pairs, so rows of q and k are reordered; norms of w + 1 have the
// one added; the key half of latent attention is stored turned around.
#include "engine/gguf_export.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "core/check.h"
#include "core/printable.h"
#include "core/quantized_checkpoint.h"
#include "core/weight_encoding.h"
#include "engine/gguf_target.h"
#include "engine/latent_mapping.h"
#include "kernels/linear.h"

namespace onnuri {
namespace {

/// The type of GGUF whose values a stored tensor has.
DType closest_type(const TensorView& view) {
  if (view.encoding == nullptr) return view.dtype;
  const WeightEncoding& e = *view.encoding;
  const bool is_mxfp4 = e.code_type == CodeType::kFloat4 && e.scale_type == ScaleType::kE8M0 &&
                        e.block_cols == 32 && e.cols % 32 == 0;
  return is_mxfp4 ? DType::kMXFP4 : DType::kEncoded;
}

class Exporter {
 public:
  Exporter(const ModelFiles& files, const ModelConfig& model, const GgufTarget& target)
      : model_(model),
        c_(model.decoder),
        target_(target),
        checkpoint_(files.checkpoint),
        source_(std::make_shared<TensorSource>(files.checkpoint, model.names)) {
    NameTable names;
    add_gguf_names(names, target.norms);
    if (target.has(kGgufLatent)) add_gguf_latent_names(names);
    if (target.has(kGgufExperts)) add_gguf_moe_names(names);
    gguf_names_ = names.map();
  }

  GgufExport run() {
    out_.num_layers = c_.num_layers();
    add("embed.weight", {c_.vocab_size, c_.hidden_size});
    add_norm("norm");
    if (!c_.tied_head) {
      add("head.weight", {c_.vocab_size, c_.hidden_size});
    } else if (!target_.has(kGgufTiedHead)) {
      add("embed.weight", {c_.vocab_size, c_.hidden_size});
      out_.tensors.back().name = "output.weight";
    }
    for (int64_t i = 0; i < c_.num_layers(); ++i) {
      add_layer("layers." + std::to_string(i) + ".", c_.layers[static_cast<size_t>(i)]);
    }
    check_unused();
    return std::move(out_);
  }

 private:
  /// The stored tensor behind a canonical name, without reading it.
  TensorView find(const std::string& canonical) {
    for (const TensorRef& ref : model_.names(canonical)) {
      const TensorView view = checkpoint_->find(ref.name);
      if (view.empty()) continue;
      used_.insert(ref.name);
      return view;
    }
    source_->get(canonical, {});  // says what is missing
    return {};
  }

  std::string gguf_name(const std::string& canonical) const {
    const std::vector<TensorRef> refs = gguf_names_(canonical);
    if (refs.empty()) {
      fail(ErrorCode::kUnsupported, checkpoint_->path(), ": tensor ", in_quotes(canonical),
           " has no place in a GGUF file of ", target_.arch);
    }
    return refs[0].name;
  }

  PlannedTensor& add(const std::string& canonical, const Shape& shape) {
    return add_stack({canonical}, shape, shape);
  }

  // Tensors of `part` each, one behind the other.
  PlannedTensor& add_stack(const std::vector<std::string>& canonical, const Shape& part,
                           const Shape& whole) {
    PlannedTensor tensor;
    tensor.name = gguf_name(canonical[0]);
    tensor.shape = whole;
    const TensorView first = find(canonical[0]);
    tensor.stored = closest_type(first);
    for (const std::string& name : canonical) {
      const TensorView view = find(name);
      tensor.is_plain = tensor.is_plain && view.encoding == nullptr;
      if (closest_type(view) != tensor.stored) tensor.stored = DType::kEncoded;
    }
    const double share = static_cast<double>(stored_bytes(first)) /
                         static_cast<double>(std::max<int64_t>(first.num_elements(), 1));
    tensor.stored_bytes = static_cast<int64_t>(share * static_cast<double>(whole.num_elements()));
    tensor.open = [source = source_, canonical, part] {
      source->release_copies();
      SourceParts parts;
      for (const std::string& name : canonical) parts.views.push_back(source->get(name, part));
      return parts;
    };
    out_.tensors.push_back(std::move(tensor));
    return out_.tensors.back();
  }

  void add_vector(const std::string& canonical, int64_t size) { add(canonical, {size}); }

  PlannedTensor& add_norm(const std::string& canonical, int64_t size) {
    PlannedTensor& tensor = add(canonical + ".weight", {size});
    if (c_.norm_form == NormForm::kOnePlusWeight) tensor.change = Change::kPlusOne;
    return tensor;
  }
  void add_norm(const std::string& canonical) { add_norm(canonical, c_.hidden_size); }

  void add_layer(const std::string& prefix, const LayerSpec& layer) {
    if (layer.pre_mixer_norm) add_norm(prefix + "pre_mixer_norm");
    if (layer.post_mixer_norm) add_norm(prefix + "post_mixer_norm");
    if (layer.pre_ffn_norm) add_norm(prefix + "pre_ffn_norm");
    if (layer.post_ffn_norm) add_norm(prefix + "post_ffn_norm");
    if (layer.mixer == MixerKind::kMla) {
      add_latent(prefix);
    } else {
      add_heads(prefix + "q", c_.num_heads, c_.head_dim, layer.q_bias, true);
      add_heads(prefix + "k", c_.num_kv_heads, c_.head_dim, layer.k_bias, true);
      add_heads(prefix + "v", c_.num_kv_heads, c_.v_dim, layer.v_bias, false);
      if (layer.qk_norm) {
        add_norm(prefix + "q_norm", c_.head_dim).factor = query_factor();
        add_norm(prefix + "k_norm", c_.head_dim);
      }
    }
    add(prefix + "o.weight", {c_.hidden_size, c_.num_heads * c_.v_dim});
    if (layer.o_bias) add_vector(prefix + "o.bias", c_.hidden_size);
    if (layer.sinks) add_vector(prefix + "sinks", c_.num_heads);
    if (layer.ffn == FfnKind::kMoe) {
      add_experts(prefix);
    } else {
      add_ffn(prefix, layer.intermediate_size, layer.ffn_bias);
    }
  }

  // Another scale of attention scores than readers derive goes into the norm of the queries.
  float query_factor() const {
    const float factor = c_.attention_scale / gguf_attention_scale(target_, c_);
    return std::fabs(factor - 1.0f) < 1e-6f ? 1.0f : factor;
  }

  void add_heads(const std::string& name, int64_t heads, int64_t width, bool bias, bool turns) {
    const bool reorder = turns && c_.rope_tables.at(0).layout != target_.rope;
    const auto set = [&](PlannedTensor& tensor) {
      if (!reorder) return;
      tensor.change = Change::kPairRows;
      tensor.num_heads = heads;
    };
    set(add(name + ".weight", {heads * width, c_.hidden_size}));
    if (bias) set(add(name + ".bias", {heads * width}));
  }

  void add_latent(const std::string& prefix) {
    const MlaSpec& m = c_.mla;
    const int64_t q_rows = c_.num_heads * c_.head_dim;
    if (m.q_lora_rank == 0) {
      add(prefix + "q.weight", {q_rows, c_.hidden_size});
    } else {
      add(prefix + "q_a.weight", {m.q_lora_rank, c_.hidden_size});
      add_norm(prefix + "q_a_norm", m.q_lora_rank);
      add(prefix + "q_b.weight", {q_rows, m.q_lora_rank});
    }
    add(prefix + "kv_a.weight", {m.key_row(), c_.hidden_size});
    add_norm(prefix + "kv_a_norm", m.kv_lora_rank);
    const Shape keys{c_.num_heads, m.kv_lora_rank, m.qk_nope_dim};
    const Shape values{c_.num_heads, m.v_dim, m.kv_lora_rank};
    add_half(prefix, "k_b", keys, 0, m.qk_nope_dim, true);
    add_half(prefix, "v_b", values, m.qk_nope_dim, m.v_dim, false);
  }

  // Rows [begin, begin + count) of every head of kv_b, turned around or not.
  void add_half(const std::string& prefix, const std::string& name, const Shape& shape,
                int64_t begin, int64_t count, bool turned) {
    const std::string canonical = prefix + "kv_b.weight";
    const TensorView stored = find(canonical);
    PlannedTensor tensor;
    tensor.name = gguf_name(prefix + name + ".weight");
    tensor.shape = shape;
    tensor.stored =
        turned && is_block_quantized(stored.dtype) ? DType::kEncoded : closest_type(stored);
    tensor.is_plain = !turned && stored.encoding == nullptr;
    const int64_t height = c_.mla.qk_nope_dim + c_.mla.v_dim;
    const int64_t heads = c_.num_heads, rank = c_.mla.kv_lora_rank;
    tensor.stored_bytes = stored_bytes(stored) / height * count;
    tensor.open = [=, source = source_] {
      source->release_copies();
      const TensorView all = source->get(canonical, {heads * height, rank});
      SourceParts parts;
      for (int64_t h = 0; h < heads; ++h) {
        parts.views.push_back(all.rows(h * height + begin, count));
        if (turned) turn(parts, count, rank);
      }
      return parts;
    };
    out_.tensors.push_back(std::move(tensor));
  }

  // The last part becomes its transpose, as floats.
  static void turn(SourceParts& parts, int64_t rows, int64_t cols) {
    std::vector<float> values(static_cast<size_t>(rows * cols));
    dequantize(parts.views.back(), values.data());
    Tensor turned(DType::kF32, {cols, rows});
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < cols; ++k) {
        turned.f32()[k * rows + r] = values[static_cast<size_t>(r * cols + k)];
      }
    }
    parts.views.back() = turned.view();
    parts.owned.push_back(std::move(turned));
  }

  void add_ffn(const std::string& prefix, int64_t width, bool bias) {
    for (const std::string part : {"gate", "up", "down"}) {
      const bool down = part == "down";
      const int64_t rows = down ? c_.hidden_size : width;
      add(prefix + part + ".weight", {rows, down ? width : c_.hidden_size});
      if (bias) add_vector(prefix + part + ".bias", rows);
    }
  }

  void add_experts(const std::string& prefix) {
    const MoeSpec& moe = c_.moe;
    add(prefix + "router.weight", {moe.num_experts, c_.hidden_size});
    if (moe.router.logit_bias) add_vector(prefix + "router.bias", moe.num_experts);
    if (moe.router.correction_bias) add_vector(prefix + "router.correction", moe.num_experts);
    for (const std::string part : {"gate", "up", "down"}) {
      const bool down = part == "down";
      const int64_t rows = down ? c_.hidden_size : moe.intermediate_size;
      const int64_t cols = down ? moe.intermediate_size : c_.hidden_size;
      std::vector<std::string> weights, biases;
      for (int64_t e = 0; e < moe.num_experts; ++e) {
        const std::string name = prefix + "experts." + std::to_string(e) + "." + part;
        weights.push_back(name + ".weight");
        biases.push_back(name + ".bias");
      }
      add_stack(weights, {rows, cols}, {moe.num_experts, rows, cols});
      if (moe.expert_bias) add_stack(biases, {rows}, {moe.num_experts, rows});
    }
    if (moe.shared_intermediate_size > 0) {
      add_ffn(prefix + "shared.", moe.shared_intermediate_size, false);
    }
  }

  // Whatever is stored and not written must be known: what engines skip, encoders, a prediction
  // module, or the copy of a tied head.
  void check_unused() {
    const auto begins = [](const std::string& name, const std::vector<std::string>& prefixes) {
      return std::any_of(prefixes.begin(), prefixes.end(),
                         [&](const std::string& prefix) { return name.starts_with(prefix); });
    };
    const bool has_encoders = model_.vision.has_value() || model_.audio.has_value();
    for (const TensorRef& ref : model_.names("head.weight")) used_.insert(ref.name);
    for (const std::string& name : checkpoint_->names()) {
      if (used_.contains(name)) continue;
      const bool is_left_out = begins(name, model_.mtp_prefixes) || has_encoders;
      out_.num_left_out += is_left_out;
      if (!is_left_out && !begins(name, model_.ignored_prefixes)) {
        fail(ErrorCode::kUnsupported, checkpoint_->path(), ": tensor ", in_quotes(name),
             " has no place in a GGUF file of ", target_.arch);
      }
    }
  }

  const ModelConfig& model_;
  const DecoderConfig& c_;
  const GgufTarget& target_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<TensorSource> source_;
  TensorNameMap gguf_names_;
  std::unordered_set<std::string> used_;  // stored names
  GgufExport out_;
};

}  // namespace

GgufExport export_gguf(const ModelFiles& files) {
  const GgufTarget& target = find_gguf_target(find_family(files).name);
  const ModelConfig model = map_model(files);
  check_gguf_target(target, model.decoder);
  GgufExport out = Exporter(files, model, target).run();
  export_keys(files, model, target, out);
  for (GgufPair& pair : export_vocabulary(files.path, files.config, model.decoder.vocab_size)) {
    out.pairs.push_back(std::move(pair));
  }
  return out;
}

}  // namespace onnuri
