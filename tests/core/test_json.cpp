#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <limits>

#include "core/json.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::expect_error;

void expect_bad(std::string_view text, std::initializer_list<std::string_view> fragments,
                const JsonLimits& limits = {}) {
  expect_error(ErrorCode::kCorruptData, fragments,
               [&] { parse_json(text, "config.json", limits); });
}

TEST(Json, ReadsEveryKind) {
  const JsonValue v = parse_json(
      R"({"a": null, "b": true, "c": -7, "d": 2.5, "e": "\u00e9\ud83d\ude00", "f": [1, []], "g": {}})",
      "x");
  EXPECT_TRUE(v.find("a")->is_null());
  EXPECT_TRUE(v.at("b", "x").as_bool("b"));
  EXPECT_EQ(v.at("c", "x").as_int("c"), -7);
  EXPECT_EQ(v.at("d", "x").as_double("d"), 2.5);
  EXPECT_EQ(v.at("e", "x").as_string("e"), "\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(v.at("f", "x").as_array("f").size(), 2u);
  EXPECT_TRUE(v.at("g", "x").as_object("g").empty());
  EXPECT_EQ(v.find("h"), nullptr);
}

TEST(Json, ObjectsKeepTheirOrder) {
  const JsonValue v = parse_json(R"({"z": 1, "a": 2, "m": 3})", "x");
  EXPECT_EQ(v.dump(), R"({"z":1,"a":2,"m":3})");
}

TEST(Json, TheLastDuplicateWins) {
  EXPECT_EQ(parse_json(R"({"a": 1, "b": 2, "a": 3, "a": 4})", "x").dump(), R"({"b":2,"a":4})");
  JsonLimits strict;
  strict.duplicate_keys = DuplicateKeys::kReject;
  expect_bad(R"({"o": {"a": 1, "a": 2}})", {"config.json", "duplicate key \"a\""}, strict);
}

TEST(Json, IntegersEndAtInt64) {
  EXPECT_EQ(parse_json("9223372036854775807", "x").as_int("x"), INT64_MAX);
  EXPECT_EQ(parse_json("-9223372036854775808", "x").as_int("x"), INT64_MIN);
  const JsonValue big = parse_json("9223372036854775808", "x");
  EXPECT_FALSE(big.is_int());
  EXPECT_EQ(big.as_double("x"), 9223372036854775808.0);
  EXPECT_EQ(parse_json("1e22", "x").as_double("x"), 1e22);
  expect_error(ErrorCode::kCorruptData, {"x"}, [&] { big.as_int("x"); });
  EXPECT_EQ(parse_json("3.0", "x").as_int("x"), 3);
  expect_error(ErrorCode::kCorruptData, {"here", "an integer"},
               [] { parse_json("3.5", "x").as_int("here"); });
}

TEST(Json, WhatIsNotJsonNamesThePlace) {
  expect_bad("{\"rope\":\n  {\"theta\": Infinity}}", {"config.json", "rope.theta", "line 2", "In"});
  expect_bad("[1, NaN]", {"[1]", "Na"});
  expect_bad("[1, -Infinity]", {"config.json"});
  expect_bad("", {"the end", "line 1"});
  expect_bad("{\"a\": 1", {"config.json"});
  expect_bad("[1,]", {"config.json"});
  expect_bad("[1] 2", {"config.json"});
  expect_bad("{a: 1}", {"config.json"});
  expect_bad("// no\n1", {"config.json"});
  expect_bad("\"\xff\"", {"config.json"});
  expect_bad("\"\\ud800\"", {"config.json"});
  expect_bad("\"\x01\"", {"config.json"});
  expect_bad(std::string("\0", 1), {"config.json"});
  expect_bad("[1e999]", {"config.json", "out of range"});
  expect_bad("01", {"config.json"});
}

TEST(Json, LimitsHold) {
  const std::string deep(100000, '[');
  expect_bad(deep, {"128 deep"});
  std::string objects;
  for (int i = 0; i < 200; ++i) objects += "{\"a\":";
  expect_bad(objects, {"128 deep"});
  JsonLimits limits;
  limits.max_bytes = 4;
  expect_bad("[1,2]", {"at most 4 bytes", "found 5"}, limits);
  limits = {};
  limits.max_values = 3;
  expect_bad("[1,2,3,4]", {"at most 3"}, limits);
  limits = {};
  limits.max_depth = 2;
  EXPECT_NO_THROW(parse_json("[[1]]", "x", limits));
  expect_bad("[[[1]]]", {"2 deep"}, limits);
}

TEST(Json, TruncationAtEveryByteIsAnError) {
  const std::string text = R"({"a": [1, 2.5e3, "b\u00e9"], "c": {"d": null, "e": true}})";
  for (size_t n = 0; n < text.size(); ++n) expect_bad(text.substr(0, n), {"config.json"});
  EXPECT_NO_THROW(parse_json(text, "x"));
}

TEST(Json, TypedReadsNameTheFieldAndTheKind) {
  const JsonValue v = parse_json(R"({"hidden_act": 3, "n": null})", "x");
  expect_error(ErrorCode::kCorruptData, {"config.json: hidden_act", "a string", "an integer"},
               [&] { v.at("hidden_act", "x").as_string("config.json: hidden_act"); });
  expect_error(ErrorCode::kCorruptData, {"config.json", "\"n\"", "null"},
               [&] { v.at("n", "config.json"); });
  expect_error(ErrorCode::kCorruptData, {"config.json", "\"m\"", "none"},
               [&] { v.at("m", "config.json"); });
  expect_error(ErrorCode::kCorruptData, {"an object", "an array"},
               [] { parse_json("[]", "x").at("m", "config.json"); });
}

TEST(Json, DumpReadsBackTheSame) {
  JsonValue v;
  v.set("text", "\"\\\n\t\x01/\xc3\xa9");
  v.set("whole", 3.0);
  v.set("tenth", 0.1);
  v.set("tiny", std::numeric_limits<double>::denorm_min());
  v.set("big", 1e300);
  v.set("least", INT64_MIN);
  v.set("list", JsonValue::Array{1, true, JsonValue(), JsonValue::Object{}});
  v.set("whole", 4.0);
  for (const int indent : {-1, 0, 2}) {
    const JsonValue back = parse_json(v.dump(indent), "x");
    EXPECT_EQ(back.dump(), v.dump());
    EXPECT_EQ(back.at("tenth", "x").as_double("x"), 0.1);
    EXPECT_FALSE(back.at("whole", "x").is_int());
    EXPECT_EQ(back.at("text", "x").as_string("x"), v.at("text", "x").as_string("x"));
  }
  EXPECT_EQ(JsonValue(std::nan("")).dump(), "null");
  EXPECT_EQ(JsonValue("a\xff\xed\xa0\x80z").dump(),
            "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
  EXPECT_EQ(parse_json("{\"a\":[1]}", "x").dump(1), "{\n \"a\": [\n  1\n ]\n}");
}

TEST(Json, ManyKeysAreNotQuadratic) {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i)
    text += "\"key" + std::to_string(i % 299999) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  const JsonValue v = parse_json(text, "x");
  ASSERT_EQ(v.as_object("x").size(), 299999u);
  EXPECT_EQ(v.as_object("x").back().second.as_int("x"), 299999);  // the later "key0"
  EXPECT_EQ(v.find("key0")->as_int("x"), 299999);
}

}  // namespace
}  // namespace onnuri
