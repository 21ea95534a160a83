// Media in the prompts of the text engine: where their tokens stand, which positions they take, and
// what the encoders make of them.
#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "core/check.h"
#include "encoders/media/media_decode.h"
#include "encoders/vision/frame_sampling.h"
#include "engine/load_support.h"
#include "engine/text_run.h"
#include "fusion/prompt.h"

namespace onnuri {

void TextEngine::spell_media(std::vector<int32_t>& ids, const RequestMedia& media) const {
  if (media.images.empty()) return;
  for (const int32_t spelling : config_.special.image_spellings) {
    if (std::find(ids.begin(), ids.end(), spelling) == ids.end()) continue;
    std::replace(ids.begin(), ids.end(), spelling, config_.special.image_placeholder);
    return;
  }
}

LaidOutPrompt TextEngine::plan_prompt(std::vector<int32_t> ids, const RequestMedia& media) const {
  spell_media(ids, media);
  LaidOutPrompt out;
  out.prompt = lay_out(std::move(ids), media);
  out.given = media;
  return out;
}

int64_t LaidOutPrompt::encoder_tokens() const {
  if (!has_media()) return 0;
  int64_t tokens = 1;  // media that leave no rows are encoded too
  for (const MediaSpan& span : prompt.spans) tokens += span.num_tokens;
  return tokens;
}

void TextEngine::encode_media(LaidOutPrompt& laid, Trace* trace) {
  const RequestMedia media = laid.media();
  FeatureStore store(encoder_cache_, trace);
  spell_codes(media, store, laid.prompt);
  encode_media(media, store, laid.prompt);
  laid.prompt.work = store.work();
  // Rows of pictures cover these ids; what looks them up needs some id of the vocabulary.
  if (config_.special.image_placeholder >= config_.decoder.vocab_size)
    std::replace(laid.prompt.ids.begin(), laid.prompt.ids.end(), config_.special.image_placeholder,
                 0);
}

void TextEngine::encode_media(Place& place, const StepLoop::Idle& idle, LaidOutPrompt& laid,
                              Trace* trace) {
  if (!laid.has_media()) return;
  loop_->encode(place.run(), idle, [&] { encode_media(laid, trace); });
}

PreparedPrompt TextEngine::lay_out(std::vector<int32_t> ids, const RequestMedia& media) const {
  std::vector<int32_t> words = ids;
  if (!media.images.empty())
    std::replace(words.begin(), words.end(), config_.special.image_placeholder, 0);
  check_ids(words);
  if (static_cast<int64_t>(ids.size()) > context_size_)
    fail(ErrorCode::kInvalidArgument, "expected a prompt of at most ", context_size_,
         " tokens (the context size), found ", ids.size());
  const bool seen = !media.images.empty() || !media.videos.empty();
  if (seen && !image_encoder_)
    fail(ErrorCode::kUnsupported, "expected no ", media.images.empty() ? "videos" : "pictures",
         ": family ", config_.family, " has no eyes", missing_for_eyes(path_));
  PreparedPrompt prompt;
  prompt.ids = std::move(ids);
  const auto in_order = [](const MediaSpan& a, const MediaSpan& b) {
    return a.first_token < b.first_token;
  };
  prompt.view = picture_view(prompt.ids, media.images);
  std::vector<int32_t> single = prompt.ids;  // without videos that are joined with their sound
  const MergedMedia merged = merge_media(media);
  prompt.spans = take_groups(single, media, merged);
  const auto add = [&](const std::vector<MediaSpan>& spans) {
    prompt.spans.insert(prompt.spans.end(), spans.begin(), spans.end());
  };
  if (seen && config_.special.image_placeholder >= 0)
    add(image_spans(single, media.images, prompt.view));
  if (seen && config_.special.video_placeholder >= 0)
    add(video_spans(single, media.videos, merged));
  std::sort(prompt.spans.begin(), prompt.spans.end(), in_order);
  find_visible_ends(prompt);
  const auto num_tokens = static_cast<int64_t>(prompt.ids.size());
  const VideoTokens& rules = config_.video_tokens;
  prompt.positions =
      config_.decoder.position_axes() > 1
          ? mrope_positions(num_tokens, prompt.spans, {rules.after, rules.brackets_share})
          : text_positions(num_tokens);
  // Other sound counts like text in every numbering of positions: one step per token on all axes.
  if (!media.sounds.empty()) add(sound_spans(single, media.sounds));
  add(video_sound_spans(single, media, merged));
  std::sort(prompt.spans.begin(), prompt.spans.end(), in_order);
  return prompt;
}

PictureView TextEngine::picture_view(std::span<const Image> images) const {
  const bool has_rule = config_.vision && config_.vision->tiling &&
                        config_.vision->tiling->square_among_others.has_value();
  return has_rule && images.size() > 1 ? PictureView::kAmongOthers : PictureView::kAlone;
}

// Callers may have expanded each picture as if it were the only one, as the reference does with a
// flat list. That makes more tokens of every picture, so that the number of them tells.
PictureView TextEngine::picture_view(std::span<const int32_t> ids,
                                     std::span<const Image> images) const {
  if (picture_view(images) == PictureView::kAlone) return PictureView::kAlone;
  int64_t alone = 0;
  for (const Image& image : images)
    for (const MediaGrid& grid : image_encoder_->grids(image, PictureView::kAlone))
      alone += grid.num_tokens();
  const auto found = std::count(ids.begin(), ids.end(), config_.special.image_placeholder);
  return found == alone ? PictureView::kAlone : PictureView::kAmongOthers;
}

std::vector<MediaSpan> TextEngine::image_spans(std::span<const int32_t> ids,
                                               std::span<const Image> images,
                                               PictureView view) const {
  std::vector<MediaGrid> grids;
  std::vector<int64_t> media;
  for (size_t i = 0; i < images.size(); ++i) {
    for (const MediaGrid& grid : image_encoder_->grids(images[i], view)) {
      grids.push_back(grid);
      media.push_back(static_cast<int64_t>(i));
    }
  }
  std::vector<MediaSpan> spans = find_media_spans(ids, config_.special.image_placeholder, grids);
  for (size_t i = 0; i < spans.size(); ++i) spans[i].medium = media[i];
  return spans;
}

std::vector<MediaSpan> TextEngine::sound_spans(std::span<const int32_t> ids,
                                               std::span<const Waveform> sounds) const {
  std::vector<MediaGrid> grids;
  const std::vector<SoundView> views(sounds.begin(), sounds.end());
  for (const int64_t count : sound_encoder().count_tokens(views)) grids.push_back({1, 1, count});
  std::vector<MediaSpan> spans = find_media_spans(ids, config_.special.audio_placeholder, grids);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].kind = SpanKind::kSound;
    spans[i].medium = static_cast<int64_t>(i);
  }
  std::erase_if(spans, [](const MediaSpan& span) { return span.num_tokens == 0; });
  return spans;
}

std::vector<MediaSpan> TextEngine::video_spans(std::span<const int32_t> ids,
                                               std::span<const Video> videos,
                                               const MergedMedia& merged) const {
  std::vector<MediaGrid> grids;
  std::vector<MediaSpan> like;
  for (size_t i = 0; i < videos.size(); ++i) {
    if (!merged.runs[i].empty()) continue;
    for (const MediaGrid& grid : image_encoder_->video_grids(videos[i])) {
      grids.push_back(grid);
      like.push_back({.kind = SpanKind::kVideo,
                      .medium = static_cast<int64_t>(i),
                      .time = time_scale(videos[i])});
    }
  }
  std::vector<MediaSpan> spans = find_media_spans(ids, config_.special.video_placeholder, grids);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].kind = like[i].kind;
    spans[i].medium = like[i].medium;
    spans[i].time = like[i].time;
  }
  return spans;
}

TimeScale TextEngine::time_scale(const Video& video) const {
  const VideoTokens& rules = config_.video_tokens;
  if (rules.positions_per_second <= 0) return {};
  const double fps = video.frames_per_second > 0 ? video.frames_per_second : rules.assumed_fps;
  const double seconds = static_cast<double>(config_.vision->processor.temporal_patch_size) / fps;
  if (rules.seconds_first) return {seconds, rules.positions_per_second, rules.whole_positions};
  return {rules.positions_per_second * seconds, 1.0, rules.whole_positions};
}

void TextEngine::find_visible_ends(PreparedPrompt& prompt) const {
  if (!config_.media_sees_ahead) return;
  prompt.visible_ends.resize(prompt.ids.size());
  std::iota(prompt.visible_ends.begin(), prompt.visible_ends.end(), 1);
  for (size_t i = 0; i < prompt.spans.size();) {  // spans that touch are one run
    const int64_t begin = prompt.spans[i].first_token;
    int64_t end = begin;
    for (; i < prompt.spans.size() && prompt.spans[i].first_token <= end; ++i)
      end = prompt.spans[i].first_token + prompt.spans[i].num_tokens;
    if (end - begin > cache_->options().max_chunk)
      fail(ErrorCode::kInvalidArgument, "expected at most ", cache_->options().max_chunk,
           " tokens of pictures without text between them, found ", end - begin);
    std::fill(prompt.visible_ends.begin() + begin, prompt.visible_ends.begin() + end,
              static_cast<int32_t>(end));
  }
}

namespace {

// What the encoders see of one medium, and nothing of where it came from.
ContentKey content_key(const Image& image, PictureView view) {
  ContentHash hash;
  hash.add(view == PictureView::kAlone ? "image" : "image among others");
  return hash.add(image.height).add(image.width).add(image.rgb).finish();
}

}  // namespace

// Spans lie in the order of the prompt; those of one medium in the order of its rows.
void TextEngine::encode_media(const RequestMedia& media, FeatureStore& store,
                              PreparedPrompt& prompt) {
  std::array<std::vector<SharedMedia>, 3> kept;
  const auto of = [&kept](SpanKind kind) -> auto& { return kept[static_cast<size_t>(kind)]; };
  const size_t first_medium = store.media_keys().size();
  for (const Image& image : media.images) {
    const ContentKey key = content_key(image, prompt.view);
    of(SpanKind::kPicture).push_back(store.get(key, [&] {
      return image_encoder_->encode(image, prompt.view, store.trace());
    }));
    store.end_medium(key);
  }
  for (const Video& video : media.videos)
    of(SpanKind::kVideo).push_back(image_encoder_->encode_video(video, store));
  of(SpanKind::kSound) = encode_sounds(media, store);

  std::array<std::vector<int64_t>, 3> taken;  // rows of each medium
  for (size_t kind = 0; kind < kept.size(); ++kind) {
    taken[kind].resize(kept[kind].size());
    prompt.features.insert(prompt.features.end(), kept[kind].begin(), kept[kind].end());
  }
  const int64_t hidden = config_.decoder.hidden_size;
  const std::array<size_t, 3> before = {0, media.images.size(),
                                        media.images.size() + media.videos.size()};
  const auto keys = std::span(store.media_keys()).subspan(first_medium);
  for (const MediaSpan& span : prompt.spans) {
    const auto medium = static_cast<size_t>(span.medium);
    prompt.span_keys.push_back(keys[before[static_cast<size_t>(span.kind)] + medium]);
    const EncodedMedia& features = *of(span.kind).at(medium);
    int64_t& first = taken[static_cast<size_t>(span.kind)][medium];
    SpanRows& rows = prompt.rows.emplace_back();
    rows.rows = features.rows.f32() + first * hidden;
    const size_t layers = std::min(features.deep_rows.size(), config_.decoder.layers.size());
    for (size_t k = 0; k < layers; ++k)
      rows.deep_rows.push_back(features.deep_rows[k].f32() + first * hidden);
    first += span.num_tokens;
  }
}

namespace {

int64_t num_bytes(const Image& image) { return static_cast<int64_t>(image.rgb.size()); }
int64_t num_bytes(const Waveform& sound) {
  return static_cast<int64_t>(sound.samples.size() * sizeof(float));
}
int64_t num_bytes(const Video& video) {
  return static_cast<int64_t>(video.rgb.size()) + num_bytes(video.sound);
}

}  // namespace

DecodedMedia TextEngine::decode_media(std::span<const ChatMessage> messages) const {
  DecodedMedia out;
  MediaLimits limits;
  limits.max_decoded_bytes = options_.max_media_bytes;
  for (const ChatMessage& message : messages) {
    for (const ContentPart& part : message.content) {
      if (!part.is_media) continue;
      const MediaKind kind = part.media.kind;
      if (kind == MediaKind::kImage && image_encoder_)
        limits.max_decoded_bytes -=
            num_bytes(out.images.emplace_back(decode_image(part.media, limits)));
      else if (kind == MediaKind::kAudio && sound_encoder_)
        limits.max_decoded_bytes -= num_bytes(out.sounds.emplace_back(
            decode_audio(part.media, config_.audio->mel.sample_rate_hz, limits)));
      else if (kind == MediaKind::kVideo && config_.vision && config_.vision->video)
        limits.max_decoded_bytes -=
            num_bytes(out.videos.emplace_back(decode_video_part(part.media, limits)));
      else
        fail(ErrorCode::kUnsupported, "expected messages that family ", config_.family,
             " can take, found ",
             kind == MediaKind::kImage   ? "a picture"
             : kind == MediaKind::kAudio ? "sound"
                                         : "video",
             kind == MediaKind::kAudio || image_encoder_ ? "" : missing_for_eyes(path_));
    }
  }
  return out;
}

// Pictures with text of their own take the place of the template's marker before it is tokenised.
ChatPrompt TextEngine::encode_chat(ChatInput input, const DecodedMedia& media) const {
  std::vector<std::string> around;
  if (config_.tile_text && !media.images.empty()) {
    const std::string token = tokenizer().id_to_token(config_.special.image_placeholder);
    for (const Image& image : media.images) around.push_back(image_encoder_->text(image, token));
    input.media_marker = tokenizer().id_to_token(config_.tile_text->marker);
    input.media_texts = around;
  }
  tokenizer();
  ChatPrompt chat = chat_->encode(input);
  check_tokenizer_ids(chat.ids, config_.decoder.vocab_size, path_);
  spell_media(chat.ids, media);
  chat.ids = expand_codes(expand_media(std::move(chat.ids), media), media);
  return chat;
}

std::vector<int32_t> TextEngine::expand_media(std::vector<int32_t> ids,
                                              const DecodedMedia& media) const {
  if (!media.images.empty() && !config_.tile_text) {
    std::vector<MediaGrid> grids;
    const PictureView view = picture_view(media.images);
    for (const Image& image : media.images) {
      MediaGrid all{1, 1, 0};
      for (const MediaGrid& grid : image_encoder_->grids(image, view)) all.w += grid.num_tokens();
      grids.push_back(all);
    }
    ids = expand_placeholders(ids, config_.special.image_placeholder, grids);
  }
  if (!media.sounds.empty()) {
    std::vector<MediaGrid> grids;
    const std::vector<SoundView> views(media.sounds.begin(), media.sounds.end());
    for (const int64_t count : sound_encoder().count_tokens(views)) grids.push_back({1, 1, count});
    ids = expand_placeholders(ids, config_.special.audio_placeholder, grids);
  }
  if (media.videos.empty()) return ids;
  const MergedMedia merged = merge_media(media);
  if (merged.any()) return expand_groups(ids, media, merged);
  return expand_video_sounds(expand_videos(ids, media.videos), merged);
}

// Where the frames stand apart, the brackets around the placeholder are repeated with it, and the
// time of each pair of frames is written before them.
std::vector<int32_t> TextEngine::expand_videos(std::span<const int32_t> ids,
                                               std::span<const Video> videos) const {
  const int32_t placeholder = config_.special.video_placeholder;
  if (!config_.video_tokens.frames_apart) {
    std::vector<MediaGrid> grids;
    for (const Video& video : videos) grids.push_back(image_encoder_->video_grids(video).front());
    return expand_placeholders(ids, placeholder, grids);
  }
  const auto found = std::count(ids.begin(), ids.end(), placeholder);
  if (found != static_cast<int64_t>(videos.size()))
    fail(ErrorCode::kInvalidArgument, "expected one placeholder token per video (", videos.size(),
         "), found ", found);
  std::vector<int32_t> out;
  size_t item = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != placeholder) {
      out.push_back(ids[i]);
      continue;
    }
    const Video& video = videos[item++];
    const bool bracketed = !out.empty() && out.back() == config_.special.vision_start &&
                           i + 1 < ids.size() && ids[i + 1] == config_.special.vision_end;
    if (bracketed) out.pop_back();
    const std::vector<MediaGrid> grids = image_encoder_->video_grids(video);
    for (size_t t = 0; t < grids.size(); ++t) {
      char label[64];
      std::snprintf(label, sizeof(label), "<%.1f seconds>", time_of_grid(video, t));
      const std::vector<int32_t> time = tokenizer().encode(label, false, false);
      out.insert(out.end(), time.begin(), time.end());
      out.push_back(config_.special.vision_start);
      out.insert(out.end(), static_cast<size_t>(grids[t].num_tokens()), placeholder);
      out.push_back(config_.special.vision_end);
    }
    if (bracketed) ++i;
  }
  return out;
}

// Halfway between the first and the last frame of the grid; the last frame is repeated as needed.
double TextEngine::time_of_grid(const Video& video, size_t grid) const {
  const auto step = static_cast<size_t>(config_.vision->processor.temporal_patch_size);
  const auto last = static_cast<size_t>(video.num_frames - 1);
  const double fps =
      video.frames_per_second > 0 ? video.frames_per_second : config_.video_tokens.assumed_fps;
  const auto time = [&](size_t frame) {
    frame = std::min(frame, last);
    return frame < video.timestamps_s.size() ? video.timestamps_s[frame]
                                             : static_cast<double>(frame) / fps;
  };
  return (time(grid * step) + time(grid * step + step - 1)) / 2;
}

namespace {

MediaKind kind_of(SpanKind kind) {
  return kind == SpanKind::kSound   ? MediaKind::kAudio
         : kind == SpanKind::kVideo ? MediaKind::kVideo
                                    : MediaKind::kImage;
}

}  // namespace

PromptLayout TextEngine::prepare(std::span<const ChatMessage> messages,
                                 const std::string& template_kwargs_json) {
  const DecodedMedia media = decode_media(messages);
  ChatPrompt chat = encode_chat({.messages = messages, .kwargs_json = template_kwargs_json}, media);
  PreparedPrompt prompt = lay_out(std::move(chat.ids), media);
  PromptLayout out;
  out.text = std::move(chat.text);
  out.ids = std::move(prompt.ids);
  if (!config_.special.image_spellings.empty())
    std::replace(out.ids.begin(), out.ids.end(), config_.special.image_placeholder,
                 config_.special.image_spellings.back());
  out.num_axes = prompt.positions.num_axes;
  out.positions = std::move(prompt.positions.positions);
  out.next_position = prompt.positions.next_position;
  for (const MediaSpan& s : prompt.spans)
    out.spans.push_back(
        {s.first_token, s.num_tokens, s.grid_t, s.grid_h, s.grid_w, s.first_cell, kind_of(s.kind)});
  return out;
}

}  // namespace onnuri
