// Token texts back to plain text: the `decoder` of tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace onnuri {

class TokenDecoder {
 public:
  enum class Kind {
    kByteLevel,
    kMetaspace,
    kByteFallback,
    kFuse,
    kStrip,
    kReplace,
    kWordPiece,
    kSuffix
  };
  struct Step {
    Kind kind = Kind::kFuse;
    std::string pattern;  // replace; metaspace's replacement; the prefix of word pieces;
                          // the suffix of words' ends
    std::string content;  // replace; strip
    size_t start = 0;     // strip: at most so many at either end
    size_t stop = 0;
    bool drop_first = true;  // metaspace: the first token's spaces were added by us
    bool cleanup = false;    // word pieces
  };

  TokenDecoder() = default;
  /// From the `decoder` member (null: tokens joined by spaces). Throws kUnsupported.
  explicit TokenDecoder(const JsonValue& json);

  void add(Step step) { steps_.push_back(std::move(step)); }
  /// The bytes of one token in the middle of a text; they can simply be strung together.
  std::string bytes(std::string_view token) const;
  /// True when text is the bytes of its tokens and nothing else.
  bool concatenates() const;
  /// The text of a whole sequence, with whatever is special about its ends.
  std::string text(std::vector<std::string> tokens) const;

 private:
  void parse(const JsonValue& json, int depth);
  std::vector<Step> steps_;
};

}  // namespace onnuri
