// What happens to a text before it is cut: the `normalizer` of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "fusion/charsmap.h"
#include "fusion/regex.h"

namespace onnuri {

class Normalizer {
 public:
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStrip,
    kStripAccents,
    kPrepend,
    kReplace,
    kBert,
    kCharsmap
  };
  struct Step {
    Kind kind = Kind::kNfc;
    std::string pattern;  // replace: a plain string, unless `regex` is set
    std::shared_ptr<const Regex> regex;
    std::string content;  // prepend and replace
    std::shared_ptr<const Charsmap> charsmap;
    bool left = true;  // strip
    bool right = true;
    bool clean_text = true;  // bert
    bool chinese_chars = true;
    bool strip_accents = true;
    bool lowercase = true;
  };

  Normalizer() = default;
  /// From the `normalizer` member (null: nothing). Throws kUnsupported naming the component.
  explicit Normalizer(const JsonValue& json);

  void add(Step step) { steps_.push_back(std::move(step)); }
  /// True when `text` surely stays as it is.
  bool leaves(std::string_view text) const;
  /// Valid UTF-8 in, valid UTF-8 out. `lost_start` is set when the first character was stripped.
  std::string apply(std::string_view text, bool* lost_start = nullptr) const;

 private:
  void parse(const JsonValue& json, int depth);
  std::vector<Step> steps_;
};

/// Replaces each occurrence of `from` (not empty).
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// How long a tokenizer's own rules may make a text: replacements one after the other could make it
/// endless. require_text throws kCorruptData, naming `where`, for more.
constexpr size_t most_text(size_t bytes) { return 64 * bytes + (size_t{1} << 20); }
void require_text(size_t bytes, size_t most, std::string_view where);
/// replace_all within that bound.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        size_t most, std::string_view where);

}  // namespace onnuri
