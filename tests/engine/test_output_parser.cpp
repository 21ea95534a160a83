// Reasoning, answers and tool calls out of streams in the manner of each family, cut at every
// place.
#include <gtest/gtest.h>

#include <random>

#include "core/json.h"
#include "engine/output_parser.h"
#include "onnuri/error.h"
#include "tests/support/output_cases.h"

namespace onnuri {
namespace {

using Kind = OutputPiece::Kind;

using Read = OutputRead;
using Case = OutputCase;
using Assembly = CallAssembly;

void add(Read& out, const std::vector<OutputPiece>& pieces) {
  for (const OutputPiece& piece : pieces) {
    out.whole += piece.source;
    if (piece.kind == Kind::kText) out.text += piece.source;
    if (piece.kind == Kind::kReasoning) out.reasoning += piece.source;
    for (const ToolCall& call : piece.calls)
      out.calls += call.name + "(" + call.arguments_json + ");";
  }
}

Read read_in_pieces(const Case& c, const std::vector<size_t>& cuts) {
  OutputParser parser(find_output_grammar(c.chat_template), c.prompt, c.has_tools);
  Read out;
  Assembly assembly;
  std::vector<std::string> ids;
  const auto take = [&](const std::vector<OutputPiece>& pieces) {
    add(out, pieces);
    for (const OutputPiece& piece : pieces)
      for (const ToolCall& call : piece.calls) ids.push_back(call.id);
    assembly.add(parser.take_deltas());
  };
  size_t at = 0;
  for (const size_t cut : cuts) {
    take(parser.push(std::string_view(c.stream).substr(at, cut - at)));
    at = cut;
  }
  take(parser.push(std::string_view(c.stream).substr(at)));
  take(parser.finish());
  assembly.finish(out, ids);
  return out;
}

void expect_same(const Case& c, const std::vector<size_t>& cuts) {
  const Read got = read_in_pieces(c, cuts);
  if (got == c.want) return;
  std::string where;
  for (const size_t cut : cuts) where += " " + std::to_string(cut);
  ADD_FAILURE() << c.name << ", cut at" << where << "\n text [" << got.text << "] for ["
                << c.want.text << "]\n reasoning [" << got.reasoning << "] for ["
                << c.want.reasoning << "]\n calls [" << got.calls << "] for [" << c.want.calls
                << "]\n streamed [" << got.streamed << "]\n whole [" << got.whole << "]";
}

TEST(OutputParser, ReadsEveryStreamWhole) {
  for (const Case& c : all_cases()) expect_same(c, {});
}

TEST(OutputParser, ReadsEveryStreamCutOnce) {
  for (const Case& c : all_cases())
    for (size_t cut = 0; cut <= c.stream.size(); ++cut) expect_same(c, {cut});
}

TEST(OutputParser, ReadsEveryStreamCutTwice) {
  for (const Case& c : all_cases())
    for (size_t a = 0; a <= c.stream.size(); ++a)
      for (size_t b = a; b <= c.stream.size(); ++b) expect_same(c, {a, b});
}

TEST(OutputParser, ReadsEveryStreamByteByByteAndAtRandom) {
  std::mt19937 random(7);
  for (const Case& c : all_cases()) {
    std::vector<size_t> bytes;
    for (size_t i = 0; i < c.stream.size(); ++i) bytes.push_back(i);
    expect_same(c, bytes);
    for (int round = 0; round < 20; ++round) {
      std::vector<size_t> cuts;
      for (size_t i = 0; i < c.stream.size(); ++i)
        if (random() % 4 == 0) cuts.push_back(i);
      expect_same(c, cuts);
    }
  }
}

// Whatever a model writes: no piece is lost and the way it is cut does not matter.
TEST(OutputParser, LosesNothingOfNonsense) {
  const std::vector<std::string> words = {"<think>",
                                          "</think>",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "{\"name\":\"f\"}",
                                          "{",
                                          "\"",
                                          "\n",
                                          " ",
                                          "`",
                                          "```",
                                          "x",
                                          "<|start|>",
                                          "assistant",
                                          "<|channel|>",
                                          "analysis",
                                          "<|message|>",
                                          "<|end|>",
                                          "<|call|>",
                                          " to=functions.f",
                                          "<|im_start|>",
                                          "<|im_end|>",
                                          "/think",
                                          "->",
                                          "<|begin|>",
                                          "<|content|>",
                                          "<|tool_calls|>",
                                          "<|tool_call:begin|>",
                                          "<|tool_call:name|>",
                                          "<|tool_call:args|>",
                                          "<|tool_call:end|>",
                                          "<function=",
                                          "f>",
                                          "[TOOL_CALLS]",
                                          "[CALL_ID]",
                                          "[ARGS]",
                                          "[THINK]",
                                          "[/THINK]",
                                          "<|tool_call|>",
                                          "<|tool_call_start|>",
                                          "<|tool_call_end|>",
                                          "[f(a=",
                                          "'",
                                          "1",
                                          ")]",
                                          "[",
                                          "]",
                                          "<",
                                          "|>"};
  std::mt19937 random(11);
  for (const char* source : {kHermes, kFunction, kTurns, kMarked, kChannels, kNamed, kBare, kHeaded,
                             kOpen, kPython, kBarePython}) {
    for (int round = 0; round < 600; ++round) {
      std::string stream;
      for (size_t n = random() % 14; n > 0; --n) stream += words[random() % words.size()];
      Case c = make("nonsense", source,
                    round % 2 ? "<|start|>assistant<|im_start|>assistant<|begin|>assistant" : "",
                    stream, "", "", "");
      c.want = read_in_pieces(c, {});
      ASSERT_EQ(c.want.whole, stream);
      for (size_t cut = 0; cut <= stream.size(); ++cut) expect_same(c, {cut});
    }
  }
}

// What each format says before its call is whole: the name, then the arguments bit by bit.
TEST(OutputParser, ArgumentsComeWhileTheyAreWritten) {
  struct Stream {
    const char* source;
    const char* prompt;
    std::vector<const char*> pieces;
    std::vector<const char*> deltas;  // behind each piece
  };
  const std::vector<Stream> streams = {
      {kHermes,
       "",
       {"<tool_call>\n{\"na", "me\": \"f\", \"arg", "uments\": {\"a\":", " [1, 2", "], \"b\": \"x ",
        "y\"}}", "</tool_call>"},
       {"", "0 f ", "0 {\"a\":", "0 [1,2", "0 ],\"b\":\"x ", "0 y\"}", ""}},
      {kHermes,
       "",
       {"<tool_call>[{\"name\":\"f\",\"arguments\":{}},", "{\"name\":\"g\",\"parameters\":{\"k\"",
        ":1}}]</tool_call>"},
       {"0 f {}", "1 g {\"k\"", "1 :1}"}},
      {kHermes,
       "",
       {"<tool_call>{\"arguments\":{\"a\":1},", "\"name\":\"f\"}</tool_call>"},
       {"", "0 f ;0 {\"a\":1}"}},
      {kHermes,
       "",
       {"<tool_call>\n<function=f>\n<parameter=a>\n1", "\n</parameter>",
        "\n<parameter=b>x</parameter>", "</function></tool_call>"},
       {"0 f ", "0 {\"a\":1", "0 ,\"b\":\"x\"", "0 }"}},
      {kFunction, "", {"<function=f>{\"a\"", ": 1}", "</function>"}, {"0 f {\"a\"", "0 :1}", ""}},
      {kMarked,
       "<|begin|>assistant",
       {"<|tool_calls|><|tool_call:begin|>i<|tool_call:name|>f<|tool_call:args|>", "{\"a\": ", "1}",
        "<|tool_call:end|><|calls|>"},
       {"", "0 f {\"a\":", "0 1}", ""}},
      {kChannels,
       "<|start|>assistant",
       {"<|channel|>commentary to=functions.f<|message|>{", "\"a\"", ":1}<|call|>"},
       {"0 f {", "0 \"a\"", "0 :1}"}},
      {kTurns,
       "<|im_start|>assistant",
       {" -> tool/function_call\n[{\"name\": \"f\", ", "\"arguments\": {\"a\": 1}}]<|im_end|>"},
       {"0 f ", "0 {\"a\":1}"}},
      {kNamed,
       "",
       {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>", "{\"a\"",
        ":1}<｜tool▁call▁end｜>"},
       {"", "0 f {\"a\"", "0 :1}"}},
      {kHeaded,
       "",
       {"[TOOL_CALLS]f[CALL_", "ID]abcdefghi[ARGS]{\"a\"", ": 1}", "[TOOL_CALLS]g[ARGS]{}"},
       {"", "0 f {\"a\"", "0 :1}", "1 g {}"}},
      {kHeaded,
       "",
       {"[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a", "\": 1}}]"},
       {"0 f {\"a", "0 \":1}"}},
      {kPython,
       "",
       {"<|tool_call_start|>[f(", "a='x", "y', b=", "Tru", "e), g()", "]<|tool_call_end|>"},
       {"0 f {", "0 \"a\":\"x", "0 y\",\"b\":", "", "0 true};1 g {}", ""}},
      {kBarePython, "", {"[f", "(a=1", ")]"}, {"", "0 f {\"a\":", "0 1}"}},
      {kBare,
       "",
       {"{\"name\": \"f\",", " \"parameters\": {\"a\"", ": 1}}"},
       {"0 f ", "0 {\"a\"", "0 :1}"}},
  };
  for (const Stream& stream : streams) {
    OutputParser parser(find_output_grammar(stream.source), stream.prompt, true);
    for (size_t i = 0; i < stream.pieces.size(); ++i) {
      parser.push(stream.pieces[i]);
      std::string said;
      for (const ToolCallDelta& delta : parser.take_deltas())
        said += (said.empty() ? "" : ";") + std::to_string(delta.index) + " " +
                (delta.name.empty() ? "" : delta.name + " ") + delta.arguments;
      EXPECT_EQ(said, stream.deltas[i]) << stream.pieces[i];
    }
  }
}

// Arguments keep the spelling of the model where it means what was read.
TEST(OutputParser, ArgumentsKeepTheirSpelling) {
  OutputParser parser(find_output_grammar(kHermes), "", true);
  Read read;
  add(read,
      parser.push("<tool_call>{\"name\":\"f\",\"arguments\":{\"a\" : 1.50, \"b\":\"\\u00e9\"}}"
                  "</tool_call>"));
  EXPECT_EQ(read.calls, "f({\"a\":1.50,\"b\":\"\\u00e9\"});");
}

// Between tags nothing but the tool says whether 123 is text.
TEST(OutputParser, ParametersTakeTheTypesOfTheirTool) {
  const ToolSchemas tools(parse_json(
      R"([{"type":"function","function":{"name":"f","parameters":{"properties":{
          "s":{"type":"string"},"n":{"type":"integer"},"m":{"type":["string","null"]},
          "e":{"enum":["1","2"]},"u":{}}}}},3,{"name":"g"}])",
      "tools"));
  const std::string stream =
      "<tool_call><function=f><parameter=s>123</parameter><parameter=n>123</parameter>"
      "<parameter=m>true</parameter><parameter=e>1</parameter><parameter=u>[1]</parameter>"
      "</function></tool_call>";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    OutputParser parser(find_output_grammar(kHermes), "", true, tools);
    Read read;
    Assembly assembly;
    for (const std::string& part : {stream.substr(0, cut), stream.substr(cut)}) {
      add(read, parser.push(part));
      assembly.add(parser.take_deltas());
    }
    assembly.finish(read, {"call00000"});
    EXPECT_EQ(read.calls, "f({\"s\":\"123\",\"n\":123,\"m\":\"true\",\"e\":\"1\",\"u\":[1]});");
    EXPECT_EQ(read.streamed, read.calls);
  }
}

TEST(OutputParser, TextComesAsSoonAsItIsCertain) {
  OutputParser parser(find_output_grammar(kHermes), "", true);
  Read read;
  for (const char* piece : {"Hel", "lo", " wor", "ld <", "b> "}) add(read, parser.push(piece));
  EXPECT_EQ(read.text, "Hello world <b>");
}

TEST(OutputParser, ForeignSpecialTokensAreNotShown) {
  OutputParser parser(find_output_grammar(kHermes), "", true);
  Read read;
  add(read, parser.push("a"));
  add(read, parser.push_special("<|odd|>"));
  add(read, parser.push("b"));
  add(read, parser.finish());
  EXPECT_EQ(read.text, "ab");
  EXPECT_EQ(read.whole, "a<|odd|>b");
}

TEST(OutputParser, ThoughtsDoNotEndTheAnswer) {
  OutputParser turns(find_output_grammar(kTurns), "<|im_start|>assistant", false);
  turns.push("/think\nhm");
  EXPECT_EQ(turns.ends_with("<|im_end|>"), false);
  EXPECT_EQ(turns.ends_with("<|stop|>"), true);
  EXPECT_EQ(turns.ends_with("</s>"), std::nullopt);
  turns.push_special("<|im_end|>");
  turns.push("\n<|im_start|>assistant\nyes");
  EXPECT_EQ(turns.ends_with("<|im_end|>"), true);
  OutputParser channels(find_output_grammar(kChannels), "<|start|>assistant", false);
  channels.push("<|channel|>analysis<|message|>hm");
  EXPECT_EQ(channels.ends_with("<|end|>"), false);
  EXPECT_EQ(channels.ends_with("<|return|>"), true);
  OutputParser marked(find_output_grammar(kMarked), "<|begin|>assistant", false);
  marked.push("<|think|>hm");
  EXPECT_EQ(marked.ends_with("<|end|>"), false);
  marked.push("<|end|><|begin|>assistant<|content|>yes");
  EXPECT_EQ(marked.ends_with("<|end|>"), true);
  EXPECT_EQ(OutputParser(find_output_grammar(kHermes), "", false).ends_with("<|im_end|>"),
            std::nullopt);
}

TEST(OutputParser, IdsAreTheModelsOwnOrNumbered) {
  OutputParser marked(find_output_grammar(kMarked), "<|begin|>assistant", true);
  const auto pieces = marked.push(
      "<|tool_calls|><|tool_call:begin|>id7<|tool_call:name|>f<|tool_call:args|>{}<|tool_call:end|"
      ">");
  ASSERT_FALSE(pieces.empty());
  EXPECT_EQ(pieces.back().calls.at(0).id, "id7");
  OutputParser hermes(find_output_grammar(kHermes), "", true);
  Read read;
  std::vector<std::string> ids;
  for (const OutputPiece& piece : hermes.push("<tool_call>[{\"name\":\"f\"},{\"name\":\"g\"}]</"
                                              "tool_call><tool_call>{\"name\":\"h\"}</tool_call>"))
    for (const ToolCall& call : piece.calls) ids.push_back(call.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"call00000", "call00001", "call00002"}));
  OutputParser headed(find_output_grammar(kHeaded), "", true);
  ids.clear();
  for (const OutputPiece& piece : headed.push("[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{}[TOOL_CALLS]"
                                              "g{}[TOOL_CALLS][{\"name\":\"h\",\"id\":"
                                              "\"123456789\"}]"))
    for (const ToolCall& call : piece.calls) ids.push_back(call.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"abcdefghi", "call00001", "123456789"}));
}

TEST(ReasoningSwitch, IsReadFromTheTemplate) {
  using K = ReasoningSwitch::Kind;
  const auto kind = [](const char* source) { return find_reasoning_switch(source).kind; };
  EXPECT_EQ(kind("{% if enable_thinking is defined %}"), K::kEnableThinking);
  EXPECT_EQ(kind("{% if skip_reasoning %}"), K::kForceSkip);
  EXPECT_EQ(kind("{{ 'Reasoning: ' + reasoning_effort }}"), K::kEffort);
  EXPECT_EQ(kind("{%- if thinking %}"), K::kThinking);
  EXPECT_EQ(kind("no thinking here {{ message.thinking }}{{ x['thinking'] }}"), K::kNone);
}

TEST(ReasoningSwitch, BecomesVariables) {
  using K = ReasoningSwitch::Kind;
  const auto variables = [](K kind, const char* wish) {
    return reasoning_variables({kind, false}, wish);
  };
  EXPECT_EQ(variables(K::kEnableThinking, "auto"), "");
  EXPECT_EQ(variables(K::kEnableThinking, "on"), R"({"enable_thinking":true})");
  EXPECT_EQ(variables(K::kEnableThinking, "off"), R"({"enable_thinking":false})");
  EXPECT_EQ(variables(K::kForceSkip, "off"), R"({"skip_reasoning":true})");
  EXPECT_EQ(variables(K::kEffort, "medium"), R"({"reasoning_effort":"medium"})");
  EXPECT_EQ(variables(K::kNone, "off"), "");
  EXPECT_THROW(variables(K::kNone, "on"), Error);
  EXPECT_THROW(variables(K::kEffort, "extreme"), Error);
  EXPECT_EQ(reasoning_variables({K::kNone, true}, "on"), "");
  EXPECT_THROW(reasoning_variables({K::kNone, true}, "off"), Error);
}

}  // namespace
}  // namespace onnuri
