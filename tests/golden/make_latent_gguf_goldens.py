"""Writes tests/golden/text/deepseek_v3 and kanana2 as GGUF, architecture deepseek2, in both layouts.

    deepseek_v3_split.gguf   as llama.cpp's converter lays it out today: kv_b in two parts, the key
                             part turned around per head; widths of heads under key_length_mla
    deepseek_v3_whole.gguf   as files from before that split: kv_b whole
    kanana2_split.gguf       split, no query latent; rope rows of q and kv_a in adjacent pairs

Experts are stacked, matrices keep their bfloat16 bits, vectors are float32. The expected answers are
those of the safetensors folder. Files hold no vocabulary. Made with the gguf package 0.19.

Usage: python tests/golden/make_latent_gguf_goldens.py
"""

import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent
FILES = {"deepseek_v3_split": ("deepseek_v3", True), "deepseek_v3_whole": ("deepseek_v3", False),
         "kanana2_split": ("kanana2", True)}
NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_keys(writer, config, split):
    def key(name, value):
        kind = (writer.add_bool if isinstance(value, bool) else
                writer.add_uint32 if isinstance(value, int) else writer.add_float32)
        kind(f"deepseek2.{name}", value)
    rope = config.get("rope_parameters") or dict(config["rope_scaling"], rope_theta=config["rope_theta"])
    nope, turned = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    rank, v_dim = config["kv_lora_rank"], config["v_head_dim"]
    key("block_count", config["num_hidden_layers"])
    key("context_length", config["max_position_embeddings"])
    key("embedding_length", config["hidden_size"])
    key("feed_forward_length", config["intermediate_size"])
    key("attention.head_count", config["num_attention_heads"])
    key("attention.head_count_kv", 1 if split else config["num_attention_heads"])
    if split:
        key("attention.key_length", rank + turned)
        key("attention.value_length", rank)
        key("attention.key_length_mla", nope + turned)
        key("attention.value_length_mla", v_dim)
    else:
        key("attention.key_length", nope + turned)
        key("attention.value_length", v_dim)
    if config.get("q_lora_rank"):
        key("attention.q_lora_rank", config["q_lora_rank"])
    key("attention.kv_lora_rank", rank)
    key("attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    key("rope.freq_base", float(rope["rope_theta"]))
    key("rope.dimension_count", turned)
    if rope.get("type") == "yarn":
        writer.add_string("deepseek2.rope.scaling.type", "yarn")
        key("rope.scaling.factor", float(rope["factor"]))
        key("rope.scaling.original_context_length", rope["original_max_position_embeddings"])
        key("rope.scaling.yarn_log_multiplier", 0.1 * rope["mscale_all_dim"])
    key("expert_count", config["n_routed_experts"])
    key("expert_used_count", config["num_experts_per_tok"])
    key("expert_shared_count", config["n_shared_experts"])
    key("expert_feed_forward_length", config["moe_intermediate_size"])
    key("expert_group_count", config["n_group"])
    key("expert_group_used_count", config["topk_group"])
    key("expert_weights_scale", float(config["routed_scaling_factor"]))
    key("expert_weights_norm", config["norm_topk_prob"])
    key("expert_gating_func", 2)
    key("leading_dense_block_count", config["first_k_dense_replace"])


def paired(weight, turned):
    """The last `turned` rows of a head from halves to adjacent pairs."""
    out = weight.copy()
    tail = weight[-turned:]
    out[-turned::2], out[-turned + 1::2] = tail[:turned // 2], tail[turned // 2:]
    return out


def rows_in_pairs(rest, value, config):
    turned = config["qk_rope_head_dim"]
    if "kv_a_proj" in rest:
        return paired(value, turned)
    if rest.endswith(("q_proj", "q_b_proj")):
        heads = np.split(value, config["num_attention_heads"])
        return np.concatenate([paired(head, turned) for head in heads])
    return value


def make(name, family, split):
    config = json.loads((ROOT / "text" / family / "config.json").read_text())
    tensors = load_file(ROOT / "text" / family / "model.safetensors")
    writer = gguf.GGUFWriter(str(ROOT / "gguf" / f"{name}.gguf"), "deepseek2")
    write_keys(writer, config, split)
    values, experts = {}, {}
    for full, tensor in tensors.items():
        value = tensor.to(torch.float32).numpy()
        stem = full.removesuffix(".weight")
        if stem in TOP:
            values[TOP[stem] + ".weight"] = value
            continue
        if ".experts." in full:
            _, _, layer, _, _, expert, kind, _ = full.split(".")
            experts.setdefault((layer, kind), {})[int(expert)] = value
            continue
        _, _, layer, rest = stem.split(".", 3)
        if rest.endswith("e_score_correction_bias"):
            values[f"blk.{layer}.exp_probs_b.bias"] = value
            continue
        bias = rest.endswith(".bias")
        rest = rest.removesuffix(".bias")
        if not config.get("rope_interleave", True):
            value = rows_in_pairs(rest, value, config)
        if rest.endswith("kv_b_proj") and split:
            heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
            value = value.reshape(heads, nope + config["v_head_dim"], config["kv_lora_rank"])
            values[f"blk.{layer}.attn_k_b.weight"] = value[:, :nope].swapaxes(1, 2)
            values[f"blk.{layer}.attn_v_b.weight"] = value[:, nope:]
            continue
        values[f"blk.{layer}.{NAMES[rest]}.{'bias' if bias else 'weight'}"] = value
    for (layer, kind), parts in experts.items():
        values[f"blk.{layer}.ffn_{kind.removesuffix('_proj')}_exps.weight"] = np.stack(
            [parts[i] for i in range(len(parts))])
    for tensor_name in sorted(values):
        value = np.ascontiguousarray(values[tensor_name], np.float32)
        if value.ndim == 1:
            writer.add_tensor(tensor_name, value)
        else:  # these weights were rounded to bfloat16 before
            bits = (value.view(np.uint32) >> 16).astype(np.uint16)
            writer.add_tensor(tensor_name, bits.view(np.uint8),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{name}: {(ROOT / 'gguf' / f'{name}.gguf').stat().st_size // 1000} kB")


if __name__ == "__main__":
    for name, (family, split) in FILES.items():
        make(name, family, split)
