// Cutting a text into words that are encoded on their own: the `pre_tokenizer` of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "fusion/regex.h"
#include "fusion/utf8.h"
#include "fusion/word_scanner.h"

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
    kFixedLength,
    kMetaspace,
    kPrefixSpace
  };
  struct Step {
    Kind kind = Kind::kRegex;
    std::shared_ptr<const Regex> regex;
    std::shared_ptr<const WordScanner> scanner;  // does the same as the regex, where it is set
    std::shared_ptr<const CharClasses> classes;  // digits
    std::string text;                            // string pattern; metaspace's replacement
    size_t length = 0;                           // characters of a word of fixed length
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

  void add(Step step);
  void add_regex(const std::string& pattern, std::string_view where);
  /// Words are bytes for a byte-level vocabulary.
  bool byte_level() const { return byte_level_; }

  void apply(Pieces& pieces, Scratch& scratch) const;

  /// True when every step only cuts, so that words can be handed out as they are found.
  bool streams() const { return streams_; }
  /// Calls `emit(begin, end)` for each word of `text`; only when streams().
  template <typename Emit>
  void stream(std::string_view text, const Emit& emit) const {
    cut(0, text, 0, text.size(), emit);
  }

 private:
  template <typename Emit>
  void cut(size_t step, std::string_view text, size_t begin, size_t end, const Emit& emit) const;
  void parse(const JsonValue& json, int depth);
  static void compile(const std::string& pattern, std::string_view where, Step& step);
  void parse_byte_level(const JsonValue& json);
  void parse_split(const JsonValue& json);
  void parse_metaspace(const JsonValue& json);

  std::vector<Step> steps_;
  bool byte_level_ = false;
  bool streams_ = true;
};

template <typename Emit>
void PreTokenizer::cut(size_t step, std::string_view text, size_t begin, size_t end,
                       const Emit& emit) const {
  if (step == steps_.size()) {
    if (end > begin) emit(begin, end);
    return;
  }
  const std::string_view part = text.substr(0, end);  // a step sees the end of its word only
  if (steps_[step].scanner) {
    const WordScanner& scanner = *steps_[step].scanner;
    while (begin < end) {
      const size_t next = scanner.next(part, begin);
      cut(step + 1, text, begin, next, emit);
      begin = next;
    }
    return;
  }
  const CharClasses& classes = *steps_[step].classes;
  for (size_t pos = begin; pos < end;) {  // single digits
    const size_t at = pos;
    if ((classes.of(utf8::next(part, pos)) & CharClasses::kNumber) == 0) continue;
    if (at > begin) cut(step + 1, text, begin, at, emit);
    cut(step + 1, text, at, pos, emit);
    begin = pos;
  }
  if (end > begin) cut(step + 1, text, begin, end, emit);
}

}  // namespace onnuri
