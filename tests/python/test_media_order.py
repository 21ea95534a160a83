"""Pictures, sounds and videos of one command line become the parts of one message in the order in which
they were written, whatever their kinds; on a tiny thinker that sees and hears."""

import json
import os
import pathlib
import subprocess

import pytest

import onnuri
from test_hearing_chat import sound, wav
from test_vision_chat import picture, png

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
SPECIAL = {"<|image|>": 150, "<|video|>": 151, "<|vision|>": 152, "<|seen|>": 153, "<|audio|>": 154, "<|sound|>": 155,
           "<|heard|>": 156}
TEMPLATE = """
{%- for m in messages -%}{%- for p in m.content -%}
{%- if p.type == 'image' -%}I<|vision|><|image|><|seen|>
{%- elif p.type == 'video' -%}V<|vision|><|video|><|seen|>
{%- elif p.type == 'audio' -%}A<|sound|><|audio|><|heard|>
{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}{%- endfor -%}"""
KINDS = {"i": "image", "j": "image", "a": "audio", "b": "audio", "v": "video"}
ORDERS = ["iavj", "ajbi", "vaij", "jvi", "ba"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("omni")
    for file in (GOLDEN / "grid" / "qwen3_omni").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    vocab = {chr(c): c - 33 for c in range(33, 127)} | {"Ġ": 94, "Ċ": 95}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for t, i in SPECIAL.items()]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    found = {k: str(folder / k) for k in KINDS}
    pathlib.Path(found["i"]).write_bytes(png(picture(60, 90, 1)))
    pathlib.Path(found["j"]).write_bytes(png(picture(90, 60, 2)))
    pathlib.Path(found["a"]).write_bytes(wav(sound(1.0, 3)))
    pathlib.Path(found["b"]).write_bytes(wav(sound(0.6, 4)))
    pathlib.Path(found["v"]).write_bytes((GOLDEN / "videos" / "steady.mp4").read_bytes())
    return found


def expected(model, files, order):
    parts = [{"type": KINDS[k], KINDS[k]: files[k]} for k in order] + [{"type": "text", "text": "what?"}]
    engine = onnuri.Engine(model, compute_dtype="float32", num_threads=1)
    text = engine.prepare([{"role": "user", "content": parts}])["text"]
    assert [c for c in text if c in "IAV"] == [KINDS[k][0].upper() for k in order]
    return engine.generate(messages=[{"role": "user", "content": parts}], max_new_tokens=4, logprobs=1)


def run(command, model, *args):
    done = subprocess.run([CLI, command, str(model), *args, "--json", "-n", "4", "--logprobs", "1", "--compute",
                           "float32", "-t", "1", "-q"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flags(files, order):
    return [word for k in order for word in ("--" + KINDS[k], files[k])]



@pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_the_command_line_is_kept(model, files, order):
    wanted = expected(model, files, order)
    logprobs = [(s.chosen.token_id, s.chosen.logprob) for s in wanted.logprobs]
    chat = run("chat", model, *flags(files, order), "-p", "what?")
    assert [(s["token_id"], s["logprob"]) for s in chat["logprobs"]] == [(t, pytest.approx(p, abs=1e-5)) for t, p in logprobs]
    assert chat["usage"]["prompt_tokens"] == wanted.usage.prompt_tokens
    described = run("describe", model, *flags(files, order), "-p", "what?")
    assert described["logprobs"] == chat["logprobs"]
    turned = run("chat", model, *flags(files, order[::-1]), "what?")  # MESSAGE after a file is no file
    assert turned["logprobs"] != chat["logprobs"]


@pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
def test_unnamed_pictures_keep_their_place(model, files):
    named = run("describe", model, *flags(files, "iaj"), "-p", "what?")
    mixed = run("describe", model, files["i"], "--audio", files["a"], "--image", files["j"], "-p", "what?")
    assert mixed["logprobs"] == named["logprobs"]


@pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
def test_wrong_command_lines(model, files):
    for args in [("describe", model), ("chat", model, "hello", "-p", "hello"), ("chat", model, "--image")]:
        done = subprocess.run([CLI, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stdout == "", args
