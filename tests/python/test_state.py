"""Conversations saved to a file: whole or as before, whatever happens to the process that writes it."""

import pathlib
import signal
import subprocess
import sys
import time

import onnuri
import pytest

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
OPTIONS = dict(compute_dtype="float32", num_threads=1, context_size=512)


def engine():
    return onnuri.Engine(str(GOLDEN / "text" / "exaone4_hybrid"), **OPTIONS)


def ids(count, number):
    return [3 + (i * i + number * 7) % 50 for i in range(count)]


def test_a_conversation_goes_on_in_another_engine(tmp_path):
    first = engine()
    answer = first.generate(ids(90, 1), max_new_tokens=8, ignore_eos=True).token_ids
    first.save(tmp_path / "state")
    longer = ids(90, 1) + answer + ids(5, 2)
    expected = first.generate(longer, max_new_tokens=8, ignore_eos=True, logprobs=0)
    second = engine()
    second.restore(tmp_path / "state")
    found = second.generate(longer, max_new_tokens=8, ignore_eos=True, logprobs=0)
    assert found.usage.reused_tokens == expected.usage.reused_tokens == 97
    assert found.token_ids == expected.token_ids
    assert [s.chosen.logprob for s in found.logprobs] == [s.chosen.logprob for s in expected.logprobs]


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(onnuri.Error, match="none that is kept") as none:
        engine().save(tmp_path / "state")
    assert none.value.code == "not_found"
    (tmp_path / "junk").write_bytes(b"x" * 1000)
    with pytest.raises(onnuri.Error, match="saved state") as junk:
        engine().restore(tmp_path / "junk")
    assert junk.value.code == "corrupt_data"
    whisper = onnuri.Engine(str(GOLDEN / "speech" / "tiny"))
    with pytest.raises(onnuri.Error) as speech:
        whisper.save(tmp_path / "state")
    assert speech.value.code == "unsupported"


WRITER = """
import sys, onnuri
engine = onnuri.Engine(sys.argv[1], compute_dtype="float32", num_threads=1, context_size=512)
engine.generate([3 + i % 50 for i in range(400)], max_new_tokens=1)
engine.save(sys.argv[2])
print("saved", flush=True)
while True:
    engine.save(sys.argv[2])
"""


def test_killed_while_saving_the_file_is_whole(tmp_path):
    path = tmp_path / "state"
    check = engine()
    for kill in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(GOLDEN / "text" / "exaone4_hybrid"), str(path)],
                                  stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "saved\n"
        time.sleep(0.003 * kill)
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=60)
        check.restore(path)
    assert check.generate([3 + i % 50 for i in range(400)], max_new_tokens=1).usage.reused_tokens == 399
