#include "engine/lookup_draft.h"

#include <algorithm>

namespace onnuri {

uint64_t LookupDraft::hash(int64_t end, int64_t length) const {
  uint64_t value = 0xcbf29ce484222325;  // FNV-1a over whole tokens
  for (int64_t i = end - length; i < end; ++i)
    value = (value ^ static_cast<uint32_t>(text_[static_cast<size_t>(i)])) * 0x100000001b3;
  return value;
}

void LookupDraft::append(std::span<const int32_t> tokens) {
  if (max_tokens_ == 0) return;
  for (const int32_t token : tokens) {
    const auto end = static_cast<int64_t>(text_.size());
    for (size_t i = 0; i < kLengths.size(); ++i)
      if (end >= kLengths[i]) ends_[i][hash(end, kLengths[i])] = end;
    text_.push_back(token);
  }
}

std::span<const int32_t> LookupDraft::propose(int64_t room) {
  guesses_.clear();
  const int64_t wanted = std::min(room, length_);
  if (pause_ > 0) {
    --pause_;
    return {};
  }
  const auto size = static_cast<int64_t>(text_.size());
  for (size_t i = 0; i < kLengths.size() && wanted > 0; ++i) {
    const int64_t length = kLengths[i];
    if (size <= length) continue;
    const auto found = ends_[i].find(hash(size, length));
    if (found == ends_[i].end()) continue;
    const int64_t end = found->second;
    if (!std::equal(text_.end() - length, text_.end(), text_.begin() + (end - length))) continue;
    // A text that repeats itself goes on in its own guesses.
    for (int64_t j = 0; j < wanted; ++j)
      guesses_.push_back(end + j < size ? text_[static_cast<size_t>(end + j)]
                                        : guesses_[static_cast<size_t>(end + j - size)]);
    break;
  }
  return guesses_;
}

void LookupDraft::report(int64_t proposed, int64_t accepted) {
  if (proposed == 0) return;
  if (accepted == proposed) {
    length_ = std::min(max_tokens_, length_ * 2);
  } else if (accepted * 2 < proposed) {
    if (length_ == 1) pause_ = 4;
    length_ = std::max<int64_t>(1, length_ / 2);
  }
}

}  // namespace onnuri
