"""How much memory a load takes: the peak while loading beside what stays resident.

    benchmarks/load_memory.py MODEL [MODEL ...]
    benchmarks/load_memory.py --synthetic FOLDER     # makes checkpoints of about 500 MB, then loads

Every model is loaded in a fresh process. Sizes are what the process gained over its start, in MB:
peak is VmHWM (file pages included), resident is VmRSS after the load, anonymous the part of it that
is no page of a file. The ratio should stay below 1.1. Linux only.
"""

import argparse
import json
import pathlib
import subprocess
import sys

CHILD = """
import gc, json, sys
import onnuri
def status():
    lines = open("/proc/self/status").read().splitlines()
    return {k: int(v.split()[0]) for k, v in (l.split(":", 1) for l in lines)
            if k in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}
gc.collect()
before = status()
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
engine = onnuri.Engine(sys.argv[1], num_threads=int(sys.argv[2]))
print(json.dumps([before, status()]))
"""

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024,
          "intermediate_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 4,
          "num_hidden_layers": 13, "vocab_size": 16384, "max_position_embeddings": 4096,
          "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
          "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}


def write_checkpoint(folder, layers, gptq):
    """A random llama in bfloat16, or with GPTQ int4 projections in groups of 128."""
    import torch
    from safetensors.torch import save_file

    gen = torch.Generator().manual_seed(1)
    config = dict(CONFIG, num_hidden_layers=layers)
    hidden, wide, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    tensors = {}

    def plain(name, *shape):
        tensors[name] = (torch.randn(shape, generator=gen) * 0.03).bfloat16()

    def projection(name, rows, cols):
        if not gptq:
            return plain(name + ".weight", rows, cols)

        def words(*shape):
            return torch.randint(-2**31, 2**31 - 1, shape, generator=gen, dtype=torch.int32)
        tensors[name + ".qweight"] = words(cols // 8, rows)
        tensors[name + ".qzeros"] = words(cols // 128, rows // 8)
        tensors[name + ".scales"] = (torch.rand(cols // 128, rows, generator=gen) * 0.01).half()
        tensors[name + ".g_idx"] = (torch.arange(cols) // 128).int()

    plain("model.embed_tokens.weight", vocab, hidden)
    plain("lm_head.weight", vocab, hidden)
    plain("model.norm.weight", hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        plain(layer + "input_layernorm.weight", hidden)
        plain(layer + "post_attention_layernorm.weight", hidden)
        for name, rows, cols in [("self_attn.q", hidden, hidden), ("self_attn.k", hidden // 4, hidden),
                                 ("self_attn.v", hidden // 4, hidden), ("self_attn.o", hidden, hidden),
                                 ("mlp.gate", wide, hidden), ("mlp.up", wide, hidden),
                                 ("mlp.down", hidden, wide)]:
            projection(f"{layer}{name}_proj", rows, cols)
    if gptq:
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128,
                                         "desc_act": False, "sym": False}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")


def file_bytes(path):
    path = pathlib.Path(path)
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files)


def measure(path, threads):
    result = subprocess.run([sys.executable, "-c", CHILD, str(path), str(threads)],
                            capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{path}: {result.stderr.strip().splitlines()[-1]}")
    before, after = json.loads(result.stdout.splitlines()[-1])
    start = before["VmRSS"]
    row = {"model": pathlib.Path(path).name, "file": file_bytes(path),
           "peak": (after["VmHWM"] - start) * 1024, "resident": (after["VmRSS"] - start) * 1024,
           "anonymous": (after["RssAnon"] - before["RssAnon"]) * 1024}
    row["ratio"] = row["peak"] / row["resident"]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--synthetic", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    models = list(options.models)
    if options.synthetic:
        for name, layers, gptq in [("bf16", 13, False), ("gptq-int4", 52, True)]:
            folder = options.synthetic / name
            if not folder.exists():
                write_checkpoint(folder, layers, gptq)
            models.append(folder)
    print("| model | file | peak | resident | anonymous | peak / resident |")
    print("| --- | --- | --- | --- | --- | --- |")
    for path in models:
        row = measure(path, options.threads)
        sizes = " | ".join(f"{row[k] / 1e6:.0f}" for k in ("file", "peak", "resident", "anonymous"))
        print(f"| {row['model']} | {sizes} | {row['ratio']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
