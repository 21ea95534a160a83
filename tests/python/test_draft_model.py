"""A smaller model that guesses: the same answers, and options that are checked."""

import pathlib
import subprocess
import os

import onnuri
import pytest

TEXT = pathlib.Path(__file__).parents[1] / "golden" / "text"
OPTIONS = dict(compute_dtype="float32", num_threads=1, context_size=256)


def test_answers_are_those_of_the_model_alone():
    ids = [3 + i * i % 50 for i in range(40)]
    alone = onnuri.Engine(str(TEXT / "qwen3"), **OPTIONS).generate(ids, max_new_tokens=40, ignore_eos=True)
    helped = onnuri.Engine(str(TEXT / "qwen3"), draft_model=TEXT / "qwen3", draft_tokens=6, **OPTIONS)
    found = helped.generate(ids, max_new_tokens=40, ignore_eos=True)
    assert found.token_ids == alone.token_ids
    assert found.usage.accepted_tokens > 20
    assert helped.describe()["draft_weight_bytes"] > 0


def test_bad_drafts_are_refused(tmp_path):
    with pytest.raises(onnuri.Error, match="draft_tokens"):
        onnuri.Engine(str(TEXT / "qwen3"), draft_model=TEXT / "qwen3", draft_tokens=0)
    with pytest.raises(onnuri.Error) as missing:
        onnuri.Engine(str(TEXT / "qwen3"), draft_model=tmp_path / "nothing")
    assert missing.value.code == "not_found"
    with pytest.raises(onnuri.Error, match="draft model") as speech:
        onnuri.Engine(str(TEXT / "qwen3"), draft_model=TEXT.parent / "speech" / "tiny")
    assert speech.value.code == "unsupported"


@pytest.mark.skipif("ONNURI_CLI" not in os.environ, reason="needs the command line")
def test_from_the_command_line():
    done = subprocess.run(
        [os.environ["ONNURI_CLI"], "bench", str(TEXT / "qwen3"), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--draft-model" in done.stdout
