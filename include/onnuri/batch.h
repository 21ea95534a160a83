// Many requests from a file, one answer row each, in a job that may be killed and goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "onnuri/engine.h"

namespace onnuri {

struct BatchProgress {
  int64_t done = 0;               ///< rows written, those of earlier runs included
  int64_t total = 0;              ///< rows of the input
  int64_t failed = 0;             ///< rows of this run that hold an error
  int64_t resumed = 0;            ///< rows that earlier runs had written
  int64_t prompt_tokens = 0;      ///< of this run
  int64_t completion_tokens = 0;  ///< of this run
};

struct BatchOptions {
  std::string model_name;    ///< written into the rows; empty: the model that each request names
  bool restart = false;      ///< throw away what an unfinished run has left
  int64_t concurrency = 0;   ///< requests at a time; 0: as many as the engine computes together
  bool allow_files = false;  ///< requests may name local files (file://...) as media
  /// Called after every row, and now and then; false stops the job, which can go on later. Always
  /// by the thread that called run_batch.
  std::function<bool(const BatchProgress&)> on_progress;
};

/// Answers every line of `input`, a file in the format of OpenAI's batch interface (custom_id,
/// method, url, body; chat and text completions), and writes one row for each to `output`, in the
/// order of the input.
///
/// Rows gather in `output`.partial, beside a journal; when all are there, the file gets its name. A
/// job that was killed at any point goes on where it was when it is run again, and its output has
/// the same bytes as that of a run that was never interrupted: answers do not depend on earlier
/// requests, requests without a seed take one from their line number, and rows hold no clock.
/// A request that fails becomes a row with its error. Returns what was done; `done` < `total` when
/// on_progress stopped it. Throws kNotFound (no input; no such folder), kInvalidArgument (the
/// output exists; an unfinished job of other input, model or options is there; another process is
/// at it), kCorruptData (rows that were changed since).
BatchProgress run_batch(Engine& engine, const std::string& input, const std::string& output,
                        const BatchOptions& options);

}  // namespace onnuri
