// Chat templates against jinja2's renders (tests/golden/make_template_goldens.py), and templates
// from strangers.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "fusion/chat_template.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

std::string golden(const std::string& name) {
  std::ifstream in(std::string(ONNURI_TEST_DATA) + "/golden/templates/" + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string render(const std::string& source, const JsonValue& variables = JsonValue()) {
  return ChatTemplate::parse(source)->render(variables);
}

ErrorCode code_of(const std::string& source) {
  try {
    render(source);
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.code();
  }
  ADD_FAILURE() << "rendered: " << source.substr(0, 80);
  return ErrorCode::kInternal;
}

TEST(ChatTemplate, RendersAsTheReferenceDoes) {
  const JsonValue all = parse_json(golden("cases.json"), "cases.json");
  const auto& variables = all.at("variables", "cases").as_array("variables");
  for (const JsonValue& one : all.at("templates", "cases").as_array("templates")) {
    const std::string& name = one.at("name", "template").as_string("name");
    const auto made = ChatTemplate::parse(one.at("source", name).as_string("source"));
    const auto& renders = one.at("renders", name).as_array("renders");
    ASSERT_EQ(renders.size(), variables.size());
    for (size_t i = 0; i < renders.size(); ++i) {
      SCOPED_TRACE(name + ", variables " + std::to_string(i));
      if (renders[i].is_null()) {
        EXPECT_THROW(made->render(variables[i]), Error);
      } else {
        EXPECT_EQ(made->render(variables[i]), renders[i].as_string("render"));
      }
    }
  }
}

TEST(ChatTemplate, RendersCornersAsTheReferenceDoes) {
  JsonValue variables;
  variables.set("bos_token", "<s>");
  const JsonValue all = parse_json(golden("corners.json"), "corners.json");
  EXPECT_GT(all.as_array("corners").size(), 300U);
  for (const JsonValue& one : all.as_array("corners")) {
    const auto& pair = one.as_array("corner");
    const std::string& source = pair[0].as_string("source");
    if (pair[1].is_null()) {
      EXPECT_THROW(render(source, variables), Error) << source;
      continue;
    }
    try {
      EXPECT_EQ(render(source, variables), pair[1].as_string("render")) << source;
    } catch (const Error& error) {
      ADD_FAILURE() << source << ": " << error.what();
    }
  }
}

// Templates in the manner of every published family, forty conversations each.
TEST(ChatTemplate, RendersEveryFamilyAsTheReferenceDoes) {
  const JsonValue all = parse_json(golden("families.json"), "families.json");
  const auto& names = all.at("names", "families").as_array("names");
  const auto& variables = all.at("variables", "families").as_array("variables");
  const auto& families = all.at("templates", "families").as_object("templates");
  EXPECT_GE(families.size(), 23U);
  EXPECT_GE(variables.size(), 30U);
  for (const auto& [family, renders] : families) {
    const auto made = ChatTemplate::parse(golden("families/" + family + ".jinja"));
    const auto& wanted = renders.as_array(family);
    ASSERT_EQ(wanted.size(), variables.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      SCOPED_TRACE(family + ", " + names[i].as_string("name"));
      if (wanted[i].is_null()) {
        EXPECT_THROW(made->render(variables[i]), Error);
      } else {
        EXPECT_EQ(made->render(variables[i]), wanted[i].as_string("render"));
      }
    }
  }
}

TEST(ChatTemplate, SyntaxErrorsNameTheLine) {
  for (const char* source : {"a\n{% if %}", "\n{{ 1 + }}", "\n{% for x in %}{% endfor %}",
                             "\n{% endif %}", "\n{{ 'open }}", "\n{{ (1 }}", "x\n{% nonsense %}"}) {
    try {
      ChatTemplate::parse(source);
      ADD_FAILURE() << source;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCorruptData);
      EXPECT_NE(std::string(e.what()).find("line 2"), std::string::npos) << e.what();
    }
  }
}

TEST(ChatTemplate, WhatIsOutsideTheSubsetIsNamed) {
  EXPECT_EQ(code_of("{% include 'x' %}"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of("{% import 'x' as y %}"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of("{{ 1|pprint }}"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of("{{ 1 is prime }}"), ErrorCode::kUnsupported);
}

TEST(ChatTemplate, RaiseExceptionIsTheCallersMistake) {
  try {
    render("\n{{ raise_exception('no system role') }}");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(e.what()).find("no system role"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("line 2"), std::string::npos);
  }
}

TEST(ChatTemplate, BombsEnd) {
  const auto invalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code_of("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
                    "{% endfor %}"),
            invalid);
  EXPECT_EQ(code_of("{{ range(999999999999) }}"), invalid);
  EXPECT_EQ(code_of("{{ 'x' * 99999999999 }}"), invalid);
  EXPECT_EQ(code_of("{{ [0] * 99999999999 }}"), invalid);
  EXPECT_EQ(code_of("{% set ns = namespace(s='x') %}{% for i in range(99) %}"
                    "{% set ns.s = ns.s ~ ns.s %}{% endfor %}"),
            invalid);
  EXPECT_EQ(code_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), invalid);
  EXPECT_EQ(code_of("{{ 9999999999 ** 9999999999 }}"), invalid);
  EXPECT_EQ(code_of("{{ 1 // 0 }}{{ 1 % 0 }}"), invalid);
  EXPECT_EQ(code_of("{{ '%999999999d' % 1 }}"), invalid);
  // What is short in memory can be endless as text, or to compare.
  const std::string twice =
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(40) %}"
      "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
  for (const char* use :
       {"{{ ns.x|tojson }}", "{{ ns.x }}", "{{ ns.x == ns.y }}", "{{ [ns.x, ns.y]|sort }}"})
    EXPECT_EQ(code_of(twice + use), invalid) << use;
  for (const char* growth :
       {"{{ ('a'*99999)|wordwrap(1) }}",
        "{% set c = cycler(1) %}{% for i in range(99999) %}"
        "{% for j in range(99999) %}{{ c.next() }}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m(*varargs, **kwargs) }}{% endmacro %}{{ m() }}",
        "{{ ('a'*100000)|replace('a', 'a'*100000) }}", "{{ ('a'*100000).replace('', 'a'*100000) }}",
        "{{ (['a'*100000]*100000)|join }}", "{{ ''.join(['a'*100000]*100000) }}",
        "{{ ('{0}'*100000).format('a'*100000) }}",
        "{% set s = 'a'*200000 %}{% for i in range(99999) %}{% set t = s|upper %}{% endfor %}",
        "{% set s = 'a'*200000 %}{% for i in range(99999) %}{% set t = s[i] %}{% endfor %}"})
    EXPECT_EQ(code_of(growth), invalid) << growth;
  EXPECT_EQ(code_of("{{ " + std::string(5000, '(') + "1"), ErrorCode::kCorruptData);
  EXPECT_EQ(code_of("{{ " + std::string(5000, '-') + "1 }}"), ErrorCode::kCorruptData);
  std::string deep;
  for (int i = 0; i < 3000; ++i) deep += "{% if 1 %}";
  EXPECT_EQ(code_of(deep), ErrorCode::kCorruptData);
  std::string wide = "{{ 1";
  for (int i = 0; i < 1000000; ++i) wide += "+1";
  EXPECT_EQ(code_of(wide + " }}"), ErrorCode::kCorruptData);
}

TEST(ChatTemplate, ValuesNestOnlySoDeep) {
  const std::string loop = "{% for i in range(99999) %}";
  for (const std::string body :
       {"{% set ns.x = [ns.x] %}", "{% set ns.x = {'k': ns.x} %}", "{% set ns.x = [ns.x.index] %}",
        "{% set new = namespace() %}{% set new.p = ns.x %}{% set ns.x = new %}",
        "{% set ns.x = cycler(ns.x) %}", "{% set ns.x = cycler(ns.x).next %}"}) {
    EXPECT_EQ(code_of("{% set ns = namespace(x=[1]) %}" + loop + body + "{% endfor %}"),
              ErrorCode::kInvalidArgument)
        << body;
  }
  EXPECT_EQ(code_of("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}"),
            ErrorCode::kInvalidArgument);
}

TEST(ChatTemplate, NothingOfPythonShowsThrough) {
  EXPECT_EQ(render("{{ ''.__class__ is defined }}{{ x.__init__ is defined if x }}"), "False");
  EXPECT_EQ(code_of("{{ ''.__class__.__mro__ }}"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of("{{ range.__globals__.os }}"), ErrorCode::kInvalidArgument);
}

// The ways out that other sandboxes had to close: undefined, or refused; and nothing can be
// changed.
TEST(ChatTemplate, ReadsNothingButItsVariables) {
  const JsonValue given = parse_json("{\"messages\":[{\"role\":\"user\"}]}", "given");
  for (const char* name :
       {"messages.__init__", "range.__globals__", "joiner.__init__", "namespace.__init__",
        "dict.__base__", "config", "self", "''.join.__self__", "messages[0].__dict__"})
    EXPECT_EQ(render(std::string("{{ ") + name + " }}", given), "") << name;
  for (const char* name :
       {"''['__class__']", "''|attr('__class__')", "namespace().__class__", "request",
        "strftime_now.__self__", "lipsum", "self", "environ", "open", "__builtins__"})
    EXPECT_EQ(render(std::string("{{ (") + name + ") is defined }}", given), "False") << name;
  EXPECT_EQ(render("{% for x in [1] %}{{ loop.__class__ is defined }}{% endfor %}"), "False");
  EXPECT_EQ(render("{% macro m() %}{% endmacro %}{{ m.__globals__ is defined }}"), "False");
  EXPECT_EQ(render("{{ messages|map(attribute='__class__')|list }}", given), "[Undefined]");
  EXPECT_EQ(render("{{ messages|selectattr('__class__')|list }}", given), "[]");
  for (const char* source :
       {"{{ [].__class__.__base__.__subclasses__() }}", "{{ (''|attr('__class__')).mro() }}",
        "{{ raise_exception.__globals__['os'] }}", "{{ '{0.__class__}'.format(1) }}",
        "{{ '{0[__class__]}'.format({}) }}", "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}", "{{ namespace(__x=1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}", "{{ open('/etc/passwd') }}",
        "{{ messages.append(1) }}", "{{ messages.clear() }}", "{{ messages[0].pop('role') }}",
        "{{ messages[0].update(a=1) }}", "{{ messages[0].setdefault('a', 1) }}"})
    EXPECT_THROW(render(source, given), Error) << source;
}

TEST(ChatTemplate, CanBeUsedFromAnyThreadAndTwice) {
  const auto made = ChatTemplate::parse("{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(x) }}");
  JsonValue v;
  v.set("x", 1);
  EXPECT_EQ(made->render(v), "[1]");
  v.set("x", "둘");
  EXPECT_EQ(made->render(v), "[둘]");
}

TEST(ChatTemplate, RefusesBrokenText) {
  EXPECT_THROW(ChatTemplate::parse("\xFF"), Error);
  JsonValue v;
  v.set("x", std::string("\xC3"));
  EXPECT_THROW(render("{{ x }}", v), Error);
}

}  // namespace
}  // namespace onnuri
