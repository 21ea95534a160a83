// Regular expressions behind a door: PCRE2 with its JIT, in UTF mode.
//
// Patterns come from checkpoints, so nothing here may hang: each match has a backtracking limit,
// and a scan that stands still for too long ends with kUnsupported.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace onnuri {

class Regex {
 public:
  /// Throws kUnsupported when the pattern does not compile. ^ and $ match at line ends, as in the
  /// Oniguruma dialect that tokenizer files are written for.
  Regex(const std::string& pattern, std::string_view where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// The state of one thread's matching; make one per call and reuse it.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;

    /// Finds the next non-empty match in valid UTF-8 at or after `from`. False when there is none.
    bool find(std::string_view text, size_t from, size_t& begin, size_t& end);

    /// The same with empty matches.
    bool find_any(std::string_view text, size_t from, size_t& begin, size_t& end);

   private:
    bool search(std::string_view text, size_t from, bool empty_too, size_t& begin, size_t& end);

    struct State;
    std::unique_ptr<State> state_;
  };

  /// All matches in a text in order, empty ones included unless they stand right behind another.
  class Walk {
   public:
    Walk(Matcher& matcher, std::string_view text) : matcher_(matcher), text_(text) {}
    bool next(size_t& begin, size_t& end);

   private:
    Matcher& matcher_;
    std::string_view text_;
    size_t from_ = 0;
    size_t last_ = std::string_view::npos;  // where the match before ended
  };

  /// `text` with every character that has a meaning in patterns escaped.
  static std::string escape(std::string_view text);

 private:
  friend class Matcher;
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace onnuri
