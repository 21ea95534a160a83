// What one forward pass computes: rows of tokens that belong to sequences.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.h"

namespace onnuri {

class KvSequence;

/// Rows [first_row, first_row + num_rows) of the batch continue one sequence whose cache already
/// holds `start_position` tokens.
struct SequenceSlice {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t start_position = 0;
  KvSequence* kv = nullptr;
  // Tokens that the sequence will hold when the prompt that these rows belong to has been read; 0:
  // they belong to none. Choices among equals look at it, so that chunks do not change them; and
  // latent attention may take another, equal way for many rows of a prompt.
  int64_t prompt_end = 0;
  // (num_rows) or null, ascending: row i also sees the rows behind it whose positions in the
  // sequence lie below visible_ends[i]. The slice must hold them.
  const int32_t* visible_ends = nullptr;
};

/// The rows of a slice.
inline ConstMatrixView rows_of(const ConstMatrixView& m, const SequenceSlice& slice) {
  return {m.row(slice.first_row), slice.num_rows, m.cols, m.stride};
}

/// Rows whose embeddings come precomputed (media features): row `row + i` takes features.row(i).
struct RowOverride {
  int64_t row = 0;
  ConstMatrixView features;  // (n, hidden_size)
};

/// Rows that are added to the residual stream after a layer (deeper features of media): row
/// `row + i` of the batch gains features.row(i).
struct RowAddition {
  int64_t layer = 0;
  int64_t row = 0;
  ConstMatrixView features;  // (n, hidden_size)
};

struct Batch {
  std::span<const int32_t> ids;      // (T)
  std::span<const float> positions;  // (position_axes, T), rope positions
  std::span<const SequenceSlice> sequences;
  std::span<const RowOverride> overrides;
  std::span<const int64_t> logit_rows;  // rows whose logits are wanted
  MatrixView hidden_out = {};  // (logit rows, hidden_size), what draft takes; no data: unwanted
  int64_t num_logits = -1;     // logits of the last so many logit rows alone; -1: of all
  std::span<const RowAddition> additions = {};
};

/// Rows of the module that guesses the token after next: row t joins the hidden row of position p
/// with the id at p + 1 and answers with logits of the token at p + 2.
struct DraftBatch {
  ConstMatrixView hidden;                    // (T, hidden_size), from hidden_out of the pass before
  std::span<const int32_t> next_ids;         // (T)
  std::span<const float> positions;          // (position_axes, T), of the hidden rows
  std::span<const SequenceSlice> sequences;  // of a cache made for Decoder::draft_config()
  std::span<const int64_t> logit_rows;
  MatrixView hidden_out = {};  // (logit rows, hidden_size), to draft once more; or no data
};

}  // namespace onnuri
