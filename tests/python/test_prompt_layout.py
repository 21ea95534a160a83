"""Engine.prepare of the families whose eyes end in an abstractor: ids, positions and spans of messages beside
the rows of tokens of tests/golden/abstractor, which hold what the reference makes of the same pictures."""

import itertools
import json
import pathlib
import struct

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "abstractor"
NAMES = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())
FIRST = 0xAC00  # token k is the k-th Hangul syllable


def golden(name):
    data = (GOLDEN / name / "golden.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])

    def integers(key):
        begin, end = header[key]["data_offsets"]
        return np.frombuffer(data[8 + size + begin:8 + size + end], np.int32).reshape(header[key]["shape"])

    rows = [t["shape"][0] for n, t in sorted(header.items()) if n.startswith("features_")]
    return integers("input_ids").tolist(), integers("sizes").tolist(), rows


def equip(name, folder, image_id):
    """A vocabulary in which every id is a word of its own, so that texts say exactly which ids they are."""
    for file in (GOLDEN / name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    marker = "<image>" if name.startswith("kanana") else "<|picture|>"
    vocab = {chr(FIRST + i): i for i in range(160) if i != image_id}
    added = [{"id": image_id, "content": marker, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True}]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None,
        "decoder": None, "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (folder / "chat_template.jinja").write_text(
        "{%- for m in messages -%}{%- for p in m.content -%}{%- if p.type == 'image' -%}" + marker
        + "{%- else -%}{{ p.text }}{%- endif -%}{%- endfor -%}{%- endfor -%}")
    return onnuri.Engine(folder, compute_dtype="float32", num_threads=1, context_size=1024)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_laid_out_as_in_the_reference(name, tmp_path):
    ids, sizes, rows = golden(name)
    image_id = 3 if name.startswith("kanana") else 150
    wanted = [image_id if i == -1 else i for i in ids]
    parts, pictures, spans, at = [], iter(sizes), [], 0
    for token, run in itertools.groupby(wanted):
        count = len(list(run))
        if token == image_id:
            height, width = next(pictures)
            parts.append({"type": "image", "image": np.zeros((height, width, 3), np.uint8)})
            spans.append((at, count))
        else:
            parts.append({"type": "text", "text": chr(FIRST + token) * count})
        at += count
    assert [count for _, count in spans] == rows
    layout = equip(name, tmp_path, image_id).prepare([{"role": "user", "content": parts}])
    assert layout["ids"].tolist() == wanted
    assert layout["positions"].tolist() == [list(range(len(wanted)))]
    assert layout["next_position"] == len(wanted)
    # A picture in tiles is one run of tokens or several that touch.
    found = [(s["first_token"], s["num_tokens"], np.prod(s["grid"])) for s in layout["spans"]]
    assert all(count == cells for _, count, cells in found)
    covered = [t for first, count, _ in found for t in range(first, first + count)]
    assert covered == [t for first, count in spans for t in range(first, first + count)]
