"""Goldens of the chat templates: templates, conversations, renders.

    python tests/golden/make_template_goldens.py      (jinja2 3.1)

Writes tests/golden/templates/cases.json: {"variables": [...], "templates": [{"name", "source",
"renders": [text or null where the template refuses]}]}, corners.json: [[source, text or null]], and families.json from the templates in
tests/golden/templates/families: {"variables": [...], "templates": {name: [text or null]}}.
Those are written in the manner of each published family (its turns, its switch for reasoning, its
tools), in our own words; template_reference.py holds the settings and the conversations.
"""

import json
import pathlib

from template_reference import TALKS, conversations, environment, rendered

OUT = pathlib.Path(__file__).parent / "templates"


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "날씨를 \"알려\" 준다 <b>", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "도시"}, "unit": {"type": "string", "enum": ["c", "f"]},
        "n": {"type": ["integer", "null"], "default": 1.5}}, "required": ["city"]}}}]
SYSTEM = {"role": "system", "content": "You are 온누리.\n  Be kind. "}
CALL = [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": {
    "city": "서울", "n": 3, "f": 1e-05, "b": True, "z": None, "l": [1, "two"]}}}]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def variables():
    talks = [
        [user("Hello, 'world' \"q\"  ")],
        [SYSTEM, user("안녕하세요\n\n반가워요 😀"), assistant("네, 안녕하세요!"), user(" next? ")],
        [SYSTEM, user("weather?"), assistant("", tool_calls=CALL),
         {"role": "tool", "name": "get_weather", "content": "{\"t\": 21.5}"}, assistant("21.5")],
        [user("a"), assistant("<think>\nhmm\n</think>\n\nanswer", reasoning_content="why"), user("b")],
        [user([{"type": "text", "text": "what"}, {"type": "image"}, {"type": "text", "text": "?"}])],
        [user("1"), user("2")],
    ]
    for talk in talks:
        for tools in (None, TOOLS):
            yield {"messages": talk, "tools": tools, "add_generation_prompt": tools is None, "bos_token": "<s>",
                   "eos_token": "</s>", "enable_thinking": tools is None}


TEMPLATES = {
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You help.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] | string + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
    "headers": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ (message['content'] | trim if message.content is string else '?') + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("one call only") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
""",
    "bracket_turns": """{%- set ns = namespace(last_query=-1, count=0) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.last_query < 0 and message.role == "user" %}{%- set ns.last_query = index %}{%- endif %}
{%- endfor %}
{#- a comment -#}
{%- macro show(content, tag="text") %}
    {%- if content is string %}{{ content }}
    {%- else %}
        {%- for part in content %}{{ part.text if part.type == 'text' else '<' ~ part.type ~ '>' }}{%- if not loop.last %}|{% endif %}{%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- for message in messages %}
[|{{ message.role }}|]
    {%- if message.role == 'assistant' and '</think>' in message.content %}
        {%- set parts = message.content.split('</think>') %}
        {{- "<think>" if loop.index0 > ns.last_query else "" }}{{ parts[-1].lstrip('\\n') }}
    {%- else %}{{ show(message.content) }}{%- endif %}
    {%- if message.tool_calls %}{%- for call in message.tool_calls %}{%- set ns.count = ns.count + 1 %}
<tool_call>{{ {"name": call.function.name, "arguments": call.function.arguments} | tojson }}</tool_call>
    {%- endfor %}{%- endif %}
[|endofturn|]
{%- endfor %}
{{- "\\n" ~ ns.count ~ " " ~ ns.last_query }}
{%- if add_generation_prompt %}
[|assistant|]
{%- if enable_thinking is defined and enable_thinking is true %}<think>{% else %}<think>

</think>
{% endif %}
{%- endif %}
""",
    "think_turns": """{% for m in messages if m.role != 'system' %}{% if m.reasoning_content is defined and m.reasoning_content %}<|im_start|>assistant/think
{{ m.reasoning_content }}<|im_end|>
{% endif %}
<|im_start|>{{ m.role }}{% if m.name %} -> {{ m.name }}{% endif %}

{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>
{% else %}nobody{% endfor %}
{% if tools %}
  {% for tool in tools %}
  - {{ tool.function.name | upper }}: {{ tool.function.parameters.properties | items | map('first') | join(', ') }}
  {% for name, p in tool.function.parameters.properties.items() | list %}{{ loop.index }}/{{ loop.length }} {{ name }} {{ p.type }} {{ p.get('default', 'none') }} {{ p.enum is defined }}
  {% endfor %}
  {% endfor %}
{% endif %}
""",
    "turns": """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + '

' -%}{%- set rest = messages[1:] -%}{%- else -%}{%- set first = "" -%}{%- set rest = messages -%}{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception("roles must alternate") }}{%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '
' + (first if loop.first else "") }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}{%- for item in message['content'] -%}{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- else -%}{{ raise_exception("bad content") }}{%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model
'}}{%- endif -%}""",
    "channels": """{%- macro type_of(p) -%}
    {%- if p.enum -%}"{{ p.enum|join('" | "') }}"
    {%- elif p.type is iterable and p.type is not string -%}{%- for t in p.type -%}{{ t }}{{ " | " if not loop.last }}{%- endfor -%}
    {%- elif p.type == "array" -%}{{ type_of(p['items']) }}[]
    {%- else -%}{{ p.type }}{%- endif -%}
{%- endmacro -%}
{%- macro tools_block(tools, indent=2) -%}
namespace functions {
{% for tool in tools %}{% set tool = tool.function %}
// {{ tool.description }}
type {{ tool.name }} = (_: {
{%- for name, p in tool.parameters.properties|dictsort %}

{{ ' ' * indent }}{{ name }}{{ "?" if name not in (tool.parameters.required or []) }}: {{ type_of(p) }},{% if p.default is defined %} // default: {{ p.default }}{% endif %}
{%- endfor %}

}) => any;
{% endfor %}
}
{%- endmacro -%}
<|start|>system<|message|>{{ (tools is not none) ~ '|' ~ enable_thinking }}{% if tools %}{{ tools_block(tools) | indent(1) }}{% endif %}<|end|>
{%- set ns = namespace(name=none) -%}
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {%- for call in message.tool_calls or [] -%}{%- set ns.name = call.function.name -%}
<|start|>assistant to=functions.{{ ns.name }}<|channel|>commentary json<|message|>{{ call.function.arguments|tojson }}<|call|>
    {%- endfor -%}
    {%- if message.content %}<|start|>assistant<|channel|>final<|message|>{{ message.content }}<|end|>{% endif -%}
  {%- elif message.role == 'tool' -%}
    {%- if ns.name is none %}{{ raise_exception("no call before") }}{% endif -%}
<|start|>functions.{{ ns.name }} to=assistant<|message|>{{ message.content|tojson }}<|end|>
  {%- else -%}
<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>
  {%- endif -%}
{%- endfor -%}
{% if add_generation_prompt %}<|start|>assistant{% endif %}""",
    "white_space": """  {% if true %}
  a
  {%- if false %}x{% endif -%}
  b
  {%+ if true %} c {% endif +%}
d {# gone #}
    {# a line of its own #}
e{% raw %}
 {{ not this }} {% nor this %}
{% endraw %}
f
	{% set x %}
  block {{ 1 }}
{% endset %}
[{{ x }}]{{- ' g ' -}}   h
  {% endif %}
{% for i in range(3) -%}
  {{ i }}
{% endfor %}

""",
    "values": """{{ [1, 2.0, 1e20, 1e-7, 0.1, true, none, 'it\\'s', "q\\"", "한\\n\\t", (1,), (), {'a': [1]}] }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 + 2 * 3 - 4 }} {{ 'ab' * 3 }} {{ 1 ~ 'x' ~ none ~ true ~ 2.50 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'abc' }} {{ 'z' not in ['z'] }} {{ not 1 }} {{ 1 and 0 or 'x' }} {{ 3 if false }} {{ 'abc'[1] }} {{ '안녕하세요'[1:3] }} {{ '안녕'[::-1] }} {{ [1, 2, 3, 4][-2:] }} {{ [1, 2, 3, 4][::2] }} {{ 'x'.y is defined }}
{{ '  pad '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b c '.split() }}|{{ 'a b c d'.split(' ', 2) }}|{{ 'a b c d'.rsplit(None, 1) }}|{{ 'abc'.startswith(('x', 'ab')) }}|{{ 'abc'.endswith('c') }}|{{ 'hello wOrld'.title() }}|{{ 'hELLO'.capitalize() }}|{{ '{} {1} {x}'.format('p', 'q', x=3) if false else '{}-{}'.format(1, 'q') }}|{{ 'a-b'.replace('-', '+') }}|{{ ','.join(['x', 'y']) }}|{{ 'banana'.count('an') }}|{{ 'banana'.find('z') }}|{{ 'a=b=c'.partition('=') }}|{{ 'l1\\nl2'.splitlines() }}
{{ [3, 1, 2]|sort }} {{ ['b', 'A']|sort }} {{ [1, 1, 2]|unique|list }} {{ [1, 2, 3]|sum }} {{ [1, 5, 2]|max }} {{ 'abc'|first }} {{ [1, 2]|last }} {{ 'abc'|reverse }} {{ [1, 2, 3]|reverse|list }} {{ 3.567|round(2) }} {{ 2.5|round }} {{ '12'|int + 1 }} {{ 'x'|int(7) }} {{ '1.5'|float }} {{ -3|abs }} {{ x|default('d') }} {{ ''|default('e', true) }} {{ 'one two'|title }} {{ 'a\\nb\\n\\nc'|indent(2) }} {{ '<a>'|e }} {{ '%s=%d %.2f' % ('k', 3, 1.5) }} {{ 'hi %s'|format('you') }} {{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ {'b': 1, 'a': 2}|dictsort }} {{ 'abc'|length }} {{ '한글'|length }} {{ [[1, 2], [3]]|map('length')|list }} {{ ['a', 'b']|map('upper')|join('-') }}
{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='role')|list }} {{ messages|rejectattr('role', '==', 'user')|list|length }} {{ [0, 1, 2]|select|list }} {{ [1, 2, 3]|reject('odd')|list }} {{ [1, 2, 3, 4]|select('divisibleby', 2)|list }}
{{ 1 is number }} {{ 1.0 is float }} {{ true is integer }} {{ 'x' is sequence }} {{ {} is mapping }} {{ none is none }} {{ y is undefined }} {{ 4 is even }} {{ 'a' is lower }} {{ 'A' is upper }} {{ 1 is in [1] }} {{ false is false }} {{ 5 is eq 5 }} {{ 5 is ne 5 }}
{{ {'k': 'v', 'n': [1, {'m': 1.0}], 'u': 'é\\u2028"\\\\'}|tojson }} {{ {'k': [], 'o': {}}|tojson(indent=2) }} {{ {'b': 1, 'a': '한'}|tojson(ensure_ascii=true, sort_keys=true) }} {{ {'a': 1}|tojson(separators=(',', ':')) }}""",
    "control": """{% macro wrap(tag, cls='c') %}<{{ tag }} {{ cls }}>{{ caller() if caller else '' }}</{{ tag }}>{% endmacro %}
{% call wrap('p', cls='d') %}inside {{ messages|length }}{% endcall %}
{{ wrap('q') }}
{% filter upper %}shout {{ 'x' }}{% endfilter %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}:{{ b }} {{ loop.previtem }} {{ loop.nextitem }} {{ loop.cycle('odd', 'even') }} {{ loop.revindex }}{% if loop.changed(a > 2) %}!{% endif %};{% endfor %}

{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}

{% for n in [{'v': 1, 'kids': [{'v': 2, 'kids': []}]}] recursive %}{{ n.v }}({{ loop(n.kids) }}@{{ loop.depth }}){% endfor %}

{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = i + 10 %}{{ x }}{% endfor %}{{ x }}
{% with y = 5, z = x %}{{ y + z }}{% endwith %}{{ y is defined }}
{% set a, b = 1, 'two' %}{{ a }}{{ b }}
{% set ns = namespace(found=false, items=[]) %}{% for m in messages %}{% set ns.items = ns.items + [m.role] %}{% endfor %}{{ ns.items }}
{% if messages|length > 3 %}many{% elif messages|length > 1 %}some{% else %}one{% endif %}""",
    "refusals": """{% if messages|length == 1 %}{{ missing.attribute }}{% elif messages|length == 2 %}{{ 'a' + 1 }}{% elif messages|length == 3 %}{{ messages.append(1) }}{% elif messages|length == 4 %}{{ nothing() }}{% else %}{{ 1 // 0 }}{% endif %}""",
}


# Corners of the language: number literals, int and float, macros and their special names, unpacking,
# cycler and joiner, named blocks, autoescape. Rendered with bos_token = "<s>".
CORNERS = [
    '{{ 1e400 }}',
    '{{ -1e400 }}',
    '{{ 1e400|int }}',
    '{{ "0x1f"|int(0,16) }}',
    '{{ "1f"|int(0,16) }}',
    '{{ "0b11"|int(0,2) }}',
    '{{ "0x1f"|int(0,0) }}',
    '{{ "0o17"|int(7,8) }}',
    '{{ "17"|int(7,0) }}',
    '{{ "017"|int(7,0) }}',
    '{{ "1_000"|int }}',
    '{{ "zz"|int(5,36) }}',
    '{{ "zz"|int(5,37) }}',
    '{{ "zz"|int(5,1) }}',
    '{{ 5.9|int(0,16) }}',
    '{{ "5.9"|int }}',
    '{{ "5.9"|int(0,16) }}',
    '{{ " 12 "|int }}',
    '{{ "-0x1F"|int(0,16) }}',
    '{{ "1e3"|int }}',
    '{{ "inf"|int }}',
    '{{ "nan"|int(4) }}',
    '{{ none|int(4) }}',
    '{{ true|int }}',
    '{{ x|int(4) }}',
    '{{ "0b11"|int(0,16) }}',
    '{{ "+1f"|int(0,16) }}',
    '{{ "+-1f"|int(0,16) }}',
    '{{ "_1"|int(9) }}',
    '{{ "1_"|int(9) }}',
    '{{ "0x"|int(9,16) }}',
    '{{ "0x_1f"|int(9,16) }}',
    '{{ "0_1f"|int(9,16) }}',
    '{{ "12"|int(9,3) }}',
    '{{ "1.5"|int(9,"x") }}',
    '{{ 12|int(9,"x") }}',
    '{{ "1_0.5"|int }}',
    '{{ "-0"|int(9,0) }}',
    '{{ "00"|int(9,0) }}',
    '{{ "0"|int(9,base=0) }}',
    '{{ ""|int(9,0) }}',
    '{{ "inf"|float }}',
    '{{ "1_0"|float }}',
    '{{ "0x10"|float(3) }}',
    '{{ "+5"|float }}',
    '{{ "infinity"|float }}',
    '{{ "-nan"|float }}',
    '{{ 0x1F }}',
    '{{ 0b101 }}',
    '{{ 0o17 }}',
    '{{ 0X1f }}',
    '{{ 0x }}',
    '{{ 017 }}',
    '{{ 0_1 }}',
    '{{ 00 }}',
    '{{ 1__0 }}',
    '{{ 1_ }}',
    '{{ 0x_1f }}',
    '{{ 0x1_f }}',
    '{{ 12abc }}',
    '{{ 1.e3 }}',
    '{{ 1_0.5 }}',
    '{{ 1e1_0 }}',
    '{{ 0b12 }}',
    '{{ 1_a }}',
    '{{ 0xg }}',
    '{{ 0O7 }}',
    '{{ 0B1 }}',
    '{{ 08 }}',
    '{{ 0.5 }}',
    '{{ 00.5 }}',
    '{{ 01.5 }}',
    '{{ 0e5 }}',
    '{{ 1e5 }}',
    '{{ [1,2][0x1] }}',
    '{{ 1E-3 }}',
    '{{ 1e+400 }}',
    '{{ 0x7fffffffffffffff }}',
    '{% macro m(a) %}{{ a }}|{{ varargs }}|{{ kwargs }}{% endmacro %}{{ m(1,2,3,x=4) }}',
    '{% macro m(a) %}{{ a }}|{{ varargs }}{% endmacro %}{{ m(1,2,3,x=4) }}',
    '{% macro m(a) %}{{ a }}|{{ varargs }}{% endmacro %}{{ m(1,2,3) }}{{ m(1) }}{{ m() }}',
    '{% macro m(a) %}{{ a }}|{{ kwargs }}{% endmacro %}{{ m(1,2,x=4) }}',
    '{% macro m(a) %}{{ a }}|{{ kwargs }}{% endmacro %}{{ m(1,x=4) }}{{ m(1) }}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,x=4) }}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,a=4) }}',
    '{% macro m(a) %}{{ kwargs }}{% endmacro %}{{ m(1,a=4) }}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{% call m(1) %}x{% endcall %}',
    '{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{{ m(1) }}',
    '{% macro m(a) %}{{ a }}{{ kwargs.keys()|list }}{% endmacro %}{% call m(1) %}x{% endcall %}',
    '{% macro m(a) %}{{ a }}{{ caller }}{% endmacro %}{{ m(1, caller=3) }}',
    '{% macro m(a, caller=9) %}{{ a }}{{ caller }}{% endmacro %}{{ m(1) }}',
    '{% macro m(a, caller) %}{{ a }}{{ caller }}{% endmacro %}{{ m(1) }}',
    '{% macro m(varargs) %}{{ varargs }}{% endmacro %}{{ m(1) }}',
    '{% macro m(varargs) %}{{ varargs }}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(kwargs) %}{{ kwargs }}{% endmacro %}{{ m(1,b=2) }}',
    '{% macro m(a) %}{% for i in [1] %}{{ varargs }}{% endfor %}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a) %}{% set varargs = 3 %}{{ varargs }}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a) %}{% macro n() %}{{ varargs }}{% endmacro %}{{ n(5) }}{% endmacro %}{{ m(1) }}',
    '{% macro m(a) %}{% macro n() %}{{ varargs }}{% endmacro %}{{ n(5) }}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a) %}{{ m.name }}{{ m.arguments }}{{ m.catch_varargs }}{{ m.catch_kwargs }}{{ m.caller }}{% endmacro %}{{ m(1) }}',
    '{% macro m(a, b=2) %}{% endmacro %}{{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{m.caller}} {{ m.defaults }}',
    '{% macro m(a, a) %}{{ a }}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a=1, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}',
    '{% macro m() %}x{% endmacro %}{{ m(*[1]) }}',
    '{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(*[1,2]) }}',
    '{% macro m(a) %}{{ a }}{{ kwargs }}{% endmacro %}{{ m(**{"a":1,"b":2}) }}',
    '{% call(x) m(1) %}{{ x }}{% endcall %}',
    '{% macro m() %}{{ caller(1,2) }}{% endmacro %}{% call(x) m() %}{{ x }}{{ varargs }}{% endcall %}',
    '{% macro m() %}{{ caller(1,2) }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}',
    '{% set c = cycler("a","b","c") %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}{{c.items}}{{c.pos}}',
    '{% set c = cycler("a","b") %}{{ c.current }}{{ c.foo }}{{ c is callable }}{{ c is iterable }}{{ c.next is callable }}',
    '{% set c = cycler() %}',
    '{% set c = cycler("x") %}{% for i in c %}{{ i }}{% break %}{% endfor %}',
    '{{ joiner(1)() }}{% set j=joiner(sep=5) %}{{ j() }}{{ j() }}',
    '{{ joiner(1,2) }}',
    '{{ cycler(1,x=2) }}',
    '{{ "abc"|wordwrap(0) }}',
    '{{ "abc"|wordwrap(-1) }}',
    '{{ 5|wordwrap }}',
    '{{ "a b"|wordwrap("x") }}',
    '{{ x|wordwrap }}',
    '{{ ("word "*40)|wordwrap }}',
    '{% block a %}x{% endblock %}',
    '{% block a scoped %}x{{ y }}{% endblock a %}',
    '{% for i in [1,2] %}{% block a scoped %}{{ i }}{% endblock %}{% endfor %}',
    '{% for i in [1,2] %}{% block a %}{{ i }}{% endblock %}{% endfor %}',
    '{% set q=1 %}{% block a %}{{ q }}{% endblock %}',
    '{% block a %}{% set q=1 %}{% endblock %}{{ q }}',
    '{% block a %}{{ super() }}{% endblock %}',
    '{% block a %}1{% endblock %}{% block a %}2{% endblock %}',
    '{% macro m() %}{% block a %}x{% endblock %}{% endmacro %}{{ m() }}',
    '{% set q=1 %}{% if true %}{% block a %}{{ q }}{% endblock %}{% endif %}',
    '{% with q=1 %}{% block a %}{{ q }}{% endblock %}{% endwith %}',
    '{% with q=1 %}{% block a scoped %}{{ q }}{% endblock %}{% endwith %}',
    '{% block a %}{{ bos_token }}{% set q = 1 %}{{ q }}{% endblock %}',
    '{% block a %}{% block b %}{{ bos_token }}{% endblock %}{% endblock %}',
    '{% macro m() %}M{% endmacro %}{% block a %}{{ m() }}{% endblock %}',
    '{% block a-b %}{% endblock %}',
    '{% block a %}x{% endblock b %}',
    '{% for x in [1] %}{% set q=1 %}{% block a scoped %}{{ q }}{{ loop.index }}{% endblock %}{% endfor %}',
    '{% if false %}{% set q=1 %}{% endif %}{% block a %}{{ q is defined }}{% endblock %}',
    '{% block a %}{{ q }}{% endblock %}{% set q=1 %}',
    '{% set q=1 %}{% block a %}{% set q=2 %}{{ q }}{% endblock %}{{ q }}',
    '{% autoescape true %}{{ "<a>" }}{% endautoescape %}',
    '{% autoescape false %}{{ "<a>" }}{% endautoescape %}',
    '{% autoescape true %}{{ "<a>"|safe }}{{ "<b>" ~ "c" }}{{ ["<"] }}{{ 5 }}{% set x = "<" %}{% endautoescape %}{{ x }}',
    '{% autoescape true %}{% macro m() %}<i>{{ "<" }}{% endmacro %}{{ m() }}{% endautoescape %}{{ m() }}',
    '{% autoescape true %}{% set x %}<i>{{ "<" }}{% endset %}{{ x }}{% endautoescape %}',
    '{% autoescape true %}{{ "<a>"|upper }}{{ "<a>"|tojson }}{{ ["<", "a"]|join("&") }}{% endautoescape %}',
    '{% set q=1 %}{% autoescape false %}{% set q=2 %}{% endautoescape %}{{ q }}',
    '{% autoescape none %}{{ "<a>" }}{% endautoescape %}',
    '{% autoescape false %}{{ bos_token|e }}{{ bos_token|e ~ "<" }}{% endautoescape %}',
    '{% macro m() %}<{{ bos_token }}>{% endmacro %}{% autoescape true %}{{ m() }}{% endautoescape %}',
    '{% autoescape true %}{{ bos_token }}{{ bos_token ~ "<" }}{{ bos_token + "<" }}{{ "a<%s"|format("<") }}{{ bos_token|replace("<","&") }}{{ [bos_token, "<x>"|safe]|join("<") }}{{ x }}{{ none }}{{ bos_token|string }}{{ bos_token|trim }}{{ bos_token|length }}{% endautoescape %}',
    '{% set j = joiner() %}{{ j() }}a{{ j() }}b{% set k = joiner("|") %}{{ k() }}{{ k() }}{{ k() }}',
    '{{ 1e-400 }}{{ -1e-400 }}{{ 0.000e400 }}{{ 0.0000001e400 }}{{ 1_0.0_1e0_1 }}{{ 123456789e-600 }}',
    '{{ "1e400"|float }}{{ "-1e-400"|float }}{{ "1e400"|int(3) }}',
    '{{ [1,2].0 }}',
    '{{ [[1,2]].0.1 }}',
    '{{ (1e400)|float|int }}',
    '{% set ns = namespace(x=1e400) %}{{ ns.x|int }}',
    '{{ [1e400]|tojson }}',
]

WRAPPED = [
    'hello world foo bar',
    'hello world\nfoo bar bazzzzzzzzzzzzzzzz',
    'hello-world foo',
    'aaaaaaaaaaaa bb',
    'a b c d e f g',
    'hello-world foo--bar',
    '  lead and   many   spaces ',
    '한국어 문장을 나눕니다 길게',
    'x\n\ny',
    '',
    'one-two-three-four-five',
    'well--known---dash a—b',
    "it's (a) [test]-case, e.g. foo-bar.",
    'tab\there and\x0bthere',
    'no-1-2-3 a-1 1-a -opt --long-opt',
    'supercalifragilistic-expialidocious',
    'end \n trailing  \n',
    'http://a-b.c/d-e-f?g=h-i',
    'a\xa0b c\u2003d',
    'a-b-c-d-e ab-c-de x-yz-w',
    '-- a--b --c d-- ---',
    '1st-2nd ab1-cd2 a_b-c_d',
    '가-나-다라-마바 사아-자차',
]
WRAPS = ["9", "8,break_on_hyphens=false", "5,false", '3, wrapstring="<br>"', '12,false,"|",false', "1", "4,true,none,true",
         "79", "6"]


def corners(env):
    sources = CORNERS + [f"{{{{ {text!r}|wordwrap({how}) }}}}" for text in WRAPPED for how in WRAPS]
    for source in sources:
        try:
            yield [source, env.from_string(source).render(bos_token="<s>")]
        except Exception:  # whatever jinja2 and Python raise
            yield [source, None]


def write(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", newline="")


def main():
    env = environment()
    given = list(variables())
    out = {"variables": given, "templates": []}
    for name, source in TEMPLATES.items():
        template = env.from_string(source)
        out["templates"].append(
            {"name": name, "source": source, "renders": [rendered(template, v) for v in given]})
    write("cases.json", out)
    write("corners.json", list(corners(env)))

    given = list(conversations())
    families = {}
    for path in sorted((OUT / "families").glob("*.jinja")):
        template = env.from_string(path.read_text())
        families[path.stem] = [rendered(template, v) for v in given]
    write("families.json", {"names": [talk[0] for talk in TALKS], "variables": given, "templates": families})


if __name__ == "__main__":
    main()
