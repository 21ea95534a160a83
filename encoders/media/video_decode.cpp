// Chosen frames of a video.
//
//   packets, undecoded: timestamps of all frames, which of them are key frames
//   choose               indices in the order of time
//   decode               from the last key frame before each chosen one, or straight on where that
//                        is nearer
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "encoders/media/ffmpeg_input.h"
#include "encoders/media/frame_to_rgb.h"
#include "encoders/media/media_decode.h"

extern "C" {
#include <libavutil/display.h>
}

namespace onnuri {
namespace {

constexpr FfmpegAccept kMovie = {
    "a video (MP4, MOV, WebM, MKV, AVI or GIF)", "avi,flv,gif,matroska,mov,mpeg,mpegts",
    "av1,libdav1d,libaom-av1,flv,gif,h263,h264,hevc,mjpeg,mpeg1video,mpeg2video,mpeg4,msmpeg4,"
    "msmpeg4v2,theora,vp8,vp9"};
constexpr int64_t kMaxFrames = 10'000'000;
constexpr double kMaxAspectRatio = 200;

/// All frames of the stream in the order of time.
struct FrameTimes {
  std::vector<int64_t> times;      // in units of the stream's time base, ascending
  std::vector<int64_t> key_times;  // of key frames, ascending
};

FrameTimes scan(FfmpegInput& input) {
  FrameTimes out;
  const PacketPtr packet = make_packet();
  int64_t next = 0;  // for files without timestamps
  while (input.read_packet(packet.get())) {
    int64_t time = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
    if (time == AV_NOPTS_VALUE) time = next;
    next = time + std::max<int64_t>(packet->duration, 1);
    if ((packet->flags & AV_PKT_FLAG_DISCARD) != 0) continue;
    if (static_cast<int64_t>(out.times.size()) >= kMaxFrames)
      fail(ErrorCode::kOutOfMemory, "expected a video of at most ", kMaxFrames,
           " frames, found more in ", input.where());
    out.times.push_back(time);
    if ((packet->flags & AV_PKT_FLAG_KEY) != 0) out.key_times.push_back(time);
  }
  if (out.times.empty())
    fail(ErrorCode::kCorruptData, "expected ", kMovie.expected, ", found no frames in ",
         input.where());
  std::sort(out.times.begin(), out.times.end());
  std::sort(out.key_times.begin(), out.key_times.end());
  return out;
}

/// When frames are shown.
struct Pace {
  double rate = 1.0;    // frames per second over the whole clip
  bool steady = false;  // frame k stands at k / rate, but for the ticks that times are rounded to
};

Pace pace_of(const AVStream& stream, const std::vector<int64_t>& times) {
  const double tick = av_q2d(stream.time_base);
  const auto since_first = [&](int64_t time) {
    return static_cast<double>(time) - static_cast<double>(times.front());
  };
  const double stated = av_q2d(stream.avg_frame_rate);
  const bool is_rate = std::isfinite(stated) && stated > 0;
  bool steady = is_rate;
  for (size_t k = 0; k < times.size() && steady; ++k)
    steady = std::abs(since_first(times[k]) - static_cast<double>(k) / stated / tick) < 1.0;
  if (steady) return {stated, true};
  // Whole numbers on both sides of the division: a rate that is one comes out as one.
  const double gaps = static_cast<double>(times.size() - 1) * stream.time_base.den;
  const double span = since_first(times.back()) * stream.time_base.num;
  if (gaps > 0 && span > 0 && std::isfinite(span)) return {gaps / span, false};
  return {is_rate ? stated : 1.0, false};
}

/// Quarter turns to the right that the file asks for.
int quarter_turns(const AVStream& stream) {
  const uint8_t* matrix = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
  if (matrix == nullptr) return 0;
  int32_t values[9];
  std::memcpy(values, matrix, sizeof(values));
  const double angle = av_display_rotation_get(values);  // to the left
  if (!std::isfinite(angle)) return 0;
  return static_cast<int>(((-std::lround(angle / 90)) % 4 + 4) % 4);
}

Image turned(const Image& in, int quarter_turns) {
  if (quarter_turns == 0) return in;
  const bool swap = quarter_turns != 2;
  Image out{swap ? in.width : in.height, swap ? in.height : in.width, {}};
  out.rgb.resize(in.rgb.size());
  for (int64_t y = 0; y < in.height; ++y)
    for (int64_t x = 0; x < in.width; ++x) {
      int64_t to_y = in.height - 1 - y, to_x = in.width - 1 - x;
      if (quarter_turns == 1) {
        to_y = x;
        to_x = in.height - 1 - y;
      } else if (quarter_turns == 3) {
        to_y = in.width - 1 - x;
        to_x = y;
      }
      std::memcpy(out.rgb.data() + (to_y * out.width + to_x) * 3,
                  in.rgb.data() + (y * in.width + x) * 3, 3);
    }
  return out;
}

/// Decoded frames in the order of time, from anywhere in the file.
class FrameReader {
 public:
  FrameReader(FfmpegInput& input, AVStream& stream)
      : input_(input),
        stream_(stream),
        decoder_(input.open_decoder(&stream)),
        packet_(make_packet()),
        frame_(make_frame()) {}

  /// Goes to the key frame at `time`; stays where it is when the container cannot seek.
  bool seek(int64_t time) {
    if (av_seek_frame(input_.format(), stream_.index, time, AVSEEK_FLAG_BACKWARD) < 0) return false;
    avcodec_flush_buffers(decoder_.get());
    ended_ = false;
    return true;
  }

  /// Null at the end.
  const AVFrame* next() {
    for (;;) {
      const int got = avcodec_receive_frame(decoder_.get(), frame_.get());
      if (got == 0) return frame_.get();
      if (got != AVERROR(EAGAIN) || ended_) return nullptr;
      if (!input_.read_packet(packet_.get())) {
        ended_ = true;
        avcodec_send_packet(decoder_.get(), nullptr);
      } else {
        avcodec_send_packet(decoder_.get(), packet_.get());  // damaged ones give no frame
      }
    }
  }

 private:
  FfmpegInput& input_;
  AVStream& stream_;
  CodecContextPtr decoder_;
  PacketPtr packet_;
  FramePtr frame_;
  bool ended_ = false;
};

void check_frame_size(int64_t width, int64_t height, size_t count, const MediaLimits& limits,
                      const std::string& where) {
  if (width <= 0 || height <= 0 || width > limits.max_pixels / height)
    fail(ErrorCode::kOutOfMemory, "expected frames of 1 to ", limits.max_pixels, " pixels, found ",
         width, "x", height, " in ", where);
  const int64_t longer = std::max(width, height);
  if (static_cast<double>(longer) > kMaxAspectRatio * static_cast<double>(std::min(width, height)))
    fail(ErrorCode::kInvalidArgument, "expected frames with sides at most 200 : 1, found ", width,
         "x", height, " in ", where);
  const int64_t frame_bytes = width * height * 3;
  if (static_cast<int64_t>(count) > std::max<int64_t>(limits.max_decoded_bytes, 0) / frame_bytes)
    fail(ErrorCode::kOutOfMemory, "expected frames of together at most ", limits.max_decoded_bytes,
         " bytes, found ", count, " of ", width, "x", height, " in ", where);
}

Video checked_video(const MediaInput& input, const MediaLimits& limits) {
  const Video& v = input.video;
  if (!input.path.empty() || !input.bytes.empty())
    fail(ErrorCode::kInvalidArgument, "expected a video as a file or as frames, found both");
  if (v.num_frames <= 0 || v.height <= 0 || v.width <= 0)
    fail(ErrorCode::kInvalidArgument, "expected a video with frames, found ", v.num_frames, "x",
         v.height, "x", v.width);
  check_frame_size(v.width, v.height, static_cast<size_t>(v.num_frames), limits, "memory");
  if (static_cast<int64_t>(v.rgb.size()) != v.num_frames * v.height * v.width * 3)
    fail(ErrorCode::kInvalidArgument, "expected ", v.num_frames, "x", v.height, "x", v.width,
         "x3 bytes of video, found ", v.rgb.size());
  return v;
}

/// The latest key frame at or before `time`; the first time when there is none.
int64_t key_before(const FrameTimes& frames, int64_t time) {
  const auto after = std::upper_bound(frames.key_times.begin(), frames.key_times.end(), time);
  return after == frames.key_times.begin() ? frames.times.front() : *(after - 1);
}

std::vector<int64_t> checked_choice(const FrameChooser& choose, int64_t total, double fps) {
  std::vector<int64_t> chosen = choose(total, fps);
  ONNURI_CHECK(!chosen.empty() && std::is_sorted(chosen.begin(), chosen.end()));
  ONNURI_CHECK(chosen.front() >= 0 && chosen.back() < total);
  return chosen;
}

void append(const Image& frame, Video& video, const std::string& where) {
  if (video.num_frames == 0) {
    video.height = frame.height;
    video.width = frame.width;
  } else if (video.height != frame.height || video.width != frame.width) {
    fail(ErrorCode::kUnsupported, "expected frames of one size, found ", frame.height, "x",
         frame.width, " after ", video.height, "x", video.width, " in ", where);
  }
  video.rgb.insert(video.rgb.end(), frame.rgb.begin(), frame.rgb.end());
  ++video.num_frames;
}

}  // namespace

Video decode_video(const MediaInput& input, const FrameChooser& choose, const MediaLimits& limits) {
  if (!input.video.rgb.empty()) return checked_video(input, limits);
  FfmpegInput file(input, limits, kMovie);
  AVStream* stream = file.select_stream(AVMEDIA_TYPE_VIDEO);
  const FrameTimes frames = scan(file);
  const auto total = static_cast<int64_t>(frames.times.size());
  const Pace pace = pace_of(*stream, frames.times);
  const std::vector<int64_t> chosen = checked_choice(choose, total, pace.rate);
  check_frame_size(stream->codecpar->width, stream->codecpar->height, chosen.size(), limits,
                   file.where());

  FrameReader reader(file, *stream);
  const int turns = quarter_turns(*stream);
  Video out;
  out.frames_per_second =
      static_cast<double>(chosen.size()) / static_cast<double>(total) * pace.rate;
  int64_t at = std::numeric_limits<int64_t>::min();  // time of the frame before the next
  if (!reader.seek(frames.times.front()))
    fail(ErrorCode::kCorruptData, "expected ", kMovie.expected,
         ", found a file that cannot be read from its start: ", file.where());
  Image last;
  int64_t last_index = -1;
  for (const int64_t index : chosen) {
    if (index != last_index) {
      const int64_t wanted = frames.times[static_cast<size_t>(index)];
      const int64_t key = key_before(frames, wanted);
      if (key > at && last_index >= 0) reader.seek(key);
      const AVFrame* frame = reader.next();
      while (frame != nullptr && frame->best_effort_timestamp != AV_NOPTS_VALUE &&
             frame->best_effort_timestamp < wanted)
        frame = reader.next();
      if (frame == nullptr)
        fail(ErrorCode::kCorruptData, "expected ", total, " frames, found damage before frame ",
             index, " in ", file.where());
      at = frame->best_effort_timestamp != AV_NOPTS_VALUE ? frame->best_effort_timestamp : wanted;
      check_frame_size(frame->width, frame->height, chosen.size(), limits, file.where());
      last = turned(frame_to_rgb(*frame, frame->color_range == AVCOL_RANGE_JPEG), turns);
      last_index = index;
    }
    append(last, out, file.where());
    const int64_t since = frames.times[static_cast<size_t>(index)] - frames.times.front();
    const AVRational tick = stream->time_base;
    out.timestamps_s.push_back(pace.steady ? static_cast<double>(index) / pace.rate
                                           : static_cast<double>(since) * tick.num / tick.den);
  }
  return out;
}

}  // namespace onnuri
