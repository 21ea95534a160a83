// FFmpeg behind a small door: bytes in memory, a closed list of formats and codecs, and a deadline.
//
// Nothing is ever opened by name: the protocol list is empty, so playlists and references inside a
// container cannot reach files or hosts. Guards are set per context, because FFmpeg's allocation
// limit is global to the process. Messages come from our own table, never from the library.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "encoders/media/media_bytes.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

namespace onnuri {

struct FfmpegDelete {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
};
using CodecContextPtr = std::unique_ptr<AVCodecContext, FfmpegDelete>;
using PacketPtr = std::unique_ptr<AVPacket, FfmpegDelete>;
using FramePtr = std::unique_ptr<AVFrame, FfmpegDelete>;
PacketPtr make_packet();
FramePtr make_frame();
/// FFmpeg prints to standard error unless told otherwise; a library must not.
void silence_ffmpeg_log();

/// What one kind of input may be, as FFmpeg's comma-separated names.
struct FfmpegAccept {
  const char* expected;  // for messages: "sound", "a picture"
  const char* formats;   // demuxers
  const char* codecs;    // decoders
};

/// One opened container. Not thread-safe; the MediaInput must outlive it.
class FfmpegInput {
 public:
  /// Throws as MediaBytes does, and kCorruptData when no accepted format fits.
  FfmpegInput(const MediaInput& input, const MediaLimits& limits, const FfmpegAccept& accept);
  ~FfmpegInput();
  FfmpegInput(const FfmpegInput&) = delete;
  FfmpegInput& operator=(const FfmpegInput&) = delete;

  AVFormatContext* format() { return format_; }
  const std::string& where() const { return bytes_.where(); }

  /// The best stream of a type; all others are discarded. Throws kCorruptData when there is none.
  AVStream* select_stream(AVMediaType type);
  bool has_stream(AVMediaType type) const;
  /// A single-threaded decoder with max_pixels and max_samples set. Throws kUnsupported.
  CodecContextPtr open_decoder(const AVStream* stream);
  /// The next packet of the selected stream; false at the end (or where the bytes stop making
  /// sense). Throws kOutOfMemory after the deadline.
  bool read_packet(AVPacket* packet);
  /// Throws kOutOfMemory once limits.timeout_s have passed since construction.
  void check_deadline() const;

 private:
  struct Unopened {};
  FfmpegInput(const MediaInput& input, const MediaLimits& limits, const FfmpegAccept& accept,
              Unopened);
  static int read_callback(void* self, uint8_t* out, int size);
  static int64_t seek_callback(void* self, int64_t offset, int whence);
  static int interrupt_callback(void* self);
  void open_format();
  bool past_deadline() const { return std::chrono::steady_clock::now() > deadline_; }

  MediaBytes bytes_;
  MediaLimits limits_;
  FfmpegAccept accept_;
  std::chrono::steady_clock::time_point deadline_;
  int64_t position_ = 0;
  int stream_index_ = -1;
  AVIOContext* io_ = nullptr;
  AVFormatContext* format_ = nullptr;
};

}  // namespace onnuri
