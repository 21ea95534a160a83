// A video and what is heard in it as one row of tokens, in the order of time.
#pragma once

#include <cstdint>
#include <vector>

#include "fusion/positions.h"
#include "fusion/prompt.h"

namespace onnuri {

/// How a family reads the two.
enum class SoundInVideo {
  kApart,     // it has no rule for them
  kByChunks,  // stretch by stretch: its pictures, then its sound (Qwen2.5-Omni)
  kBehind,    // placeholders of their own, shortened (HyperCLOVA X Omni)
  kByTime,    // token by token: the one that comes first, pictures where both come at once
              // (Qwen3-Omni)
};

/// A run of tokens of one of the two.
struct MergedRun {
  bool is_sound = false;
  int64_t first_cell = 0;  // of the video's grid, or of the sound's tokens
  int64_t num_tokens = 0;
};

/// Positions of a video's stretch, as the references cut it down; throws kInvalidArgument unless
/// it is at least one.
int64_t positions_per_chunk(double positions_per_second, double seconds_per_chunk);

/// All tokens of a video of `grid` whose grids lie `time` apart and of a sound of `sound_tokens`,
/// one position each. `chunk` is what positions_per_chunk says, for kByChunks. Source: the
/// processors of transformers 5.23, replace_video_with_audio_token.
std::vector<MergedRun> merge_sound(SoundInVideo order, const MediaGrid& grid, const TimeScale& time,
                                   int64_t sound_tokens, int64_t chunk);

}  // namespace onnuri
