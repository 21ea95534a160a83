"""Messages with sound, from the chat template to the answer, on the tiny checkpoints that hear.

The checkpoints of tests/golden/hearing have no tokenizer; one of few letters is put beside them, with
the placeholder tokens at the ids that their configs name.
"""

import base64
import io
import json
import pathlib
import wave

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "hearing"
FAMILIES = ["qwen2_audio", "qwen2_5_omni", "qwen3_omni"]
AUDIO_ID, START_ID, END_ID = 60, 61, 62
TEMPLATE = """
{%- for m in messages -%}
{%- if m.content is string -%}{{ m.content }}{%- else -%}
{%- for p in m.content -%}
{%- if p.type == 'audio' -%}<|start|><|audio|><|end|>{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endfor -%}"""
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW?"


@pytest.fixture(params=FAMILIES)
def engine(request, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((GOLDEN / request.param / name).read_bytes())
    special = {"<|audio|>": AUDIO_ID, "<|start|>": START_ID, "<|end|>": END_ID}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for t, i in special.items()]
    (tmp_path / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {c: 3 + i for i, c in enumerate(LETTERS)}, "merges": []}}))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    return onnuri.Engine(str(tmp_path), compute_dtype="float32", num_threads=1)


def sound(seconds, seed):
    rng = np.random.default_rng(seed)
    return (rng.integers(-8000, 8000, int(seconds * 16000)) / 32768).astype(np.float32)


def wav(samples):
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(16000)
        w.writeframes((samples * 32768).astype("<i2").tobytes())
    return out.getvalue()


def test_sounds_in_any_form_and_order(engine, tmp_path):
    first, second = sound(1.3, 1), sound(0.7, 2)
    path = tmp_path / "first.wav"
    path.write_bytes(wav(first))
    url = "data:audio/wav;base64," + base64.b64encode(wav(second)).decode()
    messages = [{"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "audio", "audio": str(path)},
        {"type": "audio_url", "audio_url": {"url": url}}, {"type": "text", "text": "b?"}]}]
    found = engine.generate(messages=messages, max_new_tokens=8, ignore_eos=True)
    arrays = [{"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "audio", "audio": first},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(second)).decode()}},
        {"type": "text", "text": "b?"}]}]
    assert engine.generate(messages=arrays, max_new_tokens=8, ignore_eos=True).token_ids == found.token_ids

    counts = [len(engine.encode_audio(x)) for x in (first, second)]
    ids = engine.tokenize("a")
    for count in counts:
        ids += [START_ID] + [AUDIO_ID] * count + [END_ID]
    ids += engine.tokenize("b?")
    direct = engine.generate(input_ids=ids, audios=[first, second], max_new_tokens=8, ignore_eos=True)
    assert direct.token_ids == found.token_ids
    assert found.usage.prompt_tokens == len(ids)


def test_bad_sound_is_an_error_and_the_engine_goes_on(engine, tmp_path):
    def ask(content):
        return engine.generate(messages=[{"role": "user", "content": [{"type": "audio", "audio": content},
                                                                      {"type": "text", "text": "c"}]}],
                               max_new_tokens=4, ignore_eos=True).token_ids

    good = sound(0.5, 3)
    expected = ask(good)
    broken = good.copy()
    broken[100] = np.nan
    for bad in (b"RIFF", wav(good)[:44], b"\0" * 500, str(tmp_path / "none.wav"), broken,
                np.zeros(0, np.float32)):
        with pytest.raises(onnuri.Error):
            ask(bad)
    with pytest.raises(onnuri.Error):
        engine.generate(messages=[{"role": "user", "content": [{"type": "image",
                                                                "image": np.zeros((8, 8, 3), np.uint8)}]}])
    assert ask(good) == expected
