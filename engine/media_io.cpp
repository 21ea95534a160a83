// The public door to the media decoders, with their default limits.
#include "onnuri/media_io.h"

#include "encoders/media/media_decode.h"

namespace onnuri {

Image load_image(const MediaInput& input) { return decode_image(input); }

Waveform load_audio(const MediaInput& input, int64_t sample_rate_hz) {
  return decode_audio(input, sample_rate_hz);
}

}  // namespace onnuri
