// onnuri transcribe: speech to text.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>

#include "demos/cli/common.h"
#include "demos/cli/pull_cache.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"
#include "onnuri/media_io.h"

namespace onnuri::cli {
namespace {

struct TranscribeCli {
  ModelOptions model;
  std::vector<std::string> files;
  std::string language;
  bool translate = false;
  bool timestamps = false;
  std::string format = "txt";
  std::string folder;  // for one output per file; empty: standard output
  std::string initial_prompt;
  bool skip_silence = false;
  bool context = false;
};

std::string clock(double seconds, char decimal) {
  const int64_t ms = static_cast<int64_t>(seconds * 1000 + 0.5);
  char text[48];
  std::snprintf(text, sizeof(text), "%02d:%02d:%02d%c%03d", static_cast<int>(ms / 3600000),
                static_cast<int>(ms / 60000 % 60), static_cast<int>(ms / 1000 % 60), decimal,
                static_cast<int>(ms % 1000));
  return text;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n\t");
  return begin == std::string::npos
             ? ""
             : text.substr(begin, text.find_last_not_of(" \n\t") + 1 - begin);
}

std::string subtitles(const Transcript& transcript, bool srt) {
  std::string out = srt ? "" : "WEBVTT\n\n";
  int number = 1;
  for (const TranscriptSegment& s : transcript.segments) {
    if (srt) out += std::to_string(number++) + "\n";
    const char decimal = srt ? ',' : '.';
    out += clock(s.start_s, decimal) + " --> " + clock(s.end_s, decimal) + "\n" + trimmed(s.text) +
           "\n\n";
  }
  return out;
}

Json transcript_json(const std::string& file, const Transcript& transcript) {
  Json segments = Json::array();
  for (const TranscriptSegment& s : transcript.segments) {
    segments.push_back({{"start", s.start_s},
                        {"end", s.end_s},
                        {"text", s.text},
                        {"temperature", s.temperature},
                        {"mean_logprob", s.mean_logprob},
                        {"compression_ratio", s.compression_ratio},
                        {"no_speech_prob", s.no_speech_prob}});
  }
  return Json{{"file", file},
              {"text", trimmed(transcript.text)},
              {"language", transcript.language},
              {"language_prob", transcript.language_prob},
              {"complete", transcript.complete},
              {"segments", segments},
              {"audio_s", transcript.audio_s},
              {"mel_ms", transcript.mel_ms},
              {"encode_ms", transcript.encode_ms},
              {"decode_ms", transcript.decode_ms}};
}

std::string formatted(const TranscribeCli& options, const std::string& file,
                      const Transcript& transcript) {
  if (options.model.json || options.format == "json")
    return transcript_json(file, transcript).dump() + "\n";
  if (options.format == "srt" || options.format == "vtt")
    return subtitles(transcript, options.format == "srt");
  if (!options.timestamps) return trimmed(transcript.text) + "\n";
  std::string out;
  for (const TranscriptSegment& s : transcript.segments)
    out +=
        "[" + clock(s.start_s, '.') + " - " + clock(s.end_s, '.') + "] " + trimmed(s.text) + "\n";
  return out;
}

// "talks/first.mp3" into the folder as "first.srt".
void write_result(const TranscribeCli& options, const std::string& file, const std::string& text) {
  if (options.folder.empty()) return write_out(text);
  namespace fs = std::filesystem;
  const std::string extension = options.model.json ? "json" : options.format;
  const fs::path path =
      fs::path(options.folder) / fs::path(file).filename().replace_extension(extension);
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush())
    throw Error(ErrorCode::kNotFound, "expected to write " + path.string() + ", found no way to");
}

void report(const Transcript& t) {
  const double total_s = (t.mel_ms + t.encode_ms + t.decode_ms) / 1000;
  std::fprintf(
      stderr,
      "[%.1f s of sound in %.2f s: mel %.0f ms, encoder %.0f ms, text %.0f ms; language %s]\n",
      t.audio_s, total_s, t.mel_ms, t.encode_ms, t.decode_ms, t.language.c_str());
}

// Ctrl-C stops at the next token; what was heard until then is written.
void transcribe_file(Engine& engine, const TranscribeCli& options, size_t index) {
  const std::string& file = options.files[index];
  const Waveform audio = load_audio(media_file(MediaKind::kAudio, file));
  const std::string label = options.files.size() == 1
                                ? file
                                : "[" + std::to_string(index + 1) + "/" +
                                      std::to_string(options.files.size()) + "] " + file;
  ProgressBar bar(!options.model.quiet);
  InterruptGuard guard;
  TranscribeOptions transcribe;
  transcribe.language = options.language;
  transcribe.task = options.translate ? "translate" : "transcribe";
  transcribe.timestamps = options.timestamps || options.format == "srt" || options.format == "vtt";
  transcribe.initial_prompt = options.initial_prompt;
  transcribe.condition_on_previous = options.context;
  transcribe.skip_silence = options.skip_silence;
  transcribe.trace = !options.model.trace_file.empty();
  transcribe.progress = [&](double f) { bar.update(f, label); };
  transcribe.go_on = [] { return !InterruptGuard::interrupted(); };
  const Transcript transcript = engine.transcribe(audio, transcribe);
  bar.finish();
  write_result(options, file, formatted(options, file, transcript));
  if (transcribe.trace) write_text_file(options.model.trace_file, transcript.trace_json);
  if (!options.model.json && options.format != "json" && !options.model.quiet) report(transcript);
  if (InterruptGuard::interrupted()) throw Interrupted{};
}

// A file that cannot be read does not keep the others from being heard; the first error is raised
// at the end.
void transcribe_all(Engine& engine, const TranscribeCli& options) {
  std::exception_ptr first_error;
  for (size_t i = 0; i < options.files.size(); ++i) {
    try {
      transcribe_file(engine, options, i);
    } catch (const Error& error) {
      if (options.files.size() == 1) throw;
      std::fprintf(stderr, "onnuri: %s\n", error.what());
      if (!first_error) first_error = std::current_exception();
    }
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace

void add_transcribe_command(CLI::App& app) {
  auto options = std::make_shared<TranscribeCli>();
  CLI::App* command = app.add_subcommand("transcribe", "Turn speech into text (Whisper).");
  add_model_options(*command, options->model);
  add_trace_option(*command, options->model);
  command->add_option("files", options->files, "Sound or video files")
      ->required()
      ->type_name("FILE");
  command->add_option("-l,--language", options->language, "en, ko, ...; detected when not given");
  command->add_flag("--translate", options->translate, "Into English");
  command->add_flag("--timestamps", options->timestamps, "One line per segment, with times");
  command->add_option("-f,--format", options->format, "txt, srt, vtt or json")
      ->check(CLI::IsMember({"txt", "srt", "vtt", "json"}));
  command
      ->add_option("-o,--output-dir", options->folder,
                   "Write one file per input into this folder, named after it")
      ->check(CLI::ExistingDirectory);
  command->add_option("--initial-prompt", options->initial_prompt,
                      "Words as they may have come before: names, spelling, style");
  command->add_flag("--lead", options->context, "Let the text of each 30-s window lead the next");
  command->add_flag("--skip-silence", options->skip_silence,
                    "Leave out stretches of 2 s and more in which nobody speaks");
  set_examples(*command,
               "  onnuri transcribe whisper-base speech.mp3\n"
               "  onnuri transcribe whisper-base *.mp3 --format srt -o subtitles\n"
               "  onnuri transcribe ./whisper-large-v3 talk.mp4 -l ko --translate");
  command->callback([options] {
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    transcribe_all(*engine, *options);
  });
}

}  // namespace onnuri::cli
