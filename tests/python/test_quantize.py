"""onnuri quantize: every type from a folder, GGUF again from GGUF, and what is refused."""

import json
import os
import pathlib
import struct
import subprocess

import numpy as np
import pytest

import onnuri

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
pytestmark = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
HIDDEN, WIDE, VOCAB, LAYERS, HEADS = 256, 512, 384, 2, 4
IDS = (np.arange(48) * 37 % VOCAB).astype(np.int32)


def quantize(*args):
    return subprocess.run([CLI, "quantize", *map(str, args)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600)


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape),
                        "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text +
                     b"".join(value.tobytes() for value in tensors.values()))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random llama whose rows fill blocks of 256."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    folder.mkdir()
    rng = np.random.default_rng(5)

    def matrix(rows, cols):
        return (rng.standard_normal((rows, cols)) * 0.06).astype(np.float32)

    def norm():
        return (1 + 0.1 * rng.standard_normal(HIDDEN)).astype(np.float32)

    tensors = {"model.embed_tokens.weight": matrix(VOCAB, HIDDEN) * 8, "model.norm.weight": norm(),
               "lm_head.weight": matrix(VOCAB, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        tensors[layer + "input_layernorm.weight"] = norm()
        tensors[layer + "post_attention_layernorm.weight"] = norm()
        for part, rows, cols in [("self_attn.q", HIDDEN, HIDDEN), ("self_attn.k", HIDDEN // 2, HIDDEN),
                                 ("self_attn.v", HIDDEN // 2, HIDDEN), ("self_attn.o", HIDDEN, HIDDEN),
                                 ("mlp.gate", WIDE, HIDDEN), ("mlp.up", WIDE, HIDDEN),
                                 ("mlp.down", HIDDEN, WIDE)]:
            tensors[f"{layer}{part}_proj.weight"] = matrix(rows, cols)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": WIDE, "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2,
        "num_hidden_layers": LAYERS, "vocab_size": VOCAB, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}))
    return folder


def logits(path):
    return onnuri.Engine(str(path), compute_dtype="float32", num_threads=1).logits(IDS)


def distance(found, expected):
    return np.sqrt(np.mean((found - expected) ** 2)) / expected.std()


# Bounds a little above what is seen.
@pytest.mark.parametrize("kind, bound", [
    ("f32", 1e-5), ("f16", 2e-3), ("bf16", 2e-2), ("q8_0", 0.03), ("q6_k", 0.08), ("q5_k", 0.15),
    ("q4_k", 0.3), ("q5_1", 0.15), ("q5_0", 0.18), ("q4_1", 0.3), ("q4_0", 0.35), ("iq4_nl", 0.3),
    ("iq4_xs", 0.3), ("q3_k", 0.6), ("q2_k", 0.9), ("mxfp4", 0.5), ("int8", 0.05), ("int4", 0.3)])
def test_types_from_a_folder(model, tmp_path, kind, bound):
    out = tmp_path / ("folder" if kind.startswith("int") else "model.gguf")
    result = quantize(model, out, "--type", kind, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["tensors"] == 3 + 9 * LAYERS
    if kind != "f32":
        assert report["bytes"] < report["source_bytes"] and report["quantized"] >= 7 * LAYERS
    error = distance(logits(out), logits(model))
    assert error < bound
    assert kind == "f32" or error > 1e-5
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_int4_groups(model, tmp_path):
    """Smaller groups come nearer; the tables have eight bits."""
    errors = []
    for size in (32, 64, 128):
        out = tmp_path / str(size)
        result = quantize(model, out, "-t", "int4", "--group-size", size, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["quantized"] == 2 + 7 * LAYERS
        groups = json.loads((out / "config.json").read_text())["quantization_config"]["config_groups"]
        assert groups["group_0"]["weights"]["group_size"] == size
        assert groups["group_1"]["weights"]["num_bits"] == 8
        errors.append(distance(logits(out), logits(model)))
    assert errors[0] < errors[1] < errors[2]
    assert quantize(model, tmp_path / "48", "-t", "int4", "--group-size", "48").returncode != 0


def test_smaller_types_are_not_widened_again(model, tmp_path):
    small, again = tmp_path / "small.gguf", tmp_path / "again.gguf"
    assert quantize(model, small, "-t", "q4_k").returncode == 0
    result = quantize(small, again, "-t", "q8_0", "--json")
    assert json.loads(result.stdout)["quantized"] == 0
    assert np.array_equal(logits(small), logits(again))
    assert quantize(small, again, "-t", "q4_0", "--force").returncode == 0
    assert distance(logits(again), logits(small)) < 0.3


@pytest.mark.parametrize("stored", ["q4_1", "bf16", "q8_0"])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_plain_types_decode_whatever_is_stored(model, tmp_path, stored, kind):
    small, plain = tmp_path / "small.gguf", tmp_path / "plain.gguf"
    assert quantize(model, small, "-t", stored).returncode == 0
    assert quantize(small, plain, "-t", kind).returncode == 0
    facts = json.loads(subprocess.run([CLI, "inspect", str(plain), "--json"], capture_output=True,
                                      text=True, timeout=60).stdout)
    assert set(facts["storage"]) <= {kind, "f32"} and kind in facts["storage"], facts["storage"]
    assert distance(logits(plain), logits(small)) < {"f32": 1e-5, "f16": 2e-3, "bf16": 2e-2}[kind]


def test_halves_that_would_overflow_are_refused(model, tmp_path):
    folder = tmp_path / "wide"
    folder.mkdir()
    (folder / "config.json").write_bytes((model / "config.json").read_bytes())
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-4:] = struct.pack("<f", 70000.0)
    (folder / "model.safetensors").write_bytes(data)
    result = quantize(folder, tmp_path / "out.gguf", "-t", "f16")
    assert result.returncode == 1 and "65504" in result.stderr and "70000" in result.stderr
    assert quantize(folder, tmp_path / "out.gguf", "-t", "bf16").returncode == 0


def test_targets_that_exist(model, tmp_path):
    """Replaced only when asked; the model itself, a folder or a device never."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((model / name).read_bytes())
    weights = (source / "model.safetensors").read_bytes()
    out = tmp_path / "out.gguf"
    out.write_text("mine")

    def refused(*args):
        result = quantize(*args)
        assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
        assert "invalid_argument" in result.stderr
        return result.stderr
    assert "--force" in refused(source, out, "-t", "q8_0")
    assert out.read_text() == "mine"
    assert quantize(source, out, "-t", "q8_0", "--force").returncode == 0
    before = out.read_bytes()
    link = tmp_path / "link.gguf"
    link.symlink_to(out)
    for target in (out, link, tmp_path / "." / "out.gguf"):
        assert "read from" in refused(out, target, "-t", "q4_0", "-f")
    assert "read from" in refused(source, source / "model.safetensors", "-t", "q4_0", "-f")
    assert "folder" in refused(source, source, "-t", "int8", "-f")
    assert "folder" in refused(source, tmp_path, "-t", "q4_0", "-f")
    assert "no plain file" in refused(source, "/dev/null", "-t", "q4_0", "-f")
    assert out.read_bytes() == before and (source / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("family", [
    "llama", "llama_biases", "qwen2", "qwen3", "qwen3_moe", "gemma3", "exaone4_full",
    "exaone4_hybrid", "exaone_moe", "exaone_moe_mtp", "gpt_oss", "gpt_oss_mxfp4", "deepseek_v3",
    "granite", "hyperclovax_plain", "solar_open"])
def test_families_keep_their_logits(family, tmp_path):
    out = tmp_path / "model.gguf"
    result = quantize(GOLDEN / "text" / family, out, "--type", "f32")
    assert result.returncode == 0, result.stderr
    ids = np.arange(40, dtype=np.int32) * 7 % 157
    expected, found = [onnuri.Engine(str(p), compute_dtype="float32").logits(ids)
                       for p in (GOLDEN / "text" / family, out)]
    assert np.abs(found - expected).max() < 1e-3 * expected.std()


def test_four_bit_experts_stay_as_they_are(tmp_path):
    """Blocks of MXFP4 move from one layout to the other without a loss."""
    source, out = GOLDEN / "text" / "gpt_oss_mxfp4", tmp_path / "model.gguf"
    report = json.loads(quantize(source, out, "-t", "q8_0", "--json").stdout)
    kept = {entry["name"] for entry in report["kept"] if entry["stored"] == "mxfp4"}
    assert "blk.0.ffn_down_exps.weight" in kept and "blk.1.ffn_gate_exps.weight" in kept
    types = json.loads(subprocess.run([CLI, "inspect", str(out), "--json"], capture_output=True,
                                      text=True, timeout=60).stdout)
    assert "mxfp4" in json.dumps(types).lower()


def test_what_stays_is_said(model, tmp_path):
    small = tmp_path / "small.gguf"
    assert "kept" not in quantize(model, small, "-t", "q4_0", "-q").stdout
    told = quantize(small, tmp_path / "again.gguf", "-t", "q4_k", "-q").stdout
    assert "kept as stored" in told and "q4_0, no wider than the q4_k asked for" in told
    report = json.loads(quantize(small, tmp_path / "b.gguf", "-t", "q4_k", "--json").stdout)
    kept = {entry["name"]: entry for entry in report["kept"]}
    assert kept["blk.0.attn_q.weight"]["stored"] == "q4_0"
    assert kept["token_embd.weight"] == {"name": "token_embd.weight", "stored": "q6_k", "wanted": "q6_k"}
    assert report["left_out"] == 0


def test_metadata_is_carried_over(tmp_path):
    source = GOLDEN / "gguf" / "qwen3.gguf"
    out = tmp_path / "copy.gguf"
    assert quantize(source, out, "--type", "f16").returncode == 0
    facts = [json.loads(subprocess.run([CLI, "inspect", str(p), "--json"], capture_output=True,
                                       text=True, timeout=60).stdout) for p in (source, out)]
    assert facts[0]["family"] == facts[1]["family"] == "qwen3"
    assert facts[0]["layers"] == facts[1]["layers"]


def test_refusals_leave_nothing_behind(model, tmp_path):
    def refused(*args):
        result = quantize(*args)
        assert result.returncode == 1 and result.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
        return result.stderr
    assert "q4_k" in refused(model, tmp_path / "x.gguf", "--type", "q9_9")
    assert "q8_0" in refused(GOLDEN / "gguf" / "qwen3.gguf", tmp_path / "x", "--type", "int8")
    assert "q4_k" in refused(GOLDEN / "gguf" / "qwen3.gguf", tmp_path / "x", "--type", "int4")
    assert "exaone_moe" in refused(GOLDEN / "vision" / "qwen2_5_vl", tmp_path / "x.gguf")
    for family, reason in [("axk1", "deepseek_v3"), ("motif", "gpt_oss"), ("vaetki", "gpt_oss"),
                           ("solar_pro", "mistral"), ("hyperclovax", "norms at other places"),
                           ("qwen3_windows", "sliding windows"),
                           ("qwen3_moe_sparse", "sliding windows")]:
        assert reason in refused(GOLDEN / "text" / family, tmp_path / "x.gguf")
    assert "not_found" in refused(tmp_path / "none.gguf", tmp_path / "x.gguf")
