"""Messages with videos and the layout of their prompts, on the tiny checkpoints of tests/golden/grid.
"""

import pathlib

import numpy as np
import pytest

import onnuri
from test_vision_chat import text_ids

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
FAMILIES = ["exaone4_5", "qwen2_vl", "qwen3_vl"]
VIDEO_ID, START_ID, END_ID = 151, 152, 153
TEMPLATE = """
{%- for m in messages -%}
{%- for p in m.content -%}
{%- if p.type == 'video' -%}<|start|><|video|><|end|>{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}
{%- endfor -%}"""


@pytest.fixture(params=FAMILIES)
def engine(request, tmp_path):
    import json
    for file in (GOLDEN / "grid" / request.param).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    vocab = {chr(c): c - 33 for c in range(33, 127)} | {"Ġ": 94}
    special = {"<|video|>": VIDEO_ID, "<|start|>": START_ID, "<|end|>": END_ID}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for t, i in special.items()]
    (tmp_path / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    engine = onnuri.Engine(tmp_path, compute_dtype="float32", context_size=4096, num_threads=1)
    engine.family = request.param
    return engine


def messages(video):
    return [{"role": "user", "content": [{"type": "video", "video": video},
                                         {"type": "text", "text": "what?"}]}]


def test_frames_become_runs_of_tokens(engine):
    frames = np.random.default_rng(1).integers(0, 256, (5, 61, 100, 3), dtype=np.uint8)
    layout = engine.prepare(messages({"frames": frames, "fps": 2.0}))
    ids = layout["ids"].tolist()
    runs = 3 if engine.family == "qwen3_vl" else 1
    assert len(layout["spans"]) == runs
    for span in layout["spans"]:
        t, h, w = span["grid"]
        assert t * runs == 3 and t * h * w == span["num_tokens"]
        first = span["first_token"]
        assert ids[first - 1] == START_ID and ids[first + t * h * w] == END_ID
        assert set(ids[first:first + t * h * w]) == {VIDEO_ID}
    assert ids[-5:] == text_ids("what?")
    if runs == 3:  # the pairs of frames at 0 and 0.5, 1 and 1.5, 2 and 2 seconds
        assert ids[:13] == text_ids("<0.2") + [94] + text_ids("seconds>")
    axes = 1 if engine.family == "exaone4_5" else 3
    assert layout["positions"].shape == (axes, len(ids))
    assert layout["next_position"] == layout["positions"].max() + 1
    chat = engine.generate(messages=messages({"frames": frames, "fps": 2.0}), max_new_tokens=4,
                           ignore_eos=True)
    plain = engine.generate(ids, videos=[{"frames": frames, "fps": 2.0}], max_new_tokens=4,
                            ignore_eos=True)
    assert chat.token_ids == plain.token_ids


def test_a_file_is_sampled_as_the_family_does(engine):
    path = str(GOLDEN / "videos" / "steady.mp4")  # 4 seconds: 8 frames, 4 grids
    layout = engine.prepare(messages(path))
    assert sum(span["grid"][0] for span in layout["spans"]) == 4
    with pytest.raises(onnuri.Error):
        engine.prepare(messages(str(GOLDEN / "sounds" / "tone.mp3")))
