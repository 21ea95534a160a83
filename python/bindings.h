// What the binding files share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "onnuri/engine.h"
#include "onnuri/media.h"
#include "python/arguments.h"
#include "python/gil.h"

namespace onnuri::python {

// bind_tensor.cpp: arrays in and out.
/// Token ids from a list, a numpy array of integers, or anything with __dlpack__ or __array__.
std::vector<int32_t> ids_from(const py::object& object);
/// A float32 array of shape (rows, cols) that owns its memory.
py::array_t<float> array_from(FloatMatrix matrix);
/// An array view of any array-like; copies only where it must.
py::array numpy_from(const py::object& object);

// bind_media.cpp: pictures and sound.
/// A path, encoded bytes, a (height, width, 3) uint8 array, or a PIL image.
Image image_from(const py::object& object);
/// A path, encoded bytes, a 1-D float array at `sample_rate_hz`, or an (array, rate) pair.
Waveform waveform_from(const py::object& object, int64_t sample_rate_hz);
std::vector<Image> images_from(const py::object& object);
/// A (frames, height, width, 3) uint8 array, or a dict with "frames" and, as known, "fps" and
/// "timestamps" of the frames.
Video video_from(const py::object& object);
std::vector<Video> videos_from(const py::object& object);
std::vector<Waveform> waveforms_from(const py::object& object);
/// {"type": "text", "text": ...} or a picture or sound in one of the usual forms.
ContentPart part_from(const py::dict& part);

// bind_chat.cpp
/// OpenAI-style messages: {"role": ..., "content": text or a list of parts, "tool_calls": ...}.
std::vector<ChatMessage> messages_from(const py::object& object);

void bind_batch(py::module_& module);

// bind_request.cpp
/// The request that generate()'s arguments describe; unknown names throw TypeError.
GenerateRequest request_from(const Engine& engine, const py::object& input_ids,
                             const py::object& prompt, const py::object& messages,
                             const py::kwargs& options);

// Each file adds its part of the module.
void bind_errors(py::module_& module);
void bind_chat(py::module_& module);
void bind_engine(py::module_& module);
void bind_text(py::module_& module);

}  // namespace onnuri::python
