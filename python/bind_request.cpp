// What generate() was asked for: keyword arguments to a GenerateRequest.
#include "onnuri/error.h"
#include "python/bindings.h"

namespace onnuri::python {
namespace {

template <typename T>
void take(const std::string& name, const py::object& object, T& value) {
  value = value_from<T>(name, "a number that fits", object);
}

// {id: bias} or a list of (id, bias) pairs.
std::vector<std::pair<int32_t, float>> bias_from(const py::object& object) {
  const py::object pairs = py::isinstance<py::dict>(object) ? object.attr("items")() : object;
  std::vector<std::pair<int32_t, float>> out;
  try {
    for (const py::handle pair : items_from("logit_bias", "pairs", pairs))
      out.push_back(pair.cast<std::pair<int32_t, float>>());
  } catch (const py::cast_error&) {
    refuse("expected logit_bias as {token id: number}");
  }
  return out;
}

// A text, where an empty one would mean that nothing was asked for.
std::string rule_from(const std::string& name, const py::object& object) {
  std::string text = text_from(name, object);
  if (text.empty()) refuse("expected a " + name + " that says something, found an empty text");
  return text;
}

bool take_sampling(const std::string& name, const py::object& object, SamplingParams& params) {
  if (name == "temperature")
    take(name, object, params.temperature);
  else if (name == "top_k")
    take(name, object, params.top_k);
  else if (name == "top_p")
    take(name, object, params.top_p);
  else if (name == "min_p")
    take(name, object, params.min_p);
  else if (name == "typical_p")
    take(name, object, params.typical_p);
  else if (name == "repetition_penalty")
    take(name, object, params.repetition_penalty);
  else if (name == "presence_penalty")
    take(name, object, params.presence_penalty);
  else if (name == "frequency_penalty")
    take(name, object, params.frequency_penalty);
  else if (name == "logit_bias")
    params.logit_bias = bias_from(object);
  else if (name == "seed")
    take(name, object, params.seed);
  else
    return false;
  return true;
}

bool take_format(const std::string& name, const py::object& object, AnswerFormat& format) {
  if (name == "json_schema")
    format.json_schema =
        py::isinstance<py::str>(object) ? rule_from(name, object) : json_text(name, object);
  else if (name == "regex")
    format.regex = rule_from(name, object);
  else if (name == "grammar")
    format.grammar = rule_from(name, object);
  else if (name == "choice") {
    format.choices = texts_from(name, object);
    if (format.choices.empty()) refuse("expected at least one text for choice, found none");
  } else
    return false;
  return true;
}

// True, False, or a word.
std::string reasoning_from(const py::object& object) {
  if (py::isinstance<py::bool_>(object)) return object.cast<bool>() ? "on" : "off";
  if (py::isinstance<py::str>(object)) return text_from("reasoning", object);
  refuse("expected reasoning as True, False or a word, found " + shown(object));
}

SamplingParams starting_point(const Engine& engine, const py::kwargs& options) {
  if (!options.contains("sampling") || options["sampling"].is_none()) return {};
  const std::string name = text_from("sampling", options["sampling"]);
  if (name == "model") return engine.model_sampling();
  if (name != "greedy")
    refuse("expected sampling \"model\" (what the checkpoint recommends) or \"greedy\", found \"" +
           name + "\"");
  return {};
}

}  // namespace

GenerateRequest request_from(const Engine& engine, const py::object& input_ids,
                             const py::object& prompt, const py::object& messages,
                             const py::kwargs& options) {
  GenerateRequest request;
  if (!input_ids.is_none()) request.input_ids = ids_from(input_ids);
  if (!prompt.is_none()) request.prompt = text_from("prompt", prompt);
  request.messages = messages_from(messages);
  if (!input_ids.is_none() && request.input_ids.empty())
    refuse("expected at least one token in input_ids, found none");
  if (!prompt.is_none() && request.prompt.empty())
    refuse("expected a prompt with text, found an empty one");
  if (!messages.is_none() && request.messages.empty())
    refuse("expected at least one message, found none");
  request.sampling = starting_point(engine, options);
  for (const auto& [key, value] : options) {
    const std::string name = text_from("an option's name", key);
    const auto object = py::reinterpret_borrow<py::object>(value);
    const bool none = object.is_none();
    if (name == "sampling") continue;
    if (none && (name == "stop" || name == "template_kwargs" || name == "logprobs" ||
                 name == "logit_bias" || name == "json_schema" || name == "regex" ||
                 name == "grammar" || name == "choice" || name == "tools" || name == "reasoning")) {
      continue;
    }
    if (take_sampling(name, object, request.sampling) || take_format(name, object, request.format))
      continue;
    if (name == "max_new_tokens")
      take(name, object, request.max_new_tokens);
    else if (name == "n")
      take(name, object, request.num_choices);
    else if (name == "logprobs")
      take(name, object, request.top_logprobs);
    else if (name == "trace")
      take(name, object, request.trace);
    else if (name == "tenant")
      request.tenant = text_from(name, object);
    else if (name == "priority")
      take(name, object, request.priority);
    else if (name == "deadline_ms")
      take(name, object, request.deadline_ms);
    else if (name == "lookup_tokens")
      take(name, object, request.lookup_tokens);
    else if (name == "ignore_eos")
      request.ignore_eos = flag_from(name, object);
    else if (name == "tools")
      request.tools_json = json_text(name, object);
    else if (name == "reasoning")
      request.reasoning = reasoning_from(object);
    else if (name == "split_output")
      request.split_output = flag_from(name, object);
    else if (name == "trust_special_tokens")
      request.trust_special_tokens = flag_from(name, object);
    else if (name == "images")
      request.images = images_from(object);
    else if (name == "videos")
      request.videos = videos_from(object);
    else if (name == "audios")
      request.audios = waveforms_from(object);
    else if (name == "template_kwargs")
      request.template_kwargs_json = json_text(name, object);
    else if (name == "stop")
      request.stop = texts_from(name, object);
    else
      throw py::type_error("generate() got an unexpected keyword argument '" + name + "'");
  }
  return request;
}

}  // namespace onnuri::python
