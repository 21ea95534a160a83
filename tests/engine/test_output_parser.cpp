// Reasoning, answers and tool calls out of streams in the manner of each family, cut at every
// place.
#include <gtest/gtest.h>

#include <random>

#include "engine/output_parser.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

using Kind = OutputPiece::Kind;

struct Read {
  std::string text;
  std::string reasoning;
  std::string calls;  // name(arguments); in a row
  std::string whole;
  bool operator==(const Read&) const = default;
};

void add(Read& out, const std::vector<OutputPiece>& pieces) {
  for (const OutputPiece& piece : pieces) {
    out.whole += piece.source;
    if (piece.kind == Kind::kText) out.text += piece.source;
    if (piece.kind == Kind::kReasoning) out.reasoning += piece.source;
    for (const ToolCall& call : piece.calls)
      out.calls += call.name + "(" + call.arguments_json + ");";
  }
}

struct Case {
  const char* name;
  const char* chat_template;  // as far as its markers go
  const char* prompt;
  std::string stream;
  Read want;
  bool has_tools = true;
};

Read read_in_pieces(const Case& c, const std::vector<size_t>& cuts) {
  OutputParser parser(find_output_grammar(c.chat_template), c.prompt, c.has_tools);
  Read out;
  size_t at = 0;
  for (const size_t cut : cuts) {
    add(out, parser.push(std::string_view(c.stream).substr(at, cut - at)));
    at = cut;
  }
  add(out, parser.push(std::string_view(c.stream).substr(at)));
  add(out, parser.finish());
  return out;
}

constexpr const char* kHermes = "<think></think><tool_call>{{ enable_thinking }}";
constexpr const char* kFunction = "<function=name>";
constexpr const char* kTurns = "<|im_start|>assistant/think -> tool/function_call";
constexpr const char* kMarked = "<|begin|>assistant<|think|><|content|><|tool_call:begin|>";
constexpr const char* kChannels = "<|start|>assistant<|channel|>final<|message|>";
constexpr const char* kNamed = "<think></think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
constexpr const char* kBare = "Environment: ipython {\"name\": x, \"parameters\": y}";

Case make(const char* name, const char* source, const char* prompt, std::string stream,
          std::string text, std::string reasoning, std::string calls, bool has_tools = true) {
  Case c{name, source, prompt, std::move(stream), {}, has_tools};
  c.want = {std::move(text), std::move(reasoning), std::move(calls), c.stream};
  return c;
}

std::vector<Case> inline_cases() {
  const char* prompt = "<|im_start|>assistant\n";
  return {
      make("plain", kHermes, prompt, " Hello,\n\nworld \n", " Hello,\n\nworld \n", "", ""),
      make("thought", kHermes, prompt, "<think>\nhmm, 음\n</think>\n\nanswer\n", "answer\n",
           "hmm, 음", ""),
      make("prefilled", kHermes, "assistant\n<think>\n", "\nso\n\nmore\n</think>\n\nyes", "yes",
           "so\n\nmore", ""),
      make("switched off", kHermes, "assistant\n<think>\n\n</think>\n\n", "yes </think>",
           "yes </think>", "", ""),
      make("never closed", kHermes, prompt, "<think>I wonder </thin", "", "I wonder </thin", ""),
      make("empty thought", kHermes, prompt, "<think>\n\n</think>\n\nyes", "yes", "", ""),
      make("only a tag", kHermes, prompt, "<think", "<think", "", ""),
      make("a tag in the middle", kHermes, prompt, "I say <think>x</think>",
           "I say <think>x</think>", "", ""),
      make("call", kHermes, prompt,
           "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"b\"]}}\n</tool_call>", "",
           "", "f({\"a\":[1,\"b\"]});"),
      make("thought, word, calls", kHermes, prompt,
           "<think>x</think>\nWait. \n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n"
           "<tool_call>{\"name\":\"g\",\"parameters\":{\"k\":\"서울\"}}</tool_call>\n",
           "Wait.", "x", "f({});g({\"k\":\"서울\"});"),
      make("a list of calls", kHermes, prompt,
           "<tool_call>[{\"name\":\"f\"},{\"name\":\"g\",\"arguments\":null}]</tool_call>done",
           "done", "", "f({});g({});"),
      make("arguments as a string", kHermes, prompt,
           "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}</tool_call>", "", "",
           "f({\"a\":1});"),
      make("a tag inside a string", kHermes, prompt,
           "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"x</tool_call>y\\\"\"}}</tool_call>!",
           "!", "", "f({\"s\":\"x</tool_call>y\\\"\"});"),
      make("malformed", kHermes, prompt, "so <tool_call>{\"name\": f}</tool_call> end",
           "so <tool_call>{\"name\": f}</tool_call> end", "", ""),
      make("malformed, then well", kHermes, prompt,
           "<tool_call>{]</tool_call>\n<tool_call>{\"name\":\"f\"}</tool_call>",
           "<tool_call>{]</tool_call>", "", "f({});"),
      make("unbalanced quote", kHermes, prompt, "<tool_call>{\"name}</tool_call> rest",
           "<tool_call>{\"name}</tool_call> rest", "", ""),
      make("no name", kHermes, prompt, "<tool_call>{\"arguments\":{}}</tool_call>",
           "<tool_call>{\"arguments\":{}}</tool_call>", "", ""),
      make("unfinished", kHermes, prompt, "a <tool_call>{\"name\": \"f\", \"argu",
           "a <tool_call>{\"name\": \"f\", \"argu", "", ""),
      make("closed by the end", kHermes, prompt, "<tool_call>{\"name\": \"f\"}\n", "", "",
           "f({});"),
      make("closed in part", kHermes, prompt, "<tool_call>{\"name\": \"f\"}</tool",
           "<tool_call>{\"name\": \"f\"}</tool", "", ""),
      make("talk about tags", kHermes, prompt,
           "Use <tool_call> tags, `<tool_call>{\"name\":\"f\"}</tool_call>`.",
           "Use <tool_call> tags, `<tool_call>{\"name\":\"f\"}</tool_call>`.", "", ""),
      make("fenced code", kHermes, prompt,
           "See:\n```xml\n<tool_call>{\"name\":\"f\"}</"
           "tool_call>\n```\n<tool_call>{\"name\":\"g\"}</tool_call>",
           "See:\n```xml\n<tool_call>{\"name\":\"f\"}</tool_call>\n```", "", "g({});"),
      make("begun tag at the end", kHermes, prompt, "less <tool_ca", "less <tool_ca", "", ""),
      make("parameters as tags", kHermes, prompt,
           "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nit's "
           "\"x\"\n</parameter>\n"
           "</function>\n</tool_call>",
           "", "", "f({\"a\":1,\"b\":\"it's \\\"x\\\"\"});"),
      make("function tag", kFunction, prompt,
           "Sure.\n<function=f>{\"a\": 1}</function>\n<function=g>{}</function>", "Sure.", "",
           "f({\"a\":1});g({});"),
      make("no function", kFunction, prompt, "if <function= x>", "if <function= x>", "", ""),
      make("named", kNamed, prompt,
           "t</"
           "think>ok<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"
           "\"a\":1}\n```"
           "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
           "｜tool▁calls▁end｜>",
           "t</think>ok", "", "f({\"a\":1});g({});"),
      make("bare call", kBare, prompt, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "", "",
           "f({\"a\":1});"),
      make("bare, no tools", kBare, prompt, "{\"name\": \"f\", \"parameters\": {}}",
           "{\"name\": \"f\", \"parameters\": {}}", "", "", false),
      make("bare, no call", kBare, prompt, " {\"x\": 1}", " {\"x\": 1}", "", ""),
      make("nothing known", "{{ messages }}", prompt, "<think>a</think> ", "<think>a</think> ", "",
           ""),
  };
}

std::vector<Case> turn_cases() {
  const char* turns = "<|im_end|>\n<|im_start|>assistant";
  const char* marked = "<|end|><|begin|>assistant";
  const char* channels = "<|end|><|start|>assistant";
  return {
      make("turn: answer", kTurns, turns, "\n안녕 <b>\n", "안녕 <b>\n", "", ""),
      make("turn: thought", kTurns, turns,
           "/think\nhm\n<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>", "yes", "hm", ""),
      make("turn: forced thought", kTurns, "<|im_start|>assistant/think\n",
           "hm<|im_end|>\n<|im_start|>assistant\nyes", "yes", "hm", ""),
      make("turn: calls", kTurns, turns,
           " -> tool/function_call\n[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": "
           "\"g\"}]<|im_end|>",
           "", "", "f({\"a\":1});g({});"),
      make("turn: thought, calls", kTurns, turns,
           "/think\nx<|im_end|>\n<|im_start|>assistant -> "
           "tool/function_call\n[{\"name\":\"f\"}]<|stop|>",
           "", "x", "f({});"),
      make("turn: malformed calls", kTurns, turns, " -> tool/function_call\n[{\"name\":<|im_end|>",
           "[{\"name\":", "", ""),
      make("turn: unfinished calls", kTurns, turns, " -> tool/function_call\n[{\"name\":\"f\"}",
           "[{\"name\":\"f\"}", "", ""),
      make("turn: unfinished thought", kTurns, turns, "/think\nx <|im_", "", "x <|im_", ""),
      make("marked: answer", kMarked, marked, "<|content|> yes \n<|end|>", " yes \n", "", ""),
      make("marked: thought", kMarked, marked,
           "<|think|>\nhm\n<|end|><|begin|>assistant<|content|>yes<|end|>", "yes", "hm", ""),
      make("marked: empty thought before", kMarked,
           "<|begin|>assistant<|think|><|end|><|begin|>assistant", "<|content|>yes", "yes", "", ""),
      make("marked: calls", kMarked, marked,
           "<|think|>x<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>id1<|tool_call:"
           "name|>f"
           "<|tool_call:args|>{\"a\": "
           "\"한\"}<|tool_call:end|><|tool_call:begin|>id2<|tool_call:name|>g"
           "<|tool_call:args|>{}<|tool_call:end|><|calls|>",
           "", "x", "f({\"a\":\"한\"});g({});"),
      make("marked: malformed", kMarked, marked,
           "<|tool_calls|><|tool_call:begin|>id<|tool_call:end|><|calls|>",
           "<|tool_call:begin|>id<|tool_call:end|>", "", ""),
      make("channel: final", kChannels, channels, "<|channel|>final<|message|> yes<|return|>",
           " yes", "", ""),
      make("channel: thought", kChannels, channels,
           "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
           "yes <|return|>",
           "yes ", "hm", ""),
      make("channel: call", kChannels, channels,
           "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
           "to=functions.f "
           "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
           "", "hm", "f({\"a\":1});"),
      make("channel: recipient first", kChannels, channels,
           " to=functions.f<|channel|>commentary json<|message|>{}<|call|>", "", "", "f({});"),
      make("channel: preamble", kChannels, channels,
           "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
           "to=functions.f"
           "<|message|>{}<|call|>",
           "I look.", "", "f({});"),
      make("channel: malformed", kChannels, channels,
           "<|channel|>commentary to=functions.f<|message|>{oops<|call|>", "{oops", "", ""),
      make("channel: off the form", kChannels, channels, "Hello there", "Hello there", "", ""),
      make("channel: cut in the header", kChannels, channels, "<|channel|>ana", "", "", ""),
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> all = inline_cases();
  for (Case& c : turn_cases()) all.push_back(std::move(c));
  return all;
}

void expect_same(const Case& c, const std::vector<size_t>& cuts) {
  const Read got = read_in_pieces(c, cuts);
  if (got == c.want) return;
  std::string where;
  for (const size_t cut : cuts) where += " " + std::to_string(cut);
  ADD_FAILURE() << c.name << ", cut at" << where << "\n text [" << got.text << "] for ["
                << c.want.text << "]\n reasoning [" << got.reasoning << "] for ["
                << c.want.reasoning << "]\n calls [" << got.calls << "] for [" << c.want.calls
                << "]\n whole [" << got.whole << "]";
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
                                          "<",
                                          "|>"};
  std::mt19937 random(11);
  for (const char* source : {kHermes, kFunction, kTurns, kMarked, kChannels, kNamed, kBare}) {
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
