"""Messages with media that a model takes twice, as words and as rows, from the chat template on.

The checkpoint of tests/golden/omni has no tokenizer; one of few letters is put beside it, with the
placeholder tokens at the ids that its config names.
"""

import json
import pathlib

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "omni" / "omni_codes"
SPECIAL = {"<|IMAGE|>": 150, "<|AUDIO|>": 152, "<|IMAGE_CODE|>": 153, "<|AUDIO_CODE|>": 154,
           "<|vision_eol|>": 155, "<|vision_eof|>": 156, "<|vision_ratio_1:1|>": 157,
           "<|vision_ratio_2:1|>": 158}
TEMPLATE = """
{%- for m in messages -%}
{%- if m.content is string -%}{{ m.content }}{%- else -%}
{%- for p in m.content -%}
{%- if p.type == 'audio' -%}a<|AUDIO_CODE|>b<|AUDIO|>c
{%- elif p.type == 'image' -%}d<|IMAGE_CODE|>e<|IMAGE|>f
{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endfor -%}"""
LETTERS = "abcdefghijklmnopqrstuvwxyz?"
SIDE = 6  # codes of a picture


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    return tmp_path


def load(folder, special=SPECIAL):
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for t, i in special.items()]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {c: 3 + i for i, c in enumerate(LETTERS)}, "merges": []}}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return onnuri.Engine(str(folder), compute_dtype="float32", num_threads=1)


def picture(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sound(samples):
    rng = np.random.default_rng(samples)
    return (rng.integers(-8000, 8000, samples) / 32768).astype(np.float32)


def letters(text):
    return [3 + LETTERS.index(c) for c in text]


def conversation(parts):
    out = []
    for part in parts:
        if isinstance(part, str):
            out.append({"type": "text", "text": part})
        elif part.ndim == 3:
            out.append({"type": "image", "image": part})
        else:
            out.append({"type": "audio", "audio": part})
    return [{"role": "user", "content": out}]


def codes_of_picture(shape):
    rows = ([SPECIAL["<|IMAGE_CODE|>"]] * SIDE + [SPECIAL["<|vision_eol|>"]]) * SIDE
    return [SPECIAL[f"<|vision_ratio_{shape}|>"]] + rows + [SPECIAL["<|vision_eof|>"]]


def expected_ids(engine, square, wide, heard):
    """Of two pictures with a sound between them."""
    rows = [engine.encode_image(p).shape[0] for p in (square, wide)]
    codes = -(-(len(heard) // 160) // 4)
    return (letters("d") + codes_of_picture("1:1") + letters("e") + [150] * rows[0] + letters("fxa")
            + [154] * codes + letters("b") + [152] * engine.encode_audio(heard).shape[0]
            + letters("cd") + codes_of_picture("2:1") + letters("e") + [150] * rows[1]
            + letters("f?"))


def test_both_blocks_of_every_medium(folder):
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    settings["discrete_image_ratios"] = [[1, 1], [2, 1]]
    file.write_text(json.dumps(settings))
    engine = load(folder)
    square, wide, heard = picture(64, 70), picture(40, 90), sound(24000)
    messages = conversation([square, "x", heard, wide, "?"])
    ids = expected_ids(engine, square, wide, heard)
    assert list(engine.prepare(messages)["ids"]) == ids
    found = engine.generate(messages=messages, max_new_tokens=8, ignore_eos=True)
    again = engine.generate(input_ids=ids, images=[square, wide], audios=[heard], max_new_tokens=8,
                            ignore_eos=True)
    assert found.token_ids == again.token_ids


def test_tokens_that_the_tokenizer_lacks_are_left_out(folder):
    special = {t: i for t, i in SPECIAL.items() if "vision" not in t}
    engine = load(folder, special)
    shown = picture(64, 70)
    ids = list(engine.prepare(conversation([shown]))["ids"])
    assert ids[1 : 1 + SIDE * SIDE + 1] == [153] * (SIDE * SIDE) + letters("e")


def test_every_picture_has_its_placeholder(folder):
    load(folder)
    file = folder / "chat_template.jinja"
    file.write_text(TEMPLATE.replace("d<|IMAGE_CODE|>", "{% if loop.first %}<|IMAGE_CODE|>{% endif %}"))
    engine = onnuri.Engine(str(folder), compute_dtype="float32", num_threads=1)
    shown = picture(64, 70)
    engine.prepare(conversation([shown]))
    with pytest.raises(Exception, match="one placeholder for codes per picture"):
        engine.prepare(conversation([shown, shown]))
