// A text that the prompt memory keeps, as a file: saved by one process, taken over by another.
//
//   "onnuri state 1\n\0"  model key  type of keys, rows of a page, tokens, axes, tokens of the
//   prompt tenant  ids  positions  what tokens see  spans of media with the hashes of their content
//   rows of full layers  snapshots of window layers  SHA-256 of all before
//
// Numbers are little-endian. The file appears whole or not at all, and is taken over whole or not
// at all. The checksum finds accidents, not forgeries: every number is checked before it is used.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/content_hash.h"
#include "decoder/kv_cache.h"
#include "engine/prompt_memory.h"

namespace onnuri {

/// What a state must agree with.
struct StateLimits {
  ContentKey model{};      // of everything that the rows depend on
  int64_t vocab_size = 0;  // ids lie below it, or are placeholders of media
  int64_t context_size = 0;
  int64_t num_axes = 1;
};

/// Throws kNotFound when the file cannot be written.
void write_state(const std::string& path, const ContentKey& model, const KvCache& cache,
                 const KeptText& text);

/// Throws kNotFound, kCorruptData (not a state, damaged, nonsense), kUnsupported (of another model
/// or other keys), kOutOfMemory (no pages: `make_room` was asked and said false).
KeptText read_state(const std::string& path, const StateLimits& limits, KvCache& cache,
                    const std::function<bool()>& make_room);

}  // namespace onnuri
