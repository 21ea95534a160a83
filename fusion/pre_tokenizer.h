// Cutting a text into words that are encoded on their own: the `pre_tokenizer` of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "fusion/regex.h"

namespace onnuri {

/// A text and the words that lie in it, in order. Bytes outside all spans are dropped.
struct Pieces {
  struct Span {
    size_t begin = 0;
    size_t end = 0;
  };
  std::string text;
  std::vector<Span> spans;
  bool at_start = false;  // the first span is the start of the user's text
};

enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// The regular expression of byte-level vocabularies without one of their own.
extern const char* const kByteLevelPattern;

class PreTokenizer {
 public:
  enum class Kind {
    kRegex,
    kString,
    kDigits,
    kWhitespaceSplit,
    kPunctuation,
    kMetaspace,
    kPrefixSpace
  };
  struct Step {
    Kind kind = Kind::kRegex;
    std::shared_ptr<const Regex> regex;
    std::string text;  // string pattern; metaspace's replacement
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
    bool individual_digits = false;
    enum class Prepend { kAlways, kFirst, kNever } prepend = Prepend::kNever;
    bool split = true;  // metaspace
  };
  /// The regex matchers of one call of encode.
  using Scratch = std::vector<std::unique_ptr<Regex::Matcher>>;

  PreTokenizer() = default;
  /// From the `pre_tokenizer` member (null: the text stays whole). Throws kUnsupported.
  explicit PreTokenizer(const JsonValue& json);

  void add(Step step) { steps_.push_back(std::move(step)); }
  void add_regex(const std::string& pattern, std::string_view where);
  /// Words are bytes for a byte-level vocabulary.
  bool byte_level() const { return byte_level_; }

  void apply(Pieces& pieces, Scratch& scratch) const;

 private:
  void parse(const JsonValue& json, int depth);
  void parse_byte_level(const JsonValue& json);
  void parse_split(const JsonValue& json);
  void parse_metaspace(const JsonValue& json);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace onnuri
