"""The rule for positions after a video: named, selectable from Python and the command line, and without a say in
messages whose video is no longer than it is wide."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
import prompt_checkpoints as prompts  # noqa: E402

CLI = os.environ.get("ONNURI_CLI")
VIDEO = str(GOLDEN / "videos" / "steady.mp4")  # 4 seconds: 4 grids
PUBLISHED = {"qwen2_5_vl": "longest_side", "qwen2_5_omni": "maximum", "qwen3_omni": "maximum"}


def question(video):
    return [{"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "video", "video": video},
                                         {"type": "text", "text": "what?"}]}]


@pytest.fixture(params=sorted(PUBLISHED))
def family(request):
    return request.param


@pytest.fixture
def model(family, tmp_path):
    prompts.equip(family, tmp_path)
    return tmp_path


def load(model, rule=""):
    return onnuri.Engine(model, compute_dtype="float32", num_threads=1, context_size=2048, after_video=rule)


def after(layout):
    """(the first position, the largest one and the longer side of the video, the position of the next token)."""
    (span,) = layout["spans"]
    end = span["first_token"] + span["num_tokens"]
    inside = layout["positions"][:, span["first_token"]:end]
    return inside.min(), inside.max(), max(span["grid"][1:]), layout["positions"][:, end].tolist()


def test_each_rule_numbers_as_its_name_says(family, model):
    for rule in ("maximum", "longest_side", ""):
        layout = load(model, rule).prepare(question(VIDEO))
        first, largest, side, found = after(layout)
        assert largest >= first + side  # else the rules would agree
        wanted = {"maximum": largest + 1, "longest_side": first + side}[rule or PUBLISHED[family]]
        assert found == [wanted] * 3
        # What is generated comes after everything in any case.
        assert layout["next_position"] == layout["positions"].max() + 1


def test_pictures_and_short_videos_are_not_concerned(model):
    short = {"frames": np.zeros((2, 60, 90, 3), np.uint8), "fps": 2.0}
    picture = [{"role": "user", "content": [{"type": "image", "image": np.zeros((60, 90, 3), np.uint8)},
                                            {"type": "text", "text": "what?"}]}]
    one, other = load(model, "maximum"), load(model, "longest_side")
    for messages in (question(short), picture):
        assert np.array_equal(one.prepare(messages)["positions"], other.prepare(messages)["positions"])


def test_other_names_are_refused(model):
    with pytest.raises(onnuri.Error, match='"longest_side" or "maximum".*"both"'):
        load(model, "both")


@pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
@pytest.mark.parametrize("command", ["chat", "describe"])
def test_the_command_line_has_a_say(command, model):
    def run(*args):
        done = subprocess.run([CLI, command, str(model), "--video", VIDEO, "-p", "what?", "--json", "-n", "4", "--logprobs", "1",
                               "--compute", "float32", "-t", "1", "-q", *args], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)
        return done

    parts = question(VIDEO)
    del parts[0]["content"][0]
    answers = []
    for rule in ("maximum", "longest_side"):
        done = run("--after-video", rule)
        assert done.returncode == 0, done.stderr
        found = [(s["token_id"], s["logprob"]) for s in json.loads(done.stdout)["logprobs"]]
        wanted = load(model, rule).generate(messages=parts, max_new_tokens=4, logprobs=1).logprobs
        assert found == [(s.chosen.token_id, pytest.approx(s.chosen.logprob, abs=1e-5)) for s in wanted]
        answers.append(found)
    assert answers[0] != answers[1]
    wrong = run("--after-video", "both")
    assert wrong.returncode == 2 and "--after-video" in wrong.stderr and "maximum" in wrong.stderr
