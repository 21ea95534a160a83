#include "fusion/sound_in_video.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {
namespace {

// In double precision, as the reference processors count.
double time_of(int64_t cell, int64_t plane, const TimeScale& time) {
  return static_cast<double>(cell / plane) * time.step * time.factor;
}

// A stretch ends before the first cell at or beyond the next multiple of `chunk`. One cell ends at
// most one stretch, so that cells farther apart than a stretch come one by one for a while.
template <typename TimeOf>
std::vector<int64_t> stretches(int64_t count, int64_t chunk, TimeOf&& time) {
  std::vector<int64_t> ends;
  double limit = static_cast<double>(chunk);
  for (int64_t i = 0; i < count; ++i) {
    if (time(i) < limit) continue;
    ends.push_back(i);
    limit += static_cast<double>(chunk);
  }
  ends.push_back(count);
  return ends;
}

}  // namespace

int64_t positions_per_chunk(double positions_per_second, double seconds_per_chunk) {
  const double positions = positions_per_second * seconds_per_chunk;
  if (!(positions >= 1) || positions > 1e9)
    fail(ErrorCode::kInvalidArgument,
         "expected stretches of video of at least one position, found ", positions, " (",
         positions_per_second, " a second, ", seconds_per_chunk, " seconds)");
  return static_cast<int64_t>(positions);
}

std::vector<MergedRun> merge_sound(SoundInVideo order, const MediaGrid& grid, const TimeScale& time,
                                   int64_t sound_tokens, int64_t chunk) {
  const int64_t cells = grid.num_tokens();
  const int64_t plane = grid.h * grid.w;
  std::vector<MergedRun> out;
  if (order == SoundInVideo::kByChunks) {
    const std::vector<int64_t> seen =
        stretches(cells, chunk, [&](int64_t i) { return time_of(i, plane, time); });
    const std::vector<int64_t> heard =
        stretches(sound_tokens, chunk, [](int64_t i) { return static_cast<double>(i); });
    const auto add = [&](bool is_sound, const std::vector<int64_t>& ends, size_t i) {
      if (i >= ends.size()) return;
      const int64_t begin = i == 0 ? 0 : ends[i - 1];
      if (ends[i] > begin) out.push_back({is_sound, begin, ends[i] - begin});
    };
    for (size_t i = 0; i < std::max(seen.size(), heard.size()); ++i) {
      add(false, seen, i);
      add(true, heard, i);
    }
    return out;
  }
  ONNURI_CHECK(order == SoundInVideo::kByTime);
  int64_t cell = 0, heard = 0;
  while (cell < cells || heard < sound_tokens) {
    const bool sound = cell >= cells || (heard < sound_tokens &&
                                         time_of(cell, plane, time) > static_cast<double>(heard));
    int64_t& next = sound ? heard : cell;
    if (out.empty() || out.back().is_sound != sound) out.push_back({sound, next, 0});
    ++out.back().num_tokens;
    ++next;
  }
  return out;
}

}  // namespace onnuri
