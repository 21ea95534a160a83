#include <filesystem>

#include "core/checkpoint.h"
#include "fusion/chat_template.h"
#include "fusion/tokenizer.h"
#include "onnuri/text.h"

namespace onnuri {

TextTokenizer::TextTokenizer() = default;
TextTokenizer::~TextTokenizer() = default;

std::unique_ptr<TextTokenizer> TextTokenizer::load(const std::string& path) {
  std::unique_ptr<TextTokenizer> out(new TextTokenizer);
  if (std::filesystem::path(path).extension() == ".gguf")
    out->tokenizer_ = load_tokenizer_from_gguf(Checkpoint::open(path)->metadata());
  else
    out->tokenizer_ = load_tokenizer(path);
  return out;
}

std::vector<int32_t> TextTokenizer::encode(const std::string& text, bool add_special_tokens,
                                           bool parse_special_tokens) const {
  return tokenizer_->encode(text, add_special_tokens, parse_special_tokens);
}

std::vector<int32_t> TextTokenizer::encode_bytes(const std::string& bytes, bool add_special_tokens,
                                                 bool parse_special_tokens) const {
  return tokenizer_->encode_bytes(bytes, add_special_tokens, parse_special_tokens);
}

std::string TextTokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  return tokenizer_->decode(ids, skip_special_tokens);
}

int64_t TextTokenizer::vocab_size() const { return tokenizer_->vocab_size(); }

std::string render_chat_template(const std::string& source, const std::string& variables_json) {
  return ChatTemplate::parse(source)->render(parse_json(variables_json, "template variables"));
}

}  // namespace onnuri
