// Grammars: what they accept byte by byte, which tokens they allow, and how they refuse.
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <random>

#include "core/json.h"
#include "fusion/token_constraint.h"
#include "fusion/tokenizer.h"
#include "fusion/utf8.h"
#include "onnuri/error.h"
#include "tests/support/error_of.h"

namespace onnuri {
namespace {

bool matches(const Grammar& grammar, std::string_view text) {
  TokenConstraint constraint(compile_grammar(grammar), nullptr);
  return constraint.accept_bytes(text) && constraint.complete();
}
bool regex(const std::string& pattern, std::string_view text) {
  return matches(grammar_from_regex(pattern), text);
}
bool schema(const std::string& json, std::string_view text) {
  return matches(grammar_from_json_schema(json), text);
}
bool ebnf(const std::string& rules, std::string_view text) {
  return matches(grammar_from_ebnf(rules), text);
}

TEST(GrammarRegex, MatchesTheWholeText) {
  EXPECT_TRUE(regex("a|bc", "bc"));
  EXPECT_FALSE(regex("a|bc", "abc"));
  EXPECT_TRUE(regex("^[a-c]+\\d{2,3}$", "abca123"));
  EXPECT_FALSE(regex("[a-c]+\\d{2,3}", "a1"));
  EXPECT_FALSE(regex("[a-c]+\\d{2,3}", "a1234"));
  EXPECT_TRUE(regex("(?:x|(?<name>y))*?z", "xyyxz"));
  EXPECT_TRUE(regex("", ""));
  EXPECT_TRUE(regex("a{0}b", "b"));
  EXPECT_TRUE(regex("\\x41\\u0042\\u{1F600}", "AB\xF0\x9F\x98\x80"));
  EXPECT_TRUE(regex("[^a]", "\xEA\xB0\x80"));
  EXPECT_FALSE(regex("[^a]", "a"));
  EXPECT_FALSE(regex("[^a]", "\xEA\xB0"));
  EXPECT_FALSE(regex(".", "\n"));
  EXPECT_TRUE(regex("[가-힣]{2}", "한글"));
  EXPECT_FALSE(regex("[가-힣]{2}", "한a"));
  EXPECT_FALSE(regex(".", "\xED\xA0\x80"));  // a surrogate is no character
  EXPECT_TRUE(regex("a{2", "a{2"));
}

TEST(GrammarRegex, LongCountsAreExact) {
  for (const auto& [low, high] : {std::pair(0, 600), std::pair(300, 300), std::pair(513, 1300)}) {
    const std::string pattern = "a{" + std::to_string(low) + "," + std::to_string(high) + "}";
    TokenConstraint constraint(compile_grammar(grammar_from_regex(pattern)), nullptr);
    for (int n = 0; n <= high; ++n) {
      ASSERT_EQ(constraint.complete(), n >= low) << pattern << " at " << n;
      ASSERT_EQ(constraint.accept_bytes("a"), n < high) << pattern << " at " << n;
    }
  }
}

TEST(GrammarRegex, RefusesWhatNoAutomatonCanDo) {
  for (const char* pattern :
       {"(?=a)b", "(a)\\1", "\\bx", "(?i)a", "a++", "(?<!x)y", "\\p{L}", "(a$|b)"})
    EXPECT_NE(error_of([&] { grammar_from_regex(pattern); }).find("expected"), std::string::npos)
        << pattern;
  for (const char* pattern :
       {"(a", "a)", "[a", "*a", "a**", "[z-a]", "\\", "\\q", "a{3,2}", "\xFF"})
    EXPECT_THROW(grammar_from_regex(pattern), Error) << pattern;
}

TEST(GrammarEbnf, RulesGroupsAndCounts) {
  const std::string sums =
      "# sums\nroot ::= term (op term)*\nop ::= \"+\" | '-'\n"
      "term ::= [0-9]+ | \"(\" root \")\"\n";
  EXPECT_TRUE(ebnf(sums, "1+(2-33)+4"));
  EXPECT_FALSE(ebnf(sums, "1+(2"));
  EXPECT_FALSE(ebnf(sums, "1+)"));
  EXPECT_TRUE(ebnf("root ::= [^x]{2,3} .\n", "한글\n"));
  EXPECT_TRUE(ebnf("root ::= \"\\x41\\n\" a?\na ::= \"b\"", "A\nb"));
  EXPECT_TRUE(ebnf("root ::= \"a\" root | \"\"", std::string(5000, 'a')));
}

TEST(GrammarEbnf, ErrorsNameTheLineOrTheRule) {
  EXPECT_NE(error_of([] { grammar_from_ebnf("root ::= a"); }).find("\"a\""), std::string::npos);
  EXPECT_NE(error_of([] { grammar_from_ebnf("x ::= \"a\""); }).find("\"root\""), std::string::npos);
  EXPECT_NE(error_of([] { grammar_from_ebnf("root ::= \"a\"\n\n  ?"); }).find("line 3"),
            std::string::npos);
  EXPECT_NE(error_of([] { grammar_from_ebnf("root ::= (\"a\""); }).find("parenthesis"),
            std::string::npos);
  const auto compile = [](const std::string& text) {
    return error_of([&] { compile_grammar(grammar_from_ebnf(text)); });
  };
  EXPECT_NE(compile("root ::= root \"a\" | \"b\"").find("left recursion"), std::string::npos);
  EXPECT_NE(compile("root ::= e root \"a\" | \"b\"\ne ::= \"x\"?").find("left recursion"),
            std::string::npos);
  EXPECT_NE(compile("root ::= \"a\" root").find("matches none"), std::string::npos);
}

TEST(GrammarCompile, CutsOffWhatCannotEnd) {
  TokenConstraint constraint(
      compile_grammar(grammar_from_ebnf("root ::= \"a\" trap | \"ab\"\ntrap ::= \"b\" trap")),
      nullptr);
  EXPECT_TRUE(constraint.accept_bytes("ab"));
  EXPECT_TRUE(constraint.complete());
  EXPECT_FALSE(constraint.accept_bytes("b"));
}

TEST(GrammarCompile, HostileGrammarsEndSoonWithAnError) {
  const std::clock_t start = std::clock();  // the processor's time: machines may be busy
  const auto compile = [](const Grammar& grammar) { compile_grammar(grammar); };
  EXPECT_THROW(compile(grammar_from_regex("((((a{1,250}){1,250}){1,250}){1,250}){1,250}")), Error);
  EXPECT_THROW(compile(grammar_from_regex(std::string(50000, '('))), Error);
  EXPECT_THROW(compile(grammar_from_regex("a{99999999999999999999}")), Error);
  EXPECT_NO_THROW(compile(grammar_from_regex("(a|b)*a(a|b){40}")));  // 2^40 subsets
  std::string deep;
  for (int i = 0; i < 110; ++i) deep += R"({"type":"array","items":)";
  EXPECT_THROW(grammar_from_json_schema(deep + "{}" + std::string(110, '}')), Error);
  std::string deeper;
  for (int i = 0; i < 100000; ++i) deeper += R"({"items":)";
  EXPECT_THROW(grammar_from_json_schema(deeper), Error);
  EXPECT_THROW(compile(grammar_from_json_schema(R"({"$ref":"#"})")), Error);
  EXPECT_THROW(compile(grammar_from_json_schema(
                   R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})")),
               Error);
  EXPECT_THROW(compile(grammar_from_json_schema(R"({"$ref":"#","minProperties":1})")), Error);
  EXPECT_THROW(compile(grammar_from_json_schema(R"({"type":"integer","minimum":3,"maximum":2})")),
               Error);
  EXPECT_THROW(compile(grammar_from_json_schema("false")), Error);
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 60);
}

TEST(GrammarSchema, TypesAndConstants) {
  EXPECT_TRUE(schema("{}", R"({"a": [1, -2.5e3, "x\n\u00e9", {}, [], null, true]})"));
  EXPECT_TRUE(schema("true", "3"));
  EXPECT_FALSE(schema("{}", R"("\x")"));
  EXPECT_FALSE(schema("{}", "01"));
  EXPECT_FALSE(schema("{}", R"("\ud800")"));
  EXPECT_TRUE(schema("{}", R"("\ud83d\ude00")"));
  EXPECT_TRUE(schema(R"({"type":["string","null"]})", "null"));
  EXPECT_FALSE(schema(R"({"type":["string","null"]})", "1"));
  EXPECT_TRUE(schema(R"({"enum":["a",1,null,{"b":[true]}]})", R"({"b":[true]})"));
  EXPECT_FALSE(schema(R"({"type":"string","enum":["a",1]})", "1"));
  EXPECT_TRUE(schema(R"({"const":"한\"글"})", R"("한\"글")"));
}

TEST(GrammarSchema, IntegersInRangeOneByOne) {
  for (const auto& [low, high] : {std::pair(0, 9), std::pair(-12, 105), std::pair(7, 7),
                                  std::pair(-230, -41), std::pair(98, 1203), std::pair(-5, 0)}) {
    TokenConstraint constraint(compile_grammar(grammar_from_json_schema(
                                   R"({"type":"integer","minimum":)" + std::to_string(low) +
                                   R"(,"maximum":)" + std::to_string(high) + "}")),
                               nullptr);
    for (int n = -1500; n <= 1500; ++n) {
      constraint.reset();
      const bool taken = constraint.accept_bytes(std::to_string(n)) && constraint.complete();
      ASSERT_EQ(taken, n >= low && n <= high) << n << " in " << low << ".." << high;
    }
  }
  EXPECT_FALSE(schema(R"({"type":"integer","exclusiveMinimum":3})", "3"));
  EXPECT_TRUE(schema(R"({"type":"integer","exclusiveMinimum":3})", "4"));
  EXPECT_TRUE(schema(R"({"type":"integer","exclusiveMinimum":3})", "123456789012"));
  EXPECT_TRUE(schema(R"({"type":"integer","minimum":0,"maximum":40,"multipleOf":7})", "35"));
  EXPECT_FALSE(schema(R"({"type":"integer","minimum":0,"maximum":40,"multipleOf":7})", "36"));
}

TEST(GrammarSchema, DecimalsInRange) {
  const std::string json = R"({"type":"number","minimum":-0.25,"exclusiveMaximum":12.5})";
  for (const char* good : {"0", "-0.25", "-0.250000", "-0.1", "3.75", "0.5", "12.4", "12.0",
                           "12.499999", "12", "11.999", "-0.000001"})
    EXPECT_TRUE(schema(json, good)) << good;
  for (const char* bad :
       {"-0.26", "-0.250001", "12.5", "12.500000", "12.6", "13", "-1", "1e5", "-0.3"})
    EXPECT_FALSE(schema(json, bad)) << bad;
  const std::string narrow = R"({"type":"number","minimum":1.25,"maximum":1.5})";
  for (const char* good : {"1.25", "1.3", "1.5", "1.50", "1.4999"})
    EXPECT_TRUE(schema(narrow, good)) << good;
  for (const char* bad : {"1", "1.2", "1.24999", "1.51", "1.500001", "1."})
    EXPECT_FALSE(schema(narrow, bad)) << bad;
  EXPECT_TRUE(schema(R"({"type":"number","exclusiveMinimum":0})", "0.5"));
  EXPECT_FALSE(schema(R"({"type":"number","exclusiveMinimum":0})", "0"));
}

TEST(GrammarSchema, Strings) {
  EXPECT_TRUE(schema(R"({"type":"string","minLength":2,"maxLength":3})", R"("한\u0041x")"));
  EXPECT_FALSE(schema(R"({"type":"string","minLength":2,"maxLength":3})", R"("한")"));
  EXPECT_FALSE(schema(R"({"type":"string","minLength":2,"maxLength":3})", R"("abcd")"));
  EXPECT_TRUE(schema(R"({"type":"string","pattern":"b+"})", R"("abba")"));
  EXPECT_FALSE(schema(R"({"type":"string","pattern":"^b+$"})", R"("abba")"));
  EXPECT_TRUE(schema(R"({"type":"string","pattern":"^[\"\\\\]\\n$"})", R"("\"\n")"));
  EXPECT_TRUE(
      schema(R"({"type":"string","pattern":"^a*$","minLength":2,"maxLength":4})", R"("aaa")"));
  EXPECT_FALSE(
      schema(R"({"type":"string","pattern":"^a*$","minLength":2,"maxLength":4})", R"("aaaaa")"));
  EXPECT_TRUE(schema(R"({"type":"string","format":"date-time"})", R"("2024-02-28T23:59:59Z")"));
  EXPECT_FALSE(schema(R"({"type":"string","format":"date"})", R"("2024-02-30")"));
  EXPECT_TRUE(schema(R"({"type":"string","format":"email"})", R"("a.b@mail.example.org")"));
}

TEST(GrammarSchema, Arrays) {
  const std::string bounded =
      R"({"type":"array","items":{"type":"boolean"},"minItems":1,"maxItems":3})";
  EXPECT_TRUE(schema(bounded, "[true, false,true]"));
  EXPECT_FALSE(schema(bounded, "[]"));
  EXPECT_FALSE(schema(bounded, "[true,true,true,true]"));
  const std::string tuple =
      R"({"prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"minItems":1,"maxItems":4})";
  for (const char* good : {"[1]", "[1,2]", "[1,2,3]", "[1,2,3,3]"})
    EXPECT_TRUE(schema(tuple, good)) << good;
  for (const char* bad : {"[]", "[2]", "[1,3]", "[1,2,3,3,3]"})
    EXPECT_FALSE(schema(tuple, bad)) << bad;
  EXPECT_FALSE(schema(R"({"prefixItems":[{"const":1}],"items":false})", "[1,1]"));
}

TEST(GrammarSchema, Objects) {
  const std::string json =
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"const":1},"c":{"const":2}},"required":["b"]})";
  for (const char* good :
       {R"({"b":1})", R"({"a": 5, "b": 1, "c": 2})", "{\n  \"b\": 1\n}", R"({"b":1,"c":2})"})
    EXPECT_TRUE(schema(json, good)) << good;
  for (const char* bad :
       {"{}", R"({"a":5})", R"({"b":1,})", R"({"b":1,"b":1})", R"({"b":1,"d":1})", R"({,"b":1})"})
    EXPECT_FALSE(schema(json, bad)) << bad;
  const std::string open =
      R"({"properties":{"ab":{"const":1}},"additionalProperties":{"const":2}})";
  for (const char* good :
       {"{}", R"({"ab":1})", R"({"ab":1,"a":2})", R"({"abc":2,"b":2})", R"({"":2})"})
    EXPECT_TRUE(schema(open, good)) << good;
  EXPECT_FALSE(schema(open, R"({"ab":2})"));
  EXPECT_FALSE(schema(open, R"({"ab":1,"ab":2})"));
  const std::string counted =
      R"({"properties":{"a":{"const":1},"b":{"const":1},"c":{"const":1}},"minProperties":1,"maxProperties":2})";
  EXPECT_FALSE(schema(counted, "{}"));
  EXPECT_TRUE(schema(counted, R"({"c":1})"));
  EXPECT_TRUE(schema(counted, R"({"a":1,"c":1})"));
  EXPECT_FALSE(schema(counted, R"({"a":1,"b":1,"c":1})"));
}

TEST(GrammarSchema, ReferencesAndCombinations) {
  const std::string tree =
      R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array",
          "items":{"$ref":"#/$defs/node"}}},"required":["v"]}},"$ref":"#/$defs/node"})";
  EXPECT_TRUE(schema(tree, R"({"v":1,"kids":[{"v":2},{"v":3,"kids":[]}]})"));
  EXPECT_FALSE(schema(tree, R"({"v":1,"kids":[{}]})"));
  const std::string any = R"({"anyOf":[{"type":"integer","maximum":3},{"type":"string"}]})";
  EXPECT_TRUE(schema(any, "2"));
  EXPECT_FALSE(schema(any, "4"));
  const std::string all = R"({"allOf":[{"properties":{"a":{"minimum":2}},"required":["a"]},
      {"type":"object","properties":{"a":{"type":"integer","maximum":3}}}]})";
  EXPECT_TRUE(schema(all, R"({"a":3})"));
  EXPECT_FALSE(schema(all, R"({"a":4})"));
  EXPECT_FALSE(schema(all, "{}"));
  const std::string one =
      R"({"oneOf":[{"type":"object","properties":{"k":{"const":"x"}},"required":["k"]},
      {"type":"object","properties":{"k":{"const":"y"}},"required":["k"]}]})";
  EXPECT_TRUE(schema(one, R"({"k":"y"})"));
  EXPECT_NE(error_of([] {
              schema(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "1");
            }).find("anyOf"),
            std::string::npos);
}

TEST(GrammarSchema, RefusesKeywordsThatItDoesNotCover) {
  for (const char* key : {"not", "if", "contains", "patternProperties", "dependentRequired"}) {
    const std::string message = error_of(
        [&] { grammar_from_json_schema(std::string("{\"type\":\"object\",\"") + key + "\":{}}"); });
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
  EXPECT_THROW(grammar_from_json_schema(R"({"type":"array","uniqueItems":true})"), Error);
  EXPECT_THROW(grammar_from_json_schema(R"({"$ref":"http://example.org/s.json"})"), Error);
  EXPECT_THROW(grammar_from_json_schema(R"({"$ref":"#/$defs/missing"})"), Error);
  EXPECT_THROW(grammar_from_json_schema(R"({"type":"strin"})"), Error);
  EXPECT_THROW(grammar_from_json_schema("[]"), Error);
  EXPECT_THROW(grammar_from_json_schema("{"), Error);
}

// ---- Tokens ----

std::shared_ptr<const TokenTrie> trie_of(std::vector<std::string> tokens) {
  return std::make_shared<const TokenTrie>(tokens);
}

TEST(TokenConstraint, MaskIsWhatTheBytesAllowTokenByToken) {
  // Broken characters, doubles and tokens across the borders of values.
  const std::vector<std::string> tokens = {
      "{",    "}",   "\"", "\":", "\": ", "a",    "{\"a",     "{\"a\":", "1",
      "12",   "12}", "}}", " ",   "",     "\xEA", "\xEA\xB0", "\x80",    "\xB0\x80",
      "1",    ",",   "[",  "]",   "[[",   "]]",   "tr",       "ue",      "true",
      "null", "-",   "0",  ".5",  "e",    "\\",   "u00",      "n\""};
  const auto trie = trie_of(tokens);
  const auto automaton = compile_grammar(grammar_from_json_schema("{}"));
  TokenConstraint constraint(automaton, trie);
  std::mt19937 random(3);
  for (int walk = 0; walk < 200; ++walk) {
    constraint.reset();
    std::string text;
    for (int step = 0; step < 30; ++step) {
      const std::vector<uint64_t> mask(constraint.mask().begin(), constraint.mask().end());
      std::vector<int32_t> allowed;
      for (size_t id = 0; id < tokens.size(); ++id) {
        TokenConstraint fresh(automaton, nullptr);
        ASSERT_TRUE(fresh.accept_bytes(text));
        const bool expected = !tokens[id].empty() && fresh.accept_bytes(tokens[id]);
        ASSERT_EQ((mask[id / 64] >> (id % 64) & 1) != 0, expected) << text << " + " << tokens[id];
        if (expected) allowed.push_back(static_cast<int32_t>(id));
      }
      if (allowed.empty()) break;
      const int32_t id = allowed[random() % allowed.size()];
      ASSERT_TRUE(constraint.accept(id));
      text += tokens[static_cast<size_t>(id)];
    }
    if (constraint.complete()) parse_json(text, "walk");
  }
}

TEST(TokenConstraint, ForgettingChangesNothing) {
  // Deep nesting makes states without end; the answer stays right when old ones are dropped.
  const auto trie = trie_of({"[", "]", "1", ","});
  TokenConstraint constraint(compile_grammar(grammar_from_json_schema("{}")), trie);
  for (int i = 0; i < 70000; ++i) {
    ASSERT_TRUE(constraint.accept(0));
    if (i % 997 == 0) {
      ASSERT_EQ(constraint.mask()[0], 0b0111u);
    }
  }
  for (int i = 0; i < 70000; ++i) ASSERT_TRUE(constraint.accept(1));
  EXPECT_TRUE(constraint.complete());
  EXPECT_FALSE(constraint.can_continue());
}

TEST(TokenConstraint, AVocabularyOfRealSizeIsQuick) {
  std::mt19937 engine(5);
  const auto random = [&] { return static_cast<uint32_t>(engine()); };
  std::vector<std::string> tokens;
  for (int i = 0; i < 256; ++i) tokens.emplace_back(1, static_cast<char>(i));
  while (tokens.size() < 150000) {
    std::string token;
    if (random() % 4 == 0) {
      for (uint32_t n = 1 + random() % 3; n > 0; --n)
        utf8::append(token, 0xAC00 + random() % 11172);
    } else {
      if (random() % 2 == 0) token = " ";
      for (uint32_t n = 2 + random() % 7; n > 0; --n)
        token += static_cast<char>('a' + random() % 26);
      if (random() % 50 == 0) token += "\",";
    }
    tokens.push_back(token);
  }
  TokenConstraint constraint(
      compile_grammar(grammar_from_json_schema(
          R"({"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":
              {"type":"string"}},"age":{"type":"integer"}},"required":["name","tags","age"]})")),
      trie_of(tokens));
  const std::string answer =
      R"({"name": "abc def ghi jkl mno", "tags": ["one", "two", "three", "four"], "age": 41})";
  const std::clock_t start = std::clock();
  int64_t steps = 0;
  for (int round = 0; round < 5; ++round) {
    constraint.reset();
    for (const char c : answer) {
      constraint.mask();
      ASSERT_TRUE(constraint.accept(static_cast<unsigned char>(c)));
      ++steps;
    }
  }
  const double ms = 1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const double per_token = ms / static_cast<double>(steps);
  std::printf("mask: %.3f ms per token over %d states\n", per_token,
              static_cast<int>(constraint.num_states()));
  EXPECT_LT(per_token, 20.0);  // generous: sanitizers, busy machines
  EXPECT_TRUE(constraint.complete());
}

}  // namespace
}  // namespace onnuri
