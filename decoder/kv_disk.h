// Full layers whose keys and values do not fit into memory: their rows lie in a file, and those of
// one layer at a time in memory, which the next one takes over.
//
//   file    layer 0: pages of keys, of values, of the indexer's keys; layer 1: the same; ...
//   memory  one such region; a page is read when a pass first needs it, and written back, when the
//           pass has changed it, before another layer takes its place
//
// A pass reads with pread and writes with pwrite, never through a mapping: a disk that is full or
// fails ends the requests that need it, not the process. What the system keeps of the file in idle
// memory is the system's, and goes when others need it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace onnuri {

class KvDisk {
 public:
  /// Bytes of a page in the parts of a layer: keys, values, keys of the indexer; 0: no such part.
  using PageBytes = std::array<int64_t, 3>;

  /// Makes a file without a name in `directory`, as long as all layers, which goes with this
  /// object or with the process. Throws kInvalidArgument where no file can be made, kOutOfMemory
  /// where the disk has too little room.
  KvDisk(const std::string& directory, int64_t num_pages, std::vector<PageBytes> layers);
  ~KvDisk();
  KvDisk(const KvDisk&) = delete;
  KvDisk& operator=(const KvDisk&) = delete;

  /// Brings pages of a layer into memory. Those from `num_filled` on hold nothing yet and are not
  /// read; those from `first_changed` on will be written to. Throws kOutOfMemory where the disk is
  /// full, kDevice where it fails; pages that were changed before then stay in memory.
  void stage(int64_t layer, std::span<const int32_t> pages, size_t num_filled,
             size_t first_changed);
  /// Where the pages of a part begin, of the layer that was staged last.
  std::byte* rows(int64_t layer, size_t part);

  int64_t file_bytes() const { return layer_begin_.back(); }
  /// Of the region in memory: as long as the longest layer.
  int64_t memory_bytes() const { return memory_.num_bytes(); }
  int64_t read_bytes() const { return read_bytes_; }
  int64_t written_bytes() const { return written_bytes_; }

 private:
  enum class Move { kRead, kWrite };
  void flush();
  void move(int64_t layer, Move move);
  void transfer(Move move, std::byte* memory, int64_t offset, int64_t bytes);
  void announce(int64_t layer);

  std::string directory_;
  int64_t num_pages_;
  std::vector<PageBytes> layers_;
  std::vector<int64_t> layer_begin_;  // (layers + 1) in the file
  Tensor memory_;
  int fd_ = -1;
  int64_t staged_ = -1;           // the layer that is in memory
  std::vector<uint8_t> present_;  // (num_pages) of that layer
  std::vector<uint8_t> changed_;  // (num_pages) not yet in the file
  std::vector<int32_t> wanted_;   // pages to move, in ascending order
  int64_t read_bytes_ = 0;
  int64_t written_bytes_ = 0;
};

}  // namespace onnuri
