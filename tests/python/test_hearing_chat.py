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


def copy_checkpoint(family, folder, chat_template=TEMPLATE):
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / family / name).read_bytes())
    special = {"<|audio|>": AUDIO_ID, "<|start|>": START_ID, "<|end|>": END_ID}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for t, i in special.items()]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {c: 3 + i for i, c in enumerate(LETTERS)}, "merges": []}}))
    if chat_template:
        (folder / "chat_template.jinja").write_text(chat_template)
    return folder


def load(folder):
    return onnuri.Engine(str(folder), compute_dtype="float32", num_threads=1)


@pytest.fixture(params=FAMILIES)
def engine(request, tmp_path):
    return load(copy_checkpoint(request.param, tmp_path))


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


def test_template_of_a_checkpoint_that_has_none(tmp_path):
    engine = load(copy_checkpoint("qwen2_audio", tmp_path, chat_template=None))
    talk = [{"role": "user", "content": [{"type": "audio", "audio": sound(0.2, 1)},
                                         {"type": "text", "text": "What is it?"}]},
            {"role": "assistant", "content": "Noise."},
            {"role": "user", "content": [{"type": "audio", "audio": sound(0.3, 1)}]}]
    assert engine.render_chat(talk) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nWhat is it?<|im_end|>\n"
        "<|im_start|>assistant\nNoise.<|im_end|>\n"
        "<|im_start|>user\nAudio 2: <|audio_bos|><|AUDIO|><|audio_eos|>\n<|im_end|>\n"
        "<|im_start|>assistant\n")


@pytest.mark.parametrize("family, whole", [("qwen2_5_omni", "qwen2_5_omni"), ("qwen3_omni", "qwen3_omni_moe")])
def test_thinker_inside_a_whole_checkpoint(family, whole, tmp_path):
    """As the hub holds them: nested configs, every name below "thinker.", a talker beside it."""
    apart, inside = tmp_path / "apart", tmp_path / "inside"
    for folder in (apart, inside):
        folder.mkdir()
        copy_checkpoint(family, folder)
    config = json.loads((inside / "config.json").read_text())
    (inside / "config.json").write_text(json.dumps({
        "architectures": ["Omni"], "model_type": whole, "thinker_config": config, "talker_config": {}}))
    data = (inside / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = {("thinker." + k if k != "__metadata__" else k): v for k, v in json.loads(data[8:8 + size]).items()}
    body = data[8 + size:] + bytes(8)
    header["talker.codec_head.weight"] = {"dtype": "F32", "shape": [2, 1],
                                          "data_offsets": [len(body) - 8, len(body)]}
    text = json.dumps(header).encode()
    (inside / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    noise = sound(1.1, 4)
    first, second = load(apart), load(inside)
    count = len(first.encode_audio(noise))
    ids = [5, START_ID] + [AUDIO_ID] * count + [END_ID, 9]
    assert np.array_equal(first.logits(ids, audios=[noise]), second.logits(ids, audios=[noise]))
