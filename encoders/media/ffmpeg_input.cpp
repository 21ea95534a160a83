// Guards follow FFmpeg's own options: libavformat/options_table.h and libavcodec/options_table.h.
#include "encoders/media/ffmpeg_input.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>

#include "core/check.h"

extern "C" {
#include <libavutil/avstring.h>
#include <libavutil/dict.h>
#include <libavutil/mem.h>
}

namespace onnuri {
namespace {

constexpr int kIoBufferBytes = 1 << 16;
constexpr int kMaxStreams = 16;
constexpr int64_t kProbeBytes = 5'000'000;

void discard_log(void*, int, const char*, va_list) {}

template <typename T>
T* checked(T* pointer) {
  if (pointer == nullptr)
    fail(ErrorCode::kOutOfMemory, "expected memory to decode media, found none");
  return pointer;
}

/// The index of a QuickTime file may lie in it compressed; libavformat then makes as many bytes of
/// it as the file says, up to 2 GiB, and asks nobody. No camera or encoder of this century writes
/// such.
bool has_packed_index(std::span<const std::byte> bytes) {
  constexpr std::string_view kStart = "dcomzlib", kEnd = "cmvd";
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (size_t at = text.find(kStart); at != text.npos; at = text.find(kStart, at + 1))
    if (text.substr(at + kStart.size()).substr(0, 8).ends_with(kEnd)) return true;
  return false;
}

}  // namespace

// FFmpeg's log goes to standard error and has no per-context switch for most of its lines; a
// library must stay silent, so this is the one process-wide setting that we make, once.
void silence_ffmpeg_log() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(discard_log); });
}

PacketPtr make_packet() { return PacketPtr(checked(av_packet_alloc())); }
FramePtr make_frame() { return FramePtr(checked(av_frame_alloc())); }

FfmpegInput::FfmpegInput(const MediaInput& input, const MediaLimits& limits,
                         const FfmpegAccept& accept, Unopened)
    : bytes_(input, limits, accept.expected),
      limits_(limits),
      accept_(accept),
      deadline_(std::chrono::steady_clock::now() +
                std::chrono::milliseconds(static_cast<int64_t>(limits.timeout_s * 1000))) {}

// Delegation makes the object whole first, so that a throw from here on runs the destructor.
FfmpegInput::FfmpegInput(const MediaInput& input, const MediaLimits& limits,
                         const FfmpegAccept& accept)
    : FfmpegInput(input, limits, accept, Unopened{}) {
  silence_ffmpeg_log();
  open_format();
}

FfmpegInput::~FfmpegInput() {
  avformat_close_input(&format_);
  if (io_ != nullptr) av_freep(&io_->buffer);
  avio_context_free(&io_);
}

int FfmpegInput::read_callback(void* self, uint8_t* out, int size) {
  auto& input = *static_cast<FfmpegInput*>(self);
  if (input.past_deadline()) return AVERROR_EXIT;
  const auto bytes = input.bytes_.bytes();
  const int64_t left = static_cast<int64_t>(bytes.size()) - input.position_;
  const int64_t count = std::min<int64_t>(left, size);
  if (count <= 0) return AVERROR_EOF;
  std::memcpy(out, bytes.data() + input.position_, static_cast<size_t>(count));
  input.position_ += count;
  return static_cast<int>(count);
}

int64_t FfmpegInput::seek_callback(void* self, int64_t offset, int whence) {
  auto& input = *static_cast<FfmpegInput*>(self);
  const auto size = static_cast<int64_t>(input.bytes_.bytes().size());
  if ((whence & AVSEEK_SIZE) != 0) return size;
  whence &= ~AVSEEK_FORCE;
  int64_t base = 0;
  if (whence == SEEK_CUR) base = input.position_;
  if (whence == SEEK_END) base = size;
  if (offset < -base || offset > size - base) return AVERROR(EINVAL);
  return input.position_ = base + offset;
}

int FfmpegInput::interrupt_callback(void* self) {
  return static_cast<FfmpegInput*>(self)->past_deadline() ? 1 : 0;
}

void FfmpegInput::open_format() {
  auto* buffer = checked(static_cast<unsigned char*>(av_malloc(kIoBufferBytes)));
  io_ = avio_alloc_context(buffer, kIoBufferBytes, 0, this, read_callback, nullptr, seek_callback);
  if (io_ == nullptr) av_free(buffer);
  checked(io_);

  const AVInputFormat* found = nullptr;
  const int probed = av_probe_input_buffer2(io_, &found, "", nullptr, 0, 0);
  check_deadline();
  if (probed < 0 || found == nullptr) {
    fail(ErrorCode::kCorruptData, "expected ", accept_.expected,
         ", found no known media format in ", where());
  }
  if (av_match_list(found->name, accept_.formats, ',') == 0) {
    fail(ErrorCode::kCorruptData, "expected ", accept_.expected, ", found format '", found->name,
         "' in ", where());
  }
  if (has_packed_index(bytes_.bytes()))
    fail(ErrorCode::kUnsupported, "expected ", accept_.expected,
         ", found one with a compressed index in ", where());

  format_ = checked(avformat_alloc_context());
  format_->pb = io_;
  format_->flags |= AVFMT_FLAG_CUSTOM_IO;
  format_->interrupt_callback = {interrupt_callback, this};
  format_->max_streams = kMaxStreams;
  format_->probesize = kProbeBytes;
  AVDictionary* options = nullptr;
  av_dict_set(&options, "format_whitelist", accept_.formats, 0);
  av_dict_set(&options, "codec_whitelist", accept_.codecs, 0);
  av_dict_set(&options, "protocol_whitelist", "", 0);
  const int opened =
      avformat_open_input(&format_, "", found, &options);  // frees format_ on failure
  av_dict_free(&options);
  check_deadline();
  if (opened < 0) {
    fail(ErrorCode::kCorruptData, "expected ", accept_.expected, ", found a damaged '", found->name,
         "' header in ", where());
  }
  const int described = avformat_find_stream_info(format_, nullptr);
  check_deadline();
  if (described < 0) {
    fail(ErrorCode::kCorruptData, "expected ", accept_.expected, ", found a '", found->name,
         "' file without readable streams in ", where());
  }
}

AVStream* FfmpegInput::select_stream(AVMediaType type) {
  stream_index_ = av_find_best_stream(format_, type, -1, -1, nullptr, 0);
  if (stream_index_ < 0) {
    fail(ErrorCode::kCorruptData, "expected ", accept_.expected, ", found a '",
         format_->iformat->name, "' file without any in ", where());
  }
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    if (static_cast<int>(i) != stream_index_) format_->streams[i]->discard = AVDISCARD_ALL;
  }
  return format_->streams[stream_index_];
}

bool FfmpegInput::has_stream(AVMediaType type) const {
  return av_find_best_stream(format_, type, -1, -1, nullptr, 0) >= 0;
}

CodecContextPtr FfmpegInput::open_decoder(const AVStream* stream) {
  const AVCodecParameters* parameters = stream->codecpar;
  const AVCodec* codec = avcodec_find_decoder(parameters->codec_id);
  if (codec == nullptr || av_match_list(codec->name, accept_.codecs, ',') == 0) {
    fail(ErrorCode::kUnsupported, "expected ", accept_.expected, " in a known coding, found '",
         avcodec_get_name(parameters->codec_id), "' in ", where());
  }
  CodecContextPtr context(checked(avcodec_alloc_context3(codec)));
  context->max_pixels = limits_.max_pixels;
  context->max_samples = limits_.max_decoded_bytes / 4;
  context->thread_count = 1;
  context->pkt_timebase = stream->time_base;
  if (avcodec_parameters_to_context(context.get(), parameters) < 0 ||
      avcodec_open2(context.get(), codec, nullptr) < 0) {
    fail(ErrorCode::kCorruptData, "expected ", accept_.expected, ", found '", codec->name,
         "' parameters that contradict themselves in ", where());
  }
  return context;
}

bool FfmpegInput::read_packet(AVPacket* packet) {
  for (;;) {
    check_deadline();
    av_packet_unref(packet);
    if (av_read_frame(format_, packet) < 0) {
      check_deadline();
      return false;
    }
    if (packet->stream_index == stream_index_) return true;
  }
}

void FfmpegInput::check_deadline() const {
  if (past_deadline()) {
    fail(ErrorCode::kOutOfMemory, "expected ", accept_.expected, " that decodes within ",
         limits_.timeout_s, " s, found more work in ", where());
  }
}

}  // namespace onnuri
