"""Videos with their sound in messages, on the tiny checkpoints of tests/golden/grid."""

import base64
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
HEARD = GOLDEN / "videos" / "heard.mp4"
SILENT = GOLDEN / "videos" / "steady.mp4"
VIDEO, START, END, SOUND, OPEN, CLOSE = 151, 152, 153, 154, 155, 156
TEMPLATE = """
{%- for m in messages -%}{%- for p in m.content -%}
{%- if p.type == 'video' -%}<|start|><|video|><|end|>
{%- elif p.type == 'audio' -%}<|open|><|sound|><|close|>
{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}{%- endfor -%}"""


@pytest.fixture(params=["qwen2_5_omni", "qwen3_omni"])
def folder(request, tmp_path):
    for file in (GOLDEN / "grid" / request.param).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    special = {"<|video|>": VIDEO, "<|start|>": START, "<|end|>": END, "<|sound|>": SOUND,
               "<|open|>": OPEN, "<|close|>": CLOSE}
    write_tokenizer(tmp_path, special, TEMPLATE)
    return tmp_path


@pytest.fixture
def engine(folder):
    return onnuri.Engine(folder, compute_dtype="float32", context_size=4096, num_threads=1)


def write_tokenizer(folder, special, template):
    vocab = {chr(c): c - 33 for c in range(33, 127)} | {"Ġ": 94}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for t, i in special.items()]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (folder / "chat_template.jinja").write_text(template)


def messages(*parts):
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "what?"}]}]


def heard(path=HEARD):
    return {"type": "video", "video": str(path), "use_audio_in_video": True}


def shape(layout):
    """The runs of placeholders between the first bracket and the last, as text."""
    names = {VIDEO: "v", SOUND: "s", START: "(", END: ")", OPEN: "<", CLOSE: ">"}
    out = ""
    for token in layout["ids"].tolist():
        name = names.get(token, "")
        out += name if not out.endswith(name) or name in "()<>" else ""
    return out


def test_the_sound_of_a_file_is_heard(engine, folder):
    layout = engine.prepare(messages(heard()))
    ids = layout["ids"]
    silent = engine.prepare(messages({"type": "video", "video": str(HEARD)}))
    assert shape(silent) == "(v)"
    assert (ids == VIDEO).sum() == (silent["ids"] == VIDEO).sum()
    # Three seconds of sound, four of pictures (4 grids, a second each, at two frames a second).
    per_second = 25 if "2_5" in json.loads((folder / "config.json").read_text())["model_type"] else 13
    assert abs((ids == SOUND).sum() - 3 * per_second) <= 2
    # Stretches of two seconds, or each grid at its second: the last one with the last token of sound, the 39th.
    assert shape(layout) == ("(<vsvs>)" if per_second == 25 else "(<vsvsvsvs>)")
    for kind in ("video", "audio"):
        runs = [s for s in layout["spans"] if s["kind"] == kind]
        cells = 0
        for run in runs:
            assert run["first_cell"] == cells
            cells += run["num_tokens"]
        assert cells == np.prod(runs[0]["grid"])
    spans = sorted(layout["spans"], key=lambda s: s["first_token"])
    assert all(a["first_token"] + a["num_tokens"] == b["first_token"]
               for a, b in zip(spans, spans[1:]))
    positions = layout["positions"]
    first = spans[0]["first_token"]
    opened = positions[:, first - 2:first]
    assert (opened[:, 1] - opened[:, 0] == (0 if per_second == 25 else 1)).all()
    assert layout["next_position"] == positions.max() + 1


def test_a_chat_hears_what_logits_hear(engine):
    sampled = engine.prepare(messages(heard()))["ids"].tolist()
    chat = engine.generate(messages=messages(heard()), max_new_tokens=6, ignore_eos=True)
    assert chat.usage.prompt_tokens == len(sampled)
    assert chat.usage.encoder_passes == 2  # what is seen, and what is heard
    again = engine.generate(messages=messages(heard()), max_new_tokens=6, ignore_eos=True)
    assert again.token_ids == chat.token_ids
    assert again.usage.encoder_passes == 0 and again.usage.encoder_reused == 2
    deaf = engine.generate(messages=messages({"type": "video", "video": str(HEARD)}),
                           max_new_tokens=6, ignore_eos=True)
    assert deaf.usage.prompt_tokens < len(sampled)


def test_decoded_videos_bring_their_sound(engine):
    frames = np.random.default_rng(1).integers(0, 256, (4, 61, 100, 3), dtype=np.uint8)
    sound = np.sin(np.arange(40000) / 9).astype(np.float32) / 4
    video = {"frames": frames, "fps": 2.0, "audio": sound}
    layout = engine.prepare(messages({"type": "video", "video": video}))
    assert (layout["ids"] == SOUND).any()
    ids = layout["ids"].tolist()
    chat = engine.generate(messages=messages({"type": "video", "video": video}), max_new_tokens=4,
                           ignore_eos=True)
    plain = engine.generate(ids, videos=[video], max_new_tokens=4, ignore_eos=True)
    assert chat.token_ids == plain.token_ids
    # Another rate is resampled in messages, and refused where the ids are given.
    slow = dict(video, audio=(sound[::2].copy(), 8000))
    resampled = engine.prepare(messages({"type": "video", "video": slow}))
    assert (resampled["ids"] == SOUND).sum() == (layout["ids"] == SOUND).sum()
    with pytest.raises(onnuri.Error, match="16000 Hz"):
        engine.generate(ids, videos=[slow])


def test_files_without_sound_are_silent(engine):
    layout = engine.prepare(messages(heard(SILENT)))
    assert shape(layout) == "(v)"
    gif = engine.prepare(messages(heard(GOLDEN / "videos" / "steady.gif")))
    assert shape(gif) == "(v)"


def test_all_kinds_in_one_message(engine):
    tone = {"type": "audio", "audio": str(GOLDEN / "sounds" / "tone.mp3")}
    silent = {"type": "video", "video": str(SILENT)}
    mixed = messages(tone, heard(), silent, tone)
    layout = engine.prepare(mixed)
    text = shape(layout)
    assert text.startswith("<s>(<vs") and text.endswith(")(v)<s>")
    alone = (engine.prepare(messages(heard()))["ids"] == SOUND).sum()
    tones = (engine.prepare(messages(tone, tone))["ids"] == SOUND).sum()
    assert (layout["ids"] == SOUND).sum() == alone + tones
    assert len(engine.generate(messages=mixed, max_new_tokens=3, ignore_eos=True).token_ids) == 3


def test_chat_on_the_command_line(folder):
    cli = os.environ.get("ONNURI_CLI")
    if not cli:
        pytest.skip("ONNURI_CLI is not set")

    def prompt_tokens(*more):
        out = subprocess.run([cli, "chat", str(folder), "-p", "hi", "--video", str(HEARD), "--json",
                              "-n", "2", "-c", "4096", *more],
                             capture_output=True, text=True, timeout=120)
        assert out.returncode == 0, out.stderr
        return json.loads(out.stdout)["usage"]["prompt_tokens"]

    assert prompt_tokens("--use-audio-in-video") > prompt_tokens() + 30


def test_batch_rows_bring_sound(folder, tmp_path):
    url = "data:video/mp4;base64," + base64.b64encode(HEARD.read_bytes()).decode()

    def row(name, kind, **more):
        content = [{"type": kind, kind: {"url": url, **more}}, {"type": "text", "text": "hi"}]
        return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions",
                           "body": {"messages": [{"role": "user", "content": content}],
                                    "max_tokens": 2}})

    rows = [row("deaf", "video_url"), row("heard", "video_url", use_audio_in_video=True),
            row("wrong", "image_url", use_audio_in_video=True)]
    (tmp_path / "in.jsonl").write_text("\n".join(rows) + "\n")
    engine = onnuri.Engine(folder, compute_dtype="float32", context_size=4096, num_threads=1)
    onnuri.run_batch(engine, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    out = {}
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        out[json.loads(line)["custom_id"]] = json.loads(line)["response"]
    tokens = {k: out[k]["body"]["usage"]["prompt_tokens"] for k in ("deaf", "heard")}
    assert tokens["heard"] > tokens["deaf"] + 30
    assert out["wrong"]["status_code"] == 400


def test_only_some_families_hear_videos(tmp_path):
    for file in (GOLDEN / "grid" / "qwen2_vl").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    frames = np.zeros((2, 61, 100, 3), np.uint8)
    engine = onnuri.Engine(tmp_path, context_size=512)
    with pytest.raises(onnuri.Error, match="without their sound"):
        engine.generate([1, 2, 3], videos=[{"frames": frames, "audio": np.zeros(16000, np.float32)}])


@pytest.mark.parametrize("writes_it", [False, True])
def test_a_sound_with_placeholders_of_its_own(tmp_path, writes_it):
    for file in (GOLDEN / "omni" / "omni_heard").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    own, video = 156, "<|start|><|video|>" + "<|heard|>" * writes_it + "<|end|>"
    write_tokenizer(tmp_path, {"<|video|>": 151, "<|heard|>": own, "<|start|>": 157, "<|end|>": 158},
                    TEMPLATE.replace("<|start|><|video|><|end|>", video))
    engine = onnuri.Engine(tmp_path, compute_dtype="float32", context_size=2048, num_threads=1)
    twice = engine.prepare(messages(heard(), heard()))
    ids = twice["ids"].tolist()
    assert ids.count(own) == 2 * 3 * 25 // 5  # three seconds, 25 features each, by fives
    for start in (i for i, token in enumerate(ids) if token == 157):
        run = ids[start + 1:ids.index(158, start)]
        assert run == sorted(run) and set(run) == {151, own}  # pictures first
    kinds = [span["kind"] for span in twice["spans"]]
    assert kinds == ["video", "audio"] * 2
    answer = engine.generate(messages=messages(heard(), heard()), max_new_tokens=3, ignore_eos=True)
    assert len(answer.token_ids) == 3
    if not writes_it:
        assert own not in engine.prepare(messages(heard(SILENT)))["ids"]


def test_pictures_and_sounds_have_no_sound_of_their_own(engine):
    with pytest.raises((ValueError, onnuri.Error), match="use_audio_in_video"):
        engine.prepare(messages({"type": "audio", "audio": str(GOLDEN / "sounds" / "tone.mp3"),
                                 "use_audio_in_video": True}))
