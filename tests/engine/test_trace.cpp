#include <gtest/gtest.h>

#include "core/json.h"
#include "core/tensor.h"
#include "engine/trace.h"
#include "onnuri/engine.h"
#include "tests/encoders/signal.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

struct Span {
  std::string name;
  double begin = 0, end = 0;
  int64_t tokens = -1, peak = 0;
};

std::vector<Span> spans_of(const std::string& json) {
  const JsonValue root = parse_json(json, "trace");
  std::vector<Span> out;
  for (const JsonValue& event : root.find("traceEvents")->as_array("events")) {
    if (event.find("ph")->as_string("ph") != "X") continue;
    Span span;
    span.name = event.find("name")->as_string("name");
    span.begin = event.find("ts")->as_double("ts");
    span.end = span.begin + event.find("dur")->as_double("dur");
    const JsonValue& args = *event.find("args");
    span.peak = args.find("tensor_peak_bytes")->as_int("bytes");
    if (const JsonValue* tokens = args.find("tokens")) span.tokens = tokens->as_int("tokens");
    out.push_back(span);
  }
  return out;
}

int64_t count(const std::vector<Span>& spans, const std::string& name) {
  return std::count_if(spans.begin(), spans.end(), [&](const Span& s) { return s.name == name; });
}

TEST(Trace, IsEmptyWhenOff) {
  Trace trace(false);
  { const Trace::Span span(&trace, "work"); }
  { const Trace::Span span(nullptr, "work"); }
  EXPECT_EQ(trace.json(), "");
}

TEST(Trace, SpansNestAndKnowTheirMemory) {
  Trace trace(true);
  {
    const Trace::Span outer(&trace, "outer", 3);
    const Tensor kept(DType::kF32, {1000});
    const Trace::Span inner(&trace, "inner");
    const Tensor more(DType::kF32, {500});
  }
  const std::vector<Span> spans = spans_of(trace.json());
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].name, "outer");
  EXPECT_EQ(spans[0].tokens, 3);
  EXPECT_GE(spans[0].peak, 6000);
  EXPECT_GE(spans[1].peak, 2000);
  EXPECT_LT(spans[1].peak, 6000);
  EXPECT_LE(spans[0].begin, spans[1].begin);
  EXPECT_GE(spans[0].end, spans[1].end);
}

TEST(Trace, ARequestWithAPictureIsWrittenDown) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 512;
  options.prefill_chunk = 16;
  const auto engine =
      Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/grid/qwen2_vl", options);
  GenerateRequest request;
  request.input_ids = {1, 9, 152};
  request.input_ids.insert(request.input_ids.end(), 15, 150);
  request.input_ids.insert(request.input_ids.end(), {153, 40, 41});
  request.images = {noise_image(61, 100, 1001)};
  request.max_new_tokens = 5;
  request.ignore_eos = true;
  EXPECT_EQ(engine->generate(request, {}).trace_json, "");
  request.images = {noise_image(61, 100, 1002)};
  request.trace = true;
  const std::vector<Span> spans = spans_of(engine->generate(request, {}).trace_json);
  EXPECT_EQ(count(spans, "prepare"), 1);
  EXPECT_EQ(count(spans, "preprocess"), 1);
  EXPECT_EQ(count(spans, "encode"), 1);
  EXPECT_EQ(count(spans, "decode"), 4);  // the first token comes with the prompt
  int64_t prefilled = 0;
  double end = 0;
  for (const Span& span : spans) {
    EXPECT_LE(span.begin, span.end);
    if (span.name == "prefill") prefilled += span.tokens;
    if (span.name != "prefill" && span.name != "decode") continue;
    EXPECT_GE(span.begin, end);  // one after the other
    end = span.end;
  }
  EXPECT_EQ(prefilled, static_cast<int64_t>(request.input_ids.size()) - 3);  // 3 were kept
  // The same picture again: nothing to encode, one token to read.
  const std::vector<Span> again = spans_of(engine->generate(request, {}).trace_json);
  EXPECT_EQ(count(again, "encode"), 0);
  EXPECT_EQ(count(again, "prefill"), 1);
}

TEST(Trace, SoundsAreWrittenDown) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 512;
  const auto engine =
      Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/hearing/qwen2_5_omni", options);
  GenerateRequest request;
  request.audios = {{16000, golden_signal(5 * 16000)}};
  const int64_t tokens = engine->encode_audio(request.audios[0]).rows;
  request.input_ids.assign(static_cast<size_t>(tokens), 60);
  request.input_ids.push_back(7);
  request.max_new_tokens = 1;
  request.trace = true;
  const std::vector<Span> spans = spans_of(engine->generate(request, {}).trace_json);
  EXPECT_EQ(count(spans, "preprocess"), 1);
  EXPECT_EQ(count(spans, "encode"), 3);  // two seconds each
  int64_t rows = 0;
  for (const Span& span : spans)
    if (span.name == "encode") rows += span.tokens;
  EXPECT_EQ(rows, tokens);
}

}  // namespace
}  // namespace onnuri
