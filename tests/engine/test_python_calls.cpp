// Calls in Python's manner: what is read, and that everything else is refused without harm.
#include <gtest/gtest.h>

#include <random>

#include "core/json.h"
#include "engine/python_calls.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

// "name{arguments}" in a row, or "-" when the text is no list of calls.
std::string read(const std::string& text) {
  PythonCalls reader;
  for (const char c : text)
    if (!reader.push(c)) return "-";
  if (!reader.whole()) return "-";
  std::string out;
  for (const PythonCalls::Piece& piece : reader.take()) out += piece.text;
  return out;
}

TEST(PythonCalls, LiteralsBecomeJson) {
  EXPECT_EQ(read("[f()]"), "f{}");
  EXPECT_EQ(read(" [ a.b_c( x = 1 , y=-2 ) ,\n g(z=[],) ] \n"), R"(a.b_c{"x":1,"y":-2}g{"z":[]})");
  EXPECT_EQ(read("[f(a=1.,b=.5,c=+3,d=1e5,e=-2.5E-3,f=0)]"),
            R"(f{"a":1.0,"b":0.5,"c":3,"d":1e5,"e":-2.5e-3,"f":0})");
  EXPECT_EQ(read("[f(a=True,b=False,c=None,d=true,e=null)]"),
            R"(f{"a":true,"b":false,"c":null,"d":true,"e":null})");
  EXPECT_EQ(read("[f(a={'k':1,\"l\":[{}],},b=(1,),c=(1,2),d=())]"),
            R"(f{"a":{"k":1,"l":[{}]},"b":[1],"c":[1,2],"d":[]})");
  EXPECT_EQ(read("[도구(도시='서울')]"), R"(도구{"도시":"서울"})");
}

TEST(PythonCalls, StringsAreEscapedAsJsonHasIt) {
  EXPECT_EQ(read(R"([f(a='it\'s "x"', b="\t\\\/\q")])"),
            R"(f{"a":"it's \"x\"","b":"\u0009\\\\/\\q"})");
  EXPECT_EQ(read(R"([f(a='\x41\u00e9\U0001F600')])"), R"(f{"a":"\u0041\u00e9\ud83d\ude00"})");
  EXPECT_EQ(read("[f(a='\t|')]"), R"(f{"a":"\u0009|"})");
}

TEST(PythonCalls, OtherTextIsRefused) {
  for (const char* text : {"",
                           "[",
                           "[]",
                           "f()",
                           "[f]",
                           "[f(]",
                           "[f(1)]",
                           "[f(a)]",
                           "[f(a=)]",
                           "[f(a=b)]",
                           "[f(a=1 b=2)]",
                           "[f(a=1_0)]",
                           "[f(a=0x1)]",
                           "[f(a=01)]",
                           "[f(a=-)]",
                           "[f(a=1e)]",
                           "[f(a=nan)]",
                           "[f(a=g())]",
                           "[f(a='x)]",
                           "[f(a='x\ny')]",
                           "[f(a='\\x4g')]",
                           "[f(a='\\UFFFFFFFF')]",
                           "[f(a=[1)]",
                           "[f(a={1:2})]",
                           "[f(a={'k'})]",
                           "[f(a={'k':1)]",
                           "[f(a=(1))]",
                           "[f(a=[,])]",
                           "[f(a=1)] x",
                           "[f(a=1)",
                           "[1]",
                           "[f(a=1),]x",
                           "[f(a=[1}])]",
                           "[f(**x)]",
                           "[f(a=1+1)]",
                           "[f(a='x''y')]"})
    EXPECT_EQ(read(text), "-") << text;
  EXPECT_EQ(read("[f(a=" + std::string(1000, '[') + std::string(1000, ']') + ")]"), "-");
}

// Whatever is accepted is JSON, and nonsense does no harm.
TEST(PythonCalls, WhatIsAcceptedIsJson) {
  const std::vector<std::string> words = {"[",    "]", "(", ")",   "{",    "}",  ",",   "=",
                                          "f",    "a", "'", "\"",  "1",    "-",  ".",   ":",
                                          "True", " ", "e", "\\u", "00e9", "\\", "f(a="};
  std::mt19937 random(5);
  int accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string text = "[f(a=";
    for (size_t n = random() % 7; n > 0; --n) text += words[random() % words.size()];
    text += ")]";
    PythonCalls reader;
    bool good = true;
    for (const char c : text) good = good && reader.push(c);
    if (!good || !reader.whole()) continue;
    ++accepted;
    std::string arguments;
    for (const PythonCalls::Piece& piece : reader.take()) {
      if (!piece.begins) arguments += piece.text;
      if (piece.begins && !arguments.empty()) {
        EXPECT_TRUE(parse_json(arguments, "test").is_object()) << text;
        arguments.clear();
      }
    }
    EXPECT_NO_THROW(EXPECT_TRUE(parse_json(arguments, "test").is_object())) << text;
  }
  EXPECT_GT(accepted, 300);
}

}  // namespace
}  // namespace onnuri
