#include "fusion/grammar.h"

#include <algorithm>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {
namespace {

constexpr char32_t kLastScalar = 0x10FFFF;
constexpr size_t kMaxNodes = size_t{1} << 21;

// UTF-8 ranges: split so that within a piece only the last bytes vary freely.
struct ByteSpan {
  uint8_t low[4];
  uint8_t high[4];
  int length;
};

int encode(char32_t c, uint8_t* out) {
  std::string bytes;
  utf8::append(bytes, c);
  std::copy(bytes.begin(), bytes.end(), out);
  return static_cast<int>(bytes.size());
}

void split_utf8(char32_t first, char32_t last, std::vector<ByteSpan>& out) {
  for (const char32_t limit : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= limit && last > limit) {
      split_utf8(first, limit, out);
      split_utf8(limit + 1, last, out);
      return;
    }
  }
  for (int bits = 6; bits <= 18; bits += 6) {
    const char32_t mask = (char32_t{1} << bits) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      split_utf8(first, first | mask, out);
      split_utf8((first | mask) + 1, last, out);
      return;
    }
    if ((last & mask) != mask) {
      split_utf8(first, (last & ~mask) - 1, out);
      split_utf8(last & ~mask, last, out);
      return;
    }
  }
  ByteSpan span{};
  span.length = encode(first, span.low);
  encode(last, span.high);
  out.push_back(span);
}

}  // namespace

CharSet CharSet::all() {
  CharSet set;
  set.ranges_ = {{0, 0xD7FF}, {0xE000, kLastScalar}};
  return set;
}

void CharSet::add(char32_t first, char32_t last) {
  std::vector<std::pair<char32_t, char32_t>> merged;
  for (const auto& range : ranges_) {
    if (range.second + 1 < first || last + 1 < range.first) {
      merged.push_back(range);
    } else {
      first = std::min(first, range.first);
      last = std::max(last, range.second);
    }
  }
  merged.emplace_back(first, last);
  std::sort(merged.begin(), merged.end());
  ranges_ = std::move(merged);
}

void CharSet::add(const CharSet& other) {
  for (const auto& [first, last] : other.ranges_) add(first, last);
}

CharSet CharSet::complement() const {
  CharSet out;
  char32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) out.ranges_.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLastScalar) out.ranges_.emplace_back(next, kLastScalar);
  // Surrogates are not characters.
  CharSet scalar;
  for (const auto& [first, last] : out.ranges_) {
    for (const auto& [low, high] : all().ranges_) {
      if (std::max(first, low) <= std::min(last, high))
        scalar.ranges_.emplace_back(std::max(first, low), std::min(last, high));
    }
  }
  return scalar;
}

CharSet CharSet::without(const CharSet& other) const {
  CharSet kept = complement();
  kept.add(other);
  return kept.complement();
}

bool CharSet::contains(char32_t c) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [c](const auto& range) { return c >= range.first && c <= range.second; });
}

Expr Grammar::add(Node node) {
  if (nodes_.size() >= kMaxNodes)
    fail(ErrorCode::kUnsupported, "expected a grammar of at most ", kMaxNodes,
         " parts, found more");
  nodes_.push_back(std::move(node));
  return static_cast<Expr>(nodes_.size()) - 1;
}

Expr Grammar::byte_range(uint8_t low, uint8_t high) {
  return add({Kind::kByteRange, low, high, {}});
}

Expr Grammar::literal(std::string_view bytes) {
  std::vector<Expr> parts;
  for (const char c : bytes)
    parts.push_back(byte_range(static_cast<uint8_t>(c), static_cast<uint8_t>(c)));
  return sequence(std::move(parts));
}

Expr Grammar::chars(const CharSet& set) {
  std::vector<ByteSpan> spans;
  for (const auto& [first, last] : set.ranges()) split_utf8(first, last, spans);
  std::vector<Expr> options;
  for (const ByteSpan& span : spans) {
    std::vector<Expr> bytes;
    for (int i = 0; i < span.length; ++i) bytes.push_back(byte_range(span.low[i], span.high[i]));
    options.push_back(sequence(std::move(bytes)));
  }
  return choice(std::move(options));
}

Expr Grammar::sequence(std::vector<Expr> children) {
  if (children.size() == 1) return children[0];
  return add({Kind::kSequence, 0, 0, std::move(children)});
}

Expr Grammar::choice(std::vector<Expr> children) {
  if (children.size() == 1) return children[0];
  return add({Kind::kChoice, 0, 0, std::move(children)});
}

Expr Grammar::repeat(Expr child, int64_t low, int64_t high) {
  if (low < 0 || (high >= 0 && high < low))
    fail(ErrorCode::kInvalidArgument, "expected a repetition {low,high} in order, found {", low,
         ",", high, "}");
  if (std::max(low, high) > kMaxRepeat)
    fail(ErrorCode::kUnsupported, "expected at most ", kMaxRepeat, " repetitions, found ",
         std::max(low, high));
  // Long counts are blocks of blocks: {low,high} of x is b{i} x{j} with b = x{256}.
  constexpr int64_t kBlock = 256;
  if (std::max(low, high) <= kBlock)
    return add({Kind::kRepeat, static_cast<int32_t>(low), static_cast<int32_t>(high), {child}});
  const int32_t rule = add_rule("block");
  define(rule, repeat(child, kBlock, kBlock));
  const Expr block = call(rule);
  std::vector<Expr> parts = {repeat(block, low / kBlock, low / kBlock),
                             repeat(child, low % kBlock, low % kBlock)};
  if (high < 0) {
    parts.push_back(repeat(child, 0, -1));
  } else if (const int64_t rest = high - low; rest > 0) {
    const int64_t blocks = rest / kBlock;
    std::vector<Expr> options = {
        sequence({repeat(block, blocks, blocks), repeat(child, 0, rest % kBlock)})};
    if (blocks > 0)
      options.push_back(sequence({repeat(block, 0, blocks - 1), repeat(child, 0, kBlock - 1)}));
    parts.push_back(choice(std::move(options)));
  }
  return sequence(std::move(parts));
}

Expr Grammar::both(Expr a, Expr b) { return add({Kind::kBoth, 0, 0, {a, b}}); }

int32_t Grammar::add_rule(std::string name) {
  rules_.push_back({std::move(name), -1});
  return static_cast<int32_t>(rules_.size()) - 1;
}

Expr Grammar::call(int32_t rule) { return add({Kind::kRule, rule, 0, {}}); }

Grammar grammar_from_choices(std::span<const std::string> choices) {
  Grammar grammar;
  std::vector<Expr> options;
  for (const std::string& text : choices) {
    if (text.empty()) fail(ErrorCode::kInvalidArgument, "a choice is empty");
    options.push_back(grammar.literal(text));
  }
  grammar.set_root(grammar.choice(std::move(options)));
  return grammar;
}

namespace {

// The escapes of one control character that JSON knows by a letter.
char short_escape(char32_t c) {
  switch (c) {
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
  }
}

}  // namespace

Expr spell(Grammar& grammar, const CharSet& set, Spelling spelling) {
  if (spelling == Spelling::kPlain) return grammar.chars(set);
  CharSet escaped(0, 0x1F);
  escaped.add('"', '"');
  escaped.add('\\', '\\');
  std::vector<Expr> options;
  const CharSet plain = set.without(escaped);
  if (!plain.empty()) options.push_back(grammar.chars(plain));
  for (const char32_t c : {U'"', U'\\'}) {
    if (set.contains(c))
      options.push_back(grammar.literal(std::string("\\") + static_cast<char>(c)));
  }
  constexpr const char* kHex = "0123456789abcdef";
  for (char32_t c = 0; c < 0x20; ++c) {
    if (!set.contains(c)) continue;
    std::string text = "\\";
    if (const char letter = short_escape(c))
      text += letter;
    else
      text += std::string("u00") + kHex[c >> 4] + kHex[c & 15];
    options.push_back(grammar.literal(text));
  }
  return grammar.choice(std::move(options));
}

}  // namespace onnuri
