// The small parts of the engine room: stop strings, name tables, config readers.
#include <gtest/gtest.h>

#include "engine/config_reader.h"
#include "engine/name_table.h"
#include "engine/stop_matcher.h"
#include "onnuri/error.h"
#include "tests/support/error_of.h"

namespace onnuri {
namespace {

TEST(StopMatcher, CutsBeforeAStopStringThatArrivesInPieces) {
  StopMatcher matcher({"END", "\n\n"});
  EXPECT_EQ(matcher.push("one E"), "one ");
  EXPECT_EQ(matcher.push("Ntry E"), "ENtry ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push("D two"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("three"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, TakesTheEarliestOfSeveral) {
  StopMatcher matcher({"d", "bc"});
  EXPECT_EQ(matcher.push("abcd"), "a");
}

TEST(StopMatcher, GivesBackWhatItHeldWhenTheTextEnds) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.push("ST"), "");
  EXPECT_EQ(matcher.finish(), "ST");
}

TEST(StopMatcher, HoldsWholeCharacters) {
  StopMatcher matcher({"\x80!"});  // begins like the tail of a character
  EXPECT_EQ(matcher.push("a\xEA\xB0\x80"), "a");
  EXPECT_EQ(matcher.finish(), "\xEA\xB0\x80");
}

TEST(StopMatcher, EmptyStopStringsAreRefused) { EXPECT_THROW(StopMatcher({""}), Error); }

TEST(NameTable, FillsLayersAndExperts) {
  NameTable table;
  table.add("layers.#.experts.#.up.weight", {{"blk.#.e.#.u"}, {"blk.#.stack", true, 6, 3}});
  const TensorNameMap map = table.map();
  const std::vector<TensorRef> refs = map("layers.12.experts.7.up.weight");
  ASSERT_EQ(refs.size(), 2u);
  EXPECT_EQ(refs[0].name, "blk.12.e.7.u");
  EXPECT_TRUE(refs[0].index.empty());
  EXPECT_EQ(refs[1].name, "blk.12.stack");
  EXPECT_EQ(refs[1].index, std::vector<int64_t>{7});
  EXPECT_EQ(refs[1].row_begin, 6);
  EXPECT_EQ(refs[1].row_count, 3);
  EXPECT_TRUE(map("layers.12.unknown").empty());
}

TEST(ConfigReader, NamesWhatIsMissingOrWrong) {
  const JsonValue json = parse_json(R"({"a": 0, "b": "x", "c": null, "m.d": 4})", "config.json");
  const ConfigReader config(json, "config.json");
  EXPECT_EQ(error_of([&] { config.size("hidden_size"); }),
            "missing key at config.json: hidden_size");
  EXPECT_NE(error_of([&] { config.size("a"); }).find("config.json: a, found 0"), std::string::npos);
  EXPECT_NE(error_of([&] { config.size("b"); }).find("config.json: b"), std::string::npos);
  EXPECT_EQ(config.size_or("c", 5), 5);
  EXPECT_EQ(ConfigReader(json, "file", "m.").size("d"), 4);
}

TEST(ConfigReader, RopeFromBothPlacesAgrees) {
  const JsonValue legacy = parse_json(
      R"({"max_position_embeddings": 64, "rope_theta": 500.0,
          "rope_scaling": {"type": "linear", "factor": 2.0}})",
      "config.json");
  const JsonValue current = parse_json(
      R"({"max_position_embeddings": 64,
          "rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}})",
      "config.json");
  for (const JsonValue* json : {&legacy, &current}) {
    const RopeSettings rope = read_rope(ConfigReader(*json, "config.json"), 16, "", 0);
    EXPECT_EQ(rope.theta, 500.0);
    EXPECT_EQ(rope.rotary_dim, 16);
    EXPECT_EQ(rope.scaling.kind, RopeScaling::Kind::kLinear);
    EXPECT_EQ(rope.scaling.factor, 2.0);
  }
  const JsonValue silent = parse_json(R"({"max_position_embeddings": 64})", "config.json");
  EXPECT_EQ(error_of([&] { read_rope(ConfigReader(silent, "config.json"), 16, "", 0); }),
            "missing key at config.json: rope_theta");
}

TEST(ConfigReader, TheOlderRopeKeysWin) {
  const JsonValue json = parse_json(
      R"({"max_position_embeddings": 64, "rope_theta": 500.0, "rope_scaling": {"type": "linear",
          "factor": 2.0}, "rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}})",
      "config.json");
  const RopeSettings rope = read_rope(ConfigReader(json, "config.json"), 16, "", 0);
  EXPECT_EQ(rope.theta, 500.0);
  EXPECT_EQ(rope.scaling.factor, 2.0);
}

TEST(ConfigReader, FactorsOfYarn) {
  const auto factor = [](const std::string& stored) {
    const JsonValue json = parse_json(
        R"({"rope_type": "yarn", )" + stored + R"("original_max_position_embeddings": 16})",
        "config.json");
    return read_rope_scaling(ConfigReader(json, "rope_scaling"), 64).factor;
  };
  EXPECT_EQ(factor(R"("factor": 3.0, )"), 3.0);
  EXPECT_EQ(factor(R"("factor": null, )"), 4.0);
  EXPECT_EQ(error_of([&] { factor(""); }), "missing key at rope_scaling: factor");
}

TEST(ConfigReader, SlidingLayersInEverySpelling) {
  const std::vector<bool> expected = {true, true, false, true};
  for (const char* text :
       {R"({"layer_types": ["sliding_attention", "sliding_attention",
                               "full_attention", "sliding_attention"]})",
        R"({"sliding_window_pattern": 3})", R"({"sliding_window_pattern": "LLG"})",
        R"({"_sliding_window_pattern": 3})"}) {
    const JsonValue json = parse_json(text, "config.json");
    EXPECT_EQ(read_sliding_layers(ConfigReader(json, "config.json"), 4, 0), expected) << text;
  }
}

}  // namespace
}  // namespace onnuri
