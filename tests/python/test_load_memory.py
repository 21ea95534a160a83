"""Loading holds a model once: the peak, pages of the file included, beside what stays resident.

Each checkpoint is random, of more than 200 MB, and loaded in a process of its own. Fused experts
are stored transposed with gate and up rows interleaved, so that every matrix passes through a copy.
"""

import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest

import onnuri

pytestmark = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK),
                                reason="the kernel does not count the peak of a process")

CHILD = """
import json, sys
import onnuri
def status():
    lines = open("/proc/self/status").read().splitlines()
    return {k: int(v.split()[0]) * 1024 for k, v in (l.split(":", 1) for l in lines)
            if k in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}
before = status()
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
engine = onnuri.Engine(sys.argv[1], num_threads=2)
after = status()
print(json.dumps({"peak": after["VmHWM"] - before["VmRSS"],
                  "resident": after["VmRSS"] - before["VmRSS"],
                  "anonymous": after["RssAnon"] - before["RssAnon"]}))
"""

DENSE = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024,
         "intermediate_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 4,
         "num_hidden_layers": 7, "vocab_size": 4096, "max_position_embeddings": 4096,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
         "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 512,
           "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2,
           "head_dim": 64, "num_hidden_layers": 2, "num_local_experts": 64,
           "num_experts_per_tok": 4, "vocab_size": 4096, "max_position_embeddings": 4096,
           "rms_norm_eps": 1e-5, "hidden_act": "silu", "swiglu_limit": 7.0,
           "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"],
           "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "tie_word_embeddings": False, "attention_bias": True,
           "bos_token_id": 1, "eos_token_id": 2}


def dense_shapes():
    hidden, wide = DENSE["hidden_size"], DENSE["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (DENSE["vocab_size"], hidden),
              "model.norm.weight": (hidden,)}
    for i in range(DENSE["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes[layer + "input_layernorm.weight"] = (hidden,)
        shapes[layer + "post_attention_layernorm.weight"] = (hidden,)
        for name, rows, cols in [("self_attn.q", hidden, hidden), ("self_attn.k", 256, hidden),
                                 ("self_attn.v", 256, hidden), ("self_attn.o", hidden, hidden),
                                 ("mlp.gate", wide, hidden), ("mlp.up", wide, hidden),
                                 ("mlp.down", hidden, wide)]:
            shapes[f"{layer}{name}_proj.weight"] = (rows, cols)
    return shapes


def expert_shapes():
    hidden, wide = EXPERTS["hidden_size"], EXPERTS["intermediate_size"]
    count = EXPERTS["num_local_experts"]
    shapes = {"model.embed_tokens.weight": (EXPERTS["vocab_size"], hidden),
              "lm_head.weight": (EXPERTS["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(EXPERTS["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes[layer + "input_layernorm.weight"] = (hidden,)
        shapes[layer + "post_attention_layernorm.weight"] = (hidden,)
        shapes[layer + "self_attn.sinks"] = (8,)
        for part, rows, cols in [("q", 512, hidden), ("k", 128, hidden), ("v", 128, hidden),
                                 ("o", hidden, 512)]:
            shapes[f"{layer}self_attn.{part}_proj.weight"] = (rows, cols)
            shapes[f"{layer}self_attn.{part}_proj.bias"] = (rows,)
        shapes[layer + "mlp.router.weight"] = (count, hidden)
        shapes[layer + "mlp.router.bias"] = (count,)
        shapes[layer + "mlp.experts.gate_up_proj"] = (count, hidden, 2 * wide)
        shapes[layer + "mlp.experts.gate_up_proj_bias"] = (count, 2 * wide)
        shapes[layer + "mlp.experts.down_proj"] = (count, wide, hidden)
        shapes[layer + "mlp.experts.down_proj_bias"] = (count, hidden)
    return shapes


def write_checkpoint(folder, config, shapes, misaligned):
    values = (np.random.default_rng(1).standard_normal(1 << 20) * 0.03).astype(np.float32)
    block = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()  # bfloat16
    header, size = {}, 0
    for name, shape in shapes.items():
        nbytes = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [size, size + nbytes]}
        size += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + (3 if misaligned else 0))
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(size // len(block)):
            file.write(block)
        file.write(block[:size % len(block)])
    (folder / "config.json").write_text(json.dumps(config))
    return size


def load(folder):
    result = subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True,
                            text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["aligned", "misaligned", "fused_experts"])
def test_peak_is_close_to_what_stays(kind, tmp_path):
    config, shapes = (EXPERTS, expert_shapes()) if kind == "fused_experts" else (DENSE, dense_shapes())
    size = write_checkpoint(tmp_path, config, shapes, misaligned=kind == "misaligned")
    try:
        found = load(tmp_path)
    finally:
        (tmp_path / "model.safetensors").unlink()
    assert size > 200e6
    print(kind, size, found)
    assert found["peak"] <= 1.1 * found["resident"], found
    # What stays is the model, packed: no second copy that hides the first.
    assert 0.9 * size < found["resident"] < 1.1 * size, found
