// Media as words of the vocabulary in the prompts of the text engine.
#include <algorithm>

#include "core/check.h"
#include "engine/text_engine.h"
#include "fusion/prompt.h"

namespace onnuri {
namespace {

ContentKey codes_key(const Image& image) {
  return ContentHash()
      .add("image codes")
      .add(image.height)
      .add(image.width)
      .add(image.rgb)
      .finish();
}

ContentKey codes_key(const Waveform& sound) {
  return ContentHash().add("sound codes").add(sound.sample_rate_hz).add(sound.samples).finish();
}

int64_t num_codes(const CodeEncoder& encoder, const Image&) {
  return encoder.grid_side() * encoder.grid_side();
}

int64_t num_codes(const CodeEncoder& encoder, const Waveform& sound) {
  return encoder.num_audio_codes(sound);
}

}  // namespace

void TextEngine::spell_codes(const RequestMedia& media, FeatureStore& store,
                             PreparedPrompt& prompt) {
  if (!code_encoder_) return;
  const auto codes_of = [&](const auto& medium) {
    const ContentKey key = codes_key(medium);
    SharedMedia codes = store.get(key, [&] {
      EncodedMedia fresh;
      fresh.codes = code_encoder_->encode(medium);
      return fresh;
    });
    store.end_medium(key);
    return codes;
  };
  const auto spell = [&](int32_t placeholder, const auto& items, const char* what) {
    const int64_t found = std::count(prompt.ids.begin(), prompt.ids.end(), placeholder);
    if (items.empty() || found == 0) return;
    int64_t expected = 0;
    for (const auto& item : items) expected += num_codes(*code_encoder_, item);
    if (found != expected)
      fail(ErrorCode::kInvalidArgument, "expected ", expected, " placeholders for the codes of ",
           items.size(), " ", what, ", found ", found);
    auto at = prompt.ids.begin();
    for (const auto& item : items) {
      const SharedMedia kept = codes_of(item);  // the cache may keep nothing
      for (const int32_t code : kept->codes) {
        at = std::find(at, prompt.ids.end(), placeholder);
        ONNURI_CHECK(at != prompt.ids.end());
        *at++ = code;
      }
    }
  };
  const CodesConfig& codes = code_encoder_->config();
  if (code_encoder_->sees()) spell(codes.image_placeholder, media.images, "pictures");
  if (code_encoder_->hears()) spell(codes.audio_placeholder, media.sounds, "sounds");
}

std::vector<int32_t> TextEngine::expand_codes(std::vector<int32_t> ids,
                                              const DecodedMedia& media) const {
  if (!code_encoder_) return ids;
  const CodesConfig& codes = code_encoder_->config();
  const auto has = [&](int32_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
  if (code_encoder_->hears() && !media.sounds.empty() && has(codes.audio_placeholder)) {
    std::vector<MediaGrid> grids;
    for (const Waveform& sound : media.sounds)
      grids.push_back({1, 1, code_encoder_->num_audio_codes(sound)});
    ids = expand_placeholders(ids, codes.audio_placeholder, grids);
  }
  if (!code_encoder_->sees() || media.images.empty() || !has(codes.image_placeholder)) return ids;
  const auto found = std::count(ids.begin(), ids.end(), codes.image_placeholder);
  if (found != static_cast<int64_t>(media.images.size()))
    fail(ErrorCode::kInvalidArgument, "expected one placeholder for codes per picture (",
         media.images.size(), "), found ", found);
  std::vector<int32_t> out;
  const auto add = [&](const std::string& token) {
    if (const auto id = tokenizer().token_to_id(token)) out.push_back(*id);
  };
  size_t item = 0;
  for (const int32_t id : ids) {
    if (id != codes.image_placeholder) {
      out.push_back(id);
      continue;
    }
    const PictureShape* shape = code_encoder_->nearest_shape(media.images[item++]);
    if (shape != nullptr) add(shape->token);
    const auto side = static_cast<size_t>(code_encoder_->grid_side());
    for (size_t row = 0; row < side; ++row) {
      out.insert(out.end(), side, codes.image_placeholder);
      add(codes.row_end);
    }
    add(codes.picture_end);
  }
  return out;
}

}  // namespace onnuri
