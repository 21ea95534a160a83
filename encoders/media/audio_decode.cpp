// Sound of any accepted container to mono float at one rate.
//
// Decoding stops as soon as a limit is passed: the claims of a header (length, rate, channels) are
// never used to size anything. Down-mixing is FFmpeg's standard matrix, normalised to unit gain;
// channels without a layout are averaged. Resampling is soxr, whose aliases stay below -83 dB.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "encoders/media/ffmpeg_input.h"
#include "encoders/media/media_decode.h"

extern "C" {
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>
}

namespace onnuri {
namespace {

constexpr FfmpegAccept kSound = {
    "sound (WAV, MP3, FLAC, OGG, Opus, M4A or a video with sound)",
    "aac,ac3,aiff,amr,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav",
    "aac,aac_latm,ac3,eac3,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,flac,gsm,gsm_ms,mp2,mp2float,"
    "mp3,mp3float,opus,libopus,pcm_alaw,pcm_mulaw,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,"
    "pcm_s8,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_u8,speex,libspeex,"
    "vorbis,libvorbis,wmav1,wmav2"};
// What a video may be without any sound.
constexpr FfmpegAccept kSoundOfVideo = {"a video (MP4, WebM, MKV, MOV, AVI, GIF)",
                                        "asf,avi,flv,gif,matroska,mov,mpeg,mpegts,ogg",
                                        kSound.codecs};
constexpr int kMinRateHz = 2000;
constexpr int kMaxRateHz = 384'000;
constexpr int kMaxChannels = 64;

struct SwrDelete {
  void operator()(SwrContext* p) const { swr_free(&p); }
};

/// Collects frames of one stream into mono samples.
class MonoResampler {
 public:
  MonoResampler(FfmpegInput& input, int64_t rate_hz, const MediaLimits& limits)
      : input_(input),
        rate_hz_(rate_hz),
        max_samples_(limits.max_audio_seconds * rate_hz),
        max_bytes_(limits.max_decoded_bytes),
        max_seconds_(limits.max_audio_seconds) {}
  ~MonoResampler() { av_channel_layout_uninit(&layout_); }
  MonoResampler(const MonoResampler&) = delete;
  MonoResampler& operator=(const MonoResampler&) = delete;

  void add(const AVFrame* frame) {
    if (swr_ == nullptr || !same_form(frame)) {
      flush();
      configure(frame);
    }
    convert(const_cast<const uint8_t**>(frame->extended_data), frame->nb_samples);
  }

  /// Takes what the filter still holds.
  void flush() {
    if (swr_ != nullptr) convert(nullptr, 0);
    swr_.reset();
  }

  std::vector<float> take() { return std::move(samples_); }

 private:
  bool same_form(const AVFrame* frame) const {
    return frame->sample_rate == in_rate_hz_ && frame->format == format_ &&
           av_channel_layout_compare(&frame->ch_layout, &layout_) == 0;
  }

  void configure(const AVFrame* frame) {
    const int channels = frame->ch_layout.nb_channels;
    if (frame->sample_rate < kMinRateHz || frame->sample_rate > kMaxRateHz) {
      fail(ErrorCode::kUnsupported, "expected a sample rate from ", kMinRateHz, " to ", kMaxRateHz,
           " Hz, found ", frame->sample_rate, " Hz in ", input_.where());
    }
    if (channels < 1 || channels > kMaxChannels) {
      fail(ErrorCode::kUnsupported, "expected 1 to ", kMaxChannels, " channels, found ", channels,
           " in ", input_.where());
    }
    in_rate_hz_ = frame->sample_rate;
    format_ = frame->format;
    if (av_channel_layout_copy(&layout_, &frame->ch_layout) < 0) out_of_memory();

    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    SwrContext* swr = nullptr;
    if (swr_alloc_set_opts2(&swr, &mono, AV_SAMPLE_FMT_FLT, static_cast<int>(rate_hz_), &layout_,
                            static_cast<AVSampleFormat>(format_), in_rate_hz_, 0, nullptr) < 0) {
      out_of_memory();
    }
    swr_.reset(swr);
    av_opt_set_int(swr, "resampler", SWR_ENGINE_SOXR, 0);
    av_opt_set_double(swr, "rematrix_maxval", 1.0, 0);
    const std::vector<double> mean(static_cast<size_t>(channels), 1.0 / channels);
    const bool unknown_layout = layout_.order == AV_CHANNEL_ORDER_UNSPEC;
    if ((unknown_layout && swr_set_matrix(swr, mean.data(), channels) < 0) || swr_init(swr) < 0) {
      fail(ErrorCode::kUnsupported, "expected sound that can be mixed to one channel, found ",
           channels, " channels in ", input_.where());
    }
  }

  void convert(const uint8_t** data, int count) {
    input_.check_deadline();
    const int capacity = swr_get_out_samples(swr_.get(), count);
    if (capacity < 0) out_of_memory();
    const size_t old_size = samples_.size();
    samples_.resize(old_size + static_cast<size_t>(capacity));
    auto* out = reinterpret_cast<uint8_t*>(samples_.data() + old_size);
    const int written = swr_convert(swr_.get(), &out, capacity, data, count);
    if (written < 0) {
      fail(ErrorCode::kCorruptData, "expected sound that can be resampled, found damage in ",
           input_.where());
    }
    samples_.resize(old_size + static_cast<size_t>(written));
    if (static_cast<int64_t>(samples_.size() * sizeof(float)) > max_bytes_) {
      fail(ErrorCode::kOutOfMemory, "expected sound of at most ", max_bytes_,
           " decoded bytes, found more in ", input_.where());
    }
    if (static_cast<int64_t>(samples_.size()) > max_samples_) {
      fail(ErrorCode::kOutOfMemory, "expected sound of at most ", max_seconds_,
           " s, found more in ", input_.where());
    }
  }

  [[noreturn]] void out_of_memory() const {
    fail(ErrorCode::kOutOfMemory, "expected memory to decode sound, found none for ",
         input_.where());
  }

  FfmpegInput& input_;
  int64_t rate_hz_, max_samples_, max_bytes_, max_seconds_;
  int in_rate_hz_ = 0;
  int format_ = -1;
  AVChannelLayout layout_{};
  std::unique_ptr<SwrContext, SwrDelete> swr_;
  std::vector<float> samples_;
};

// Takes all frames that are ready. Damaged packets are skipped, as players do.
void drain(AVCodecContext* decoder, AVFrame* frame, MonoResampler& out) {
  while (avcodec_receive_frame(decoder, frame) >= 0) {
    if (frame->nb_samples > 0) out.add(frame);
    av_frame_unref(frame);
  }
}

// Floating-point files may hold anything; the encoders expect finite values in [-1, 1].
void check_and_clip(std::vector<float>& samples, const std::string& where) {
  for (float& x : samples) {
    if (!std::isfinite(x)) {
      fail(ErrorCode::kCorruptData, "expected finite samples, found ",
           std::isnan(x) ? "not-a-number" : "infinity", " in ", where);
    }
    x = std::clamp(x, -1.0f, 1.0f);
  }
}

// Samples without a file pass through one: a WAV of floats in memory.
MediaInput as_wav(const Waveform& sound) {
  constexpr uint32_t kHeaderBytes = 44;
  const auto num_bytes = static_cast<uint32_t>(sound.samples.size() * sizeof(float));
  const auto rate = static_cast<uint32_t>(sound.sample_rate_hz);
  MediaInput out{MediaKind::kAudio, {}, {}};
  out.bytes.reserve(kHeaderBytes + num_bytes);
  const auto text = [&](const char* tag) { out.bytes.insert(out.bytes.end(), tag, tag + 4); };
  const auto number = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
  };
  text("RIFF");
  number(num_bytes + kHeaderBytes - 8, 4);
  text("WAVE");
  text("fmt ");
  number(16, 4);
  number(3, 2);  // floats
  number(1, 2);  // one channel
  number(rate, 4);
  number(rate * 4, 4);
  number(4, 2);
  number(32, 2);
  text("data");
  number(num_bytes, 4);
  const auto* bytes = reinterpret_cast<const uint8_t*>(sound.samples.data());
  out.bytes.insert(out.bytes.end(), bytes, bytes + num_bytes);
  return out;
}

Waveform from_decoded(const Waveform& sound, int64_t sample_rate_hz, const MediaLimits& limits) {
  if (sound.sample_rate_hz < kMinRateHz || sound.sample_rate_hz > kMaxRateHz)
    fail(ErrorCode::kUnsupported, "expected a sample rate from ", kMinRateHz, " to ", kMaxRateHz,
         " Hz, found ", sound.sample_rate_hz, " Hz in decoded sound");
  const auto num_bytes = static_cast<int64_t>(sound.samples.size() * sizeof(float));
  if (num_bytes > limits.max_decoded_bytes)
    fail(ErrorCode::kOutOfMemory, "expected sound of at most ", limits.max_decoded_bytes,
         " decoded bytes, found ", num_bytes);
  Waveform out = sound;
  check_and_clip(out.samples, "decoded sound");
  if (out.sample_rate_hz == sample_rate_hz) return out;
  return decode_audio(as_wav(out), sample_rate_hz, limits);
}

}  // namespace

namespace {

void check_output_rate(int64_t sample_rate_hz) {
  if (sample_rate_hz < kMinRateHz || sample_rate_hz > kMaxRateHz) {
    fail(ErrorCode::kInvalidArgument, "expected an output rate from ", kMinRateHz, " to ",
         kMaxRateHz, " Hz, found ", sample_rate_hz);
  }
}

/// Without samples where the file has none.
Waveform read_sound(FfmpegInput& input, int64_t sample_rate_hz, const MediaLimits& limits) {
  const AVStream* stream = input.select_stream(AVMEDIA_TYPE_AUDIO);
  const CodecContextPtr decoder = input.open_decoder(stream);
  const PacketPtr packet = make_packet();
  const FramePtr frame = make_frame();
  MonoResampler resampler(input, sample_rate_hz, limits);
  while (input.read_packet(packet.get())) {
    if (avcodec_send_packet(decoder.get(), packet.get()) >= 0) {
      drain(decoder.get(), frame.get(), resampler);
    }
  }
  if (avcodec_send_packet(decoder.get(), nullptr) >= 0) {
    drain(decoder.get(), frame.get(), resampler);
  }
  resampler.flush();

  Waveform waveform{sample_rate_hz, resampler.take()};
  check_and_clip(waveform.samples, input.where());
  return waveform;
}

}  // namespace

Waveform decode_audio(const MediaInput& media, int64_t sample_rate_hz, const MediaLimits& limits) {
  check_output_rate(sample_rate_hz);
  if (!media.sound.samples.empty()) return from_decoded(media.sound, sample_rate_hz, limits);
  FfmpegInput input(media, limits, kSound);
  Waveform waveform = read_sound(input, sample_rate_hz, limits);
  if (waveform.samples.empty()) {
    fail(ErrorCode::kCorruptData, "expected sound, found no samples in ", input.where());
  }
  return waveform;
}

std::optional<Waveform> decode_sound_of_video(const MediaInput& media, int64_t sample_rate_hz,
                                              const MediaLimits& limits) {
  check_output_rate(sample_rate_hz);
  FfmpegInput input(media, limits, kSoundOfVideo);
  if (!input.has_stream(AVMEDIA_TYPE_AUDIO)) return std::nullopt;
  Waveform waveform = read_sound(input, sample_rate_hz, limits);
  if (waveform.samples.empty()) return std::nullopt;
  return waveform;
}

}  // namespace onnuri
