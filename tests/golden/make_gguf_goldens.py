"""Writes the tiny checkpoints of tests/golden/text as GGUF, the way llama.cpp's converter lays them out.

What differs from safetensors, and what these files therefore test:
    llama        rows of q and k are permuted, rope turns adjacent pairs; rope_freqs.weight holds the
                 factors of scaled rope
    gemma3       norms have the one added; linear rope scaling on global layers only
    exaone4      rope_freqs.weight; sliding layers as a list
    exaone-moe   experts stacked per layer
The expected logits are those of the safetensors folder of the same name (golden.safetensors). Files
hold no vocabulary. Made with the gguf package 0.19 and safetensors.

Usage: python tests/golden/make_gguf_goldens.py
"""

import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent
ARCHS = {"llama": "llama", "qwen3": "qwen3", "gemma3": "gemma3", "exaone4_hybrid": "exaone4",
         "exaone_moe": "exaone-moe"}
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
NORMS = {
    "pre": {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
    "exaone4": {"post_attention_layernorm": "post_attention_norm",
                "post_feedforward_layernorm": "post_ffw_norm"},
    "gemma3": {"input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
               "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"},
}


def permute(weight, heads):
    """Halves of a head to adjacent pairs."""
    rows = weight.shape[0]
    return (weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:])
            .swapaxes(1, 2).reshape(weight.shape))


def rope_factors(rope, theta, dim):
    """What llama3 scaling divides each frequency by."""
    out = []
    for i in range(0, dim, 2):
        wavelength = 2 * np.pi * theta ** (i / dim)
        long = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
        short = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        if wavelength < short:
            out.append(1.0)
        elif wavelength > long:
            out.append(rope["factor"])
        else:
            smooth = ((rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"])
                      / (rope["high_freq_factor"] - rope["low_freq_factor"]))
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, np.float32)


def write_keys(writer, arch, config):
    def key(name, value):
        if isinstance(value, list):
            writer.add_array(f"{arch}.{name}", value)
        elif isinstance(value, bool):
            writer.add_bool(f"{arch}.{name}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"{arch}.{name}", value)
        else:
            writer.add_float32(f"{arch}.{name}", value)
    rope = config.get("rope_parameters") or dict(config["rope_scaling"], rope_theta=config["rope_theta"])
    full = rope.get("full_attention", rope)
    key("block_count", config["num_hidden_layers"])
    key("context_length", config["max_position_embeddings"])
    key("embedding_length", config["hidden_size"])
    key("feed_forward_length", config["intermediate_size"])
    key("attention.head_count", config["num_attention_heads"])
    key("attention.head_count_kv", config["num_key_value_heads"])
    key("attention.key_length", config["head_dim"])
    key("attention.value_length", config["head_dim"])
    key("attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    key("rope.freq_base", float(full["rope_theta"]))
    key("rope.dimension_count", config["head_dim"])
    if full.get("rope_type") == "linear":
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        key("rope.scaling.factor", float(full["factor"]))
    if config.get("sliding_window"):
        key("attention.sliding_window", config["sliding_window"])
        if arch != "gemma3":  # its files rely on the period of six
            key("attention.sliding_window_pattern",
                [kind == "sliding_attention" for kind in config["layer_types"]])
    if arch == "exaone-moe":
        key("expert_count", config["num_experts"])
        key("expert_used_count", config["num_experts_per_tok"])
        key("expert_feed_forward_length", config["moe_intermediate_size"])
        key("expert_shared_count", config["num_shared_experts"])
        key("expert_weights_scale", float(config["routed_scaling_factor"]))
        key("expert_weights_norm", config["norm_topk_prob"])
        key("expert_gating_func", 2)
        key("leading_dense_block_count", config["first_k_dense_replace"])
    return rope


def stored(arch, name, tensor, config):
    """The GGUF name and float32 values of one tensor."""
    value = tensor.to(torch.float32).numpy()
    if arch == "gemma3" and "norm" in name:
        value = value + 1
        if "q_norm" in name:  # the files know no attention scale but 1/sqrt(head_dim): fold the other in
            value = value * np.sqrt(config["head_dim"] / config["query_pre_attn_scalar"])
    parts = name.removeprefix("model.").removesuffix(".weight")
    top = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    if parts in top:
        return top[parts] + ".weight", value
    _, layer, rest = parts.split(".", 2)
    if rest.endswith("e_score_correction_bias"):
        return f"blk.{layer}.exp_probs_b.bias", value
    if arch == "llama" and rest in ("self_attn.q_proj", "self_attn.k_proj"):
        heads = config["num_attention_heads" if ".q_" in rest else "num_key_value_heads"]
        value = permute(value, heads)
    norms = NORMS.get(arch, NORMS["pre"])
    return f"blk.{layer}.{norms.get(rest) or NAMES[rest]}.weight", value


def make(family, arch):
    config = json.loads((ROOT / "text" / family / "config.json").read_text())
    tensors = load_file(ROOT / "text" / family / "model.safetensors")
    out = ROOT / "gguf" / f"{family}.gguf"
    out.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(out), arch)
    rope = write_keys(writer, arch, config)
    values, experts = {}, {}
    for name, tensor in tensors.items():
        if ".experts." in name:
            _, _, layer, _, _, expert, kind, _ = name.split(".")
            experts.setdefault((layer, kind), {})[int(expert)] = tensor.to(torch.float32).numpy()
            continue
        gguf_name, value = stored(arch, name, tensor, config)
        values[gguf_name] = value
    for (layer, kind), parts in experts.items():
        values[f"blk.{layer}.ffn_{kind.removesuffix('_proj')}_exps.weight"] = np.stack(
            [parts[i] for i in range(len(parts))])
    if rope.get("rope_type") == "llama3":
        values["rope_freqs.weight"] = rope_factors(rope, rope["rope_theta"], config["head_dim"])
    for name in sorted(values):
        value = values[name]
        if value.ndim == 1 or tensors["model.embed_tokens.weight"].dtype == torch.float32:
            writer.add_tensor(name, np.ascontiguousarray(value, np.float32))
        else:  # the stored bits: these weights were rounded to bfloat16 before
            bits = (np.ascontiguousarray(value, np.float32).view(np.uint32) >> 16).astype(np.uint16)
            writer.add_tensor(name, bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{out.name}: {out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    for family, arch in ARCHS.items():
        make(family, arch)
