#include "engine/module_draft.h"

#include <algorithm>

#include "core/check.h"
#include "decoder/sampler.h"

namespace onnuri {

ModuleDraft::ModuleDraft(Decoder& decoder, KvCache& cache)
    : decoder_(decoder),
      cache_(cache),
      width_(decoder.config().hidden_size),
      axes_(decoder.config().position_axes()) {}

void ModuleDraft::begin(std::span<const int32_t> ids, std::span<const float> positions) {
  kv_.reset();
  kv_ = cache_.new_sequence();
  ids_.assign(ids.begin(), ids.end());
  prompt_size_ = static_cast<int64_t>(ids.size());
  positions_.clear();
  for (size_t i = 0; i < ids.size(); ++i) {
    for (int64_t axis = 0; axis < axes_; ++axis) {
      positions_.push_back(positions[static_cast<size_t>(axis) * ids.size() + i]);
    }
  }
  num_rows_ = 0;
  waiting_.clear();
  prompt_row_.clear();
}

// The module has read every row of the prompt but the last one.
void ModuleDraft::restart() {
  if (prompt_row_.empty()) return;
  if (kv_ && !kv_->truncate(prompt_size_ - 1)) kv_.reset();  // a ring has moved on: no guesses
  ids_.resize(static_cast<size_t>(prompt_size_));
  positions_.resize(static_cast<size_t>(prompt_size_ * axes_));
  num_rows_ = prompt_size_;
  waiting_ = prompt_row_;
}

void ModuleDraft::append(int32_t id, float position) {
  ids_.push_back(id);
  positions_.insert(positions_.end(), static_cast<size_t>(axes_), position);
}

float* ModuleDraft::rows_to_come(int64_t count) {
  coming_.resize(static_cast<size_t>(count * width_));
  return coming_.data();
}

void ModuleDraft::take_rows(int64_t count) {
  if (!kv_) return;  // it guesses no more
  const auto end = coming_.begin() + static_cast<std::ptrdiff_t>(count * width_);
  waiting_.insert(waiting_.end(), coming_.begin(), end);
  num_rows_ += count;
  if (num_rows_ == prompt_size_ && prompt_row_.empty()) {
    prompt_row_.assign(end - static_cast<std::ptrdiff_t>(width_), end);
  }
  if (num_rows_ <= prompt_size_) catch_up();
}

bool ModuleDraft::run(std::span<const float> hidden, std::span<const int32_t> next_ids,
                      int64_t first) {
  const auto rows = static_cast<int64_t>(next_ids.size());
  if (!kv_->reserve(rows)) return false;
  std::vector<float> positions;  // (axes, rows)
  for (int64_t axis = 0; axis < axes_; ++axis) {
    for (int64_t i = first; i < first + rows; ++i) {
      positions.push_back(positions_[static_cast<size_t>(i * axes_ + axis)]);
    }
  }
  const SequenceSlice slice{0, rows, first, kv_.get()};
  const int64_t last = rows - 1;
  logits_.resize(static_cast<size_t>(decoder_.config().vocab_size));
  last_row_.resize(static_cast<size_t>(width_));
  DraftBatch batch;
  batch.hidden = matrix(hidden.data(), rows, width_);
  batch.next_ids = next_ids;
  batch.positions = positions;
  batch.sequences = std::span(&slice, 1);
  batch.logit_rows = std::span(&last, 1);
  batch.hidden_out = matrix(last_row_.data(), 1, width_);
  decoder_.draft(batch, matrix(logits_.data(), 1, decoder_.config().vocab_size));
  return true;
}

bool ModuleDraft::catch_up() {
  if (!kv_) return false;
  const auto known = std::min(num_rows_, static_cast<int64_t>(ids_.size()) - 1);
  bool has_run = false;
  while (kv_->num_tokens() < known) {
    const int64_t first = kv_->num_tokens();
    const int64_t count = std::min(known - first, kv_->max_chunk());
    const auto values = static_cast<size_t>(count * width_);
    const std::span<const int32_t> next =
        std::span(ids_).subspan(static_cast<size_t>(first) + 1, static_cast<size_t>(count));
    if (!run(std::span(waiting_).first(values), next, first)) return false;
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(values));
    has_run = true;
  }
  return has_run;
}

std::span<const int32_t> ModuleDraft::propose(int64_t room) {
  guesses_.clear();
  const auto known = static_cast<int64_t>(ids_.size()) - 1;
  // The row of the last token but one is the newest; without it there is nothing to go on.
  if (!kv_ || room < 1 || num_rows_ != known || !catch_up()) return {};
  const int64_t steps =
      std::min({room, std::max<int64_t>(decoder_.config().mtp.num_steps, 1), kv_->max_chunk()});
  guesses_.push_back(argmax(logits_));
  const auto last = static_cast<size_t>(known) * static_cast<size_t>(axes_);
  for (int64_t i = 1; i < steps; ++i) {
    const int32_t guess = guesses_.back();
    const std::vector<float> row = last_row_;
    // The guess before stands where the text ends now.
    if (i > 1) append(guesses_[static_cast<size_t>(i) - 2], positions_.back() + 1.0f);
    if (!run(row, std::span(&guess, 1), known + i - 1)) break;
    guesses_.push_back(argmax(logits_));
  }
  positions_.resize(last + static_cast<size_t>(axes_));
  ids_.resize(static_cast<size_t>(known) + 1);
  ONNURI_CHECK(kv_->truncate(known));
  return guesses_;
}

}  // namespace onnuri
