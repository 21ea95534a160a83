"""Goldens of the chat templates: templates, conversations, renders.

    python tests/golden/make_template_goldens.py      (jinja2 3.1)

Writes tests/golden/templates/cases.json: {"variables": [...], "templates": [{"name", "source",
"renders": [text or null where the template refuses]}]}, and families.json from the templates in
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

    given = list(conversations())
    families = {}
    for path in sorted((OUT / "families").glob("*.jinja")):
        template = env.from_string(path.read_text())
        families[path.stem] = [rendered(template, v) for v in given]
    write("families.json", {"names": [talk[0] for talk in TALKS], "variables": given, "templates": families})


if __name__ == "__main__":
    main()
