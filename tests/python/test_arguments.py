"""Arguments that make no sense: the error says which one, and nothing is cut or wrapped."""

import pathlib

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
HALF = "a\ud800b"


@pytest.fixture(scope="module")
def engine():
    return onnuri.Engine(GOLDEN / "text" / "qwen2", num_threads=1)


def refused(part, call, *args, **kwargs):
    with pytest.raises(onnuri.Error, match=part) as caught:
        call(*args, **kwargs)
    assert caught.value.code == "invalid_argument"
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    str(caught.value).encode()


@pytest.mark.parametrize("name, message", [
    ("role", {"role": HALF, "content": "x"}),
    ("content", {"role": "user", "content": HALF}),
    ("text", {"role": "user", "content": [{"type": "text", "text": HALF}]}),
    ("type", {"role": "user", "content": [{"type": HALF, "text": "x"}]}),
    ("name", {"role": "user", "content": "x", "name": HALF}),
    ("reasoning_content", {"role": "assistant", "content": "x", "reasoning_content": HALF}),
    ("arguments", {"role": "assistant", "tool_calls": [{"name": "f", "arguments": HALF}]}),
    ("arguments", {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": HALF}}]}),
])
def test_half_pairs_in_messages(engine, name, message):
    refused(f"Unicode text for {name}", engine.render_chat, [message])
    refused(f"Unicode text for {name}", engine.generate, messages=[message])


def test_half_pairs_in_texts(engine):
    refused("Unicode text for text", engine.tokenize, HALF)
    refused("text for text, found 5", engine.tokenize, 5)
    refused("Unicode text for template", onnuri.render_chat_template, HALF)
    refused("Unicode text for variables", onnuri.render_chat_template, "x", a=HALF)


@pytest.mark.parametrize("options", [{"stop": HALF}, {"stop": ["x", HALF]}, {"regex": HALF},
                                     {"choice": [HALF]}, {"json_schema": {"const": HALF}},
                                     {"template_kwargs": {"a": HALF}}, {"tools": [{"name": HALF}]},
                                     {"reasoning": HALF}, {"sampling": HALF}])
def test_half_pairs_in_options(engine, options):
    (name,) = options
    refused(f"Unicode text for {name}", engine.generate, messages=[{"role": "user", "content": "x"}],
            **options)


@pytest.mark.parametrize("part, messages", [
    ("content, found 5", [{"role": "user", "content": 5}]),
    ("content, found", [{"role": "user", "content": {"type": "text"}}]),
    ("part", [{"role": "user", "content": [5]}]),
    ("key \"text\"", [{"role": "user", "content": [{"type": "text"}]}]),
    ("text for text, found 5", [{"role": "user", "content": [{"type": "text", "text": 5}]}]),
    ("role", [{"role": 5, "content": "x"}]),
    ("tool_calls", [{"role": "assistant", "tool_calls": 5}]),
    ("messages, found 5", 5),
    ("messages, found 'hello'", "hello"),
    ("messages, found", {"role": "user", "content": "x" * 1000}),
])
def test_messages_of_wrong_types(engine, part, messages):
    refused(part, engine.render_chat, messages)
    refused(part, engine.generate, messages=messages)


@pytest.mark.parametrize("options", [
    {"stop": 5}, {"stop": [5]}, {"choice": 5}, {"ignore_eos": "x"}, {"split_output": "x"},
    {"trust_special_tokens": "x"}, {"reasoning": 5}, {"sampling": 5}, {"logit_bias": 5},
    {"logit_bias": [5]}, {"seed": -1}, {"top_k": "x"}, {"images": 5}, {"audios": 5}, {"videos": 5},
    {"max_new_tokens": 2**63}, {"temperature": None}])
def test_options_of_wrong_types(engine, options):
    (name,) = options
    refused(name, engine.generate, [5], **options)


def test_tokenizers_take_text_or_bytes(engine):
    tokenizer = onnuri.Tokenizer(GOLDEN / "tokenizer" / "gpt2.json")
    for wrong in (5, None, ["x"], 0.5):
        with pytest.raises(TypeError, match="for text"):
            tokenizer.encode(wrong)
        with pytest.raises(TypeError, match="for text"):
            tokenizer.encode_batch([wrong])
    for wrong in (5, None, "text"):
        refused("texts", tokenizer.encode_batch, wrong)
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode(HALF)
    assert tokenizer.encode(bytearray(b"the \xff")) == tokenizer.encode(b"the \xff")
    assert tokenizer.encode_batch(iter(["the", b"cat"])) == [
        tokenizer.encode("the"), tokenizer.encode("cat")]


def test_paths_are_taken_whole(engine, tmp_path):
    checkpoint = str(GOLDEN / "text" / "qwen2")
    for call in (onnuri.Engine, onnuri.inspect, onnuri.Tokenizer):
        refused("NUL", call, checkpoint + "\0.gguf")
        refused("NUL", call, (checkpoint + "\0").encode())
        for wrong in (5, None, 0.5):
            with pytest.raises(TypeError, match="os.PathLike"):
                call(wrong)
        with pytest.raises(UnicodeEncodeError):
            call(HALF)
    for url in ("x.png\0", "file:///x.png\0"):
        refused("NUL", engine.generate, messages=[{"role": "user", "content": [
            {"type": "image", "image": url}]}])
    # Names need not be Unicode: Python spells them with escapes.
    place = tmp_path / "\udcff"
    place.symlink_to(checkpoint)
    assert onnuri.inspect(place)["family"] == onnuri.inspect(bytes(place))["family"] == "qwen2"


def test_the_encoder_cache_has_no_negative_size():
    refused("encoder_cache_bytes.*-1", onnuri.Engine, GOLDEN / "text" / "qwen2",
            encoder_cache_bytes=-1)
    onnuri.Engine(GOLDEN / "text" / "qwen2", encoder_cache_bytes=0)


@pytest.mark.parametrize("id", [2**63, 2**64 - 1, 2**31, 2**32 + 5])
def test_large_ids_are_shown_as_they_are(engine, id):
    for ids in (np.array([5, id], np.uint64), [id]):
        for call in (engine.logits, engine.nll, engine.detokenize, engine.generate):
            refused(rf"found {id}$", call, ids)
    np.testing.assert_array_equal(engine.logits(np.array([5, 6], np.uint8)), engine.logits([5, 6]))
