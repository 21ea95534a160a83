#include "fusion/prompt.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {

std::vector<int32_t> expand_placeholders(std::span<const int32_t> ids, int32_t placeholder,
                                         std::span<const MediaGrid> media) {
  const auto found = std::count(ids.begin(), ids.end(), placeholder);
  if (found != static_cast<int64_t>(media.size()))
    fail(ErrorCode::kInvalidArgument, "expected one placeholder token per media item (",
         media.size(), "), found ", found);
  std::vector<int32_t> out;
  size_t item = 0;
  for (const int32_t id : ids) {
    const int64_t count = id == placeholder ? media[item++].num_tokens() : 1;
    out.insert(out.end(), static_cast<size_t>(count), id);
  }
  return out;
}

std::vector<MediaSpan> find_media_spans(std::span<const int32_t> ids, int32_t placeholder,
                                        std::span<const MediaGrid> media) {
  int64_t expected = 0;
  for (const MediaGrid& grid : media) expected += grid.num_tokens();
  const auto found = std::count(ids.begin(), ids.end(), placeholder);
  if (found != expected)
    fail(ErrorCode::kInvalidArgument, "expected ", expected, " placeholder tokens (id ",
         placeholder, ") for ", media.size(), " media items, found ", found);

  std::vector<MediaSpan> spans;
  auto next = ids.begin();
  for (const MediaGrid& grid : media) {
    next = std::find(next, ids.end(), placeholder);
    const auto end = std::find_if(next, ids.end(), [&](int32_t id) { return id != placeholder; });
    if (end - next < grid.num_tokens())
      fail(ErrorCode::kInvalidArgument, "expected ", grid.num_tokens(),
           " placeholder tokens in one run for media item ", spans.size(), ", found ", end - next);
    spans.push_back({next - ids.begin(), grid.num_tokens(), grid.t, grid.h, grid.w});
    next += grid.num_tokens();
  }
  return spans;
}

}  // namespace onnuri
