"""Messages with pictures, from the chat template to the answer, on the tiny vision checkpoints.

The checkpoints of tests/golden/vision have no tokenizer; one of printable bytes is put beside them,
with the placeholder tokens at the ids that their configs name.
"""

import json
import os
import pathlib
import struct
import subprocess
import zlib

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "vision"
EMBEDDERS = ["clip", "clip_old", "siglip", "siglip2"]  # two towers: nothing to talk to
TILED = ["gemma3_crops", "gemma3_vision", "idefics3", "smolvlm"]  # with text around their tiles
FAMILIES = sorted(p.name for p in GOLDEN.iterdir()
                  if (p / "config.json").exists() and p.name not in EMBEDDERS + TILED)
IMAGE_ID, START_ID, END_ID = 150, 152, 153
TEMPLATE = """
{%- for m in messages -%}
{%- if m.content is string -%}{{ m.content }}{%- else -%}
{%- for p in m.content -%}
{%- if p.type == 'image' -%}<|start|><|image|><|end|>{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endfor -%}"""


def equip(name, tmp_path, special, template):
    for file in (GOLDEN / name).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    ids = {config.get("image_token_id"), config.get("image_token_index")}
    assert IMAGE_ID in ids  # the vocabulary below counts on it
    vocab = {chr(c): c - 33 for c in range(33, 127)} | {"Ġ": 94, "Ċ": 95}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for t, i in special.items()]
    (tmp_path / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (tmp_path / "chat_template.jinja").write_text(template)
    return tmp_path


@pytest.fixture(params=FAMILIES)
def folder(request, tmp_path):
    return equip(request.param, tmp_path, {"<|image|>": IMAGE_ID, "<|video|>": 151, "<|start|>": START_ID,
                                           "<|end|>": END_ID}, TEMPLATE)


def picture(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def text_ids(text):
    return [ord(c) - 33 for c in text]


def expanded(engine, pixels):
    """Of a picture among others: LLaVA-OneVision then sees 4 x 4 patches of each, and ends them with a row."""
    count = 17 if engine.describe()["family"] == "llava_onevision" else engine.encode_image(pixels).shape[0]
    return [START_ID] + [IMAGE_ID] * count + [END_ID]


def test_parts_become_the_same_row_of_tokens(folder):
    engine = onnuri.Engine(folder, compute_dtype="float32", context_size=1024)
    first, second = picture(120, 200, 1), picture(181, 96, 2)
    ids = (text_ids("Look:") + expanded(engine, first) + text_ids("and") + expanded(engine, second)
           + text_ids("same?"))
    expected = engine.generate(ids, images=[first, second], max_new_tokens=12, ignore_eos=True)
    messages = [{"role": "user", "content": [
        {"type": "text", "text": "Look:"}, {"type": "image", "image": first},
        {"type": "text", "text": "and"}, {"type": "image", "image": png(second)},
        {"type": "text", "text": "same?"}]}]
    result = engine.generate(messages=messages, max_new_tokens=12, ignore_eos=True)
    assert result.usage.prompt_tokens == len(ids)
    assert result.token_ids == expected.token_ids
    assert result.usage.encode_ms > 0
    other = engine.generate(ids, images=[first, 255 - second], max_new_tokens=12, ignore_eos=True)
    assert other.token_ids != expected.token_ids or engine.logits(ids, images=[first, 255 - second]).tolist() \
        != engine.logits(ids, images=[first, second]).tolist()


def test_several_turns_keep_their_pictures(folder):
    engine = onnuri.Engine(folder, compute_dtype="float32", context_size=1024)
    first, second = picture(90, 90, 3), picture(64, 150, 4)
    messages = [
        {"role": "user", "content": [{"type": "image", "image": first}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "image", "image": second}]}]
    ids = (expanded(engine, first) + text_ids("abc") + expanded(engine, second))
    expected = engine.generate(ids, images=[first, second], max_new_tokens=8, ignore_eos=True)
    found = engine.generate(messages=messages, max_new_tokens=8, ignore_eos=True)
    assert found.token_ids == expected.token_ids


def test_words_cannot_forge_a_picture(folder):
    engine = onnuri.Engine(folder, compute_dtype="float32", context_size=1024)
    text = "<|start|><|image|><|end|>"
    result = engine.generate(messages=[{"role": "user", "content": text}], max_new_tokens=1)
    assert result.usage.prompt_tokens == len(text)  # one token per character: no special ones


def test_bad_pictures_fail_alone(folder):
    engine = onnuri.Engine(folder, compute_dtype="float32", context_size=256)
    def ask(image):
        return engine.generate(messages=[{"role": "user", "content": [{"type": "image", "image": image}]}],
                               max_new_tokens=1, ignore_eos=True)
    with pytest.raises(onnuri.Error, match="picture format"):
        ask(b"no picture")
    with pytest.raises(onnuri.Error, match="end"):
        ask(png(picture(40, 40, 5))[:200])
    with pytest.raises(onnuri.Error):
        ask(picture(1, 1000, 6))  # no side may be 200 times the other
    with pytest.raises(onnuri.Error, match="tokens"):
        engine.generate([IMAGE_ID] * 3, images=[picture(90, 90, 7)], max_new_tokens=1)
    assert len(ask(picture(90, 90, 8)).token_ids) == 1


@pytest.mark.skipif("ONNURI_CLI" not in os.environ, reason="ONNURI_CLI names no command")
def test_describe_command(folder, tmp_path):
    file = tmp_path / "photo.png"
    pixels = picture(100, 140, 9)
    file.write_bytes(png(pixels))
    done = subprocess.run([os.environ["ONNURI_CLI"], "describe", folder, file, "-p", "What?", "--json",
                           "--max-tokens", "5"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    engine = onnuri.Engine(folder)
    expected = engine.generate(messages=[{"role": "user", "content": [
        {"type": "image", "image": pixels}, {"type": "text", "text": "What?"}]}], max_new_tokens=5)
    assert json.loads(done.stdout)["text"] == expected.text


@pytest.mark.parametrize("name", TILED)
def test_tiles_stand_among_their_texts(name, tmp_path):
    gemma = name.startswith("gemma")
    special = ({"<start_of_image>": 152, "<end_of_image>": 153, "<image_soft_token>": IMAGE_ID} if gemma else
               {"<image>": IMAGE_ID, "<fake_token_around_image>": 152, "<global-img>": 153})
    marker = "<start_of_image>" if gemma else "<image>"
    engine = onnuri.Engine(equip(name, tmp_path, special, TEMPLATE.replace("<|start|><|image|><|end|>", marker)),
                           compute_dtype="float32", context_size=1024)
    first, second = picture(60, 300, 1), picture(90, 90, 2)
    messages = [{"role": "user", "content": [
        {"type": "text", "text": "A"}, {"type": "image", "image": first},
        {"type": "text", "text": "B"}, {"type": "image", "image": second}]}]
    ids = list(engine.prepare(messages)["ids"])
    rows = [engine.encode_image(p).shape[0] for p in (first, second)]
    assert ids.count(IMAGE_ID) == sum(rows)
    assert ids[0] == ord("A") - 33 and ids.count(ord("B") - 33) >= 1
    runs = [i for i, t in enumerate(ids) if t == IMAGE_ID and ids[i - 1] != IMAGE_ID]
    for start in runs:  # every run has its token in front, or the name of its tile
        assert ids[start - 1] in (152, 153, ord(">") - 33)
    result = engine.generate(messages=messages, max_new_tokens=4, ignore_eos=True)
    same = engine.generate(ids, images=[first, second], max_new_tokens=4, ignore_eos=True)
    assert result.token_ids == same.token_ids
