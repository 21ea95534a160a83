"""Writes the tiny checkpoints of tests/golden/text as GGUF, the way llama.cpp's converter lays them out.

What differs from safetensors, and what these files therefore test:
    llama        rows of q and k are permuted, rope turns adjacent pairs; rope_freqs.weight holds the
                 factors of scaled rope
    gemma3       norms have the one added; linear rope scaling on global layers only
    qwen2        biases; no output.weight where embedding and head are one
    exaone4      rope_freqs.weight; sliding layers as a list, or no window at all
    exaone-moe   experts stacked per layer; one layer more that guesses further tokens and is not run
    qwen3moe     the same; that weights sum to one goes without saying
    gpt-oss      gate and up apart; alpha and limit of the activation go without saying
    granite      rows of q and k are permuted; scalars
    ernie4_5     pairs as they are
    glm4moe      Solar Open: the norm before the experts is called post_attention_norm
The expected logits are those of the safetensors folder of the same name (golden.safetensors). Files
hold no vocabulary. Made with the gguf package 0.19 and safetensors.

Usage: python tests/golden/make_gguf_goldens.py [family ...]
"""

import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent
ARCHS = {"llama": "llama", "qwen3": "qwen3", "gemma3": "gemma3", "exaone4_hybrid": "exaone4",
         "exaone4_full": "exaone4", "qwen2": "qwen2",
         "exaone_moe": "exaone-moe", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss",
         "granite": "granite", "ernie4_5": "ernie4_5", "solar_open": "glm4moe"}
PERMUTED = ("llama", "granite")
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp",
    "self_attn.sinks": "attn_sinks",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
POST = {"input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm"}
NORMS = {
    "gpt-oss": POST, "glm4moe": POST,
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
    extra_layers = 1 if arch == "exaone-moe" else 0
    key("block_count", config["num_hidden_layers"] + extra_layers)
    if extra_layers:
        key("nextn_predict_layers", extra_layers)
    key("context_length", config["max_position_embeddings"])
    key("embedding_length", config["hidden_size"])
    if "intermediate_size" in config:
        key("feed_forward_length", config["intermediate_size"])
    key("attention.head_count", config["num_attention_heads"])
    key("attention.head_count_kv", config["num_key_value_heads"])
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    key("attention.key_length", head_dim)
    key("attention.value_length", head_dim)
    key("attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    key("rope.freq_base", float(full["rope_theta"]))
    key("rope.dimension_count", head_dim)
    if full.get("rope_type") in ("linear", "yarn"):
        writer.add_string(f"{arch}.rope.scaling.type", full["rope_type"])
        key("rope.scaling.factor", float(full["factor"]))
    if full.get("rope_type") == "yarn":
        key("rope.scaling.original_context_length", full["original_max_position_embeddings"])
    if config.get("sliding_window"):
        key("attention.sliding_window", config["sliding_window"])
        if arch not in ("gemma3", "gpt-oss"):  # these files rely on a period of six and two
            key("attention.sliding_window_pattern",
                [kind == "sliding_attention" for kind in config["layer_types"]])
    for name, source in {
            "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
            "expert_used_count": ("num_experts_per_tok",),
            "expert_shared_count": ("num_shared_experts", "n_shared_experts"),
            "expert_group_count": ("n_group",), "expert_group_used_count": ("topk_group",),
            "expert_weights_scale": ("routed_scaling_factor",),
            "leading_dense_block_count": ("first_k_dense_replace",),
            "embedding_scale": ("embedding_multiplier",), "logit_scale": ("logits_scaling",),
            "residual_scale": ("residual_multiplier",), "attention.scale": ("attention_multiplier",),
    }.items():
        for spelling in source:
            if spelling in config:
                key(name, config[spelling])
    if arch == "gpt-oss":
        key("expert_feed_forward_length", config["intermediate_size"])
    elif "moe_intermediate_size" in config:
        key("expert_feed_forward_length", config["moe_intermediate_size"])
    if arch in ("exaone-moe", "glm4moe"):
        key("expert_weights_norm", config["norm_topk_prob"])
        key("expert_gating_func", 2)
    return rope


def stored(arch, name, tensor, config):
    """The GGUF name and float32 values of one tensor."""
    value = tensor.to(torch.float32).numpy()
    if arch == "gemma3" and "norm" in name:
        value = value + 1
        if "q_norm" in name:  # the files know no attention scale but 1/sqrt(head_dim): fold the other in
            value = value * np.sqrt(config["head_dim"] / config["query_pre_attn_scalar"])
    kind = "bias" if name.endswith(".bias") else "weight"
    parts = name.removeprefix("model.").removesuffix("." + kind)
    top = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    if parts in top:
        return top[parts] + ".weight", value
    _, layer, rest = parts.split(".", 2)
    if rest.endswith("e_score_correction_bias"):
        return f"blk.{layer}.exp_probs_b.bias", value
    if arch in PERMUTED and rest in ("self_attn.q_proj", "self_attn.k_proj"):
        heads = config["num_attention_heads" if ".q_" in rest else "num_key_value_heads"]
        value = permute(value, heads)
    norms = NORMS.get(arch, NORMS["pre"])
    return f"blk.{layer}.{norms.get(rest) or NAMES[rest]}.{kind}", value


def stored_experts(name, tensor):
    """The GGUF names and values of a stack that holds gate and up as alternating columns."""
    value = tensor.to(torch.float32).numpy()
    _, _, layer, _, _, rest = name.split(".")
    kind = "bias" if rest.endswith("_bias") else "weight"
    if kind == "weight":
        value = value.swapaxes(1, 2)
    parts = {"down": value} if rest.startswith("down") else {"gate": value[:, ::2], "up": value[:, 1::2]}
    for part, rows in parts.items():
        yield f"blk.{layer}.ffn_{part}_exps.{kind}", rows


def make(family, arch):
    config = json.loads((ROOT / "text" / family / "config.json").read_text())
    tensors = load_file(ROOT / "text" / family / "model.safetensors")
    out = ROOT / "gguf" / f"{family}.gguf"
    out.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(out), arch)
    rope = write_keys(writer, arch, config)
    values, experts = {}, {}
    for name, tensor in tensors.items():
        if ".experts." in name and not name.endswith(".weight"):
            values.update(stored_experts(name, tensor))
            continue
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
    if arch == "exaone-moe":
        layer = config["num_hidden_layers"]
        values[f"blk.{layer}.nextn.enorm.weight"] = np.ones(config["hidden_size"], np.float32)
    for name in sorted(values):
        value = values[name]
        if value.ndim == 1 or tensors["model.embed_tokens.weight"].dtype != torch.bfloat16:
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
    for family in sys.argv[1:] or ARCHS:
        make(family, ARCHS[family])
