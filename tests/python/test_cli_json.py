"""Every command with --json: standard output is JSON and nothing else; a failure leaves it empty,
says one line on standard error and keeps its exit code."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from test_hearing_chat import wav
from test_vision_chat import TEMPLATE, equip, picture, png

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
TEXT = GOLDEN / "text" / "qwen2"
pytestmark = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")


def onnuri(*args):
    return subprocess.run([CLI, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def chat_folder(tmp_path):
    for file in TEXT.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    return tmp_path


def vision_folder(tmp_path):
    return equip("qwen2_5_vl", tmp_path, {"<|image|>": 150, "<|video|>": 151, "<|start|>": 152, "<|end|>": 153}, TEMPLATE)


def command_line(name, tmp_path):
    """A run that works, and the keys of the object that it prints."""
    image, sound, text = tmp_path / "p.png", tmp_path / "s.wav", tmp_path / "t.txt"
    image.write_bytes(png(picture(60, 80, 1)))
    sound.write_bytes(wav(np.zeros(16000, np.float32)))
    text.write_text("one two three four five six seven eight nine ten eleven twelve " * 3)
    (tmp_path / "model").mkdir()
    model = tmp_path / "model"
    if name == "chat":
        return (name, chat_folder(model), "hello", "-n", "3"), {"text", "usage"}
    if name == "complete":
        return (name, TEXT, "hello", "-n", "3"), {"text", "usage"}
    if name == "describe":
        return (name, vision_folder(model), image, "-n", "3"), {"text", "usage"}
    if name == "transcribe":
        return (name, GOLDEN / "speech" / "tiny", sound), {"text"}
    if name == "embed":
        return (name, GOLDEN / "vision" / "clip", image), {"images"}
    if name == "inspect":
        return (name, TEXT), {"family"}
    if name == "plan":
        return (name, TEXT), set()
    if name == "batch":
        (tmp_path / "in.jsonl").write_text(json.dumps({
            "custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}}) + "\n")
        return (name, chat_folder(model), tmp_path / "in.jsonl", tmp_path / "out.jsonl"), set()
    if name == "bench":
        return (name, TEXT, "-p", "16", "-n", "4", "-r", "1"), set()
    if name == "perplexity":
        return (name, TEXT, text, "-c", "32"), {"perplexity"}
    if name == "devices":
        return (name,), {"cpu"}
    if name == "pull":
        return (name, "--list"), set()
    assert name == "quantize"
    return (name, TEXT, tmp_path / "out.gguf", "-t", "q8_0"), {"kept"}


COMMANDS = ["chat", "complete", "describe", "transcribe", "embed", "inspect", "plan", "batch", "bench", "perplexity",
            "devices", "pull", "quantize"]


def test_this_list_is_whole():
    lines = onnuri("--help").stdout.split("Subcommands:\n")[1].splitlines()
    found = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert set(COMMANDS) == {f for f in found if f != "onnuri"}


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_output_is_json(name, tmp_path):
    args, keys = command_line(name, tmp_path)
    done = onnuri(*args, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not keys or keys <= set(found)


@pytest.mark.parametrize("name", [c for c in COMMANDS if c not in ("devices", "pull")])
def test_failures_keep_their_line_and_code(name, tmp_path):
    args, _ = command_line(name, tmp_path)
    done = onnuri(args[0], "/nowhere/model", *args[2:], "--json")
    assert done.returncode == 1 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("onnuri: ") and last.endswith("[not_found]"), done.stderr


def test_a_trace_file_shows_the_answer(tmp_path):
    """--trace writes what Perfetto reads, and leaves standard output alone."""
    line, _ = command_line("complete", tmp_path)
    plain = onnuri(*line, "-q")
    traced = onnuri(*line, "-q", "--trace", tmp_path / "trace.json")
    assert traced.returncode == 0 and traced.stdout == plain.stdout
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"prepare", "tokenise", "prefill", "decode", "detokenise"} <= {e["name"] for e in events}
    assert [p.name for p in tmp_path.glob("*.part")] == []
    missing = onnuri(*line, "--trace", tmp_path / "nowhere" / "trace.json")
    assert missing.returncode != 0 and "nowhere" in missing.stderr
