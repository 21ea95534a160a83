"""Stacked experts of Qwen3-VL either way around: what is published is (in, out), what transformers 5
saves is (out, in), under the same names. One of the two checkpoints has a square first product."""

import json
import pathlib
import struct

import numpy as np
import pytest

import onnuri

GRID = pathlib.Path(__file__).resolve().parents[1] / "golden" / "grid"
IDS = [1, 17, 93, 140, 5, 66, 120, 30]


def read(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


def write(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def turned(name, to, parts):
    for file in (GRID / name).iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    tensors = read(to / "model.safetensors")
    for key, (dtype, shape, data) in tensors.items():
        if key.endswith(parts):
            assert dtype == "F16"
            other = np.frombuffer(data, np.float16).reshape(shape).transpose(0, 2, 1)
            tensors[key] = (dtype, list(other.shape), other.tobytes())
    write(to / "model.safetensors", tensors)
    return to


def logits(folder):
    return onnuri.Engine(folder, compute_dtype="float32", num_threads=1).logits(IDS)


@pytest.mark.parametrize("name", ["qwen3_vl_moe", "qwen3_vl_moe_hub"])
def test_either_layout_is_read(name, tmp_path):
    folder = turned(name, tmp_path, (".experts.gate_up_proj", ".experts.down_proj"))
    assert np.array_equal(logits(folder), logits(GRID / name))


def test_two_layouts_in_one_layer_are_refused(tmp_path):
    folder = turned("qwen3_vl_moe", tmp_path, (".experts.down_proj",))
    with pytest.raises(onnuri.Error, match="one way around"):
        logits(folder)
