"""Tiny checkpoints that can read messages, and conversations for them: what compare_processors.py holds beside the
reference processors and what tests/python/test_processor_goldens.py repeats without them.

The checkpoints of tests/golden have no tokenizer. One of single characters is put beside them, with the family's own
marker tokens at the ids of its config, and a template that writes the family's own text for a picture, video or sound.
"""

import json
import pathlib
import shutil
import typing

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent
VIDEO_RATES = [1.0, 2.0, 3.0, 4.0]
STEADY = {"clip": [40, 48, 64], "rate": 10, "file": "videos/steady.mp4"}  # every frame of a file, of which the family takes some


class Checkpoint(typing.NamedTuple):
    folder: str  # under tests/golden
    markers: dict  # token: id
    marks: dict  # kind of part: its text in the template
    chooses: bool = True  # the processor has a rule by which it takes frames of a video


QWEN = {"<|image_pad|>": 150, "<|video_pad|>": 151, "<|vision_start|>": 152, "<|vision_end|>": 153}
QWEN_MARKS = {"image": "<|vision_start|><|image_pad|><|vision_end|>", "video": "<|vision_start|><|video_pad|><|vision_end|>"}
PADDLE = {"<|IMAGE_PLACEHOLDER|>": 150, "<|IMAGE_START|>": 152, "<|IMAGE_END|>": 153}
GEMMA = {"<image_soft_token>": 150, "<start_of_image>": 152, "<end_of_image>": 153}
TILES = {"<image>": 150, "<fake_token_around_image>": 152, "<global-img>": 153}
OMNI = {"<|IMAGE|>": 150, "<|VIDEO|>": 151, "<|vision_bos|>": 152, "<|vision_eos|>": 153, "<|AUDIO|>": 154, "<|audio_bos|>": 155,
        "<|audio_eos|>": 156}
SOUND = "<|audio_bos|><|AUDIO|><|audio_eos|>"
OMNI_MARKS = {"audio": SOUND, "image": "<|vision_bos|><|IMAGE|><|vision_eos|>", "video": "<|vision_bos|><|VIDEO|><|vision_eos|>"}
LLAVA = ({"<image>": 150}, {"image": "<image>"})
CHECKPOINTS = {
    "qwen2_vl": Checkpoint("grid/qwen2_vl", QWEN, QWEN_MARKS),
    "qwen2_5_vl": Checkpoint("vision/qwen2_5_vl", QWEN, QWEN_MARKS),
    "qwen3_vl": Checkpoint("grid/qwen3_vl", QWEN, QWEN_MARKS),
    "qwen3_vl_moe": Checkpoint("grid/qwen3_vl_moe", QWEN, QWEN_MARKS),
    "exaone4_5": Checkpoint("grid/exaone4_5", QWEN, QWEN_MARKS),
    "hyperclovax_vision": Checkpoint("vision/hyperclovax_vision", QWEN, QWEN_MARKS),
    "paddleocr_vl": Checkpoint("vision/paddleocr_vl", PADDLE, {"image": "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"}),
    "gemma3": Checkpoint("vision/gemma3_vision", GEMMA, {"image": "<start_of_image>"}),
    "gemma3_crops": Checkpoint("vision/gemma3_crops", GEMMA, {"image": "<start_of_image>"}),
    "llava": Checkpoint("vision/llava", *LLAVA),
    "llava_next": Checkpoint("vision/llava_next", *LLAVA),
    "llava_onevision": Checkpoint("vision/llava_onevision", {"<image>": 150, "<video>": 151},
                                  {"image": "<image>", "video": "<video>"}, False),
    "idefics3": Checkpoint("vision/idefics3", TILES, {"image": "<image>"}),
    "smolvlm": Checkpoint("vision/smolvlm", TILES, {"image": "<image>"}),
    "qwen2_audio": Checkpoint("hearing/qwen2_audio", {"<|AUDIO|>": 60, "<|audio_bos|>": 61, "<|audio_eos|>": 62}, {"audio": SOUND}),
    "qwen2_5_omni": Checkpoint("grid/qwen2_5_omni", OMNI, OMNI_MARKS),
    "qwen3_omni": Checkpoint("grid/qwen3_omni", OMNI, OMNI_MARKS),
}


def characters(size, markers):
    """Printable ones if there is room for them; letters and marks in the smallest vocabularies."""
    printable = [chr(c) for c in range(33, 127)]
    kept = printable if size > 120 else [c for c in printable if c.islower() or c in ".?"]
    found = {c: i for i, c in enumerate([*kept, "Ġ", "Ċ"], start=0 if size > 120 else 3)}
    taken = set(found.values()) | set(markers.values())
    return found | {f"<unused {i}>": i for i in range(size) if i not in taken}


def equip(family, folder):
    """The checkpoint with a tokenizer and a template in `folder`; returns its config."""
    checkpoint = CHECKPOINTS[family]
    for file in (ROOT / checkpoint.folder).iterdir():
        shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text())
    size = config["text_config"]["vocab_size"] if "text_config" in config else config["vocab_size"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for t, i in checkpoint.markers.items()]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": characters(size, checkpoint.markers) | checkpoint.markers, "merges": []}}))
    cases = "".join("{%- elif p.type == '" + kind + "' -%}" + mark for kind, mark in checkpoint.marks.items())
    (folder / "chat_template.jinja").write_text(
        "{%- for m in messages -%}{%- for p in m.content -%}{%- if p.type == 'text' -%}{{ p.text }}" + cases
        + "{%- endif -%}{%- endfor -%}{%- endfor -%}")
    return config


def draw_media(rnd, kind, fps, window, clip):
    """The shape of one picture (height, width), video (frames, height, width) or sound (samples)."""
    if kind == "audio":
        near = 160 * rnd.randint(2, 300)  # at and beside the edge of a frame
        return {"audio": min(window, rnd.choice([400, 401, near - 1, near, near + 1, rnd.randint(480, 32000),
                                                 rnd.randint(32000, 192000), window - 1, window]))}
    if kind == "video" and clip:
        return clip(rnd)
    height, width = rnd.choice([(rnd.randint(20, 300), rnd.randint(20, 300)), (rnd.randint(8, 40), rnd.randint(150, 400)), (64, 64)])
    return {"video": [rnd.randint(1, 9), height, width], "fps": fps} if kind == "video" else {"image": [height, width]}


def draw_conversation(rnd, family, window, clip):
    """One to four media in any order with words between some of them, as JSON. Videos are sampled frames, or all of them
    files that `clip` draws."""
    kinds = list(CHECKPOINTS[family].marks)
    parts, fps = [], rnd.choice(VIDEO_RATES)
    clip = clip if rnd.random() < 0.4 and CHECKPOINTS[family].chooses else None
    for _ in range(rnd.randint(1, 4)):
        if rnd.random() < 0.7:
            parts.append({"text": "".join(rnd.choice("abc .") for _ in range(rnd.randint(1, 6)))})
        parts.append(draw_media(rnd, rnd.choice(kinds), fps, window, clip))
    return parts + [{"text": "what?"}]


def parts_of(recipe):
    """The parts of a message; what is seen and heard does not matter to ids and positions."""
    out = []
    for part in recipe:
        if "audio" in part:
            out.append({"type": "audio", "audio": np.zeros(part["audio"], np.float32)})
        elif "image" in part:
            out.append({"type": "image", "image": np.zeros((*part["image"], 3), np.uint8)})
        elif "clip" in part:
            out.append({"type": "video", "video": str(ROOT / part["file"])})
        elif "video" in part:
            out.append({"type": "video", "video": {"frames": np.zeros((*part["video"], 3), np.uint8), "fps": part["fps"]}})
        else:
            out.append({"type": "text", "text": part["text"]})
    return out


def load(folder):
    import onnuri

    return onnuri.Engine(str(folder), compute_dtype="float32", context_size=4096, num_threads=1)


def prepared(engine, recipe):
    layout = engine.prepare([{"role": "user", "content": parts_of(recipe)}])
    return [int(i) for i in layout["ids"]], np.asarray(layout["positions"])


def runs(values):
    """Equal neighbours counted: [[value, count], ...]."""
    out = []
    for value in values:
        if out and out[-1][0] == value:
            out[-1][1] += 1
        else:
            out.append([value, 1])
    return out


def spread(counted):
    return [value for value, count in counted for _ in range(count)]


def packed_positions(positions):
    """Per axis, runs of the steps from one position to the next, the first one from 0; fractions as they are."""
    whole = np.asarray(positions).astype(np.int64)
    return [runs(np.diff(steps, prepend=0).tolist()) if np.array_equal(axis, steps) else {"fractions": runs(axis.tolist())}
            for axis, steps in zip(np.asarray(positions), whole)]


def unpacked_positions(axes):
    return np.array([spread(axis["fractions"]) if isinstance(axis, dict) else np.cumsum(spread(axis)) for axis in axes])
