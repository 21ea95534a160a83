// The engine: a loaded model and the calls that make it answer.
//
//   auto engine = onnuri::Engine::load("model.gguf", {});
//   onnuri::GenerateRequest request;
//   request.messages = {onnuri::text_message("user", "Why is the sky blue?")};
//   auto result = engine->generate(request, [](const onnuri::TokenEvent& event) {
//     std::fputs(event.text.c_str(), stdout);
//     return true;  // false stops
//   });
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "onnuri/chat.h"
#include "onnuri/media.h"
#include "onnuri/sampling.h"

namespace onnuri {

/// The tokens of one medium inside a prompt, a grid of t x h x w cells in raster order; of a video
/// with its sound the parts of each, `num_tokens` cells from `first_cell` on.
struct PromptSpan {
  int64_t first_token = 0;
  int64_t num_tokens = 0;
  int64_t grid_t = 1;
  int64_t grid_h = 1;
  int64_t grid_w = 1;
  int64_t first_cell = 0;
  MediaKind kind = MediaKind::kImage;
};

/// What a decoder would read.
struct PromptLayout {
  std::string text;
  std::vector<int32_t> ids;
  int64_t num_axes = 1;           ///< of positions
  std::vector<float> positions;   ///< (num_axes, num_tokens); fractions after some videos only
  float next_position = 0;        ///< of the first generated token
  std::vector<PromptSpan> spans;  ///< in the order of the prompt
};

/// Called while a model loads. `fraction` is in [0, 1]; `stage` is a short English phrase.
using ProgressCallback = std::function<void(double fraction, const std::string& stage)>;

struct EngineOptions {
  std::string device = "cpu";          ///< only "cpu" in this build
  std::string compute_dtype = "auto";  ///< "float32": reference precision; "auto": fastest
  int num_threads = 0;                 ///< 0: one per core this process may use
  int64_t context_size = 0;            ///< longest sequence in tokens; 0: min(model's, 32768)
  int64_t prefill_chunk = 512;         ///< tokens per forward pass, of all requests together
  /// Requests that are computed at the same time, called from as many threads; others wait. Each
  /// takes a ring of its own in window layers when it is used for the first time.
  int64_t max_sequences = 4;
  int64_t max_queue = 256;      ///< requests that may wait; one more is refused with kOutOfMemory
  int64_t kv_cache_tokens = 0;  ///< of full layers, shared by all requests; 0: context_size
  /// A folder for keys and values that do not fit into `kv_ram_bytes` of memory; empty: all stay in
  /// memory. Full layers then take turns in it: the same answers, at the speed of the disk, for
  /// contexts larger than memory. The file has no name and goes with the engine.
  std::string kv_disk;
  int64_t kv_ram_bytes =
      0;  ///< with kv_disk: most memory of keys and values; 0: half of what is free
  /// What an encoder may do between two passes of the decoder while others wait for those, in
  /// tokens (patches of pictures, frames of sound) through all of its layers.
  int64_t encoder_step_tokens = 64;
  /// Of keys and values: "f32", "f16", "bf16", or with scales per token and head "int8", "fp8",
  /// "int4" (groups of 32); "": f32 with float32, else f16.
  std::string kv_dtype;
  std::string isa;  ///< "" best, or a kernel table's name: "ref", "avx2", ...
  int64_t max_media_bytes = int64_t{512} << 20;  ///< decoded sound and pictures of one request
  /// Where the text after a video starts on models with several position axes: "longest_side"
  /// (its start + the longer side of its grid; transformers 5.23) or "maximum" (the largest
  /// position + 1; transformers 4.57, vLLM). Empty: what the family is published with.
  std::string after_video;
  /// Most bytes of encoded pictures, videos and sounds to keep for later requests with the same
  /// content; 0 keeps none.
  int64_t encoder_cache_bytes = int64_t{256} << 20;
  /// Keep the keys and values of earlier requests, and compute of the next prompt only what no kept
  /// text begins with: the same bits, sooner. They lie in memory that is there anyway, and give way
  /// to whoever needs it; beside it, window layers take copies of at most `prefix_snapshot_bytes`.
  bool prefix_caching = true;
  int64_t prefix_snapshot_bytes = int64_t{256} << 20;
  bool load_draft_module = false;  ///< also load the layer that guesses the token after next
  /// A smaller checkpoint of the same vocabulary that guesses up to `draft_tokens` tokens ahead:
  /// the same answers, bit for bit, sooner where it guesses well. Not for prompts with media.
  std::string draft_model;
  int64_t draft_tokens = 4;
  ProgressCallback progress;
};

/// What is to be generated. Exactly one of `input_ids`, `prompt`, `messages` is set.
struct GenerateRequest {
  std::vector<int32_t> input_ids;
  std::string prompt;                 ///< raw text, tokenised with the model's own bos rule
  std::vector<ChatMessage> messages;  ///< rendered with the checkpoint's chat template
  std::string tools_json;             ///< with messages: a JSON list of tools or empty
  /// With messages: "" or "auto" (as the model was published), "on", "off", or an effort:
  /// "minimal", "low", "medium", "high". Becomes the variables that the model's template knows.
  std::string reasoning;
  std::string template_kwargs_json;  ///< extra template variables, a JSON object or empty; they win
  /// With messages: thoughts and tool calls are told apart from the answer's text.
  bool split_output = true;
  /// With messages: special tokens spelt inside their texts are taken for tokens, not for text.
  bool trust_special_tokens = false;
  std::vector<Image> images;     ///< with input_ids only: placeholders already expanded
  std::vector<Waveform> audios;  ///< with input_ids only
  std::vector<Video> videos;     ///< with input_ids only
  int64_t max_new_tokens = 256;
  SamplingParams sampling;
  AnswerFormat format;  ///< a JSON schema, regular expression, grammar or list of choices to obey
  int64_t num_choices = 1;  ///< independent answers; the prompt is computed once for all
  int64_t top_logprobs =
      -1;  ///< -1: none; k >= 0: the chosen token's and the k likeliest (StepLogProbs)
  bool ignore_eos = false;
  /// Most tokens to guess ahead from repeats in the text and check in one pass (prompt lookup); 0
  /// guesses nothing. The answer is the same, bit for bit; texts that repeat themselves come
  /// faster.
  int64_t lookup_tokens = 0;
  /// Write down what was done when, and with how much memory: GenerateResult::trace_json.
  bool trace = false;
  /// Requests of different tenants never take over anything from each other, so that nobody learns
  /// from timings what others asked.
  std::string tenant;
  int64_t priority = 0;    ///< higher ones go first, and take memory from lower ones
  double deadline_ms = 0;  ///< from the call on; then kCancelled, whatever was said so far. 0: none
  std::vector<std::string> stop;  ///< generation ends before any of these strings
};

struct TokenLogProb {
  int32_t token_id = -1;
  double logprob = 0;  ///< natural logarithm
};

/// Log-probabilities of one step, of the model's own distribution: the softmax of its logits before
/// temperature, penalties, logit bias, top-k and the like, or a format is applied. The chosen token
/// need not be among the likeliest, and a format may have forbidden those.
struct StepLogProbs {
  TokenLogProb chosen;
  std::vector<TokenLogProb> top;  ///< likeliest first
};

/// A piece of a tool call while the model writes it. The first of a call carries its id and name;
/// the texts of all its pieces joined are its arguments as JSON. A second piece with a name means
/// that the call begins anew: what came before under that index is void. So is a call that never
/// becomes one of `tool_calls`; it is then part of the text.
struct ToolCallDelta {
  int64_t index = 0;  ///< of the call within the answer
  std::string id;
  std::string name;
  std::string arguments;
};

/// One step of a stream. `text` is whole UTF-8; it may be empty while a character is incomplete.
/// `token_id` is -1 between the chunks of a long prompt, now and then while the request waits for
/// others, and for text that was held back to the end.
struct TokenEvent {
  int32_t token_id = -1;
  std::string text;
  std::string reasoning;                        ///< what the model thought with this token
  std::vector<ToolCall> tool_calls;             ///< that this token completed
  int64_t choice = 0;                           ///< which answer; they come one after another
  std::optional<StepLogProbs> logprobs;         ///< where asked for
  std::vector<ToolCallDelta> tool_call_deltas;  ///< what it added to calls, finished or not
};

/// Return false to stop; the result then has finish_reason "cancelled".
using TokenCallback = std::function<bool(const TokenEvent&)>;

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t reused_tokens = 0;    ///< of the prompt, taken over from earlier requests
  int64_t reused_full = 0;      ///< the same, 0 where the model has no full layers
  int64_t reused_window = 0;    ///< likewise window layers
  int64_t reused_linear = 0;    ///< likewise linear layers, by their states
  int64_t reused_latent = 0;    ///< likewise latent attention
  std::string reuse_note;       ///< why not more, for people; empty when all could be
  int64_t draft_tokens = 0;     ///< guessed ahead
  int64_t accepted_tokens = 0;  ///< of those, the ones that were right
  int64_t encoder_passes = 0;   ///< pictures, videos and sounds that an encoder had to read
  int64_t encoder_reused = 0;   ///< those whose features were kept from earlier requests
  /// The same in parts that are encoded on their own: pictures, frames of a video that share
  /// patches, stretches of sound that attend to nothing outside themselves.
  int64_t encoder_chunks = 0;
  int64_t encoder_chunks_reused = 0;
  double queue_ms = 0;    ///< from when the prompt was ready until the first pass that read of it
  double encode_ms = 0;   ///< media encoders
  double prefill_ms = 0;  ///< prompt, with queue_ms
  double decode_ms = 0;   ///< all generated tokens after the first
  double time_to_first_token_ms = 0;  ///< from the call on; 0 where there was none
  double tokens_per_second = 0;       ///< of those after the first; 0 where there were none
  /// The most memory that a stage held at once, in bytes: media as they were decoded and tensors
  /// made of them; then keys and values of this request and what passes work with.
  int64_t prepare_bytes = 0;
  int64_t encode_bytes = 0;
  int64_t prefill_bytes = 0;
  int64_t decode_bytes = 0;
};

/// One answer.
struct Choice {
  std::string text;                  ///< the answer alone
  std::string reasoning;             ///< what came before it, for models that think
  std::vector<ToolCall> tool_calls;  ///< what the model wants to be run
  std::vector<int32_t> token_ids;
  std::string finish_reason;           ///< "stop", "tool_calls", "length" or "cancelled"
  std::vector<StepLogProbs> logprobs;  ///< one per token, where asked for
};

/// The first answer, and the others where several were asked for.
struct GenerateResult : Choice {
  std::vector<Choice> more_choices;
  Usage usage;  ///< of all answers together
  /// With GenerateRequest::trace: Chrome's trace events, for Perfetto or chrome://tracing.
  std::string trace_json;
};

/// A (rows, cols) float32 result, row-major.
struct FloatMatrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;
};

struct TranscribeOptions {
  std::string language;             ///< "en", "ko", ...; empty: detected
  std::string task = "transcribe";  ///< or "translate" (into English)
  bool timestamps = false;
  std::function<void(double fraction)> progress;
  std::function<bool(const std::string& text)> on_text;  ///< streams; false stops
  std::function<bool()> go_on;  ///< asked before every token; false keeps what was said so far
  /// Words as they may have come before: they set spelling and style of the first window.
  std::string initial_prompt;
  /// Each window reads the text of those before: steadier names and style; it may also skip what
  /// was said already, or repeat itself.
  bool condition_on_previous = false;
  /// Stretches of 2 s and more in which nobody speaks, by loudness, are cut out first: faster, and
  /// nothing is invented there. Times stay those of the recording.
  bool skip_silence = false;
  /// Tried in turn until an answer convinces; 0 is greedy.
  std::vector<float> temperatures = {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f};
  double max_compression_ratio = 2.4;  ///< above: the text repeats itself
  double min_mean_logprob = -1.0;      ///< below: the model doubts
  double max_no_speech_prob = 0.6;     ///< above, and in doubt: nobody speaks
  uint64_t seed = 0;                   ///< of answers drawn at temperatures above 0
  bool trace = false;                  ///< write down what was done when: Transcript::trace_json
};

struct TranscriptSegment {
  double start_s = 0;
  double end_s = 0;
  std::string text;
  std::vector<int32_t> token_ids;
  // Of the answer that the segment belongs to:
  double temperature = 0;
  double mean_logprob = 0;
  double compression_ratio = 0;
  double no_speech_prob = 0;
};

struct Transcript {
  std::string text;
  std::string language;
  double language_prob = 1;  ///< below 1 where it was detected
  bool complete = true;      ///< false when a callback stopped it
  std::vector<TranscriptSegment> segments;
  double audio_s = 0;
  double mel_ms = 0;
  double encode_ms = 0;
  double decode_ms = 0;
  /// With TranscribeOptions::trace: Chrome's trace events, for Perfetto or chrome://tracing.
  std::string trace_json;
};

/// Asked between the chunks of a long call; false ends it with kCancelled. May throw.
using GoOn = std::function<bool()>;

/// A loaded model. An Engine may be used from several threads: what they ask for at the same time
/// is computed together, and no answer depends on what else is asked. Every method throws
/// onnuri::Error and leaves the engine usable.
class Engine {
 public:
  virtual ~Engine() = default;

  /// Loads a checkpoint: a folder (config.json, *.safetensors, tokenizer) or a .gguf file.
  static std::unique_ptr<Engine> load(const std::string& path, const EngineOptions& options);

  /// Logits after every token of `input_ids` as one prefill, (num_tokens, vocab_size). The ids hold
  /// the expanded placeholders of all media, each kind in its order. For Whisper the ids are the
  /// decoder's and `audios` holds one waveform.
  virtual FloatMatrix logits(std::span<const int32_t> input_ids, std::span<const Image> images,
                             std::span<const Waveform> audios, std::span<const Video> videos = {},
                             const GoOn& go_on = {}) = 0;

  /// The ids, positions and media spans that `messages` become; nothing is encoded. Speech models
  /// throw kUnsupported.
  virtual PromptLayout prepare(std::span<const ChatMessage> messages,
                               const std::string& template_kwargs_json);

  /// Mean negative log-likelihood of each token after the first, in nats; exp of it is the
  /// perplexity. Keeps one chunk of logits at a time. Speech models throw kUnsupported.
  virtual double mean_nll(std::span<const int32_t> input_ids, const GoOn& go_on = {});

  /// Negative log-likelihood in nats of each token after the first, (num_tokens - 1).
  virtual std::vector<double> token_nll(std::span<const int32_t> input_ids, const GoOn& go_on = {});

  /// The sampling parameters that the checkpoint recommends (generation_config.json, or the
  /// general.sampling keys of a GGUF file); greedy where it recommends nothing.
  virtual SamplingParams model_sampling() const;

  virtual GenerateResult generate(const GenerateRequest& request,
                                  const TokenCallback& on_token) = 0;

  /// Speech to text; only for speech models.
  virtual Transcript transcribe(const Waveform& audio, const TranscribeOptions& options) = 0;

  /// Features after the projector, (num_tokens, hidden_size).
  virtual FloatMatrix encode_image(const Image& image) = 0;
  virtual FloatMatrix encode_audio(const Waveform& audio) = 0;

  /// One vector of unit length per picture or text, in the space that both share: how alike two are
  /// is their product. Only for models of vectors; others throw kUnsupported. Texts that are too
  /// long are cut. `ids` are those of a whole text, with the end and the padding of the model.
  virtual std::vector<float> embed_image(const Image& image);
  virtual std::vector<float> embed_text(const std::string& text);
  virtual std::vector<float> embed_tokens(std::span<const int32_t> ids);

  virtual std::vector<int32_t> tokenize(const std::string& text, bool add_special_tokens,
                                        bool parse_special_tokens) = 0;
  virtual std::string detokenize(std::span<const int32_t> ids, bool skip_special_tokens) = 0;

  /// The prompt text that `messages` become, before tokenisation.
  virtual std::string render_chat(std::span<const ChatMessage> messages,
                                  const std::string& template_kwargs_json) = 0;

  /// Writes the conversation of `tenant` that was used last to a file, as the engine keeps it for
  /// the next prompt (see EngineOptions::prefix_caching): the file is whole or as it was before.
  /// Throws kNotFound when none is kept or the file cannot be written.
  virtual void save(const std::string& path, const std::string& tenant);
  /// Takes a saved conversation over: the next prompt that begins alike is not computed again, with
  /// the same bits. Changes nothing when it throws: kNotFound, kCorruptData (damaged), kUnsupported
  /// (of another model, compute type or type of keys), kOutOfMemory.
  virtual void restore(const std::string& path);

  /// Facts about the loaded model as a JSON object: family, layers, parameters, memory, kernels.
  virtual std::string describe_json() const = 0;

  /// What the engine has done since it was loaded, and what it holds now, as a JSON object: passes,
  /// rows, preemptions, pages of the memory for keys and values, bytes. Empty for engines that
  /// count nothing. Waits until nobody computes.
  virtual std::string metrics_json() { return "{}"; }
};

/// Facts about a checkpoint from its config and headers alone, as a JSON object. `path` may also be
/// a config.json, or a folder with nothing else: then everything that needs no tensors.
std::string inspect_model_json(const std::string& path);

/// The devices and kernel tables of this machine, as a JSON object.
std::string devices_json();

}  // namespace onnuri
