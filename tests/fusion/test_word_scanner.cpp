// Hand-matched patterns against the regex engine, character for character.
#include <gtest/gtest.h>

#include <random>

#include "fusion/regex.h"
#include "fusion/utf8.h"
#include "fusion/word_scanner.h"

namespace onnuri {
namespace {

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACE "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED_LOWER \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define CASED_UPPER \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"

const char* const kPatterns[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACE,
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACE,
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE,
    CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    CASED_LOWER CONTRACTIONS "?|" CASED_UPPER CONTRACTIONS
                             "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACE,
    CASED_LOWER "|" CASED_UPPER "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACE,
};

// Characters that patterns tell apart, and whole pieces that meet their special cases.
std::string random_text(std::mt19937& random) {
  constexpr const char* kPieces[] = {
      "a",      "b",      "s",      "t",      "S",      "R",      "E",      "L",      "Z",
      "é",      "Å",      "ǅ",      "ʰ",      "가",     "한",     "中",     "ß",      "ſ",
      "'",      "'s",     "'S",     "'LL",    "'re",    "'ſ",     "’",      "1",      "2",
      "٣",      "Ⅳ",      "½",      " ",      " ",      "  ",     "\n",     "\r",     "\t",
      "\u00A0", "\u3000", "\u0085", "\u2028", ".",      ",",      "/",      "!",      "-",
      "_",      "😀",      "\u200D", "\uFE0F", "\u180E", "\u0301", "\u0323", "\u0903", "\u20DD",
      "क",      "\u094D", "\u00AD", "\x01",   "\uE000"};
  std::string out;
  const size_t count = random() % 30;
  for (size_t i = 0; i < count; ++i) out += kPieces[random() % std::size(kPieces)];
  return out;
}

std::vector<size_t> ends_by_regex(Regex::Matcher& matcher, const std::string& text) {
  std::vector<size_t> out;
  size_t begin = 0;
  size_t end = 0;
  for (size_t pos = 0; matcher.find(text, pos, begin, end); pos = end) {
    EXPECT_EQ(begin, pos) << "the pattern leaves a gap in: " << text;
    out.push_back(end);
  }
  return out;
}

std::vector<size_t> ends_by_scanner(const WordScanner& scanner, const std::string& text) {
  std::vector<size_t> out;
  for (size_t pos = 0; pos < text.size(); out.push_back(pos)) pos = scanner.next(text, pos);
  return out;
}

TEST(WordScanner, CutsAsTheRegexDoes) {
  std::mt19937 random(11);
  for (const char* pattern : kPatterns) {
    const auto known = WordPattern::recognise(pattern);
    ASSERT_TRUE(known) << pattern;
    const WordScanner scanner(*known);
    const Regex regex(pattern, "test");
    Regex::Matcher matcher(regex);
    for (int i = 0; i < 1500; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(ends_by_scanner(scanner, text), ends_by_regex(matcher, text))
          << pattern << " on: " << text;
    }
  }
}

TEST(WordScanner, LeavesOtherPatternsToTheRegex) {
  for (const char* pattern :
       {"", "\\p{L}+", "\\s+", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|\\p{L}+|\\s+(?!\\S)|\\s+",
        "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE,
        "'s|'t| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
        " ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+|x"})
    EXPECT_FALSE(WordPattern::recognise(pattern)) << pattern;
}

TEST(CharClasses, AgreeWithTheCategories) {
  const CharClasses classes;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const uint8_t flags = classes.of(c);
    ASSERT_EQ((flags & CharClasses::kLetter) != 0, utf8::is_letter(c)) << static_cast<uint32_t>(c);
    ASSERT_EQ((flags & CharClasses::kNumber) != 0, utf8::is_numeric(c)) << static_cast<uint32_t>(c);
    ASSERT_EQ((flags & CharClasses::kSpace) != 0, utf8::is_space(c)) << static_cast<uint32_t>(c);
  }
  EXPECT_EQ(classes.of(0x110000), 0);
}

}  // namespace
}  // namespace onnuri
