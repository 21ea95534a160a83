// See normalizer.h. Unicode forms by utf8proc; texts that are already composed are left alone.
#include "fusion/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "fusion/base64.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr int kMaxDepth = 16;

bool flag(const JsonValue& json, std::string_view key, bool fallback) {
  const JsonValue* v = json.find(key);
  return v == nullptr || v->is_null() ? fallback : v->as_bool(key);
}

// Ranges whose characters NFC never changes, that never compose with what stands before them, and
// that are no combining marks. Between two of them nothing can move.
bool surely_composed(char32_t c) {
  return c < 0x300 || (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0x4E00 && c <= 0x9FFF) ||
         (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || c == 0x30FC ||
         (c >= 0x2002 && c <= 0x20CF) || (c >= 0x3001 && c <= 0x3029) ||
         (c >= 0x400 && c <= 0x482) || (c >= 0x48A && c <= 0x52F) || (c >= 0x2190 && c <= 0x2328) ||
         (c >= 0x2500 && c <= 0x2ADB) || (c >= 0xFE00 && c <= 0xFE0F) ||
         (c >= 0xFF01 && c <= 0xFFDC) || (c >= 0x1F000 && c <= 0x1FAFF);
}

size_t skip_ascii(std::string_view text, size_t pos) {
  while (pos + 8 <= text.size()) {
    uint64_t v = 0;
    std::memcpy(&v, text.data() + pos, 8);
    if ((v & 0x8080808080808080ULL) != 0) break;
    pos += 8;
  }
  while (pos < text.size() && static_cast<uint8_t>(text[pos]) < 0x80) ++pos;
  return pos;
}

// The start of the first character that NFC might touch (text.size(): none).
size_t composed_prefix(std::string_view text, size_t pos) {
  while ((pos = skip_ascii(text, pos)) < text.size()) {
    const size_t at = pos;
    if (!surely_composed(utf8::next(text, pos))) return at;
  }
  return pos;
}

bool is_ascii(std::string_view text) { return skip_ascii(text, 0) == text.size(); }

void append_form(std::string_view text, int options, std::string& out) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                              static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                              static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  if (n < 0)
    fail(ErrorCode::kInvalidArgument,
         "expected text that can be normalised, found: ", utf8proc_errmsg(n));
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(n));
  std::free(mapped);
}

// NFC, stretch by stretch: a base character and the doubtful ones behind it.
std::string compose(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at = composed_prefix(text, 0); at < text.size(); at = composed_prefix(text, at)) {
    const size_t begin = at > done ? utf8::previous(text, at) : at;
    while (at < text.size()) {
      size_t after = at;
      if (surely_composed(utf8::next(text, after))) break;
      at = after;
    }
    out += text.substr(done, begin - done);
    append_form(text.substr(begin, at - begin), UTF8PROC_COMPOSE, out);
    done = at;
  }
  out += text.substr(done);
  return out;
}

std::string unicode_form(std::string_view text, int options) {
  if (options == UTF8PROC_COMPOSE) return compose(text);
  if (is_ascii(text)) return std::string(text);
  std::string out;
  append_form(text, options, out);
  return out;
}

// `all`: spacing and enclosing marks too.
bool is_mark(char32_t c, bool all) {
  const auto k = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return k == UTF8PROC_CATEGORY_MN ||
         (all && (k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME));
}

std::string strip_accents(std::string_view text, bool all) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = utf8::next(text, pos);
    if (!is_mark(c, all)) utf8::append(out, c);
  }
  return out;
}

std::string strip(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end) {
    size_t pos = begin;
    if (!utf8::is_space(utf8::next(text, pos))) break;
    begin = pos;
  }
  while (right && end > begin) {
    const size_t at = utf8::previous(text, end);
    size_t pos = at;
    if (!utf8::is_space(utf8::next(text, pos))) break;
    end = at;
  }
  return std::string(text.substr(begin, end - begin));
}

bool is_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) ||  // the gap is the reference's

         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_control(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  const auto k = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  // Unassigned characters stay, as in the reference.
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

std::string bert(std::string_view text, const Normalizer::Step& step) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    char32_t c = utf8::next(text, pos);
    if (step.clean_text) {
      if (c == 0 || c == 0xFFFD || is_control(c)) continue;
      if (utf8::is_space(c)) c = ' ';
    }
    const bool wide = step.chinese_chars && is_ideograph(c);
    if (wide) out += ' ';
    utf8::append(out, c);
    if (wide) out += ' ';
  }
  if (step.strip_accents) out = strip_accents(unicode_form(out, UTF8PROC_DECOMPOSE), false);
  return step.lowercase ? utf8::lower(out) : out;
}

constexpr std::string_view kWhere = "tokenizer.json: normalizer";

std::string replace_regex(std::string_view text, const Regex& regex, std::string_view to,
                          size_t most) {
  Regex::Matcher matcher(regex);
  std::string out;
  if (text.empty()) return out;
  Regex::Walk walk(matcher, text);
  size_t from = 0;
  size_t begin = 0;
  size_t end = 0;
  while (walk.next(begin, end)) {
    out += text.substr(from, begin - from);
    out += to;
    require_text(out.size(), most, kWhere);
    from = end;
  }
  out += text.substr(from);
  return out;
}

}  // namespace

void require_text(size_t bytes, size_t most, std::string_view where) {
  if (bytes > most)
    fail(ErrorCode::kCorruptData, "expected text of at most ", most, " bytes, found that ", where,
         " makes more of it");
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  return replace_all(text, from, to, std::numeric_limits<size_t>::max(), "");
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        size_t most, std::string_view where) {
  std::string out;
  out.reserve(text.size());
  size_t pos = 0;
  if (!from.empty()) {
    for (size_t at = text.find(from); at != text.npos; at = text.find(from, pos)) {
      out += text.substr(pos, at - pos);
      out += to;
      require_text(out.size(), most, where);
      pos = at + from.size();
    }
  }
  out += text.substr(pos);
  return out;
}

Normalizer::Normalizer(const JsonValue& json) { parse(json, 0); }

void Normalizer::parse(const JsonValue& json, int depth) {
  if (json.is_null()) return;
  const std::string_view where = "tokenizer.json: normalizer";
  if (depth > kMaxDepth) fail(ErrorCode::kCorruptData, "expected shallow nesting at ", where);
  const std::string& type = json.at("type", where).as_string(where);
  Step step;
  if (type == "Sequence") {
    for (const JsonValue& one : json.at("normalizers", where).as_array(where))
      parse(one, depth + 1);
    return;
  }
  if (type == "NFC") {
    step.kind = Kind::kNfc;
  } else if (type == "NFD") {
    step.kind = Kind::kNfd;
  } else if (type == "NFKC") {
    step.kind = Kind::kNfkc;
  } else if (type == "NFKD") {
    step.kind = Kind::kNfkd;
  } else if (type == "Lowercase") {
    step.kind = Kind::kLowercase;
  } else if (type == "StripAccents") {
    step.kind = Kind::kStripAccents;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    step.left = flag(json, "strip_left", true);
    step.right = flag(json, "strip_right", true);
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    step.content = json.at("prepend", where).as_string(where);
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    step.content = json.at("content", where).as_string(where);
    const JsonValue& pattern = json.at("pattern", where);
    if (const JsonValue* regex = pattern.find("Regex")) {
      step.regex = std::make_shared<const Regex>(regex->as_string(where), where);
    } else {
      step.pattern = pattern.at("String", where).as_string(where);
      if (step.pattern.empty()) step.regex = std::make_shared<const Regex>("", where);
    }
  } else if (type == "Precompiled") {
    step.kind = Kind::kCharsmap;
    step.charsmap = std::make_shared<const Charsmap>(
        decode_base64(json.at("precompiled_charsmap", where).as_string(where), where),
        Charsmap::Reading::kGraphemes, where);
  } else if (type == "BertNormalizer") {
    step.kind = Kind::kBert;
    step.clean_text = flag(json, "clean_text", true);
    step.chinese_chars = flag(json, "handle_chinese_chars", true);
    step.lowercase = flag(json, "lowercase", true);
    step.strip_accents = flag(json, "strip_accents", step.lowercase);
  } else {
    fail(ErrorCode::kUnsupported, "expected a known normalizer, found \"", type, "\" at ", where);
  }
  steps_.push_back(std::move(step));
}

bool Normalizer::leaves(std::string_view text) const {
  for (const Step& step : steps_) {
    if (step.kind != Kind::kNfc) return false;
  }
  return steps_.empty() || composed_prefix(text, 0) == text.size();
}

std::string Normalizer::apply(std::string_view text, bool* lost_start) const {
  std::string out(text);
  const size_t most = most_text(text.size());
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kNfc: out = unicode_form(out, UTF8PROC_COMPOSE); break;
      case Kind::kNfd: out = unicode_form(out, UTF8PROC_DECOMPOSE); break;
      case Kind::kNfkc: out = unicode_form(out, UTF8PROC_COMPOSE | UTF8PROC_COMPAT); break;
      case Kind::kNfkd: out = unicode_form(out, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT); break;
      case Kind::kLowercase: out = utf8::lower(out); break;
      case Kind::kStripAccents: out = strip_accents(out, true); break;
      case Kind::kStrip:
        if (lost_start != nullptr && strip(out, step.left, false).size() != out.size())
          *lost_start = true;
        out = strip(out, step.left, step.right);
        break;
      case Kind::kPrepend:
        if (!out.empty()) out.insert(0, step.content);
        break;
      case Kind::kReplace:
        // An empty string is found between all characters, as an empty expression is.
        out = step.regex ? replace_regex(out, *step.regex, step.content, most)
                         : replace_all(out, step.pattern, step.content, most, kWhere);
        break;
      case Kind::kBert: out = bert(out, step); break;
      case Kind::kCharsmap: out = step.charsmap->apply(out); break;
    }
  }
  return out;
}

}  // namespace onnuri
