// Videos that are heard as well as seen, in the prompts of the text engine:
//
//   <vision> <audio> V V V V S S S S S V V V V S S S </audio> </vision>
//
// One row of placeholders in the order of time, between the brackets of both kinds.
#include <algorithm>

#include "core/check.h"
#include "encoders/vision/frame_sampling.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

constexpr int32_t kTaken = -1;  // no id of a vocabulary
constexpr int64_t kBrackets = 2;

bool has_sound(const Video& video) { return !video.sound.samples.empty(); }

}  // namespace

std::vector<SoundView> RequestMedia::heard() const {
  std::vector<SoundView> out(sounds.begin(), sounds.end());
  for (const Video& video : videos)
    if (has_sound(video)) out.push_back(video.sound);
  return out;
}

// All sounds of a request are counted together: how far each is padded depends on the others.
MergedMedia TextEngine::merge_media(const RequestMedia& media) const {
  MergedMedia out;
  out.runs.resize(media.videos.size());
  out.sound_tokens.resize(media.videos.size());
  if (std::none_of(media.videos.begin(), media.videos.end(), has_sound)) return out;
  const VideoTokens& rules = config_.video_tokens;
  if (!sound_encoder_ || !image_encoder_ || rules.sound == SoundInVideo::kApart)
    fail(ErrorCode::kUnsupported, "expected videos without their sound: family ", config_.family,
         " has no rule for both together; give the sound on its own, or leave it out");
  const std::vector<int64_t> counts = sound_encoder_->count_tokens(media.heard());
  const int64_t chunk =
      rules.sound == SoundInVideo::kByChunks
          ? positions_per_chunk(rules.positions_per_second, rules.seconds_per_chunk)
          : 0;
  size_t sound = media.sounds.size();
  for (size_t i = 0; i < media.videos.size(); ++i) {
    if (!has_sound(media.videos[i])) continue;
    const int64_t tokens = out.sound_tokens[i] =
        video_sound_ ? video_sound_->num_rows(counts[sound]) : counts[sound];
    ++sound;
    // Too short to be heard, or read apart from the pictures.
    if (tokens == 0 || rules.sound == SoundInVideo::kBehind) continue;
    out.runs[i] = merge_sound(rules.sound, image_encoder_->video_grids(media.videos[i]).front(),
                              time_scale(media.videos[i]), tokens, chunk);
  }
  return out;
}

std::vector<MediaSpan> TextEngine::take_groups(std::vector<int32_t>& ids, const RequestMedia& media,
                                               const MergedMedia& merged) const {
  std::vector<MediaSpan> out;
  if (!merged.any()) return out;
  const SpecialTokens& special = config_.special;
  const auto total = static_cast<int64_t>(ids.size());
  const auto at = [&](int64_t i) {
    return i >= 0 && i < total ? ids[static_cast<size_t>(i)] : kTaken;
  };
  int64_t token = 0;
  auto sound = static_cast<int64_t>(media.sounds.size());
  for (size_t i = 0; i < media.videos.size(); ++i) {
    const Video& video = media.videos[i];
    const MediaGrid grid = image_encoder_->video_grids(video).front();
    const int64_t medium = has_sound(video) ? sound++ : -1;
    while (token < total && at(token) != special.video_placeholder) ++token;
    if (merged.runs[i].empty()) {  // looked at later, and refused there if it is torn
      for (int64_t n = grid.num_tokens(); n > 0 && at(token) == special.video_placeholder; --n)
        ++token;
      continue;
    }
    const bool opened =
        at(token - 1) == special.audio_start && at(token - 2) == special.vision_start;
    const int64_t begin = token;
    for (const MergedRun& run : merged.runs[i]) {
      MediaSpan span{token, run.num_tokens, grid.t, grid.h, grid.w};
      span.kind = run.is_sound ? SpanKind::kSound : SpanKind::kVideo;
      span.medium = run.is_sound ? medium : static_cast<int64_t>(i);
      span.first_cell = run.first_cell;
      span.group = static_cast<int64_t>(i);
      span.time = time_scale(video);
      if (run.is_sound) {
        span.grid_t = span.grid_h = 1;
        span.grid_w = merged.sound_tokens[i];
      }
      const int32_t expected = run.is_sound ? special.audio_placeholder : special.video_placeholder;
      for (int64_t n = 0; n < run.num_tokens; ++n, ++token)
        if (at(token) != expected)
          fail(ErrorCode::kInvalidArgument, "expected placeholder tokens of video ", i,
               " and its sound in the order of time, ", grid.num_tokens(), " and ",
               merged.sound_tokens[i], " in all: id ", expected, " at token ", token, ", found ",
               token < total ? std::to_string(at(token)) : "the end");
      out.push_back(span);
    }
    if (!opened || at(token) != special.audio_end || at(token + 1) != special.vision_end)
      fail(ErrorCode::kInvalidArgument, "expected the tokens of video ", i,
           " and its sound between ids ", special.vision_start, ", ", special.audio_start, " and ",
           special.audio_end, ", ", special.vision_end, ", found none such at tokens ",
           begin - kBrackets, " to ", token + kBrackets);
  }
  for (const MediaSpan& span : out)
    std::fill_n(ids.begin() + span.first_token, span.num_tokens, kTaken);
  return out;
}

std::vector<int32_t> TextEngine::expand_groups(std::span<const int32_t> ids,
                                               const RequestMedia& media,
                                               const MergedMedia& merged) const {
  const SpecialTokens& special = config_.special;
  const auto found = std::count(ids.begin(), ids.end(), special.video_placeholder);
  if (found != static_cast<int64_t>(media.videos.size()))
    fail(ErrorCode::kInvalidArgument, "expected one placeholder token per video (",
         media.videos.size(), "), found ", found);
  std::vector<int32_t> out;
  size_t item = 0;
  for (const int32_t id : ids) {
    if (id != special.video_placeholder) {
      out.push_back(id);
      continue;
    }
    const std::vector<MergedRun>& runs = merged.runs[item];
    const Video& video = media.videos[item++];
    if (runs.empty()) {
      const int64_t tokens = image_encoder_->video_grids(video).front().num_tokens();
      out.insert(out.end(), static_cast<size_t>(tokens), id);
      continue;
    }
    out.push_back(special.audio_start);
    for (const MergedRun& run : runs)
      out.insert(out.end(), static_cast<size_t>(run.num_tokens),
                 run.is_sound ? special.audio_placeholder : id);
    out.push_back(special.audio_end);
  }
  return out;
}

std::vector<MediaSpan> TextEngine::video_sound_spans(std::span<const int32_t> ids,
                                                     const RequestMedia& media,
                                                     const MergedMedia& merged) const {
  const int32_t placeholder = config_.special.video_audio_placeholder;
  if (config_.video_tokens.sound != SoundInVideo::kBehind || placeholder < 0) return {};
  std::vector<MediaGrid> grids;
  std::vector<int64_t> which;
  auto sound = static_cast<int64_t>(media.sounds.size());
  for (size_t i = 0; i < media.videos.size(); ++i) {
    if (!has_sound(media.videos[i])) continue;
    if (merged.sound_tokens[i] > 0) {
      grids.push_back({1, 1, merged.sound_tokens[i]});
      which.push_back(sound);
    }
    ++sound;
  }
  std::vector<MediaSpan> spans = find_media_spans(ids, placeholder, grids);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].kind = SpanKind::kSound;
    spans[i].medium = which[i];
  }
  return spans;
}

// A template may write a placeholder for each; else they stand right behind the pictures.
std::vector<int32_t> TextEngine::expand_video_sounds(std::span<const int32_t> ids,
                                                     const MergedMedia& merged) const {
  std::vector<int32_t> out(ids.begin(), ids.end());
  const int32_t placeholder = config_.special.video_audio_placeholder;
  if (config_.video_tokens.sound != SoundInVideo::kBehind || placeholder < 0) return out;
  std::vector<MediaGrid> grids;
  for (const int64_t tokens : merged.sound_tokens)
    if (tokens > 0) grids.push_back({1, 1, tokens});
  if (std::find(ids.begin(), ids.end(), placeholder) != ids.end())
    return expand_placeholders(ids, placeholder, grids);
  out.clear();
  size_t video = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    out.push_back(ids[i]);
    const int32_t seen = config_.special.video_placeholder;
    if (ids[i] != seen || (i + 1 < ids.size() && ids[i + 1] == seen)) continue;
    ONNURI_CHECK(video < merged.sound_tokens.size());
    out.insert(out.end(), static_cast<size_t>(merged.sound_tokens[video++]), placeholder);
  }
  return out;
}

std::vector<SharedMedia> TextEngine::encode_sounds(const RequestMedia& media,
                                                   FeatureStore& store) const {
  const std::vector<SoundView> heard = media.heard();
  if (heard.empty()) return {};
  std::vector<SharedMedia> out = sound_encoder().encode(heard, store);
  if (!video_sound_) return out;
  for (size_t i = media.sounds.size(); i < out.size(); ++i) {
    const Tensor& rows = out[i]->rows;
    if (rows.empty()) continue;
    const int64_t count = rows.shape()[0], width = rows.shape()[1];
    const std::span<const float> values(rows.f32(), static_cast<size_t>(count * width));
    const ContentKey key = ContentHash().add("sound of a video").add(values).finish();
    out[i] = store.get(key, [&] {
      return EncodedMedia{video_sound_->forward(matrix(rows.f32(), count, width)), {}};
    });
  }
  return out;
}

Video TextEngine::decode_video_part(const MediaInput& input, MediaLimits limits) const {
  const VisionConfig& vision = *config_.vision;
  const auto choose = [&vision](int64_t total, double fps) {
    return choose_frames(*vision.video, vision.processor.temporal_patch_size, total, fps);
  };
  const bool is_decoded = input.video.num_frames > 0;
  const bool wants_sound = input.use_audio_in_video || (is_decoded && has_sound(input.video));
  if (wants_sound && (!sound_encoder_ || config_.video_tokens.sound == SoundInVideo::kApart))
    fail(ErrorCode::kUnsupported, "expected videos without their sound: family ", config_.family,
         " has no rule for both together; give the sound on its own, or leave it out");
  Video video = decode_video(input, choose, limits);
  if (!is_decoded && config_.video_tokens.nominal_rate)
    video.frames_per_second = vision.video->frames_per_second;
  if (!wants_sound) return video;
  limits.max_decoded_bytes -= static_cast<int64_t>(video.rgb.size());
  const int64_t rate = config_.audio->mel.sample_rate_hz;
  if (is_decoded) {
    MediaInput sound;
    sound.kind = MediaKind::kAudio;
    sound.sound = std::move(video.sound);
    video.sound = decode_audio(sound, rate, limits);
  } else if (std::optional<Waveform> sound = decode_sound_of_video(input, rate, limits)) {
    video.sound = std::move(*sound);
  }
  return video;
}

}  // namespace onnuri
