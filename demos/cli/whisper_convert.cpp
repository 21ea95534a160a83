// Self-attention's linear_0 is Q, K and V stacked by rows; cross-attention has Q in linear_0 and K,
// V in linear_1. K has no bias in the original: its stacked part is zero and is left out.
#include "demos/cli/whisper_convert.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "demos/cli/ct2_reader.h"
#include "demos/cli/pull_cache.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

struct OutputTensor {
  std::string name;
  std::vector<uint64_t> shape;
  Ct2Type type = Ct2Type::kF16;
  std::string_view data;
};

class WeightMapper {
 public:
  explicit WeightMapper(const Ct2Model& model) : model_(model) {}

  std::vector<OutputTensor> map() {
    for (const std::string side : {"encoder", "decoder"}) {
      const std::string out = "model." + side;
      add(side + "/position_encodings/encodings", out + ".embed_positions.weight");
      norm(side + "/layer_norm", out + ".layer_norm");
      for (int i = 0; model_.has(layer(side, i) + "/ffn/linear_0/weight"); ++i) {
        map_layer(layer(side, i), out + ".layers." + std::to_string(i), side == "decoder");
      }
    }
    for (const std::string conv : {"conv1", "conv2"}) {
      linear("encoder/" + conv, "model.encoder." + conv);
    }
    add("decoder/embeddings/weight", "model.decoder.embed_tokens.weight");
    return std::move(tensors_);
  }

  static std::string layer(const std::string& side, int index) {
    return side + "/layer_" + std::to_string(index);
  }

 private:
  void map_layer(const std::string& in, const std::string& out, bool has_cross) {
    norm(in + "/self_attention/layer_norm", out + ".self_attn_layer_norm");
    stacked(in + "/self_attention/linear_0", out + ".self_attn.", {"q", "k", "v"});
    linear(in + "/self_attention/linear_1", out + ".self_attn.out_proj");
    if (has_cross) {
      norm(in + "/attention/layer_norm", out + ".encoder_attn_layer_norm");
      stacked(in + "/attention/linear_0", out + ".encoder_attn.", {"q"});
      stacked(in + "/attention/linear_1", out + ".encoder_attn.", {"k", "v"});
      linear(in + "/attention/linear_2", out + ".encoder_attn.out_proj");
    }
    norm(in + "/ffn/layer_norm", out + ".final_layer_norm");
    linear(in + "/ffn/linear_0", out + ".fc1");
    linear(in + "/ffn/linear_1", out + ".fc2");
  }

  void add(const std::string& in, const std::string& out) { add_rows(in, out, 0, 1); }

  /// Part `index` of `count` equal parts along the first axis.
  void add_rows(const std::string& in, const std::string& out, size_t index, size_t count) {
    const Ct2Variable& v = model_.at(in);
    if (v.shape.empty() || v.shape[0] % count != 0 ||
        (v.type != Ct2Type::kF16 && v.type != Ct2Type::kF32)) {
      throw Error(ErrorCode::kUnsupported,
                  in + ": expected float rows in " + std::to_string(count) + " equal parts");
    }
    OutputTensor tensor{out, {v.shape.begin(), v.shape.end()}, v.type, v.data};
    tensor.shape[0] /= count;
    const size_t bytes = v.data.size() / count;
    tensor.data = v.data.substr(index * bytes, bytes);
    tensors_.push_back(std::move(tensor));
  }

  void linear(const std::string& in, const std::string& out) {
    add(in + "/weight", out + ".weight");
    add(in + "/bias", out + ".bias");
  }

  void norm(const std::string& in, const std::string& out) {
    add(in + "/gamma", out + ".weight");
    add(in + "/beta", out + ".bias");
  }

  void stacked(const std::string& in, const std::string& out,
               const std::vector<std::string>& names) {
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string projection = out + names[i] + "_proj";
      add_rows(in + "/weight", projection + ".weight", i, names.size());
      add_rows(in + "/bias", projection + ".bias", i, names.size());
      if (names[i] != "k") continue;
      const std::string_view bias = tensors_.back().data;
      tensors_.pop_back();
      if (bias.find_first_not_of('\0') != std::string_view::npos) {
        throw Error(ErrorCode::kUnsupported, in + ": expected keys without a bias");
      }
    }
  }

  const Ct2Model& model_;
  std::vector<OutputTensor> tensors_;
};

void write_weights(const std::string& path, std::vector<OutputTensor> tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const OutputTensor& a, const OutputTensor& b) { return a.name < b.name; });
  ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t offset = 0;
  for (const OutputTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.type == Ct2Type::kF16 ? "F16" : "F32"},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.data.size()}}};
    offset += tensor.data.size();
  }
  std::string text = header.dump();
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');
  const uint64_t length = text.size();
  std::ofstream out(path + ".part", std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(&length), sizeof(length));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const OutputTensor& tensor : tensors) {
    out.write(tensor.data.data(), static_cast<std::streamsize>(tensor.data.size()));
  }
  out.close();
  if (!out) throw Error(ErrorCode::kNotFound, path + ": cannot write the file");
  rename_file(path + ".part", path);
}

/// Special tokens by their text.
class Vocabulary {
 public:
  explicit Vocabulary(const json& tokenizer) {
    for (const json& token : tokenizer.at("added_tokens")) {
      ids_[token.at("content").get<std::string>()] = token.at("id").get<int64_t>();
    }
  }
  int64_t id(const std::string& text) const { return ids_.at(text); }
  std::string text(int64_t wanted) const {
    for (const auto& [text, id] : ids_) {
      if (id == wanted) return text;
    }
    throw Error(ErrorCode::kCorruptData,
                "tokenizer.json: expected an added token " + std::to_string(wanted));
  }

 private:
  std::map<std::string, int64_t> ids_;
};

ordered_json common_ids(const Vocabulary& vocabulary) {
  const int64_t end = vocabulary.id("<|endoftext|>");
  return {{"bos_token_id", end},
          {"eos_token_id", end},
          {"pad_token_id", end},
          {"decoder_start_token_id", vocabulary.id("<|startoftranscript|>")}};
}

ordered_json model_config(const Ct2Model& model, const Vocabulary& vocabulary) {
  const auto extent = [&model](const std::string& name, size_t axis) {
    return model.at(name).shape.at(axis);
  };
  ordered_json config = {
      {"architectures", {"WhisperForConditionalGeneration"}},
      {"model_type", "whisper"},
      {"dtype", "float16"},
      {"vocab_size", extent("decoder/embeddings/weight", 0)},
      {"d_model", extent("decoder/embeddings/weight", 1)},
      {"num_mel_bins", extent("encoder/conv1/weight", 1)},
      {"max_source_positions", extent("encoder/position_encodings/encodings", 0)},
      {"max_target_positions", extent("decoder/position_encodings/encodings", 0)},
      {"activation_function", "gelu"},
      {"scale_embedding", false},
      {"is_encoder_decoder", true},
      {"tie_word_embeddings", true},
      {"use_cache", true}};
  for (const std::string side : {"encoder", "decoder"}) {
    int layers = 0;
    while (model.has(WeightMapper::layer(side, layers) + "/ffn/linear_0/weight")) ++layers;
    config[side + "_layers"] = layers;
    config[side + "_attention_heads"] = model.integer(side + "/num_heads");
    config[side + "_ffn_dim"] = extent(side + "/layer_0/ffn/linear_0/weight", 0);
  }
  config.update(common_ids(vocabulary));
  return config;
}

ordered_json generation_config(const json& source, const Vocabulary& vocabulary,
                               int64_t max_length) {
  ordered_json config = common_ids(vocabulary);
  config["alignment_heads"] = source.at("alignment_heads");
  config["suppress_tokens"] = source.at("suppress_ids");
  config["begin_suppress_tokens"] = source.at("suppress_ids_begin");
  config["is_multilingual"] = true;
  config["task_to_id"] = {{"transcribe", vocabulary.id("<|transcribe|>")},
                          {"translate", vocabulary.id("<|translate|>")}};
  config["lang_to_id"] = ordered_json::object();
  for (const json& id : source.at("lang_ids")) {
    const std::string text = vocabulary.text(id.get<int64_t>());
    if (text.size() <= 8) config["lang_to_id"][text] = id;  // "<|yue|>"; the range ends in tasks
  }
  config["no_timestamps_token_id"] = vocabulary.id("<|notimestamps|>");
  config["prev_sot_token_id"] = vocabulary.id("<|startofprev|>");
  config["max_length"] = max_length;
  config["max_initial_timestamp_index"] = 50;  // the first timestamp is at most 1 s
  config["return_timestamps"] = false;
  return config;
}

ordered_json preprocessor_config(int64_t num_mel_bins) {
  return {{"feature_extractor_type", "WhisperFeatureExtractor"},
          {"processor_class", "WhisperProcessor"},
          {"chunk_length", 30},
          {"feature_size", num_mel_bins},
          {"hop_length", 160},
          {"n_fft", 400},
          {"n_samples", 480000},
          {"nb_max_frames", 3000},
          {"padding_side", "right"},
          {"padding_value", 0.0},
          {"return_attention_mask", false},
          {"sampling_rate", 16000}};
}

ordered_json tokenizer_config(int64_t max_length) {
  const char* end = "<|endoftext|>";
  return {{"tokenizer_class", "WhisperTokenizer"},
          {"bos_token", end},
          {"eos_token", end},
          {"unk_token", end},
          {"pad_token", end},
          {"model_max_length", max_length}};
}

}  // namespace

std::vector<std::string> convert_whisper_from_ct2(const std::string& model_path,
                                                  const std::string& config_path,
                                                  const std::string& tokenizer_path,
                                                  const std::string& folder) {
  const Ct2Model model(model_path);
  if (model.spec() != "WhisperSpec") {
    throw Error(ErrorCode::kUnsupported,
                model_path + ": expected WhisperSpec, found " + model.spec());
  }
  constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;
  try {
    const json source = json::parse(read_whole_file(config_path, kMaxJsonBytes));
    const Vocabulary vocabulary(json::parse(read_whole_file(tokenizer_path, kMaxJsonBytes)));
    const ordered_json config = model_config(model, vocabulary);
    const int64_t max_length = config.at("max_target_positions").get<int64_t>();
    const std::pair<std::string, ordered_json> files[] = {
        {"config.json", config},
        {"generation_config.json", generation_config(source, vocabulary, max_length)},
        {"preprocessor_config.json", preprocessor_config(config.at("num_mel_bins").get<int64_t>())},
        {"tokenizer_config.json", tokenizer_config(max_length)}};
    std::vector<std::string> names = {"model.safetensors"};
    write_weights(folder + "/model.safetensors", WeightMapper(model).map());
    for (const auto& [name, value] : files) {
      write_text_file(folder + "/" + name, value.dump(2) + "\n");
      names.push_back(name);
    }
    return names;
  } catch (const json::exception& e) {
    throw Error(ErrorCode::kCorruptData, config_path + " or tokenizer.json: " + e.what());
  } catch (const std::out_of_range&) {
    throw Error(ErrorCode::kCorruptData,
                model_path + ": expected Whisper's special tokens and shapes");
  }
}

}  // namespace onnuri::cli
