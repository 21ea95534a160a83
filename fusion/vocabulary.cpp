// See vocabulary.h.
#include "fusion/vocabulary.h"

#include <bit>

#include "core/check.h"

namespace onnuri {

namespace {

constexpr size_t kMaxToken = 1 << 16;

}  // namespace

Vocabulary::Vocabulary(size_t tokens, int64_t max_id) : max_id_(max_id) {
  texts_.reserve(tokens);
  slots_.resize(std::bit_ceil(tokens * 2 + 16));
  mask_ = slots_.size() - 1;
}

void Vocabulary::add(std::string_view token, int64_t id, std::string_view where) {
  if (id < 0 || id >= max_id_)
    fail(ErrorCode::kCorruptData, "expected a token id in [0, ", max_id_, "), found ", id, " at ",
         where);
  if (token.size() > kMaxToken)
    fail(ErrorCode::kCorruptData, "expected tokens of at most ", kMaxToken, " bytes, found ",
         token.size(), " for id ", id, " at ", where);
  const auto index = static_cast<size_t>(id);
  if (index >= texts_.size()) texts_.resize(index + 1);
  if (texts_[index].begin != kNone) {
    if (text(static_cast<int32_t>(id)) == token) return;
    fail(ErrorCode::kCorruptData, "expected one token for id ", id, ", found two at ", where);
  }
  texts_[index] = {arena_.size(), token.size()};
  arena_ += token;
  if (!token.empty()) insert(token, static_cast<int32_t>(id));
}

void Vocabulary::insert(std::string_view token, int32_t id) {
  if ((used_ + 1) * 2 > slots_.size()) grow();
  const uint64_t hash = hash_bytes(token);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.id < 0) {
      slot = {tag, id};
      ++used_;
      return;
    }
    if (slot.tag == tag && text(slot.id) == token) {
      slot.id = id;
      return;
    }
  }
}

void Vocabulary::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  mask_ = slots_.size() - 1;
  used_ = 0;
  for (const Slot& slot : old) {
    if (slot.id >= 0) insert(text(slot.id), slot.id);
  }
}

}  // namespace onnuri
