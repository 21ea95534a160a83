#include "demos/cli/media_options.h"

namespace onnuri::cli {

void MediaOptions::add_to(CLI::App& command) {
  command_ = &command;
  const auto add = [&](const char* name, MediaKind kind, const char* help) {
    // One value each: what follows may be the message.
    kinds_
        [command.add_option(name, named_[kind], help)->type_name("FILE")->allow_extra_args(false)] =
            kind;
  };
  add("--image", MediaKind::kImage, "A picture; may be repeated, the order of all media is kept");
  add("--audio", MediaKind::kAudio, "A sound, likewise");
  add("--video", MediaKind::kVideo, "A video, likewise");
  command.add_flag("--use-audio-in-video", use_audio_in_video_,
                   "Hear the sound of videos along with their pictures (Qwen-Omni and HyperCLOVA X "
                   "Omni models)");
}

void MediaOptions::add_after_video(CLI::App& command, std::string& rule) {
  command
      .add_option(
          "--after-video", rule,
          "Where text after a video is numbered from, on models that number time, height and "
          "width. maximum: the video's last position + 1 (transformers 4.57, vLLM); longest_side: "
          "its first + the longer side of its grid, so that long videos overlap with the text "
          "(transformers 5). Unless given, what the family was published with")
      ->check(CLI::IsMember({"maximum", "longest_side"}))
      ->type_name("RULE");
}

void MediaOptions::add_pictures(CLI::App& command, const std::string& help) {
  command_ = &command;
  kinds_[command.add_option("images", pictures_, help)->type_name("IMAGE")] = MediaKind::kImage;
}

std::vector<ContentPart> MediaOptions::in_order() const {
  std::vector<ContentPart> media;
  if (command_ == nullptr) return media;
  std::map<const CLI::Option*, size_t> taken;
  for (const CLI::Option* option : command_->parse_order()) {
    const auto found = kinds_.find(option);
    if (found == kinds_.end()) continue;
    const size_t at = taken[option]++;
    if (at >= option->results().size()) continue;
    MediaInput input{found->second, option->results()[at], {}};
    input.use_audio_in_video = use_audio_in_video_ && input.kind == MediaKind::kVideo;
    media.push_back({true, "", std::move(input)});
  }
  return media;
}

}  // namespace onnuri::cli
