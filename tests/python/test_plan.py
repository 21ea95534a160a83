"""The plan of a model: from headers alone, beside what its loading takes, in words and as JSON."""

import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

import onnuri

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
needs_cli = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")


def items(plan):
    return {item["name"]: item["bytes"] for item in plan["items"]}


def cut_to_headers(source, target):
    shutil.copytree(source, target)
    for path in target.glob("*.safetensors"):
        with path.open("r+b") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            file.truncate(8 + length)
    return target


def test_headers_give_the_plan_of_the_whole(tmp_path):
    source = GOLDEN / "text" / "exaone4_hybrid"
    cut = cut_to_headers(source, tmp_path / "cut")
    with pytest.raises(onnuri.Error, match="data section"):
        onnuri.Engine(cut)
    options = {"context_size": 64, "concurrency": 3}
    whole, headers = onnuri.plan(source, **options), onnuri.plan(cut, **options)
    for plan in (whole, headers):
        items_of = items(plan)
        items_of.pop("tokenizer and tables", None)  # a warm process needs no more
        plan["items"] = items_of
    assert whole["items"] == headers["items"] and whole["fits"] and headers["fits"]
    assert whole["limit"] is None


def test_truncated_headers_are_errors(tmp_path):
    cut = cut_to_headers(GOLDEN / "text" / "qwen2", tmp_path / "cut")
    path = cut / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(onnuri.Error, match="header length"):
        onnuri.plan(cut)


def test_lying_headers_take_no_memory(tmp_path):
    cut = cut_to_headers(GOLDEN / "text" / "qwen2", tmp_path / "cut")
    entry = {"dtype": "F32", "shape": [1 << 50], "data_offsets": [0, 1 << 52]}
    header = json.dumps({"x": entry}).encode()
    (cut / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(onnuri.Error):
        onnuri.plan(cut)


def test_budget_decides(tmp_path):
    path = GOLDEN / "configs" / "exaone4_32b.json"
    large = onnuri.plan(path, context_size=65536, memory_bytes=200 << 30)
    assert large["fits"] and large["largest_concurrency"] >= 1
    small = onnuri.plan(path, context_size=65536, memory_bytes=16 << 30)
    assert not small["fits"] and small["limit"] == "weights" and small["largest_context"] == 0
    with pytest.raises(onnuri.Error, match="context size"):
        onnuri.plan(path, context_size=1 << 40)


@pytest.mark.parametrize("kv_dtype, row", [
    ("f32", lambda n: 4 * n), ("f16", lambda n: 2 * n), ("bf16", lambda n: 2 * n),
    ("int8", lambda n: 4 + (n + 3) // 4 * 4), ("fp8", lambda n: 4 + (n + 3) // 4 * 4),
    ("int4", lambda n: (n + 31) // 32 * 20)])
def test_type_of_keys_and_values(kv_dtype, row):
    path = GOLDEN / "text" / "qwen2"
    plan = onnuri.plan(path, kv_dtype=kv_dtype, context_size=64)
    config = json.loads((path / "config.json").read_text())
    head = config["hidden_size"] // config["num_attention_heads"]
    rows = 64 * config["num_hidden_layers"] * config["num_key_value_heads"] * 2
    assert items(plan)["full layers' keys and values"] == rows * row(head)
    engine = onnuri.Engine(path, kv_dtype=kv_dtype, context_size=64)
    assert engine.describe()["kv_dtype"] == plan["kv_dtype"] == kv_dtype
    assert len(engine.generate(input_ids=[5, 6, 7], max_new_tokens=4).token_ids) <= 4
    with pytest.raises(onnuri.Error, match="f32"):
        onnuri.Engine(path, kv_dtype="f64")


@needs_cli
def test_command_says_yes_or_no_and_why():
    def run(*args):
        return subprocess.run([CLI, "plan", *map(str, args)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)

    path = GOLDEN / "configs" / "k_exaone_236b.json"
    no = run(path, "--context", 262144, "--memory", "64GiB")
    assert no.returncode == 0 and "no: the limit is weights" in no.stdout
    yes = run(path, "--context", 262144, "--memory", "600GiB", "--json")
    assert json.loads(yes.stdout)["fits"]
    for args, word in [((path, "--tp", 7), "query heads"), ((path, "--device", "gpu"), "h100-80gb"), ((path, "--memory", "lots"), '"lots"'),
                       ((path, "--image", "12by4"), "WIDTHxHEIGHT")]:
        bad = run(*args)
        assert bad.returncode == 1 and word in bad.stderr and bad.stdout == ""


@needs_cli
def test_measured_memory_is_near_the_plan():
    # A process of its own, so that nothing else comes and goes; tiny models are all overhead, so
    # the share is asserted on real ones by script, and here that both are told.
    path = GOLDEN / "text" / "qwen2"
    result = subprocess.run([CLI, "plan", path, "--context", "64", "--check", "--json"],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    facts = json.loads(result.stdout)
    assert facts["measured_bytes"] > 0 and facts["planned_bytes"] == facts["plan"]["needed_bytes"]
    assert abs(facts["planned_bytes"] - facts["measured_bytes"]) < 8 << 20


def write_headers(path, tensors):
    """A safetensors file that ends behind its header."""
    header, at = {}, 0
    for name, dtype, shape in tensors:
        size = {"F32": 4, "BF16": 2}[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return at


def test_236b_of_which_only_headers_exist(tmp_path):
    config = json.loads((GOLDEN / "configs" / "k_exaone_236b.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    hidden, head, vocab = config["hidden_size"], config["head_dim"], config["vocab_size"]
    q, kv = head * config["num_attention_heads"], head * config["num_key_value_heads"]

    def ffn(prefix, width):
        return [(f"{prefix}.gate_proj.weight", "BF16", [width, hidden]),
                (f"{prefix}.up_proj.weight", "BF16", [width, hidden]),
                (f"{prefix}.down_proj.weight", "BF16", [hidden, width])]

    names, total = {}, 0
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        tensors = [(f"{at}.{norm}_layernorm.weight", "BF16", [hidden]) for norm in ("input", "post_attention")]
        tensors += [(f"{at}.self_attn.{n}_norm.weight", "BF16", [head]) for n in "qk"]
        tensors += [(f"{at}.self_attn.{n}_proj.weight", "BF16", [w, hidden]) for n, w in (("q", q), ("k", kv), ("v", kv))]
        tensors.append((f"{at}.self_attn.o_proj.weight", "BF16", [hidden, q]))
        if layer == 0:
            tensors += ffn(f"{at}.mlp", config["intermediate_size"])
        else:
            tensors.append((f"{at}.mlp.gate.weight", "BF16", [config["num_experts"], hidden]))
            tensors.append((f"{at}.mlp.e_score_correction_bias", "F32", [config["num_experts"]]))
            tensors += ffn(f"{at}.mlp.shared_experts", config["moe_intermediate_size"])
            for expert in range(config["num_experts"]):
                tensors += ffn(f"{at}.mlp.experts.{expert}", config["moe_intermediate_size"])
        if layer == 0:
            tensors += [("model.embed_tokens.weight", "BF16", [vocab, hidden]),
                        ("lm_head.weight", "BF16", [vocab, hidden]), ("model.norm.weight", "BF16", [hidden])]
        shard = f"model-{layer + 1:05}-of-00048.safetensors"
        total += write_headers(tmp_path / shard, tensors)
        names.update({name: shard for name, _, _ in tensors})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert total > 470e9

    with pytest.raises(onnuri.Error, match="data section"):
        onnuri.Engine(tmp_path)
    options = {"context_size": 262144, "kv_dtype": "bf16"}
    plan = onnuri.plan(tmp_path, memory_bytes=600 << 30, **options)
    assert sum(storage["bytes"] for storage in plan["storage"].values()) == total
    sizes = items(plan)
    kept = sizes["full layers' keys and values"] + sizes["window layers' keys and values"]
    assert 12 * 2**30 <= kept <= 1.02 * 12.02 * 2**30
    # All but the table of embeddings is packed; routers and small vectors are widened.
    packed = total - 2 * vocab * hidden
    assert packed <= sizes["weights"] <= 1.002 * packed
    assert plan["fits"] and plan["largest_context"] == 262144
    small = onnuri.plan(tmp_path, device="h100-80gb", **options)
    assert not small["fits"] and small["limit"] == "weights"
    shared = onnuri.plan(tmp_path, device="h100-80gb", tensor_parallel=8, **options)
    assert shared["fits"] and shared["needed_bytes"] < 80e9 and shared["tensor_parallel"] == 8
    alone = onnuri.plan(GOLDEN / "configs" / "k_exaone_236b.json", memory_bytes=600 << 30, **options)
    assert items(alone) == pytest.approx(sizes, rel=1e-3, abs=1 << 26)
