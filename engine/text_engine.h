// The engine of text decoders, with or without eyes: many requests at once on one backend.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "decoder/decoder.h"
#include "decoder/kv_cache.h"
#include "encoders/media/media_decode.h"
#include "engine/answer_format.h"
#include "engine/chat.h"
#include "engine/code_encoder.h"
#include "engine/feature_store.h"
#include "engine/image_encoder.h"
#include "engine/memory_use.h"
#include "engine/model_config.h"
#include "engine/model_draft.h"
#include "engine/prompt_memory.h"
#include "engine/sound_encoder.h"
#include "engine/step_loop.h"
#include "fusion/positions.h"
#include "fusion/tokenizer.h"
#include "onnuri/engine.h"

namespace onnuri {

/// Features of one span, each (num_tokens, hidden_size).
struct SpanRows {
  const float* rows = nullptr;
  std::vector<const float*> deep_rows;  // added after the first layers, one each
};

/// A prompt ready for the decoder: placeholders expanded, media encoded, positions known.
struct PreparedPrompt {
  std::vector<int32_t> ids;
  PromptPositions positions;
  std::vector<MediaSpan> spans;       // of media, in order
  std::vector<SharedMedia> features;  // of each media item
  std::vector<SpanRows> rows;         // of each span, inside features
  std::vector<ContentKey> span_keys;  // of each span's medium
  std::vector<int32_t> visible_ends;  // (num_tokens) or empty, see SequenceSlice
  PictureView view = PictureView::kAlone;
  std::string text;  // of a conversation: the rendered prompt
  MediaWork work;
  bool is_chat = false;
  bool has_tools = false;
  ToolSchemas tools;
};

/// The media of one prompt, each kind in its order.
struct RequestMedia {
  std::span<const Image> images;
  std::span<const Waveform> sounds;
  std::span<const Video> videos;

  /// `sounds`, then those of the videos that have one: the order of MediaSpan::medium.
  std::vector<SoundView> heard() const;
};

/// How the videos of a prompt are read together with their sounds.
struct MergedMedia {
  std::vector<std::vector<MergedRun>> runs;  // of each video; none: it is silent
  std::vector<int64_t> sound_tokens;         // of each video
  bool any() const {
    return std::any_of(runs.begin(), runs.end(), [](const auto& r) { return !r.empty(); });
  }
};

/// The media of a conversation, each kind in its order.
struct DecodedMedia {
  std::vector<Image> images;
  std::vector<Waveform> sounds;
  std::vector<Video> videos;
  operator RequestMedia() const { return {images, sounds, videos}; }
};

/// A prompt that is laid out, and the media that are still to be encoded.
struct LaidOutPrompt {
  PreparedPrompt prompt;
  DecodedMedia decoded;  // of a conversation
  RequestMedia given;    // of a request that brings them itself

  RequestMedia media() const { return prompt.is_chat ? RequestMedia(decoded) : given; }
  bool has_media() const {
    const RequestMedia m = media();
    return !m.images.empty() || !m.sounds.empty() || !m.videos.empty();
  }
  int64_t encoder_tokens() const;
};

class TextEngine final : public Engine, public MeasuredEngine {
 public:
  TextEngine(const ModelFiles& files, ModelConfig config, const EngineOptions& options);

  FloatMatrix logits(std::span<const int32_t> input_ids, std::span<const Image> images,
                     std::span<const Waveform> audios, std::span<const Video> videos,
                     const GoOn& go_on) override;
  PromptLayout prepare(std::span<const ChatMessage> messages,
                       const std::string& template_kwargs_json) override;
  double mean_nll(std::span<const int32_t> input_ids, const GoOn& go_on) override;
  std::vector<double> token_nll(std::span<const int32_t> input_ids, const GoOn& go_on) override;
  SamplingParams model_sampling() const override { return model_sampling_; }
  GenerateResult generate(const GenerateRequest& request, const TokenCallback& on_token) override;
  Transcript transcribe(const Waveform& audio, const TranscribeOptions& options) override;
  FloatMatrix encode_image(const Image& image) override;
  FloatMatrix encode_audio(const Waveform& audio) override;
  std::vector<int32_t> tokenize(const std::string& text, bool add_special_tokens,
                                bool parse_special_tokens) override;
  std::string detokenize(std::span<const int32_t> ids, bool skip_special_tokens) override;
  std::string render_chat(std::span<const ChatMessage> messages,
                          const std::string& template_kwargs_json) override;
  std::string describe_json() const override;
  std::string metrics_json() override;
  // engine/engine_state.cpp
  void save(const std::string& path, const std::string& tenant) override;
  void restore(const std::string& path) override;

  // engine/rehearsal.cpp
  MemoryUse memory_use() const override;
  void rehearse(const LargestPass& pass) override;
  int64_t context_size() const override { return context_size_; }
  void split(int64_t num_ranks) override;
  MemoryUse kv_use(int64_t context) const override;
  JsonValue kv_facts() const override;

 private:
  /// Of all requests that were answered: tokens, and the most that any stage of one held.
  struct Totals {
    int64_t answered = 0;
    int64_t prompt_tokens = 0;
    int64_t completion_tokens = 0;
    int64_t reused_tokens = 0;
    int64_t prepare_bytes = 0;
    int64_t encode_bytes = 0;
    int64_t prefill_bytes = 0;
    int64_t decode_bytes = 0;
  };
  class Generation;  // engine/generate.cpp
  class Run;         // engine/text_run.h
  class Place;

  void load(const ModelFiles& files);
  const Tokenizer& tokenizer() const;  // throws kUnsupported when the checkpoint has none
  bool is_end(int32_t id) const;
  void check_ids(std::span<const int32_t> ids) const;
  /// Without the machine: all that is known before media are encoded.
  LaidOutPrompt plan_prompt(std::vector<int32_t> ids, const RequestMedia& media = {}) const;
  /// In turns with the passes of others: what the encoders make of the media.
  void encode_media(Place& place, const StepLoop::Idle& idle, LaidOutPrompt& laid, Trace* trace);
  void encode_media(LaidOutPrompt& laid, Trace* trace);
  /// Other spellings of placeholders as the family's own.
  void spell_media(std::vector<int32_t>& ids, const RequestMedia& media) const;
  /// Spans and positions; what encode_media fills in is missing.
  PreparedPrompt lay_out(std::vector<int32_t> ids, const RequestMedia& media) const;
  void encode_media(const RequestMedia& media, FeatureStore& store, PreparedPrompt& prompt);
  std::vector<MediaSpan> image_spans(std::span<const int32_t> ids, std::span<const Image> images,
                                     PictureView view) const;
  /// How the pictures of a prompt are seen: by their number, and as its placeholders were expanded.
  PictureView picture_view(std::span<const Image> images) const;
  PictureView picture_view(std::span<const int32_t> ids, std::span<const Image> images) const;
  // engine/code_prompt.cpp
  /// Placeholders of codes become the codes of the media, where the prompt has any.
  void spell_codes(const RequestMedia& media, FeatureStore& store, PreparedPrompt& prompt);
  /// Room for the codes of media, where the prompt has one placeholder for each.
  std::vector<int32_t> expand_codes(std::vector<int32_t> ids, const DecodedMedia& media) const;
  std::vector<MediaSpan> video_spans(std::span<const int32_t> ids, std::span<const Video> videos,
                                     const MergedMedia& merged) const;
  std::vector<MediaSpan> sound_spans(std::span<const int32_t> ids,
                                     std::span<const Waveform> sounds) const;
  TimeScale time_scale(const Video& video) const;
  // engine/video_sound.cpp
  /// Throws kUnsupported where the family has no rule for videos with their sound.
  MergedMedia merge_media(const RequestMedia& media) const;
  /// The spans of videos with their sound, which are blotted out of `ids`.
  std::vector<MediaSpan> take_groups(std::vector<int32_t>& ids, const RequestMedia& media,
                                     const MergedMedia& merged) const;
  /// Where what is heard in videos has placeholders of its own.
  std::vector<MediaSpan> video_sound_spans(std::span<const int32_t> ids, const RequestMedia& media,
                                           const MergedMedia& merged) const;
  std::vector<int32_t> expand_video_sounds(std::span<const int32_t> ids,
                                           const MergedMedia& merged) const;
  /// Rows of all sounds; those of videos shortened where the family does so.
  std::vector<SharedMedia> encode_sounds(const RequestMedia& media, FeatureStore& store) const;
  /// Room for videos, and for the sound of those that have one, with brackets around it.
  std::vector<int32_t> expand_groups(std::span<const int32_t> ids, const RequestMedia& media,
                                     const MergedMedia& merged) const;
  /// A video, with its sound where that is asked for and there.
  Video decode_video_part(const MediaInput& input, MediaLimits limits) const;
  /// A conversation as ids, with room for its media.
  ChatPrompt encode_chat(ChatInput input, const DecodedMedia& media) const;
  /// Ids of a conversation with its placeholders expanded.
  std::vector<int32_t> expand_media(std::vector<int32_t> ids, const DecodedMedia& media) const;
  std::vector<int32_t> expand_videos(std::span<const int32_t> ids,
                                     std::span<const Video> videos) const;
  LaidOutPrompt plan_prompt(const GenerateRequest& request, Trace& trace) const;
  void check_request(const GenerateRequest& request) const;
  PromptMemory& memory_to_save() const;
  ContentKey state_key() const;
  void answer(const GenerateRequest& request, LaidOutPrompt& laid, Place& place,
              TokenConstraint* constraint, Generation& generation);
  bool prefill(Place& place, std::span<float> logits, Generation& generation);
  void run_choice(const GenerateRequest& request, const PreparedPrompt& prompt, Place& place,
                  std::span<const float> after_prompt, TokenConstraint* constraint,
                  Generation& generation);
  DecodedMedia decode_media(std::span<const ChatMessage> messages) const;
  const SoundEncoder& sound_encoder() const;  // throws kUnsupported when there is none
  std::unique_ptr<KvSequence> new_sequence();
  /// Room for `count` more tokens; what is kept for later prompts gives way.
  void reserve(KvSequence& kv, int64_t count);
  /// The memory for keys and values, and the loop that shares it out.
  void make_cache(bool without_rows);
  static ScheduledRequest request_of(const LaidOutPrompt& laid);
  /// With the machine: of one sequence of so many tokens, and of what passes work with.
  int64_t pass_bytes(int64_t num_tokens) const;
  /// Adds a finished request to metrics_json().
  void count(const Usage& usage);

  double time_of_grid(const Video& video, size_t grid) const;
  void find_visible_ends(PreparedPrompt& prompt) const;
  ModelConfig config_;
  EngineOptions options_;
  ComputeType compute_;
  std::string path_;
  Backend backend_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string tokenizer_error_;  // why there is none
  std::unique_ptr<ChatRenderer> chat_;
  std::unique_ptr<ImageEncoder> image_encoder_;
  EncoderCache encoder_cache_;
  std::unique_ptr<SoundEncoder> sound_encoder_;
  std::unique_ptr<SequenceCompressor> video_sound_;  // shortens what is heard in videos, or null
  std::shared_ptr<CodeEncoder> code_encoder_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<PromptMemory> memory_;  // of a sequence of cache_; null: nothing is taken over
  std::unique_ptr<StepLoop> loop_;
  std::unique_ptr<KvCache> draft_cache_;     // of the module that predicts further tokens, or null
  std::unique_ptr<DraftModel> draft_model_;  // or null
  std::vector<int32_t> eos_;
  SamplingParams model_sampling_;
  FormatCache formats_;
  int64_t context_size_ = 0;
  double load_ms_ = 0;
  int64_t encoder_peak_ = 0;  // of the rehearsal, tensors
  int64_t num_ranks_ = 1;     // devices that a plan shares the model out to
  std::mutex totals_mutex_;
  Totals totals_;  // guarded by totals_mutex_
};

/// EngineFactory of text families.
std::unique_ptr<Engine> make_text_engine(const ModelFiles& files, ModelConfig config,
                                         const EngineOptions& options);

}  // namespace onnuri
