// See regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "fusion/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <chrono>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kMaxPattern = 16384;
constexpr uint32_t kMatchLimit = 2'000'000;
constexpr uint32_t kHeapLimitKib = 65536;
constexpr size_t kWindow = 512;  // start positions tried between two looks at the clock
constexpr std::chrono::seconds kPatience{5};
constexpr uint64_t kSlowestBytesPerSecond = 20'000;

// White space as Unicode has it. PCRE2's own \s counts U+180E as well, which is none since 6.3.
std::string with_unicode_spaces(std::string_view pattern) {
  constexpr std::string_view kSpaces = "\\t-\\r\\x{85}\\p{Z}";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char kind = pattern[++i];
      if (kind == 's') {
        out += in_class ? std::string(kSpaces) : "[" + std::string(kSpaces) + "]";
      } else if (kind == 'S' && !in_class) {
        out += "[^" + std::string(kSpaces) + "]";
      } else {
        out += c;
        out += kind;
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

const uint8_t* bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string where;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern, std::string_view where) : code_(new Code) {
  if (pattern.size() > kMaxPattern)
    fail(ErrorCode::kUnsupported, "expected a pattern of at most ", kMaxPattern, " bytes, found ",
         pattern.size(), " at ", where);
  code_->where = std::string(where);
  const std::string translated = with_unicode_spaces(pattern);
  int error = 0;
  size_t offset = 0;
  const uint32_t options =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_parens_nest_limit(context, 100);
  code_->code =
      pcre2_compile(bytes(translated), translated.size(), options, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code_->code == nullptr) {
    uint8_t message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    fail(ErrorCode::kUnsupported, "expected a regular expression at ", where,
         ", found an error: ", reinterpret_cast<const char*>(message), " at offset ", offset);
  }
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct Regex::Matcher::State {
  const Code* code = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  uint64_t looks = 0;
  uint64_t consumed = 0;

  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }

  [[noreturn]] void give_up(const char* why) const {
    fail(ErrorCode::kUnsupported,
         "expected a pattern that matches in bounded work, found one that ", why, " at ",
         code->where);
  }

  // Polynomial patterns pass every limit on a single match, so the pace of the whole is watched.
  void check_pace() const {
    const auto spent = std::chrono::steady_clock::now() - start;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(spent);
    if (seconds > kPatience &&
        consumed < static_cast<uint64_t>(seconds.count()) * kSlowestBytesPerSecond)
      give_up("is far too slow");
  }

  int match(std::string_view text, size_t from, uint32_t options) {
    options |= PCRE2_NO_UTF_CHECK;
    if (!code->jit)
      return pcre2_match(code->code, bytes(text), text.size(), from, options, data, context);
    int rc = pcre2_match(code->code, bytes(text), text.size(), from, options, data, context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code->code, bytes(text), text.size(), from, options | PCRE2_NO_JIT, data,
                       context);
    return rc;
  }
};

Regex::Matcher::Matcher(const Regex& regex) : state_(new State) {
  State& s = *state_;
  s.code = regex.code_.get();
  s.data = pcre2_match_data_create(1, nullptr);
  s.context = pcre2_match_context_create(nullptr);
  if (s.data == nullptr || s.context == nullptr)
    fail(ErrorCode::kOutOfMemory, "expected memory for a regular expression match at ",
         s.code->where);
  pcre2_set_match_limit(s.context, kMatchLimit);
  pcre2_set_heap_limit(s.context, kHeapLimitKib);
  s.stack = pcre2_jit_stack_create(32 << 10, 4 << 20, nullptr);
  if (s.stack != nullptr) pcre2_jit_stack_assign(s.context, nullptr, s.stack);
}

Regex::Matcher::~Matcher() = default;

bool Regex::Matcher::find(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return search(text, from, false, begin, end);
}

bool Regex::Matcher::find_any(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return search(text, from, true, begin, end);
}

bool Regex::Walk::next(size_t& begin, size_t& end) {
  while (from_ <= text_.size() && matcher_.find_any(text_, from_, begin, end)) {
    if (begin < end || end != last_) {
      from_ = last_ = end;
      return true;
    }
    if (from_ == text_.size()) break;
    utf8::next(text_, from_);
  }
  from_ = text_.size() + 1;
  return false;
}

bool Regex::Matcher::search(std::string_view text, size_t from, bool empty_too, size_t& begin,
                            size_t& end) {
  State& s = *state_;
  uint32_t options = 0;
  while (from <= text.size()) {
    const size_t limit = std::min(from + kWindow, text.size());
    pcre2_set_offset_limit(s.context, limit);
    const int rc = s.match(text, from, options);
    if (rc == PCRE2_ERROR_NOMATCH) {
      if (limit == text.size()) return false;
      from = limit;  // the offset at the limit itself was tried too, which does no harm
      while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xC0) == 0x80) ++from;
      options = 0;
      s.check_pace();
      continue;
    }
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT)
      s.give_up("backtracks without end");
    if (rc < 0) s.give_up("the matcher refuses");
    const size_t* span = pcre2_get_ovector_pointer(s.data);
    if (span[1] > span[0] || empty_too) {
      s.consumed += std::max(span[1] - span[0], size_t{1});
      if ((++s.looks & 255) == 0) s.check_pace();
      begin = span[0];
      end = span[1];
      return true;
    }
    // An empty match says nothing; look again from here for a longer one.
    from = std::max(from, span[0]);
    options = PCRE2_NOTEMPTY;
    if (span[0] == text.size()) return false;
  }
  return false;
}

std::string Regex::escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto b = static_cast<uint8_t>(c);
    const bool plain = b >= 0x80 || (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') ||
                       (b >= 'A' && b <= 'Z') || b == '_' || b <= ' ';
    if (!plain) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace onnuri
