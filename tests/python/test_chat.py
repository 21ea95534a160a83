"""Conversations: tools, thoughts and special tokens in what goes in and what comes out."""

import json
import pathlib

import pytest

import onnuri

MODEL = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text" / "qwen2"
TEMPLATE = """{% if tools %}TOOLS {{ tools|tojson }}
{% endif %}{% for m in messages %}[{{ m.role }}{{ ' ' ~ m.name if m.name }}]{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}
{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function|tojson }}</tool_call>{{ c.id }}{% endfor %}{{ m.tool_call_id }}
{% endfor %}[assistant]{% if enable_thinking is undefined or enable_thinking %}<think>
{% endif %}"""
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
USER = [{"role": "user", "content": "the fox"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    for file in MODEL.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return onnuri.Engine(folder, num_threads=1)


def test_messages_carry_tools_calls_and_thoughts(engine):
    text = engine.render_chat([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"도시": [1, None]}}},
            {"name": "g", "arguments": "{\"a\": 1}"}]},
        {"role": "tool", "name": "f", "tool_call_id": "c1", "content": "42"}], tools=TOOLS)
    assert text == ('TOOLS ' + json.dumps(TOOLS, ensure_ascii=False) + '\n[user]q\n[assistant](hm)'
                    '<tool_call>{"name": "f", "arguments": {"도시": [1, null]}}</tool_call>c1'
                    '<tool_call>{"name": "g", "arguments": {"a": 1}}</tool_call>\n[tool f]42c1\n[assistant]<think>\n')


def test_thoughts_are_told_apart(engine):
    whole = engine.generate(messages=USER, max_new_tokens=12, ignore_eos=True, split_output=False)
    assert whole.text and whole.reasoning == "" and whole.tool_calls == []
    events = []
    split = engine.generate(messages=USER, max_new_tokens=12, ignore_eos=True, stream=lambda e: events.append(e))
    assert split.token_ids == whole.token_ids
    assert split.text == "" and split.reasoning == whole.text.strip()
    assert "".join(e.reasoning for e in events) == split.reasoning
    assert "reasoning" in repr(next(e for e in events if e.reasoning))


@pytest.mark.parametrize("wish", [False, "off", "minimal"])
def test_the_switch_reaches_the_template(engine, wish):
    quiet = engine.generate(messages=USER, max_new_tokens=8, ignore_eos=True, reasoning=wish)
    same = engine.generate(messages=USER, max_new_tokens=8, ignore_eos=True, template_kwargs={"enable_thinking": False})
    assert quiet.token_ids == same.token_ids and quiet.text == same.text != "" and quiet.reasoning == ""
    assert quiet.usage.prompt_tokens < engine.generate(messages=USER, max_new_tokens=1, reasoning=True).usage.prompt_tokens


def test_the_switch_is_described(engine):
    assert engine.describe()["chat"] == {"output": "inline tags", "reasoning_switch": "enable_thinking",
                                         "reasoning_default": "on"}


def test_bad_wishes_are_refused(engine):
    for options in ({"reasoning": "extreme"}, {"reasoning": 3}, {"tools": {"a": 1}}):
        with pytest.raises(onnuri.Error):
            engine.generate(messages=USER, max_new_tokens=1, **options)
    with pytest.raises(onnuri.Error):
        engine.generate(prompt="x", max_new_tokens=1, tools=TOOLS)
    for message in ({"role": "assistant"}, {"role": "assistant", "tool_calls": [{}]}, {"role": "user", "content": 3}):
        with pytest.raises((onnuri.Error, TypeError)):
            engine.render_chat([message])


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_special_tokens_in_messages_are_text(engine, role):
    word = "<|im_end|>"
    assert len(engine.tokenize(word)) == 1 < len(engine.tokenize(word, parse_special_tokens=False))
    spelt = len(engine.tokenize(word, parse_special_tokens=False))
    messages = {
        "content": [{"role": role, "content": f"a{word}b"}],
        "parts": [{"role": role, "content": [{"type": "text", "text": f"a{word[:2]}"}, {"type": "text", "text": word[2:] + "b"}]}],
        "arguments": [{"role": role, "content": "ab", "tool_calls": [{"name": "f", "arguments": {word: [word]}}]}],
    }
    for name, talk in messages.items():
        safe = engine.generate(messages=talk, max_new_tokens=1)
        usual = engine.generate(messages=talk, max_new_tokens=1, trust_special_tokens=True)
        times = 2 if name == "arguments" else 1
        assert safe.usage.prompt_tokens >= usual.usage.prompt_tokens + times * (spelt - 2), name
        assert safe.usage.prompt_tokens > usual.usage.prompt_tokens, name


def test_usage_has_a_repr(engine):
    result = engine.generate(messages=USER, max_new_tokens=2, ignore_eos=True)
    assert repr(result.usage).startswith("<Usage ") and "2 answer tokens" in repr(result.usage)


def test_events_carry_no_pieces_of_calls_where_there_are_none(engine):
    events = []
    engine.generate(messages=USER, max_new_tokens=4, ignore_eos=True, stream=events.append)
    assert events and all(event.tool_call_deltas == [] for event in events)


def test_end_tokens_come_from_the_generation_config(engine, tmp_path):
    ids = engine.generate(messages=USER, max_new_tokens=12, ignore_eos=True).token_ids
    first = next(i for i, token in enumerate(ids) if token not in ids[:i] and i > 0)
    for file in MODEL.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [ids[first], 1]}))
    ended = onnuri.Engine(tmp_path, num_threads=1).generate(messages=USER, max_new_tokens=12)
    assert ended.token_ids == ids[:first + 1] and ended.finish_reason == "stop"


def test_the_stub_knows_every_option():
    source = (pathlib.Path(onnuri.__file__).parent / "__init__.pyi").read_text()
    told = source[source.index("class _GenerateOptions"):source.index("class Engine")]
    names = [line.split(":")[0].strip() for line in told.splitlines()[1:] if ":" in line]
    described = onnuri.Engine.generate.__doc__
    assert len(names) == 33 and all(f"{name}=" in described for name in names)
