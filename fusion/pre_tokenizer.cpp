// See pre_tokenizer.h.
#include "fusion/pre_tokenizer.h"

#include <algorithm>

#include "core/check.h"
#include "fusion/normalizer.h"
#include "fusion/utf8.h"

namespace onnuri {

const char* const kByteLevelPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

namespace {

using Step = PreTokenizer::Step;
using Span = Pieces::Span;
constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 64;
constexpr std::string_view kWhere = "tokenizer.json: pre_tokenizer";

// Words, or runs of other characters that are not space.
constexpr const char* kWordPattern =
    "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]+|"
    "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}\\s]+";

// Runs of one script. Kana and the long-vowel mark count as Han; spaces and what has no script go
// with what stands before them, and are dropped at the start of a word. Only names of Unicode 14,
// since any PCRE2 that knows no name of a list knows none of it; characters of younger scripts are
// words of their own.
std::string script_pattern() {
  static constexpr const char* kScripts =
      "Latin Hangul Cyrillic Greek Arabic Hebrew Thai Devanagari Inherited Armenian Georgian "
      "Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala Lao Tibetan Myanmar "
      "Ethiopic Khmer Mongolian Bopomofo Yi Canadian_Aboriginal Cherokee Syriac Thaana Nko Ogham "
      "Runic Tagalog Hanunoo Buhid Tagbanwa Limbu Tai_Le New_Tai_Lue Buginese Tai_Tham Balinese "
      "Sundanese Batak Lepcha Ol_Chiki Glagolitic Coptic Tifinagh Braille Lisu Vai Bamum "
      "Syloti_Nagri Phags_Pa Saurashtra Kayah_Li Rejang Javanese Cham Tai_Viet Meetei_Mayek "
      "Linear_B Old_Italic Gothic Old_Permic Ugaritic Old_Persian Deseret Shavian Osmanya Osage "
      "Elbasan Caucasian_Albanian Linear_A Cypriot Imperial_Aramaic Palmyrene Nabataean Hatran "
      "Phoenician Lydian Meroitic_Hieroglyphs Meroitic_Cursive Kharoshthi Old_South_Arabian "
      "Old_North_Arabian Manichaean Avestan Inscriptional_Parthian Inscriptional_Pahlavi "
      "Psalter_Pahlavi Old_Turkic Old_Hungarian Brahmi Kaithi Sora_Sompeng Chakma Mahajani Sharada "
      "Khojki Multani Khudawadi Grantha Newa Tirhuta Siddham Modi Takri Ahom Warang_Citi "
      "Pau_Cin_Hau Bhaiksuki Marchen Cuneiform Anatolian_Hieroglyphs Mro Bassa_Vah Pahawh_Hmong "
      "Miao Tangut Duployan SignWriting Adlam Mende_Kikakui Egyptian_Hieroglyphs Mandaic Samaritan "
      "Soyombo Zanabazar_Square Masaram_Gondi Nushu Dogra Gunjala_Gondi Hanifi_Rohingya Makasar "
      "Medefaidrin Old_Sogdian Sogdian Elymaic Nandinagari Nyiakeng_Puachue_Hmong Wancho "
      "Chorasmian Dives_Akuru Khitan_Small_Script Yezidi Cypro_Minoan Old_Uyghur Tangsa Toto "
      "Vithkuqi Carian Lycian";
  const std::string east = "\\p{sc:Han}\\p{sc:Hiragana}\\p{sc:Katakana}\\x{30FC}";
  const std::string rest = " \\p{sc:Unknown}";
  std::string out = "[" + east + "][" + east + rest + "]*";
  out += "|(?![ \\x{30FC}])\\p{sc:Common}(?:(?!\\x{30FC})[\\p{sc:Common}\\p{sc:Unknown}])*";
  for (std::string_view names = kScripts; !names.empty();) {
    const size_t size = std::min(names.find(' '), names.size());
    const std::string one = "\\p{sc:" + std::string(names.substr(0, size)) + "}";
    out += "|" + one + "[" + one + rest + "]*";
    names.remove_prefix(std::min(size + 1, names.size()));
  }
  return out + "|[^" + rest + "][" + rest + "]*";
}

// A stretch of a word and whether the pattern matched it.
struct Stretch {
  Span span;
  bool match = false;
};

SplitBehavior behavior_from(const JsonValue& json) {
  const std::string& name = json.as_string(kWhere);
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(ErrorCode::kUnsupported, "expected a split behavior, found \"", name, "\" at ", kWhere);
}

// Adds the stretches of one word to `out` by the rule of `behavior`; empty ones vanish.
void arrange(const std::vector<Stretch>& stretches, SplitBehavior behavior,
             std::vector<Span>& out) {
  const size_t first = out.size();
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Stretch& s : stretches) out.push_back(s.span);
      break;
    case SplitBehavior::kRemoved:
      for (const Stretch& s : stretches) {
        if (!s.match) out.push_back(s.span);
      }
      break;
    case SplitBehavior::kContiguous:
      for (const Stretch& s : stretches) {
        if (s.match == previous && out.size() > first) {
          out.back().end = s.span.end;
        } else {
          out.push_back(s.span);
        }
        previous = s.match;
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Stretch& s : stretches) {
        if (s.match && !previous && out.size() > first) {
          out.back().end = s.span.end;
        } else {
          out.push_back(s.span);
        }
        previous = s.match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (size_t i = stretches.size(); i-- > 0;) {
        const Stretch& s = stretches[i];
        if (s.match && !previous && out.size() > first) {
          out.back().begin = s.span.begin;
        } else {
          out.push_back(s.span);
        }
        previous = s.match;
      }
      std::reverse(out.begin() + static_cast<ptrdiff_t>(first), out.end());
      break;
  }
}

// Cuts `span` where `find` sees matches; the gaps between are stretches too.
template <typename Find>
void stretch(Span span, bool invert, std::vector<Stretch>& out, const Find& find) {
  out.clear();
  size_t from = span.begin;
  Span match;
  while (from < span.end && find(from, span.end, match)) {
    if (match.begin > from) out.push_back({{from, match.begin}, invert});
    out.push_back({match, !invert});
    from = match.end;
  }
  if (from < span.end) out.push_back({{from, span.end}, invert});
}

// Every word becomes what `collect(span, stretches)` makes of it.
template <typename Collect>
void split_with(Pieces& pieces, const Step& step, const Collect& collect) {
  std::vector<Span> out;
  out.reserve(pieces.spans.size() + pieces.text.size() / 4);
  std::vector<Stretch> stretches;
  for (const Span& span : pieces.spans) {
    collect(span, stretches);
    arrange(stretches, step.behavior, out);
  }
  std::erase_if(out, [](const Span& s) { return s.begin >= s.end; });
  pieces.spans = std::move(out);
}

template <typename Find>
void split_all(Pieces& pieces, const Step& step, const Find& find) {
  split_with(pieces, step, [&](const Span& span, std::vector<Stretch>& out) {
    stretch(span, step.invert, out, find);
  });
}

template <typename IsMatch>
void split_characters(Pieces& pieces, const Step& step, const IsMatch& is_match) {
  const std::string_view text = pieces.text;
  split_all(pieces, step, [&](size_t from, size_t end, Span& match) {
    for (size_t pos = from; pos < end;) {
      match.begin = pos;
      const char32_t c = utf8::next(text, pos);
      match.end = pos;
      if (is_match(c)) return true;
    }
    return false;
  });
}

void split_regex(Pieces& pieces, const Step& step, Regex::Matcher& matcher) {
  const std::string_view text = pieces.text;
  split_with(pieces, step, [&](const Span& span, std::vector<Stretch>& out) {
    // The pattern sees one word: its ends are the ends of the text. Empty matches cut too.
    const std::string_view word = text.substr(span.begin, span.end - span.begin);
    Regex::Walk walk(matcher, word);
    out.clear();
    size_t from = 0, begin = 0, end = 0;
    while (walk.next(begin, end)) {
      if (begin > from) out.push_back({{span.begin + from, span.begin + begin}, step.invert});
      out.push_back({{span.begin + begin, span.begin + end}, !step.invert});
      from = end;
    }
    if (from < word.size()) out.push_back({{span.begin + from, span.end}, step.invert});
  });
}

// Words of `length` characters each, the last one perhaps of fewer.
void split_lengths(Pieces& pieces, const Step& step) {
  const std::string_view text = pieces.text;
  split_all(pieces, step, [&](size_t from, size_t end, Span& match) {
    match = {from, from};
    for (size_t i = 0; i < step.length && match.end < end; ++i) utf8::next(text, match.end);
    return true;
  });
}

void split_words(Pieces& pieces, const Step& step) {
  const std::string_view text = pieces.text;
  split_all(pieces, step, [&](size_t from, size_t end, Span& match) {
    match = {from, step.scanner->next(text.substr(0, end), from)};
    return true;
  });
}

void split_string(Pieces& pieces, const Step& step) {
  const std::string_view text = pieces.text;
  split_all(pieces, step, [&](size_t from, size_t end, Span& match) {
    const size_t at = text.substr(0, end).find(step.text, from);
    if (at == text.npos || step.text.empty()) return false;
    match = {at, at + step.text.size()};
    return true;
  });
}

// Rewrites every word through `edit`, which appends the new form to the new text.
template <typename Edit>
void rewrite(Pieces& pieces, const Edit& edit) {
  std::string out;
  out.reserve(pieces.text.size() + pieces.text.size() / 2 + 8);
  for (size_t i = 0; i < pieces.spans.size(); ++i) {
    Span& span = pieces.spans[i];
    const size_t begin = out.size();
    edit(std::string_view(pieces.text).substr(span.begin, span.end - span.begin),
         i == 0 && pieces.at_start, out);
    span = {begin, out.size()};
  }
  pieces.text = std::move(out);
}

void metaspace(Pieces& pieces, const Step& step) {
  using Prepend = Step::Prepend;
  rewrite(pieces, [&](std::string_view word, bool at_start, std::string& out) {
    const std::string replaced = replace_all(word, " ", step.text);
    const bool wanted =
        step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && at_start);
    if (wanted && !replaced.starts_with(step.text)) out += step.text;
    out += replaced;
  });
  if (!step.split) return;
  Step cut = step;
  cut.behavior = SplitBehavior::kMergedWithNext;
  split_string(pieces, cut);
}

bool flag(const JsonValue& json, std::string_view key, bool fallback) {
  const JsonValue* v = json.find(key);
  return v == nullptr || v->is_null() ? fallback : v->as_bool(key);
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonValue& json) { parse(json, 0); }

void PreTokenizer::add(Step step) {
  if (steps_.size() >= kMaxSteps)
    fail(ErrorCode::kUnsupported, "expected at most ", kMaxSteps, " steps, found more at ", kWhere);
  const bool single_digits =
      step.kind == Kind::kDigits && step.behavior == SplitBehavior::kIsolated;
  // A scanner's words leave no gaps, so removing what lies between them changes nothing.
  const bool cuts = step.scanner && (step.invert ? step.behavior == SplitBehavior::kRemoved
                                                 : step.behavior == SplitBehavior::kIsolated);
  streams_ = streams_ && (cuts || single_digits);
  if (step.kind == Kind::kDigits) step.classes = std::make_shared<const CharClasses>();
  steps_.push_back(std::move(step));
}

void PreTokenizer::compile(const std::string& pattern, std::string_view where, Step& step) {
  step.regex = std::make_shared<const Regex>(pattern, where);
  if (const auto known = WordPattern::recognise(pattern))
    step.scanner = std::make_shared<const WordScanner>(*known);
}

void PreTokenizer::add_regex(const std::string& pattern, std::string_view where) {
  Step step;
  if (pattern == "\\p{N}") {
    step.kind = Kind::kDigits;
  } else {
    compile(pattern, where, step);
  }
  add(std::move(step));
}

void PreTokenizer::parse(const JsonValue& json, int depth) {
  if (json.is_null()) return;
  if (depth > kMaxDepth) fail(ErrorCode::kCorruptData, "expected shallow nesting at ", kWhere);
  const std::string& type = json.at("type", kWhere).as_string(kWhere);
  if (byte_level_)
    fail(ErrorCode::kUnsupported, "expected ByteLevel as the last step, found \"", type,
         "\" behind it at ", kWhere);
  Step step;
  if (type == "Sequence") {
    for (const JsonValue& one : json.at("pretokenizers", kWhere).as_array(kWhere))
      parse(one, depth + 1);
  } else if (type == "ByteLevel") {
    parse_byte_level(json);
  } else if (type == "Split") {
    parse_split(json);
  } else if (type == "Metaspace") {
    parse_metaspace(json);
  } else if (type == "Digits") {
    step.kind = Kind::kDigits;
    const bool each = flag(json, "individual_digits", false);
    step.behavior = each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
    add(std::move(step));
  } else if (type == "Whitespace") {
    step.regex = std::make_shared<const Regex>(kWordPattern, kWhere);
    step.behavior = SplitBehavior::kRemoved;
    step.invert = true;
    add(std::move(step));
  } else if (type == "WhitespaceSplit" || type == "BertPreTokenizer") {
    step.kind = Kind::kWhitespaceSplit;
    step.behavior = SplitBehavior::kRemoved;
    add(step);
    step.kind = Kind::kPunctuation;
    step.behavior = SplitBehavior::kIsolated;
    if (type == "BertPreTokenizer") add(std::move(step));
  } else if (type == "Punctuation") {
    step.kind = Kind::kPunctuation;
    if (const JsonValue* behavior = json.find("behavior")) step.behavior = behavior_from(*behavior);
    add(std::move(step));
  } else if (type == "UnicodeScripts") {
    step.regex = std::make_shared<const Regex>(script_pattern(), kWhere);
    step.behavior = SplitBehavior::kRemoved;
    step.invert = true;
    add(std::move(step));
  } else if (type == "FixedLength") {
    const JsonValue* length = json.find("length");
    const int64_t characters = length == nullptr ? 5 : length->as_int(kWhere);
    if (characters < 1)
      fail(ErrorCode::kCorruptData, "expected a length above zero at ", kWhere, ", found ",
           characters);
    step.kind = Kind::kFixedLength;
    step.length = static_cast<size_t>(characters);
    add(std::move(step));
  } else if (type == "CharDelimiterSplit") {
    step.kind = Kind::kString;
    step.text = json.at("delimiter", kWhere).as_string(kWhere);
    step.behavior = SplitBehavior::kRemoved;
    add(std::move(step));
  } else {
    fail(ErrorCode::kUnsupported, "expected a known pre-tokenizer, found \"", type, "\" at ",
         kWhere);
  }
}

void PreTokenizer::parse_byte_level(const JsonValue& json) {
  if (flag(json, "add_prefix_space", true)) {
    Step step;
    step.kind = Kind::kPrefixSpace;
    add(std::move(step));
  }
  if (flag(json, "use_regex", true)) add_regex(kByteLevelPattern, kWhere);
  byte_level_ = true;
}

void PreTokenizer::parse_split(const JsonValue& json) {
  Step step;
  step.behavior = behavior_from(json.at("behavior", kWhere));
  step.invert = flag(json, "invert", false);
  const JsonValue& pattern = json.at("pattern", kWhere);
  if (const JsonValue* regex = pattern.find("Regex")) {
    compile(regex->as_string(kWhere), kWhere, step);
  } else {
    step.kind = Kind::kString;
    step.text = pattern.at("String", kWhere).as_string(kWhere);
  }
  add(std::move(step));
}

void PreTokenizer::parse_metaspace(const JsonValue& json) {
  Step step;
  step.kind = Kind::kMetaspace;
  step.text = json.at("replacement", kWhere).as_string(kWhere);
  step.split = flag(json, "split", true);
  std::string scheme = flag(json, "add_prefix_space", true) ? "always" : "never";
  if (const JsonValue* given = json.find("prepend_scheme")) scheme = given->as_string(kWhere);
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fail(ErrorCode::kUnsupported, "expected prepend_scheme always, first or never, found \"",
         scheme, "\" at ", kWhere);
  step.prepend = scheme == "always"  ? Step::Prepend::kAlways
                 : scheme == "first" ? Step::Prepend::kFirst
                                     : Step::Prepend::kNever;
  add(std::move(step));
}

void PreTokenizer::apply(Pieces& pieces, Scratch& scratch) const {
  scratch.resize(steps_.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    switch (step.kind) {
      case Kind::kRegex:
        if (step.scanner) {
          split_words(pieces, step);
          break;
        }
        if (!scratch[i]) scratch[i] = std::make_unique<Regex::Matcher>(*step.regex);
        split_regex(pieces, step, *scratch[i]);
        break;
      case Kind::kString: split_string(pieces, step); break;
      case Kind::kFixedLength: split_lengths(pieces, step); break;
      case Kind::kDigits:
        split_characters(pieces, step, [&](char32_t c) {
          return (step.classes->of(c) & CharClasses::kNumber) != 0;
        });
        break;
      case Kind::kWhitespaceSplit: split_characters(pieces, step, utf8::is_space); break;
      case Kind::kPunctuation: split_characters(pieces, step, utf8::is_punctuation); break;
      case Kind::kMetaspace: metaspace(pieces, step); break;
      case Kind::kPrefixSpace:
        rewrite(pieces, [](std::string_view word, bool, std::string& out) {
          if (!word.starts_with(' ')) out += ' ';
          out += word;
        });
        break;
    }
  }
}

}  // namespace onnuri
