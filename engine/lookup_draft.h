// Guesses the next tokens from what the text has said before: the latest place where its last few
// tokens stood already, and what followed there.
//
// Source: prompt lookup decoding; the checking of guesses in one pass follows Leviathan et al.,
// arXiv 2211.17192, with exact equality in place of acceptance by chance.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace onnuri {

class LookupDraft {
 public:
  /// Guesses at most `max_tokens` at a time; 0 guesses nothing and keeps nothing.
  explicit LookupDraft(int64_t max_tokens) : max_tokens_(max_tokens), length_(max_tokens) {}

  /// The text grows.
  void append(std::span<const int32_t> tokens);
  void append(int32_t token) { append(std::span(&token, 1)); }

  /// At most `room` guesses of what follows the text, most often none. Valid until the next call.
  std::span<const int32_t> propose(int64_t room);
  /// How the last guesses fared: guesses that fail are tried in smaller numbers and more rarely.
  void report(int64_t proposed, int64_t accepted);

 private:
  static constexpr std::array<int64_t, 2> kLengths = {4, 2};  // of the tokens that are looked up
  uint64_t hash(int64_t end, int64_t length) const;

  int64_t max_tokens_;
  int64_t length_;     // guesses per step now
  int64_t pause_ = 0;  // steps to sit out
  std::vector<int32_t> text_;
  // For each length: where the run of tokens with this hash ended last, the tail itself left out.
  std::array<std::unordered_map<uint64_t, int64_t>, kLengths.size()> ends_;
  std::vector<int32_t> guesses_;
};

}  // namespace onnuri
