// See word_piece.h.
#include "fusion/word_piece.h"

#include <algorithm>

#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kLongestPiece = 512;  // bytes; longer tokens are never found inside a word

}  // namespace

WordPieceModel::WordPieceModel(const Vocabulary& vocabulary, WordPieceOptions options,
                               std::vector<bool> blocked)
    : vocabulary_(vocabulary), options_(std::move(options)), blocked_(std::move(blocked)) {
  blocked_.resize(static_cast<size_t>(vocabulary_.size()));
  for (int64_t id = 0; id < vocabulary_.size(); ++id)
    longest_ = std::max(longest_, vocabulary_.text(static_cast<int32_t>(id)).size());
  longest_ = std::min(longest_, kLongestPiece);
}

int32_t WordPieceModel::find(std::string_view token) const {
  const int32_t id = vocabulary_.find(token);
  return id >= 0 && blocked_[static_cast<size_t>(id)] ? -1 : id;
}

void WordPieceModel::encode(std::string_view word, std::string& written,
                            std::vector<int32_t>& out) const {
  const auto unknown = [&] {
    if (options_.unk_id >= 0) out.push_back(options_.unk_id);
  };
  if (options_.whole_words_only) {
    const int32_t id = find(word);
    return id >= 0 ? out.push_back(id) : unknown();
  }
  if (utf8::count(word) > options_.max_characters) return unknown();
  const size_t before = out.size();
  for (size_t begin = 0; begin < word.size();) {
    written = begin > 0 ? options_.prefix : options_.first_prefix;
    const size_t fixed = written.size();
    written += word.substr(begin, longest_);
    // A cut inside a character finds nothing, since tokens are whole characters.
    int32_t id = -1;
    while (written.size() > fixed && (id = find(written)) < 0) written.pop_back();
    if (id < 0) {
      out.resize(before);
      return unknown();
    }
    out.push_back(id);
    begin += written.size() - fixed;
  }
}

}  // namespace onnuri
