// The tags of a TIFF that say how its pixels lie.
#pragma once

#include <cstdint>
#include <span>

namespace onnuri {

/// Takes all other tags out of the first directory. A decoder that is to stop at any damage also
/// stops at tags that it does not know, and files are full of them: profiles, resolutions, kinds of
/// alpha. What is not a directory is left as it is.
void keep_pixel_tags(std::span<uint8_t> tiff);

}  // namespace onnuri
