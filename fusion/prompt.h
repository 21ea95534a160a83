// Media inside a row of tokens: placeholders and the spans that media take up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fusion/positions.h"

namespace onnuri {

/// The tokens that one media item becomes, as a grid.
struct MediaGrid {
  int64_t t = 1;
  int64_t h = 0;
  int64_t w = 0;
  int64_t num_tokens() const { return t * h * w; }
};

/// Repeats the k-th `placeholder` in `ids` as often as media item k has tokens. Throws
/// kInvalidArgument unless there is one placeholder per item.
std::vector<int32_t> expand_placeholders(std::span<const int32_t> ids, int32_t placeholder,
                                         std::span<const MediaGrid> media);

/// Where each item's tokens lie in ids that hold expanded placeholders. Throws kInvalidArgument
/// unless the placeholders are exactly those of the items, each item's in one run.
std::vector<MediaSpan> find_media_spans(std::span<const int32_t> ids, int32_t placeholder,
                                        std::span<const MediaGrid> media);

}  // namespace onnuri
