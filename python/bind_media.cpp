// Pictures, sound and messages as Python callers hold them.
#include <cstring>

#include "onnuri/error.h"
#include "onnuri/media_io.h"
#include "python/bindings.h"

namespace onnuri::python {
namespace {

bool is_path(const py::object& object) {
  return py::isinstance<py::str>(object) || py::hasattr(object, "__fspath__");
}

bool is_bytes(const py::object& object) {
  return py::isinstance<py::bytes>(object) || py::isinstance<py::bytearray>(object) ||
         PyMemoryView_Check(object.ptr());
}

std::vector<uint8_t> bytes_of(const py::object& object) {
  const std::string text = py::bytes(object);
  return {text.begin(), text.end()};
}

MediaInput encoded(MediaKind kind, const py::object& object) {
  if (is_path(object)) return MediaInput{kind, path_from(object), {}};
  return MediaInput{kind, {}, bytes_of(object)};
}

Image image_from_array(const py::array& array) {
  if (array.ndim() != 3 || array.shape(2) != 3 || array.dtype().kind() != 'u' ||
      array.itemsize() != 1)
    refuse("expected a picture as a (height, width, 3) uint8 array, found " +
           std::to_string(array.ndim()) + " axes of " + py::str(array.dtype()).cast<std::string>());
  const auto dense = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>::ensure(array);
  Image image{dense.shape(0), dense.shape(1), {}};
  image.rgb.assign(dense.data(), dense.data() + dense.size());
  return image;
}

std::vector<uint8_t> decode_base64(const std::string& text) {
  const py::object bytes = py::module_::import("base64").attr("b64decode")(py::str(text));
  return bytes_of(bytes);
}

MediaInput media_from(MediaKind kind, const py::object& object) {
  if (py::isinstance<py::dict>(object)) {
    const py::dict dict = object;
    if (kind == MediaKind::kVideo && dict.contains("frames")) {
      MediaInput input{kind, {}, {}};
      input.video = video_from(dict);
      return input;
    }
    for (const char* key : {"url", "path", "data", "bytes"})
      if (dict.contains(key)) {
        const py::object value = dict[key];
        if (std::strcmp(key, "data") == 0 && py::isinstance<py::str>(value))
          return MediaInput{kind, {}, decode_base64(text_from(key, value))};
        return media_from(kind, value);
      }
    refuse("expected url, path, data or bytes in a media part");
  }
  if (py::isinstance<py::str>(object)) {
    const std::string text = py::module_::import("os").attr("fsencode")(object).cast<std::string>();
    if (text.starts_with("data:")) {
      const size_t comma = text.find(";base64,");
      if (comma == std::string::npos) refuse("expected a base64 data URL");
      return MediaInput{kind, {}, decode_base64(text.substr(comma + 8))};
    }
    if (text.starts_with("file://")) return MediaInput{kind, checked_path(text.substr(7)), {}};
    if (text.starts_with("http://") || text.starts_with("https://"))
      refuse("expected a local file or a data URL, found a web address: download it first");
  }
  if (is_path(object) || is_bytes(object)) return encoded(kind, object);
  if (kind == MediaKind::kImage) return MediaInput{kind, {}, {}, image_from(object)};
  if (kind == MediaKind::kVideo) {
    MediaInput input{kind, {}, {}};
    input.video = video_from(object);
    return input;
  }
  return MediaInput{kind, {}, {}, {}, waveform_from(object, 16000)};
}

}  // namespace

ContentPart part_from(const py::dict& part) {
  const std::string type = part.contains("type") ? text_from("type", part["type"]) : "text";
  if (type == "text") {
    if (!part.contains("text")) refuse("expected the key \"text\" in a part of type text");
    return {false, text_from("text", part["text"]), {}};
  }
  MediaKind kind = MediaKind::kImage;
  if (type == "audio" || type == "input_audio" || type == "audio_url")
    kind = MediaKind::kAudio;
  else if (type == "video" || type == "video_url" || type == "input_video")
    kind = MediaKind::kVideo;
  else if (type != "image" && type != "image_url" && type != "input_image")
    refuse("expected a part of type text, image, audio or video, found \"" + type + "\"");
  const py::object inner =
      part.contains(type.c_str()) ? py::object(part[type.c_str()]) : py::object(part);
  ContentPart out{true, {}, media_from(kind, inner)};
  constexpr const char* kWithSound = "use_audio_in_video";
  for (const py::object& dict : {py::object(part), inner})
    if (py::isinstance<py::dict>(dict) &&
        py::reinterpret_borrow<py::dict>(dict).contains(kWithSound))
      out.media.use_audio_in_video =
          value_from<bool>(kWithSound, "True or False", dict[kWithSound]);
  if (out.media.use_audio_in_video && kind != MediaKind::kVideo)
    refuse("expected use_audio_in_video with a video alone, found it in a part of type " + type);
  return out;
}

Image image_from(const py::object& object) {
  if (is_path(object) || is_bytes(object)) {
    const MediaInput input = encoded(MediaKind::kImage, object);
    const WithoutGil release;
    return load_image(input);
  }
  if (py::hasattr(object, "convert") && py::hasattr(object, "tobytes"))  // PIL
    return image_from_array(numpy_from(object.attr("convert")("RGB")));
  return image_from_array(numpy_from(object));
}

Waveform waveform_from(const py::object& object, int64_t sample_rate_hz) {
  if (is_path(object) || is_bytes(object)) {
    const MediaInput input = encoded(MediaKind::kAudio, object);
    const WithoutGil release;
    return load_audio(input);
  }
  if (py::isinstance<py::tuple>(object) && py::len(object) == 2)
    return waveform_from(py::reinterpret_borrow<py::tuple>(object)[0],
                         value_from<int64_t>("the sample rate", "an integer",
                                             py::reinterpret_borrow<py::tuple>(object)[1]));
  const py::array array = numpy_from(object);
  if (array.ndim() != 1 || array.dtype().kind() != 'f')
    refuse("expected sound as a 1-D array of floats in [-1, 1], found " +
           std::to_string(array.ndim()) + " axes of " + py::str(array.dtype()).cast<std::string>());
  const auto dense = py::array_t<float, py::array::c_style | py::array::forcecast>::ensure(array);
  Waveform out;
  out.sample_rate_hz = sample_rate_hz;
  out.samples.assign(dense.data(), dense.data() + dense.size());
  return out;
}

std::vector<Image> images_from(const py::object& object) {
  std::vector<Image> out;
  if (object.is_none()) return out;
  for (const py::handle item : items_from("images", "pictures", object))
    out.push_back(image_from(py::reinterpret_borrow<py::object>(item)));
  return out;
}

Video video_from(const py::object& object) {
  Video out;
  py::object frames = object;
  if (py::isinstance<py::dict>(object)) {
    const auto dict = py::reinterpret_borrow<py::dict>(object);
    if (!dict.contains("frames")) refuse("expected a video with the key \"frames\"");
    frames = dict["frames"];
    if (dict.contains("fps") && !dict["fps"].is_none())
      out.frames_per_second = value_from<double>("fps", "a number", dict["fps"]);
    if (dict.contains("timestamps") && !dict["timestamps"].is_none())
      out.timestamps_s =
          value_from<std::vector<double>>("timestamps", "numbers", dict["timestamps"]);
    if (dict.contains("audio") && !dict["audio"].is_none())
      out.sound = waveform_from(dict["audio"], 16000);
  }
  const py::array array = numpy_from(frames);
  if (array.ndim() != 4 || array.shape(3) != 3 || !py::isinstance<py::array_t<uint8_t>>(array))
    refuse("expected a video as a (frames, height, width, 3) array of uint8, found " +
           std::to_string(array.ndim()) + " axes of " + py::str(array.dtype()).cast<std::string>());
  const auto dense = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>::ensure(array);
  out.num_frames = dense.shape(0);
  out.height = dense.shape(1);
  out.width = dense.shape(2);
  out.rgb.assign(dense.data(), dense.data() + dense.size());
  return out;
}

std::vector<Video> videos_from(const py::object& object) {
  std::vector<Video> out;
  if (object.is_none()) return out;
  for (const py::handle item : items_from("videos", "videos", object))
    out.push_back(video_from(py::reinterpret_borrow<py::object>(item)));
  return out;
}

std::vector<Waveform> waveforms_from(const py::object& object) {
  std::vector<Waveform> out;
  if (object.is_none()) return out;
  for (const py::handle item : items_from("audios", "sounds", object))
    out.push_back(waveform_from(py::reinterpret_borrow<py::object>(item), 16000));
  return out;
}

}  // namespace onnuri::python
