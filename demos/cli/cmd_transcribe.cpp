// onnuri transcribe: speech to text.
#include <cstdio>

#include "demos/cli/common.h"
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
    segments.push_back({{"start", s.start_s}, {"end", s.end_s}, {"text", s.text}});
  }
  return Json{{"file", file},
              {"text", trimmed(transcript.text)},
              {"language", transcript.language},
              {"segments", segments},
              {"audio_s", transcript.audio_s},
              {"mel_ms", transcript.mel_ms},
              {"encode_ms", transcript.encode_ms},
              {"decode_ms", transcript.decode_ms}};
}

void transcribe_file(Engine& engine, const TranscribeCli& options, const std::string& file) {
  const bool json = options.model.json || options.format == "json";
  const Waveform audio = load_audio(media_file(MediaKind::kAudio, file));
  ProgressBar bar(!options.model.quiet);
  InterruptGuard guard;
  TranscribeOptions transcribe;
  transcribe.language = options.language;
  transcribe.task = options.translate ? "translate" : "transcribe";
  transcribe.timestamps = options.timestamps || options.format == "srt" || options.format == "vtt";
  transcribe.progress = [&](double f) { bar.update(f, file); };
  transcribe.on_text = [](const std::string&) { return !InterruptGuard::interrupted(); };
  const Transcript transcript = engine.transcribe(audio, transcribe);
  bar.finish();
  if (json) {
    write_out(transcript_json(file, transcript).dump() + "\n");
  } else if (options.format == "srt" || options.format == "vtt") {
    write_out(subtitles(transcript, options.format == "srt"));
  } else if (options.timestamps) {
    for (const TranscriptSegment& s : transcript.segments) {
      write_out("[" + clock(s.start_s, '.') + " - " + clock(s.end_s, '.') + "] " + trimmed(s.text) +
                "\n");
    }
  } else {
    write_out(trimmed(transcript.text) + "\n");
  }
  if (!json && !options.model.quiet) {
    const double total_s = (transcript.mel_ms + transcript.encode_ms + transcript.decode_ms) / 1000;
    std::fprintf(
        stderr,
        "[%.1f s of sound in %.2f s: mel %.0f ms, encoder %.0f ms, text %.0f ms; language %s]\n",
        transcript.audio_s, total_s, transcript.mel_ms, transcript.encode_ms, transcript.decode_ms,
        transcript.language.c_str());
  }
  if (InterruptGuard::interrupted()) throw Interrupted{};
}

}  // namespace

void add_transcribe_command(CLI::App& app) {
  auto options = std::make_shared<TranscribeCli>();
  CLI::App* command = app.add_subcommand("transcribe", "Turn speech into text (Whisper).");
  add_model_options(*command, options->model);
  command->add_option("files", options->files, "Sound or video files")
      ->required()
      ->type_name("FILE");
  command->add_option("-l,--language", options->language, "en, ko, ...; detected when not given");
  command->add_flag("--translate", options->translate, "Into English");
  command->add_flag("--timestamps", options->timestamps, "One line per segment, with times");
  command->add_option("-f,--format", options->format, "txt, srt, vtt or json")
      ->check(CLI::IsMember({"txt", "srt", "vtt", "json"}));
  set_examples(*command,
               "  onnuri transcribe whisper-base speech.mp3\n"
               "  onnuri transcribe ./whisper-large-v3 talk.mp4 -l ko --translate");
  command->callback([options] {
    const std::unique_ptr<Engine> engine = load_engine(options->model);
    for (const std::string& file : options->files) transcribe_file(*engine, *options, file);
  });
}

}  // namespace onnuri::cli
