"""What templates are compared with: jinja2 as transformers sets it up, and forty conversations.

Used by make_template_goldens.py, compare_templates.py and compare_random_templates.py (jinja2 3.1).
The environment is that of transformers 5 (utils/chat_template_utils.py): sandboxed, trim_blocks,
lstrip_blocks, loop controls, a `generation` tag, its own tojson, dict and namespace.
"""

import datetime
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_keep"), [], [], body).set_lineno(line)

    def _keep(self, caller):
        return caller()


class PlainDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


class PlainNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        members = dict(*args, **kwargs)
        for name in members:
            check_member(name)
        jinja2.utils.Namespace.__init__(self, members)

    def __setitem__(self, name, value):
        check_member(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


def check_member(name):
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(name)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    env.globals["dict"] = PlainDict()
    env.globals["namespace"] = PlainNamespace
    return env


def tool(name, description, properties=None, **more):
    parameters = {"type": "object", "properties": properties, **more} if properties is not None else None
    function = {"name": name, "description": description, **({"parameters": parameters} if parameters else {})}
    return {"type": "function", "function": function}


WEATHER = tool("get_weather", "날씨를 \"알려\" 준다 <b>", {
    "city": {"type": "string", "description": "도시"}, "unit": {"type": "string", "enum": ["c", "f"]},
    "n": {"type": ["integer", "null"], "default": 1.5}}, required=["city"])
TOOLS = [WEATHER]
MORE_TOOLS = [WEATHER, tool("ping", "No parameters."), tool("book", "Nested.\nTwo lines.", {
    "who": {"type": "array", "items": {"type": "string"}, "description": "names"},
    "seat": {"type": "object", "properties": {"row": {"type": "integer"}, "open": {"type": "boolean"}}}})]
SYSTEM = {"role": "system", "content": "You are 온누리.\n  Be kind. "}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, number=1):
    return {"id": f"call0000{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content, name="get_weather", number=1):
    return {"role": "tool", "name": name, "tool_call_id": f"call0000{number}", "content": content}


def text(words):
    return {"type": "text", "text": words}


SEOUL = [call("get_weather", {"city": "서울", "n": 3})]
ODD = [call("get_weather", {"city": "a\"b\\c\n<d>&'", "f": 1e-05, "g": 1e20, "h": 2.0, "b": True, "z": None,
                            "l": [1, "two", []], "o": {"k": {}}})]
BOTH = [call("get_weather", {"city": "서울"}), call("get_weather", {"city": "Busan", "unit": "c"}, 2)]
ON = {"enable_thinking": True, "thinking": True, "force_reasoning": True, "reasoning_effort": "high"}
OFF = {"enable_thinking": False, "thinking": False, "skip_reasoning": True, "reasoning_effort": "low"}
END = {"add_generation_prompt": False}

# Name, messages, tools, further variables.
TALKS = [
    ("one question", [user("Hello")], None, {}),
    ("system", [SYSTEM, user("안녕하세요")], None, {}),
    ("turns", [user("1"), assistant("one"), user("2")], None, {}),
    ("system, turns", [SYSTEM, user("안녕\n\n반가워 😀"), assistant("네!"), user("next?"), assistant("ok"), user("go")], None, {}),
    ("marks", [user("Hello, 'world' \"q\" <b>&amp; {{ x }} {% y %}")], None, {}),
    ("white space", [SYSTEM, user("\n  a \t\n b  \n\n"), assistant("  c\n"), user(" d ")], None, {}),
    ("finished", [user("1"), assistant("one")], None, END),
    ("finished, system", [SYSTEM, user("1"), assistant("one"), user("2"), assistant("two")], None, END),
    ("tools", [user("weather?")], TOOLS, {}),
    ("tools, system", [SYSTEM, user("weather?")], TOOLS, {}),
    ("many tools", [user("weather?")], MORE_TOOLS, {}),
    ("call", [user("weather?"), assistant("", tool_calls=SEOUL)], TOOLS, END),
    ("call, no content", [user("weather?"), assistant(None, tool_calls=SEOUL), result("맑음")], TOOLS, {}),
    ("result", [SYSTEM, user("weather?"), assistant("", tool_calls=SEOUL), result("{\"t\": 21.5}")], TOOLS, {}),
    ("result, answer", [user("weather?"), assistant("", tool_calls=SEOUL), result("21.5"), assistant("21.5도"), user("and now?")], TOOLS, {}),
    ("two calls", [user("both?"), assistant("", tool_calls=BOTH), result("1"), result("2", number=2)], TOOLS, {}),
    ("two rounds", [user("both?"), assistant("", tool_calls=BOTH[:1]), result("1"), assistant("", tool_calls=BOTH[1:]), result("2", number=2)], TOOLS, {}),
    ("word and call", [user("weather?"), assistant("I look.", tool_calls=SEOUL), result("1")], TOOLS, {}),
    ("odd arguments", [user("weather?"), assistant("", tool_calls=ODD), result("[]")], MORE_TOOLS, {}),
    ("arguments as text", [user("weather?"), assistant("", tool_calls=[call("get_weather", "{\"city\": \"서울\"}")]), result("1")], TOOLS, {}),
    ("result without a name", [user("w?"), assistant("", tool_calls=SEOUL), {"role": "tool", "content": "1"}], TOOLS, {}),
    ("reasoning on", [user("Why?")], None, ON),
    ("reasoning off", [user("Why?")], None, OFF),
    ("reasoning on, turns", [SYSTEM, user("1"), assistant("one"), user("2")], None, ON),
    ("reasoning off, turns", [SYSTEM, user("1"), assistant("one"), user("2")], None, OFF),
    ("reasoning on, tools", [user("weather?"), assistant("", tool_calls=SEOUL), result("1")], TOOLS, ON),
    ("reasoning off, tools", [user("weather?"), assistant("", tool_calls=SEOUL), result("1")], TOOLS, OFF),
    ("thought before", [user("1"), assistant("one", reasoning_content="hm\n음"), user("2")], None, {}),
    ("thought within", [user("1"), assistant("<think>\nhm\n</think>\n\none"), user("2")], None, {}),
    ("thought, call", [user("w?"), assistant("", reasoning_content="I need it.", tool_calls=SEOUL), result("1")], TOOLS, {}),
    ("thought at the end", [user("1"), assistant("one", reasoning_content="hm")], None, {**ON, **END}),
    ("picture", [user([{"type": "image"}])], None, {}),
    ("picture, words", [SYSTEM, user([text("what"), {"type": "image"}, text(" is this?")]), assistant("a cat"), user("sure?")], None, {}),
    ("sound, film", [user([{"type": "audio"}, {"type": "video"}, text("say")])], None, {}),
    ("parts of words", [user([text("a"), text("b")]), assistant([text("c")]), user("d")], None, {}),
    ("empty", [user("")], None, {}),
    ("system only", [SYSTEM], None, {}),
    ("two questions", [user("1"), user("2")], None, {}),
    ("answer first", [assistant("hi"), user("1")], None, {}),
    ("developer", [{"role": "developer", "content": "Rules."}, user("1")], None, {}),
]


def conversations():
    """The variables of each conversation."""
    for _, messages, tools, more in TALKS:
        yield {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": True,
               "bos_token": "<s>", "eos_token": "</s>", **more}


def rendered(template, variables):
    """The text, or None where the template refuses."""
    try:
        return template.render(**variables)
    except Exception:
        return None
