// The Engine class. Work runs without the GIL; callbacks take it back, and look for Ctrl-C.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "onnuri/error.h"
#include "python/bindings.h"

namespace onnuri::python {
namespace {

constexpr std::chrono::milliseconds kSignalPeriod{50};

using Counted = py::call_guard<InsideCall>;  // of every method that gives the lock up or calls back

// Raises KeyboardInterrupt in the thread that may receive signals.
void check_signals() {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

std::unique_ptr<Engine> load(const py::object& path, const std::string& device,
                             const std::string& compute_dtype, int num_threads,
                             int64_t context_size, int64_t prefill_chunk, const std::string& isa,
                             const std::string& after_video, int64_t encoder_cache_bytes,
                             int64_t max_media_bytes, bool draft_module, bool prefix_caching,
                             const std::string& kv_dtype, int64_t max_sequences, int64_t max_queue,
                             int64_t kv_cache_tokens, const py::object& kv_disk,
                             int64_t kv_ram_bytes, int64_t encoder_step_tokens,
                             int64_t prefix_snapshot_bytes, const py::object& draft_model,
                             int64_t draft_tokens, const py::object& progress) {
  if (encoder_cache_bytes < 0)
    refuse("expected encoder_cache_bytes of at least 0 (keep nothing), found " +
           std::to_string(encoder_cache_bytes));
  if (max_media_bytes < 1)
    refuse("expected max_media_bytes of at least 1, found " + std::to_string(max_media_bytes));
  EngineOptions options;
  options.max_media_bytes = max_media_bytes;
  options.load_draft_module = draft_module;
  options.prefix_caching = prefix_caching;
  options.after_video = after_video;
  options.encoder_cache_bytes = encoder_cache_bytes;
  options.device = device;
  options.compute_dtype = compute_dtype;
  options.num_threads = num_threads;
  options.context_size = context_size;
  options.prefill_chunk = prefill_chunk;
  options.isa = isa;
  options.kv_dtype = kv_dtype;
  options.max_sequences = max_sequences;
  options.max_queue = max_queue;
  options.kv_cache_tokens = kv_cache_tokens;
  if (!kv_disk.is_none()) options.kv_disk = path_from(kv_disk);
  options.kv_ram_bytes = kv_ram_bytes;
  options.encoder_step_tokens = encoder_step_tokens;
  options.prefix_snapshot_bytes = prefix_snapshot_bytes;
  if (!draft_model.is_none()) options.draft_model = path_from(draft_model);
  options.draft_tokens = draft_tokens;
  options.progress = [&](double fraction, const std::string& stage) {
    throw_if_must_stop();
    const WithGil acquire;
    check_signals();
    if (!progress.is_none()) progress(fraction, stage);
  };
  const std::string text = path_from(path);
  const WithoutGil release;
  return Engine::load(text, options);
}

py::dict layout_dict(const PromptLayout& layout) {
  const auto count = static_cast<py::ssize_t>(layout.ids.size());
  py::list spans;
  for (const PromptSpan& s : layout.spans) {
    py::dict span;
    span["first_token"] = s.first_token;
    span["num_tokens"] = s.num_tokens;
    span["grid"] = py::make_tuple(s.grid_t, s.grid_h, s.grid_w);
    span["first_cell"] = s.first_cell;
    span["kind"] = s.kind == MediaKind::kImage   ? "image"
                   : s.kind == MediaKind::kVideo ? "video"
                                                 : "audio";
    spans.append(span);
  }
  py::dict out;
  out["text"] = layout.text;
  out["ids"] = py::array_t<int32_t>(count, layout.ids.data());
  const py::array_t<float> positions(
      std::vector<py::ssize_t>{static_cast<py::ssize_t>(layout.num_axes), count},
      layout.positions.data());
  const bool whole = std::all_of(layout.positions.begin(), layout.positions.end(),
                                 [](float x) { return x == std::floor(x); });
  out["positions"] = whole ? py::object(positions.attr("astype")("int32")) : py::object(positions);
  out["next_position"] = whole ? py::object(py::int_(static_cast<int64_t>(layout.next_position)))
                               : py::object(py::float_(static_cast<double>(layout.next_position)));
  out["spans"] = spans;
  return out;
}

// For calls without a callback of the user's: Ctrl-C and the end of Python end them.
GoOn until_interrupted() {
  return [last = std::chrono::steady_clock::now()]() mutable {
    if (must_stop()) return false;
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kSignalPeriod) return true;
    last = now;
    const WithGil acquire;
    check_signals();
    return true;
  };
}

GenerateResult generate(Engine& engine, const py::object& input_ids, const py::object& prompt,
                        const py::object& messages, const py::object& callback,
                        const py::kwargs& options) {
  const GenerateRequest request = request_from(engine, input_ids, prompt, messages, options);
  auto last = std::chrono::steady_clock::now();
  const TokenCallback on_token = [&](const TokenEvent& event) {
    if (must_stop()) return false;
    const auto now = std::chrono::steady_clock::now();
    if (callback.is_none() && now - last < kSignalPeriod) return true;
    last = now;
    const WithGil acquire;
    check_signals();
    if (callback.is_none()) return true;
    const py::object answer = callback(event);
    return !(py::isinstance<py::bool_>(answer) && !answer.cast<bool>());
  };
  const WithoutGil release;
  return engine.generate(request, on_token);
}

Transcript transcribe(Engine& engine, const py::object& audio, const py::object& language,
                      const std::string& task, bool timestamps, int64_t sample_rate_hz,
                      const py::object& progress, const py::object& stream,
                      const std::string& initial_prompt, bool condition_on_previous,
                      const py::object& temperatures, uint64_t seed, bool skip_silence,
                      bool trace) {
  const Waveform wave = waveform_from(audio, sample_rate_hz);
  TranscribeOptions options;
  if (!language.is_none()) options.language = text_from("language", language);
  options.task = task;
  options.timestamps = timestamps;
  options.initial_prompt = initial_prompt;
  options.condition_on_previous = condition_on_previous;
  options.seed = seed;
  options.skip_silence = skip_silence;
  options.trace = trace;
  if (!temperatures.is_none())
    options.temperatures = value_from<std::vector<float>>("temperatures", "numbers", temperatures);
  options.progress = [&](double fraction) {
    throw_if_must_stop();
    const WithGil acquire;
    check_signals();
    if (!progress.is_none()) progress(fraction);
  };
  options.on_text = [&](const std::string& text) {
    if (must_stop()) return false;
    const WithGil acquire;
    check_signals();
    if (stream.is_none()) return true;
    const py::object answer = stream(text);
    return !(py::isinstance<py::bool_>(answer) && !answer.cast<bool>());
  };
  auto last = std::chrono::steady_clock::now();
  options.go_on = [&] {
    if (must_stop()) return false;
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kSignalPeriod) return true;
    last = now;
    const WithGil acquire;
    check_signals();
    return true;
  };
  const WithoutGil release;
  return engine.transcribe(wave, options);
}

std::string quoted(const std::string& text) { return py::repr(py::str(text)).cast<std::string>(); }

void bind_results(py::module_& module) {
  py::class_<TokenEvent>(module, "TokenEvent")
      .def_readonly("token_id", &TokenEvent::token_id)
      .def_readonly("text", &TokenEvent::text)
      .def_readonly("reasoning", &TokenEvent::reasoning)
      .def_readonly("tool_calls", &TokenEvent::tool_calls)
      .def_readonly("tool_call_deltas", &TokenEvent::tool_call_deltas)
      .def_readonly("choice", &TokenEvent::choice)
      .def_readonly("logprobs", &TokenEvent::logprobs)
      .def("__repr__", [](const TokenEvent& self) {
        std::string out = "<TokenEvent " + std::to_string(self.token_id) + " " + quoted(self.text);
        if (!self.reasoning.empty()) out += ", reasoning " + quoted(self.reasoning);
        if (!self.tool_calls.empty())
          out += ", " + std::to_string(self.tool_calls.size()) + " tool calls";
        return out + ">";
      });
  py::class_<TokenLogProb>(module, "TokenLogProb")
      .def_readonly("token_id", &TokenLogProb::token_id)
      .def_readonly("logprob", &TokenLogProb::logprob)
      .def("__repr__", [](const TokenLogProb& self) {
        return "<TokenLogProb " + std::to_string(self.token_id) + ": " +
               std::to_string(self.logprob) + ">";
      });
  py::class_<StepLogProbs>(module, "StepLogProbs")
      .def_readonly("chosen", &StepLogProbs::chosen)
      .def_readonly("top", &StepLogProbs::top);
  py::class_<Usage>(module, "Usage")
      .def_readonly("prompt_tokens", &Usage::prompt_tokens)
      .def_readonly("completion_tokens", &Usage::completion_tokens)
      .def_readonly("reused_tokens", &Usage::reused_tokens)
      .def_readonly("reused_full", &Usage::reused_full)
      .def_readonly("reused_window", &Usage::reused_window)
      .def_readonly("reused_linear", &Usage::reused_linear)
      .def_readonly("reused_latent", &Usage::reused_latent)
      .def_readonly("reuse_note", &Usage::reuse_note)
      .def_readonly("draft_tokens", &Usage::draft_tokens)
      .def_readonly("accepted_tokens", &Usage::accepted_tokens)
      .def_readonly("encoder_passes", &Usage::encoder_passes)
      .def_readonly("encoder_reused", &Usage::encoder_reused)
      .def_readonly("encoder_chunks", &Usage::encoder_chunks)
      .def_readonly("encoder_chunks_reused", &Usage::encoder_chunks_reused)
      .def_readonly("queue_ms", &Usage::queue_ms)
      .def_readonly("encode_ms", &Usage::encode_ms)
      .def_readonly("prefill_ms", &Usage::prefill_ms)
      .def_readonly("decode_ms", &Usage::decode_ms)
      .def_readonly("time_to_first_token_ms", &Usage::time_to_first_token_ms)
      .def_readonly("tokens_per_second", &Usage::tokens_per_second)
      .def_readonly("prepare_bytes", &Usage::prepare_bytes)
      .def_readonly("encode_bytes", &Usage::encode_bytes)
      .def_readonly("prefill_bytes", &Usage::prefill_bytes)
      .def_readonly("decode_bytes", &Usage::decode_bytes)
      .def("__repr__", [](const Usage& self) {
        return "<Usage " + std::to_string(self.prompt_tokens) + " prompt tokens in " +
               std::to_string(std::llround(self.encode_ms + self.prefill_ms)) + " ms, " +
               std::to_string(self.completion_tokens) + " answer tokens in " +
               std::to_string(std::llround(self.decode_ms)) + " ms>";
      });
  py::class_<Choice>(module, "Choice")
      .def_readonly("text", &Choice::text)
      .def_readonly("reasoning", &Choice::reasoning)
      .def_readonly("tool_calls", &Choice::tool_calls)
      .def_readonly("token_ids", &Choice::token_ids)
      .def_readonly("finish_reason", &Choice::finish_reason)
      .def_readonly("logprobs", &Choice::logprobs)
      .def("__repr__", [](const Choice& self) {
        return "<Choice " + std::to_string(self.token_ids.size()) + " tokens, " +
               self.finish_reason + ">";
      });
  py::class_<GenerateResult, Choice>(module, "GenerateResult")
      .def_readonly("usage", &GenerateResult::usage)
      .def_readonly("trace", &GenerateResult::trace_json)
      .def_property_readonly("choices",
                             [](const GenerateResult& self) {
                               std::vector<Choice> all{self};
                               all.insert(all.end(), self.more_choices.begin(),
                                          self.more_choices.end());
                               return all;
                             })
      .def("__repr__", [](const GenerateResult& self) {
        return "<GenerateResult " + std::to_string(self.token_ids.size()) + " tokens, " +
               self.finish_reason + ">";
      });
  py::class_<TranscriptSegment>(module, "TranscriptSegment")
      .def_readonly("start_s", &TranscriptSegment::start_s)
      .def_readonly("end_s", &TranscriptSegment::end_s)
      .def_readonly("text", &TranscriptSegment::text)
      .def_readonly("token_ids", &TranscriptSegment::token_ids)
      .def_readonly("temperature", &TranscriptSegment::temperature)
      .def_readonly("mean_logprob", &TranscriptSegment::mean_logprob)
      .def_readonly("compression_ratio", &TranscriptSegment::compression_ratio)
      .def_readonly("no_speech_prob", &TranscriptSegment::no_speech_prob);
  py::class_<Transcript>(module, "Transcript")
      .def_readonly("text", &Transcript::text)
      .def_readonly("language", &Transcript::language)
      .def_readonly("language_prob", &Transcript::language_prob)
      .def_readonly("segments", &Transcript::segments)
      .def_readonly("audio_s", &Transcript::audio_s)
      .def_readonly("mel_ms", &Transcript::mel_ms)
      .def_readonly("encode_ms", &Transcript::encode_ms)
      .def_readonly("decode_ms", &Transcript::decode_ms)
      .def_readonly("trace", &Transcript::trace_json);
}

void bind_engine_text(py::class_<Engine>& engine) {
  engine
      .def(
          "tokenize",
          [](Engine& self, const py::object& text, bool add_special_tokens,
             bool parse_special_tokens) {
            return self.tokenize(text_from("text", text), add_special_tokens, parse_special_tokens);
          },
          py::arg("text"), py::arg("add_special_tokens") = false,
          py::arg("parse_special_tokens") = true)
      .def(
          "detokenize",
          [](Engine& self, const py::object& ids, bool skip_special_tokens) {
            return self.detokenize(ids_from(ids), skip_special_tokens);
          },
          py::arg("ids"), py::arg("skip_special_tokens") = true)
      .def(
          "render_chat",
          [](Engine& self, const py::object& messages, const py::kwargs& variables) {
            return self.render_chat(
                messages_from(messages),
                variables.empty() ? std::string() : json_text("variables", variables));
          },
          py::arg("messages"))
      .def("describe", [](const Engine& self) { return json_object(self.describe_json()); })
      .def(
          "save",
          [](Engine& self, const py::object& path, const std::string& tenant) {
            const std::string text = path_from(path);
            const WithoutGil release;
            self.save(text, tenant);
          },
          Counted(), py::arg("path"), py::arg("tenant") = "")
      .def(
          "restore",
          [](Engine& self, const py::object& path) {
            const std::string text = path_from(path);
            const WithoutGil release;
            self.restore(text);
          },
          Counted(), py::arg("path"))
      .def("metrics", [](Engine& self) {
        std::string text;
        {
          const WithoutGil release;
          text = self.metrics_json();
        }
        return json_object(text);
      });
}

}  // namespace

void bind_engine(py::module_& module) {
  bind_results(module);
  bind_batch(module);
  py::class_<Engine> engine(module, "Engine");
  engine
      .def(py::init(&load), Counted(), py::arg("path"), py::kw_only(), py::arg("device") = "cpu",
           py::arg("compute_dtype") = "auto", py::arg("num_threads") = 0,
           py::arg("context_size") = 0, py::arg("prefill_chunk") = 512, py::arg("isa") = "",
           py::arg("after_video") = "", py::arg("encoder_cache_bytes") = int64_t{256} << 20,
           py::arg("max_media_bytes") = int64_t{512} << 20, py::arg("draft_module") = false,
           py::arg("prefix_caching") = true, py::arg("kv_dtype") = "", py::arg("max_sequences") = 4,
           py::arg("max_queue") = 256, py::arg("kv_cache_tokens") = 0,
           py::arg("kv_disk") = py::none(), py::arg("kv_ram_bytes") = 0,
           py::arg("encoder_step_tokens") = 64,
           py::arg("prefix_snapshot_bytes") = int64_t{256} << 20,
           py::arg("draft_model") = py::none(), py::arg("draft_tokens") = 4,
           py::arg("progress") = py::none())
      .def(
          "logits",
          [](Engine& self, const py::object& input_ids, const py::object& images,
             const py::object& audios, const py::object& videos) {
            const std::vector<int32_t> ids = ids_from(input_ids);
            const std::vector<Video> clips = videos_from(videos);
            const std::vector<Image> pictures = images_from(images);
            const std::vector<Waveform> waves = waveforms_from(audios);
            FloatMatrix out;
            {
              const WithoutGil release;
              out = self.logits(ids, pictures, waves, clips, until_interrupted());
            }
            return array_from(std::move(out));
          },
          Counted(), py::arg("input_ids"), py::arg("images") = py::none(),
          py::arg("audios") = py::none(), py::arg("videos") = py::none())
      .def(
          "prepare",
          [](Engine& self, const py::object& messages, const py::object& template_kwargs) {
            const std::vector<ChatMessage> chat = messages_from(messages);
            const std::string kwargs = template_kwargs.is_none()
                                           ? std::string()
                                           : json_text("template_kwargs", template_kwargs);
            PromptLayout layout;
            {
              const WithoutGil release;
              layout = self.prepare(chat, kwargs);
            }
            return layout_dict(layout);
          },
          Counted(), py::arg("messages"), py::kw_only(), py::arg("template_kwargs") = py::none())
      .def(
          "nll",
          [](Engine& self, const py::object& input_ids) {
            const std::vector<int32_t> ids = ids_from(input_ids);
            const WithoutGil release;
            return self.mean_nll(ids, until_interrupted());
          },
          Counted(), py::arg("input_ids"))
      .def(
          "token_nll",
          [](Engine& self, const py::object& input_ids) {
            const std::vector<int32_t> ids = ids_from(input_ids);
            std::vector<double> out;
            {
              const WithoutGil release;
              out = self.token_nll(ids, until_interrupted());
            }
            return py::array_t<double>(static_cast<py::ssize_t>(out.size()), out.data());
          },
          Counted(), py::arg("input_ids"))
      .def("_generate", &generate, Counted(), py::arg("input_ids"), py::arg("prompt"),
           py::arg("messages"), py::arg("callback"))
      .def("transcribe", &transcribe, Counted(), py::arg("audio"), py::kw_only(),
           py::arg("language") = py::none(), py::arg("task") = "transcribe",
           py::arg("timestamps") = false, py::arg("sample_rate_hz") = 16000,
           py::arg("progress") = py::none(), py::arg("stream") = py::none(),
           py::arg("initial_prompt") = "", py::arg("condition_on_previous") = false,
           py::arg("temperatures") = py::none(), py::arg("seed") = 0,
           py::arg("skip_silence") = false, py::arg("trace") = false)
      .def(
          "encode_image",
          [](Engine& self, const py::object& object) {
            const Image image = image_from(object);
            FloatMatrix out;
            {
              const WithoutGil release;
              out = self.encode_image(image);
            }
            return array_from(std::move(out));
          },
          Counted(), py::arg("image"))
      .def(
          "embed_image",
          [](Engine& self, const py::object& object) {
            const Image image = image_from(object);
            std::vector<float> out;
            {
              const WithoutGil release;
              out = self.embed_image(image);
            }
            return py::array_t<float>(static_cast<py::ssize_t>(out.size()), out.data());
          },
          Counted(), py::arg("image"))
      .def(
          "embed_text",
          [](Engine& self, const std::string& text) {
            std::vector<float> out;
            {
              const WithoutGil release;
              out = self.embed_text(text);
            }
            return py::array_t<float>(static_cast<py::ssize_t>(out.size()), out.data());
          },
          Counted(), py::arg("text"))
      .def(
          "encode_audio",
          [](Engine& self, const py::object& object) {
            const Waveform audio = waveform_from(object, 16000);
            FloatMatrix out;
            {
              const WithoutGil release;
              out = self.encode_audio(audio);
            }
            return array_from(std::move(out));
          },
          Counted(), py::arg("audio"));
  bind_engine_text(engine);
}

}  // namespace onnuri::python
