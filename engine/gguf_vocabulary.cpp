// tokenizer.json as the vocabulary of a GGUF file.
//
// GGUF does not store a pre-tokenizer but names it; the name is found by what tells the patterns
// apart. Byte-level BPE becomes "gpt2" with its merges, BPE with byte fallback becomes "llama" with
// scores: the rank of the merge that makes a token, negated.
#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "core/check.h"
#include "core/mapped_file.h"
#include "core/printable.h"
#include "engine/gguf_export.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

JsonValue read_json_if(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return {};
  return parse_json(read_text_file(path.string()), path.filename().string());
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

class Vocabulary {
 public:
  Vocabulary(const fs::path& folder, const JsonValue& config, int64_t size)
      : folder_(folder),
        config_(config),
        settings_(read_json_if(folder / "tokenizer_config.json")),
        json_(read_json_if(folder / "tokenizer.json")),
        size_(size) {}

  std::vector<GgufPair> run() {
    if (json_.is_null()) {
      add(gguf_string("tokenizer.ggml.model", "none"));
      return std::move(pairs_);
    }
    const JsonValue& model = json_.at("model", "tokenizer.json");
    const JsonValue* kind = model.find("type");
    if (kind != nullptr && kind->is_string() && kind->as_string("type") != "BPE") {
      fail(ErrorCode::kUnsupported, "tokenizer.json: expected a model of type BPE, found ",
           in_quotes(kind->as_string("type")));
    }
    read_tokens(model);
    read_merges(model);
    const std::string steps = part("pre_tokenizer") + part("normalizer");
    if (contains(steps, "\"ByteLevel\"")) {
      write_byte_level(steps);
    } else {
      write_scored(steps);
    }
    add(gguf_strings("tokenizer.ggml.tokens", tokens_));
    add(gguf_i32s("tokenizer.ggml.token_type", types_));
    write_special();
    return std::move(pairs_);
  }

 private:
  void add(GgufPair pair) { pairs_.push_back(std::move(pair)); }

  std::string part(const char* name) const {
    const JsonValue* value = json_.find(name);
    return value == nullptr ? "" : value->dump();
  }

  void put_token(const std::string& text, int64_t id, TokenType type) {
    if (id < 0 || id >= size_) {
      fail(ErrorCode::kCorruptData, "tokenizer.json: expected ids below ", size_,
           ", the rows of the embedding, found ", id, " for ", in_quotes(text));
    }
    tokens_[static_cast<size_t>(id)] = text;
    types_[static_cast<size_t>(id)] = type;
    ids_[text] = id;
  }

  void read_tokens(const JsonValue& model) {
    for (int64_t id = 0; id < size_; ++id) tokens_.push_back("[PAD" + std::to_string(id) + "]");
    types_.assign(static_cast<size_t>(size_), kUnused);
    const bool has_bytes = model.find("byte_fallback") != nullptr &&
                           model.find("byte_fallback")->is_bool() &&
                           model.find("byte_fallback")->as_bool("byte_fallback");
    for (const auto& [text, id] : model.at("vocab", "tokenizer.json").as_object("vocab")) {
      const bool is_byte = has_bytes && text.size() == 6 && text.starts_with("<0x");
      put_token(text, id.as_int("tokenizer.json: vocab"), is_byte ? kByte : kNormal);
    }
    if (const JsonValue* added = json_.find("added_tokens"); added && added->is_array()) {
      for (const JsonValue& token : added->as_array("added_tokens")) {
        const JsonValue* special = token.find("special");
        const bool is_special = special != nullptr && special->as_bool("special");
        put_token(token.at("content", "added_tokens").as_string("content"),
                  token.at("id", "added_tokens").as_int("id"),
                  is_special ? kControl : kUserDefined);
      }
    }
  }

  // A merge is "a b" or ["a", "b"].
  void read_merges(const JsonValue& model) {
    for (const JsonValue& merge : model.at("merges", "tokenizer.json").as_array("merges")) {
      if (merge.is_string()) {
        merges_.push_back(merge.as_string("merges"));
        continue;
      }
      const JsonValue::Array& pair = merge.as_array("merges");
      if (pair.size() != 2)
        fail(ErrorCode::kCorruptData, "tokenizer.json: expected pairs in merges");
      merges_.push_back(pair[0].as_string("merges") + " " + pair[1].as_string("merges"));
    }
  }

  std::string pre_name(const std::string& steps) const {
    const JsonValue* type = config_.find("model_type");
    const std::string family = type && type->is_string() ? type->as_string("model_type") : "";
    const bool has_pattern = contains(steps, "\"Regex\"");
    if (contains(steps, "一-龥")) return "deepseek-v3";
    if (family == "exaone_moe") return "exaone-moe";
    if (family == "solar_open") return "solar-open";
    const bool has_contractions = contains(steps, "(?i:");
    if (contains(steps, "\\\\p{Lu}")) return has_contractions ? "gpt-4o" : "tekken";
    if (contains(steps, "(?i:") && contains(steps, "\\\\p{N}{1,3}")) return "llama-bpe";
    if (contains(steps, "(?i:") && contains(steps, "\\\\p{N}|")) return "qwen2";
    if (!has_pattern && contains(steps, "\"Digits\"")) return "smollm";
    if (!has_pattern) return family == "exaone4" ? "exaone4" : "gpt-2";
    fail(ErrorCode::kUnsupported,
         "tokenizer.json: expected a pre_tokenizer that GGUF has a name for, found ",
         part("pre_tokenizer").substr(0, 200));
  }

  void write_byte_level(const std::string& steps) {
    add(gguf_string("tokenizer.ggml.model", "gpt2"));
    add(gguf_string("tokenizer.ggml.pre", pre_name(steps)));
    add(gguf_strings("tokenizer.ggml.merges", merges_));
  }

  void write_scored(const std::string& steps) {
    add(gguf_string("tokenizer.ggml.model", "llama"));
    add(gguf_string("tokenizer.ggml.pre", "default"));
    std::vector<float> scores(static_cast<size_t>(size_), 0.0f);
    std::vector<bool> is_scored(scores.size(), false);
    for (size_t rank = 0; rank < merges_.size(); ++rank) {
      std::string text = merges_[rank];
      const size_t space = text.find(' ', 1);
      if (space == std::string::npos) continue;
      const auto found = ids_.find(text.erase(space, 1));
      if (found == ids_.end() || is_scored[static_cast<size_t>(found->second)]) continue;
      scores[static_cast<size_t>(found->second)] = -static_cast<float>(rank);
      is_scored[static_cast<size_t>(found->second)] = true;
    }
    add(gguf_f32s("tokenizer.ggml.scores", scores));
    const bool has_prefix = contains(steps, "\"Prepend\"") ||
                            contains(steps, "\"prepend_scheme\":\"always\"") ||
                            contains(steps, "\"prepend_scheme\":\"first\"");
    add(gguf_bool("tokenizer.ggml.add_space_prefix", has_prefix));
    const auto unknown = ids_.find("<unk>");
    if (unknown != ids_.end()) types_[static_cast<size_t>(unknown->second)] = kUnknown;
  }

  void write_special() {
    for (const char* name : {"bos", "eos", "pad"}) {
      const std::string source = std::string(name) + "_token_id";
      const JsonValue* id = config_value(source);
      if (id != nullptr && id->is_array() && !id->as_array(source).empty()) {
        id = &id->as_array(source)[0];
      }
      if (id == nullptr || !id->is_int() || id->as_int(source) < 0) continue;
      const std::string key =
          "tokenizer.ggml." + (std::string_view(name) == "pad" ? "padding_token_id" : source);
      add(gguf_u32(key, static_cast<uint32_t>(id->as_int(source))));
      if (source == "bos_token_id" && id->as_int(source) < size_) {
        bos_ = tokens_[static_cast<size_t>(id->as_int(source))];
      }
    }
    add(gguf_bool("tokenizer.ggml.add_bos_token", adds_bos()));
    const std::string text = chat_template();
    if (!text.empty()) add(gguf_string("tokenizer.chat_template", text));
  }

  // In checkpoints that also see or hear, the ids may stand beside the text model's sizes.
  const JsonValue* config_value(const std::string& key) const {
    const JsonValue* value = config_.find(key);
    const JsonValue* text = config_.find("text_config");
    const bool looks_further = (value == nullptr || value->is_null()) && text && text->is_object();
    return looks_further ? text->find(key) : value;
  }

  bool adds_bos() const {
    const JsonValue* flag = settings_.find("add_bos_token");
    if (flag != nullptr && flag->is_bool()) return flag->as_bool("add_bos_token");
    return !bos_.empty() && contains(part("post_processor"), JsonValue(bos_).dump());
  }

  std::string chat_template() const {
    std::error_code ignored;
    const fs::path file = folder_ / "chat_template.jinja";
    if (fs::is_regular_file(file, ignored)) return read_text_file(file.string());
    const JsonValue* text = settings_.find("chat_template");
    return text != nullptr && text->is_string() ? text->as_string("chat_template") : "";
  }

  const fs::path folder_;
  const JsonValue& config_;
  const JsonValue settings_, json_;
  const int64_t size_;
  std::vector<std::string> tokens_, merges_;
  std::vector<int32_t> types_;
  std::unordered_map<std::string, int64_t> ids_;
  std::string bos_;
  std::vector<GgufPair> pairs_;
};

}  // namespace

std::vector<GgufPair> export_vocabulary(const std::string& folder, const JsonValue& config,
                                        int64_t vocab_size) {
  return Vocabulary(folder, config, vocab_size).run();
}

}  // namespace onnuri
