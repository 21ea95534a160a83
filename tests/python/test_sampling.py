"""Sampling through the engine: log-probabilities, several answers, seeds, stop strings, defaults."""

import json
import pathlib
import shutil

import numpy as np
import pytest

import onnuri

MODEL = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text" / "qwen2"
WINDOWED = MODEL.parent / "gemma3"


@pytest.fixture(scope="module")
def engine():
    return onnuri.Engine(MODEL, compute_dtype="float32", num_threads=1)


def log_softmax(row):
    row = row.astype(np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


@pytest.mark.parametrize("options", [
    {}, {"temperature": 0.5, "seed": 3}, {"temperature": 2, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "seed": 4},
    {"repetition_penalty": 3.0, "presence_penalty": 5, "frequency_penalty": 5},
    {"logit_bias": {9: 50.0}}, {"regex": "[ab]+"}], ids=str)
def test_logprobs_are_the_models_own(engine, options):
    """Of the raw distribution, whatever was done to it before the token was drawn."""
    prompt = [5, 6, 7]
    result = engine.generate(prompt, max_new_tokens=6, logprobs=3, ignore_eos=True, **options)
    rows = engine.logits(prompt + result.token_ids)
    assert len(result.logprobs) == 6
    for i, step in enumerate(result.logprobs):
        expected = log_softmax(rows[len(prompt) - 1 + i])
        assert step.chosen.token_id == result.token_ids[i]
        assert step.chosen.logprob == pytest.approx(expected[result.token_ids[i]], abs=1e-4)
        assert [t.token_id for t in step.top] == np.argsort(-expected, kind="stable")[:3].tolist()
        assert step.top[0].logprob == pytest.approx(expected.max(), abs=1e-4)
    assert engine.generate(prompt, max_new_tokens=2, logprobs=0).logprobs[0].top == []
    assert engine.generate(prompt, max_new_tokens=2).logprobs == []


@pytest.mark.parametrize("model", [MODEL, WINDOWED])
@pytest.mark.parametrize("length", [6, 90])
def test_choices_are_those_of_separate_requests(model, length):
    engine = onnuri.Engine(model, compute_dtype="float32", num_threads=1, prefill_chunk=8)
    prompt = [5, 6, 7, 8, 9, 10, 11, 12, 13]
    options = dict(max_new_tokens=length, temperature=1.0, seed=21, ignore_eos=True)
    together = engine.generate(prompt, n=3, **options)
    assert [c.token_ids for c in together.choices][0] == engine.generate(prompt, **options).token_ids
    assert len({tuple(c.token_ids) for c in together.choices}) == 3
    assert together.usage.completion_tokens == 3 * length
    again = engine.generate(prompt, n=3, **options)
    assert [c.token_ids for c in again.choices] == [c.token_ids for c in together.choices]
    # Greedy answers are all the same, so a cache that was not rewound rightly would show.
    greedy = engine.generate(prompt, n=3, max_new_tokens=length, ignore_eos=True)
    assert len({tuple(c.token_ids) for c in greedy.choices}) == 1


def test_choices_stream_one_after_another(engine):
    stream = engine.generate([5, 6], n=2, max_new_tokens=5, ignore_eos=True, temperature=1, stream=True)
    events = [e for e in stream if e.token_id >= 0]
    assert [e.choice for e in events] == [0] * 5 + [1] * 5
    assert [e.token_id for e in events[5:]] == stream.result.choices[1].token_ids


def test_a_stop_string_over_the_border_of_tokens(engine):
    text = engine.generate([5], max_new_tokens=30, ignore_eos=True).text
    stop = text[7:12]
    cut = engine.generate([5], max_new_tokens=30, ignore_eos=True, stop=stop)
    assert cut.text == text[:text.index(stop)] and cut.finish_reason == "stop"


def test_penalties_change_the_answer(engine):
    plain = engine.generate([5], max_new_tokens=40, ignore_eos=True).token_ids
    for options in ({"frequency_penalty": 5}, {"presence_penalty": 20}, {"repetition_penalty": 3.0}):
        changed = engine.generate([5], max_new_tokens=40, ignore_eos=True, **options).token_ids
        assert len(set(changed)) > len(set(plain))


def test_defaults_of_the_model_only_when_asked(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 0.9, "top_k": 20, "top_p": 0.8}))
    engine = onnuri.Engine(folder, num_threads=1)
    options = dict(max_new_tokens=20, ignore_eos=True, seed=5)
    greedy = engine.generate([5], **options).token_ids
    assert engine.generate([5], sampling="greedy", **options).token_ids == greedy
    model = engine.generate([5], sampling="model", **options).token_ids
    assert model == engine.generate([5], temperature=0.9, top_k=20, top_p=0.8, **options).token_ids != greedy
    assert engine.generate([5], sampling="model", temperature=0, **options).token_ids == greedy
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "top_p": 7}))
    with pytest.raises(onnuri.Error, match="top_p"):
        onnuri.Engine(folder, num_threads=1)


def test_token_nll(engine):
    ids = [5, 9, 13, 40, 7]
    nll = engine.token_nll(ids)
    rows = engine.logits(ids)
    assert nll == pytest.approx([-log_softmax(rows[i])[ids[i + 1]] for i in range(4)], abs=1e-4)
    assert engine.nll(ids) == pytest.approx(nll.mean())


def test_thread_counts_out_of_range():
    for threads in (-1, 100000):
        with pytest.raises(onnuri.Error, match="num_threads"):
            onnuri.Engine(MODEL, num_threads=threads)


def test_inspect_from_the_config_alone(tmp_path):
    whole = onnuri.inspect(MODEL)
    assert whole["has_weights"] and whole["tokenizer"]["kind"] == "BPE"
    assert sum(k["bytes_per_token"] for k in whole["kv_cache"]) == whole["kv_bytes_per_token"]
    config = tmp_path / "config.json"
    config.write_text((WINDOWED / "config.json").read_text())
    for path in (config, tmp_path):
        facts = onnuri.inspect(path)
        assert not facts["has_weights"]
        assert facts["parameters"] == onnuri.inspect(WINDOWED)["parameters"]
        assert [k["kind"] for k in facts["kv_cache"]] == ["full", "window"]
