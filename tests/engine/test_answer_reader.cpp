// Answers read from token ids, as the engine gets them: markers that are special tokens, markers
// that are tokens but not special, and markers that are ordinary text.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "engine/answer_reader.h"
#include "tests/support/output_cases.h"
#include "tests/support/tag_tokenizer.h"

namespace onnuri {
namespace {

using Tags = std::vector<std::pair<std::string, bool>>;

struct Answer {
  std::string text;
  std::string reasoning;
  std::string calls;
  size_t ids = 0;  // read until the end
};

// Feeds ids until one of them ends the answer.
Answer read(const Tokenizer& tokenizer, const char* source, const char* prompt,
            const std::string& stream, const std::vector<std::string>& eos) {
  const OutputGrammar grammar = find_output_grammar(source);
  AnswerReader reader(Detokenizer(tokenizer), tokenizer, {}, &grammar, prompt, true);
  Answer out;
  const auto add = [&](const AnswerReader::Step& step) {
    out.text += step.text;
    out.reasoning += step.reasoning;
    for (const ToolCall& call : step.tool_calls)
      out.calls += call.name + "(" + call.arguments_json + ");";
  };
  for (const int32_t id : tokenizer.encode(stream, false, true)) {
    bool is_eos = false;
    for (const std::string& one : eos) is_eos = is_eos || tokenizer.token_to_id(one) == id;
    const bool end = reader.ends_with(id, is_eos);
    ++out.ids;
    add(reader.push(id, end));
    if (end) return out;
  }
  add(reader.finish());
  return out;
}

// Every marker of every grammar, as tokens; those that the tokenizer has already stay as they are.
Tags all_tags(bool special) {
  std::vector<std::string> found = {"<|constrain|>"};
  for (const OutputCase& c : all_cases()) {
    const OutputGrammar g = find_output_grammar(c.chat_template);
    found.insert(found.end(), {g.think_open, g.think_close, g.turn_open});
    for (const auto* list : {&g.header_ends, &g.turn_ends, &g.dropped})
      found.insert(found.end(), list->begin(), list->end());
    for (const CallTag& tag : g.calls)
      found.insert(found.end(), {tag.open, tag.close, tag.name_mark, tag.args_mark});
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  const std::string known = golden_text("text/qwen2/tokenizer.json");
  Tags tags;
  for (const std::string& text : found)
    if (text.size() > 1 && known.find("\"" + text + "\"") == known.npos)
      tags.emplace_back(text, special);
  return tags;
}

// Ids of a text that was cut in front of some letters; markers that are tokens stay whole.
std::vector<int32_t> ids_of(const Tokenizer& tokenizer, const Tags& tags, const std::string& text,
                            const std::function<bool()>& cuts) {
  std::vector<int32_t> ids;
  std::string part;
  const auto flush = [&] {
    for (const int32_t id : tokenizer.encode(part, false, false)) ids.push_back(id);
    part.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const auto tag = std::find_if(tags.begin(), tags.end(), [&](const auto& one) {
      return std::string_view(text).substr(at).starts_with(one.first);
    });
    if (tag != tags.end()) {
      flush();
      ids.push_back(*tokenizer.token_to_id(tag->first));
      at += tag->first.size();
      continue;
    }
    const bool letter = (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
    if (letter && cuts()) flush();
    part += text[at++];
  }
  flush();
  return ids;
}

OutputRead read_ids(const Tokenizer& tokenizer, const OutputCase& c,
                    const std::vector<int32_t>& ids) {
  const OutputGrammar grammar = find_output_grammar(c.chat_template);
  AnswerReader reader(Detokenizer(tokenizer), tokenizer, {}, &grammar, c.prompt, c.has_tools);
  OutputRead out;
  CallAssembly assembly;
  std::vector<std::string> call_ids;
  bool end = false;
  const auto add = [&](const AnswerReader::Step& step) {
    out.text += step.text;
    out.reasoning += step.reasoning;
    for (const ToolCall& call : step.tool_calls) {
      out.calls += call.name + "(" + call.arguments_json + ");";
      call_ids.push_back(call.id);
    }
    assembly.add(step.tool_call_deltas);
  };
  for (const int32_t id : ids) {
    EXPECT_FALSE(end) << "more behind the end";
    end = reader.ends_with(id, false);
    add(reader.push(id, end));
  }
  if (!end) add(reader.finish());
  assembly.finish(out, call_ids);
  return out;
}

// Every example once more out of token ids: as the tokenizer cuts it, letter by letter, and cut at
// random.
TEST(AnswerReader, ReadsEveryExampleFromTokens) {
  std::mt19937 random(3);
  for (const int kind : {0, 1, 2}) {  // markers: ordinary text, tokens, special tokens
    const TemporaryFolder folder("answer_all" + std::to_string(kind));
    const Tags tags = kind > 0 ? all_tags(kind == 2) : Tags{};
    const auto tokenizer = tokenizer_with(folder, tags);
    Tags whole = tags;
    for (const char* text : {"<|im_start|>", "<|im_end|>", "<|endoftext|>"})
      if (tokenizer->token_to_id(text)) whole.emplace_back(text, true);
    for (const OutputCase& c : all_cases()) {
      if (find_output_grammar(c.chat_template).shape == OutputShape::kPlain) continue;
      OutputRead want = c.want;
      want.whole.clear();
      std::vector<std::vector<int32_t>> streams = {
          tokenizer->encode(c.stream, false, true),
          ids_of(*tokenizer, whole, c.stream, [] { return true; })};
      for (int round = 0; round < 8; ++round)
        streams.push_back(ids_of(*tokenizer, whole, c.stream, [&] { return random() % 3 == 0; }));
      for (const auto& ids : streams) {
        const OutputRead got = read_ids(*tokenizer, c, ids);
        EXPECT_EQ(got, want) << c.name << ", markers " << kind << "\n text [" << got.text
                             << "] for [" << want.text << "]\n reasoning [" << got.reasoning
                             << "]\n calls [" << got.calls << "]\n streamed [" << got.streamed
                             << "]";
      }
    }
  }
}

TEST(AnswerReader, InlineTagsAsTokensOfAnyKind) {
  const std::string stream =
      "<think>\nhm 음\n</think>\n\nLook.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}"
      "\n</tool_call><|im_end|>never";
  for (const int kind : {0, 1, 2}) {  // ordinary text, tokens, special tokens
    const TemporaryFolder folder("answer_inline" + std::to_string(kind));
    Tags tags;
    if (kind > 0)
      for (const char* tag : {"<think>", "</think>", "<tool_call>", "</tool_call>"})
        tags.emplace_back(tag, kind == 2);
    const auto tokenizer = tokenizer_with(folder, tags);
    EXPECT_EQ(tokenizer->encode("<think>", false, true).size() == 1, kind > 0);
    const Answer got = read(*tokenizer, kHermes, "<|im_start|>assistant\n", stream, {"<|im_end|>"});
    EXPECT_EQ(got.text, "Look.") << kind;
    EXPECT_EQ(got.reasoning, "hm 음") << kind;
    EXPECT_EQ(got.calls, "f({\"a\":1});") << kind;
    EXPECT_LT(got.ids, tokenizer->encode(stream, false, true).size());
  }
}

TEST(AnswerReader, ChannelsAsSpecialTokens) {
  const TemporaryFolder folder("answer_channels");
  Tags tags;
  for (const char* tag : {"<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>",
                          "<|call|>", "<|constrain|>"})
    tags.emplace_back(tag, true);
  const auto tokenizer = tokenizer_with(folder, tags);
  const char* prompt = "<|start|>assistant";
  const std::vector<std::string> eos = {"<|return|>", "<|call|>"};
  const Answer answer = read(*tokenizer, kChannels, prompt,
                             "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>"
                             "final<|message|>yes!<|return|>more",
                             eos);
  EXPECT_EQ(answer.reasoning, "hm");
  EXPECT_EQ(answer.text, "yes!");
  const Answer call = read(*tokenizer, kChannels, prompt,
                           "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to="
                           "functions.f<|channel|>commentary <|constrain|>json<|message|>"
                           "{\"a\": \"b\"}<|call|>more",
                           eos);
  EXPECT_EQ(call.reasoning, "hm");
  EXPECT_EQ(call.text, "");
  EXPECT_EQ(call.calls, "f({\"a\":\"b\"});");
}

TEST(AnswerReader, MarkedTurnsGoOnBehindTheThought) {
  const TemporaryFolder folder("answer_marked");
  Tags tags;
  for (const char* tag :
       {"<|begin|>", "<|end|>", "<|think|>", "<|content|>", "<|tool_calls|>", "<|calls|>",
        "<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>"})
    tags.emplace_back(tag, true);
  const auto tokenizer = tokenizer_with(folder, tags);
  // <|end|> is what the checkpoint calls the end; behind a thought it is not.
  const Answer got =
      read(*tokenizer, kMarked, "<|begin|>assistant",
           "<|think|>hm<|end|><|begin|>assistant<|content|>yes<|end|>more", {"<|end|>"});
  EXPECT_EQ(got.reasoning, "hm");
  EXPECT_EQ(got.text, "yes");
  const Answer call =
      read(*tokenizer, kMarked, "<|begin|>assistant",
           "<|tool_calls|><|tool_call:begin|>i1<|tool_call:name|>f<|tool_call:args|>{\"a\": [1]}"
           "<|tool_call:end|><|calls|>more",
           {"<|end|>"});
  EXPECT_EQ(call.calls, "f({\"a\":[1]});");
  EXPECT_EQ(call.text, "");
}

TEST(AnswerReader, TurnsOfTheirOwn) {
  const TemporaryFolder folder("answer_turns");
  const auto tokenizer = tokenizer_with(folder, {{"<|stop|>", true}});
  const Answer got = read(*tokenizer, kTurns, "<|im_start|>assistant",
                          "/think\nhm<|im_end|>\n<|im_start|>assistant -> tool/function_call\n"
                          "[{\"name\": \"f\", \"arguments\": {}}]<|stop|>more",
                          {"<|im_end|>", "<|stop|>"});
  EXPECT_EQ(got.reasoning, "hm");
  EXPECT_EQ(got.text, "");
  EXPECT_EQ(got.calls, "f({});");
}

}  // namespace
}  // namespace onnuri
