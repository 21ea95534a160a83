// A stream of ids as whole characters: bytes wait until their character is complete.
#include "fusion/tokenizer.h"
#include "fusion/utf8.h"

namespace onnuri {

std::vector<int32_t> Tokenizer::encode_bytes(std::string_view bytes, bool add_special,
                                             bool parse_special) const {
  return encode(utf8::lossy(bytes), add_special, parse_special);
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special, bool trim_start)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      trim_start_(trim_start),
      first_(trim_start) {}

std::string Detokenizer::push(int32_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  std::string bytes = tokenizer_->token_bytes(id);
  if (first_ && !bytes.empty()) {
    // Some vocabularies write a space before every word; a text does not begin with one.
    const std::string alone = tokenizer_->decode(std::span(&id, 1), false);
    size_t spaces = 0;
    while (spaces < bytes.size() && bytes[spaces] == ' ') ++spaces;
    for (size_t n = 1; n <= spaces; ++n) {
      if (alone != utf8::lossy(std::string_view(bytes).substr(n))) continue;
      bytes.erase(0, n);
      break;
    }
    first_ = false;
  }
  pending_ += bytes;
  size_t pos = 0;
  while (pos < pending_.size()) {
    const utf8::Scan scan = utf8::scan(pending_, pos);
    if (scan.truncated) break;
    pos += scan.length;
  }
  std::string out = utf8::lossy(std::string_view(pending_).substr(0, pos));
  pending_.erase(0, pos);
  return out;
}

std::string Detokenizer::finish() {
  std::string out = utf8::lossy(pending_);
  pending_.clear();
  first_ = trim_start_;
  return out;
}

}  // namespace onnuri
