"""Guesses of the checkpoint's own prediction module: the answer is the same with and without them.

A module with random weights is almost never right. In the crafted checkpoint no token sees another
one and the module repeats what the decoder does to the embedding, so that it is always right, or,
with noise in its join, sometimes.
"""

import json
import os
import pathlib
import struct
import subprocess

import numpy as np
import pytest

import onnuri

TEXT = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text"
IDS = (np.arange(40) * 37 % 239).astype(np.int32)


def read(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    return {name: np.frombuffer(raw[8 + size:][entry["data_offsets"][0]:entry["data_offsets"][1]],
                                np.float16).reshape(entry["shape"]).copy()
            for name, entry in header.items() if name != "__metadata__"}


def write(path, tensors):
    header, offset = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F16", "shape": value.shape,
                        "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text +
                     b"".join(value.tobytes() for value in tensors.values()))


def crafted(folder, noise, steps):
    source = TEXT / "exaone_moe_mtp"
    tensors = read(source / "model.safetensors")
    for name, value in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            value[:] = 0
        if name in ("model.norm.weight", "mtp.norm.weight", "mtp.pre_fc_norm_embedding.weight"):
            value[:] = 1
    width = tensors["mtp.fc.weight"].shape[0]
    rng = np.random.default_rng(3)
    tensors["mtp.fc.weight"] = np.concatenate(
        [np.eye(width), noise * rng.standard_normal((width, width))], 1).astype(np.float16)
    config = json.loads((source / "config.json").read_text())
    config["mtp_num_speculative_steps"] = steps
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "model.safetensors", tensors)
    return folder


def both(path, engine=None, **options):
    """The usual result and the one with guesses, which must agree."""
    engine = dict(num_threads=1, **(engine or {}))
    results = [onnuri.Engine(str(path), draft_module=module, **engine).generate(
        input_ids=IDS, max_new_tokens=48, ignore_eos=True, **options) for module in (False, True)]
    plain, drafted = results
    assert drafted.token_ids == plain.token_ids
    assert [c.token_ids for c in drafted.choices] == [c.token_ids for c in plain.choices]
    assert plain.usage.draft_tokens == 0 or "lookup_tokens" in options
    return drafted


@pytest.mark.parametrize("family", ["exaone_moe_mtp", "deepseek_mtp"])
@pytest.mark.parametrize("engine", [{}, {"compute_dtype": "float32"}, {"prefill_chunk": 7}])
def test_random_modules_change_nothing(family, engine):
    drafted = both(TEXT / family, engine)
    assert drafted.usage.draft_tokens >= 20
    assert drafted.usage.accepted_tokens < drafted.usage.draft_tokens


@pytest.mark.parametrize("steps", [1, 3])
def test_a_module_that_is_right_is_believed(steps, tmp_path):
    drafted = both(crafted(tmp_path, 0.0, steps))
    usage = drafted.usage
    assert usage.accepted_tokens == usage.draft_tokens
    # Every pass answers one token and the guesses behind it.
    assert usage.accepted_tokens >= 48 * steps // (steps + 1) - steps


@pytest.mark.parametrize("options", [
    {}, {"temperature": 0.1, "seed": 4}, {"n": 3, "temperature": 0.1, "seed": 9},
    {"lookup_tokens": 4}])
def test_a_module_that_is_sometimes_right(options, tmp_path):
    drafted = both(crafted(tmp_path, 0.12, 2), **options)
    assert 0 < drafted.usage.accepted_tokens < drafted.usage.draft_tokens


def test_without_a_module_it_is_an_error():
    with pytest.raises(onnuri.Error, match="expected a module that predicts further tokens"):
        onnuri.Engine(str(TEXT / "llama"), draft_module=True)


@pytest.mark.skipif("ONNURI_CLI" not in os.environ, reason="ONNURI_CLI names no command")
def test_the_command_knows_it():
    result = subprocess.run([os.environ["ONNURI_CLI"], "complete", str(TEXT / "llama"), "x",
                             "--draft-module", "-q"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "expected a module that predicts further tokens" in result.stderr
