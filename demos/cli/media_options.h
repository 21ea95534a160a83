// Pictures, sounds and videos of a command line, in the order in which they were written there.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "onnuri/chat.h"

namespace onnuri::cli {

/// --image, --audio and --video: one file each, as often and in whatever order one likes.
class MediaOptions {
 public:
  void add_to(CLI::App& command);
  /// --after-video: where the text behind a video is numbered from.
  static void add_after_video(CLI::App& command, std::string& rule);
  /// Files without a name in front are pictures.
  void add_pictures(CLI::App& command, const std::string& help);
  bool use_audio_in_video() const { return use_audio_in_video_; }
  /// To be asked once the command line was parsed.
  std::vector<ContentPart> in_order() const;

 private:
  const CLI::App* command_ = nullptr;
  std::map<const CLI::Option*, MediaKind> kinds_;
  std::map<MediaKind, std::vector<std::string>> named_;  // where CLI11 puts the values
  std::vector<std::string> pictures_;
  bool use_audio_in_video_ = false;
};

}  // namespace onnuri::cli
