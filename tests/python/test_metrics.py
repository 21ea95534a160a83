"""What every reply says about its time and memory, and what the engine sums up."""

import json
import pathlib

import numpy as np
import onnuri
import pytest

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
OPTIONS = dict(compute_dtype="float32", num_threads=1, context_size=512)


def ids(count):
    return [3 + i * i % 50 for i in range(count)]


def test_times_fit_into_one_another():
    engine = onnuri.Engine(GOLDEN / "text" / "exaone4_hybrid", **OPTIONS)
    usage = engine.generate(ids(200), max_new_tokens=20, ignore_eos=True).usage
    assert 0 <= usage.queue_ms <= usage.prefill_ms <= usage.time_to_first_token_ms
    assert usage.decode_ms > 0
    assert usage.tokens_per_second == pytest.approx(19 * 1000 / usage.decode_ms)


def test_without_tokens_there_is_no_speed():
    engine = onnuri.Engine(GOLDEN / "text" / "exaone4_hybrid", **OPTIONS)
    one = engine.generate(ids(20), max_new_tokens=1, ignore_eos=True).usage
    assert one.tokens_per_second == 0 and one.time_to_first_token_ms > 0
    none = engine.generate(ids(20), max_new_tokens=0).usage
    assert none.tokens_per_second == 0 and none.time_to_first_token_ms == 0
    assert none.prefill_bytes == none.decode_bytes == 0


def test_stages_say_what_they_held():
    engine = onnuri.Engine(GOLDEN / "text" / "qwen3", **OPTIONS)  # 256 numbers a token
    short = engine.generate(ids(60), max_new_tokens=4, ignore_eos=True).usage
    long = engine.generate(ids(400), max_new_tokens=100, ignore_eos=True).usage
    assert long.prefill_bytes - short.prefill_bytes >= (448 - 64) * 4 * 256
    assert long.decode_bytes - long.prefill_bytes >= (512 - 448) * 4 * 256
    assert short.prepare_bytes < 100_000 and short.encode_bytes == 0
    metrics = engine.metrics()
    assert metrics["answered"] == 2
    assert metrics["prompt_tokens"] == 460 and metrics["completion_tokens"] == 104
    assert metrics["prefill_peak_bytes"] == long.prefill_bytes
    assert metrics["decode_peak_bytes"] == long.decode_bytes


def test_pictures_are_counted():
    engine = onnuri.Engine(GOLDEN / "grid" / "qwen2_vl", **OPTIONS)
    prompt = [1, 9, 152] + [150] * 15 + [153, 40, 41]
    picture = np.full((61, 100, 3), 90, np.uint8)
    usage = engine.generate(prompt, images=[picture], max_new_tokens=2, ignore_eos=True).usage
    assert usage.prepare_bytes >= picture.size
    assert usage.encode_bytes > usage.prepare_bytes
    assert usage.time_to_first_token_ms >= usage.encode_ms + usage.prefill_ms
    assert engine.metrics()["encode_peak_bytes"] == usage.encode_bytes


def test_a_transcription_is_written_down():
    engine = onnuri.Engine(GOLDEN / "speech" / "tiny", compute_dtype="float32", num_threads=1)
    sound = np.sin(np.arange(16000 * 2, dtype=np.float32) / 20)
    assert engine.transcribe(sound).trace == ""
    events = json.loads(engine.transcribe(sound, temperatures=[0.0], trace=True).trace)["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    names = [s["name"] for s in spans]
    assert names[:5] == ["window", "preprocess", "encode", "prefill", "decode"]
    whole = spans[0]
    for span in spans[1:]:
        if span["ts"] < whole["ts"] + whole["dur"]:
            assert span["ts"] + span["dur"] <= whole["ts"] + whole["dur"] + 1e-3
    assert next(s for s in spans if s["name"] == "decode")["args"]["tokens"] > 0
    ends = [s["ts"] + s["dur"] for s in spans[1:5]]
    assert all(begin["ts"] >= end - 1e-3 for begin, end in zip(spans[2:5], ends))
