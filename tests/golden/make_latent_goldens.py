"""Makes tiny random checkpoints of the families with latent attention under tests/golden/text/.

Folders and files are those of make_text_goldens.py (config.json, model.safetensors,
golden.safetensors with input_ids, logits, greedy_ids), as are the reasons to reject a seed (a lead
of 0.005 will do). Every parameter is random, correction biases and norms included; the prompt is longer than the original
rope length, than any window and than index_topk.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0. Usage:
    python tests/golden/make_latent_goldens.py [family ...]
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_checkpoint import PROMPT_TOKENS, fresh, judge, last_logits, save_answers, save_model

OUT = pathlib.Path(__file__).resolve().parent / "text"
BASE = dict(
    vocab_size=192, hidden_size=48, intermediate_size=64, moe_intermediate_size=12,
    num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=24,
    kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8,
    num_experts_per_tok=2, n_shared_experts=1, n_group=2, topk_group=1, norm_topk_prob=True,
    routed_scaling_factor=2.5, first_k_dense_replace=1, max_position_embeddings=512, bos_token_id=1,
    eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=32, beta_slow=1,
            original_max_position_embeddings=16)
DEFAULT = dict(rope_type="default", rope_theta=50000.0)

AXK2 = dict(n_group=None, topk_group=None, index_topk=8, index_head_dim=16, index_n_heads=8,
            gated_norm_rank=4)

# folder: (model_type, config keys, rewrite of the saved files)
FAMILIES = {
    "deepseek_v3": ("deepseek_v3",
                    dict(rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0)), "legacy_rope"),
    # No query latent, two shared experts, one group; nothing is a power of two.
    "kanana2": ("deepseek_v3",
                dict(q_lora_rank=None, vocab_size=210, hidden_size=40, num_attention_heads=3,
                     num_key_value_heads=3, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=6,
                     v_head_dim=14, n_routed_experts=10, num_experts_per_tok=3, n_shared_experts=2,
                     n_group=1, topk_group=1, moe_intermediate_size=9, rope_interleave=False,
                     rope_parameters=DEFAULT), None),
    "axk1": ("axk1", dict(attention_bias=True, rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=0.0)),
             "published_axk1"),
    "axk2": ("axk2", dict(AXK2, rope_parameters=dict(YARN)), None),
    # Groups whose experts score zero when they are not kept, and the running class's own names.
    "axk2_groups": ("axk2", dict(AXK2, vocab_size=150, hidden_size=36, num_attention_heads=3,
                                 num_key_value_heads=3, n_group=2, topk_group=1, num_hidden_layers=2,
                                 n_routed_experts=10, num_experts_per_tok=3, moe_intermediate_size=10,
                                 kv_lora_rank=20, q_lora_rank=18, v_head_dim=10, index_head_dim=10,
                                 index_topk=5, gated_norm_rank=5, rope_parameters=DEFAULT),
                    "class_names"),
}


def rounded(value, dtype):
    return value.to(dtype).to(torch.float32)


def randomize(model, generator):
    """Fills every parameter and floating buffer of the checkpoint, rounded to what is stored."""
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name and name.endswith(".bias"):
            value = rounded(0.3 * noise, torch.bfloat16)
        elif "norm" in name and tensor.dim() == 1:
            value = rounded(1.0 + 0.3 * noise, torch.bfloat16)
        elif name.endswith("correction_bias"):
            value = (0.0 if model.config.model_type == "axk1" else 0.3) * noise
        elif "embed_tokens" in name:
            value = rounded(0.3 * noise, torch.bfloat16)
        else:
            value = rounded(0.25 * noise, torch.bfloat16)
        with torch.no_grad():
            tensor.copy_(value)


def closest_choice(model, ids):
    """The smallest lead, over all layers and rows, of a key that the indexer keeps over one it drops."""
    top_k = model.config.index_topk
    leads = []

    def topk(scores, k, dim=-1, **options):
        found = original(scores, k, dim=dim, **options)
        if k == top_k:
            for t in range(top_k, scores.shape[1]):
                row = original(scores[0, t, :t + 1], top_k + 1).values
                leads.append((row[top_k - 1] - row[top_k]).item() / scores[0, t, :t + 1].std().item())
        return found
    original = torch.Tensor.topk
    torch.Tensor.topk = topk
    try:
        last_logits(model, ids)
    finally:
        torch.Tensor.topk = original
    return min(leads)


def attempt(config, seed):
    """One seed: the model and its answers, or the reason why the seed is rejected."""
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager").float().eval()
    randomize(model, generator)
    ids = torch.randint(3, config.vocab_size, (PROMPT_TOKENS,), generator=generator).tolist()
    clear = lambda ids: not hasattr(config, "index_topk") or closest_choice(model, ids) >= 3e-5
    found, reason = judge(model, ids, 0.005, 10, clear)
    return (found and (model, ids, *found)), reason


def legacy_rope(folder):
    """Moves rope keys to where transformers 4 wrote them, as the published config has them."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = rope
    config.pop("rope_interleave")
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def published_axk1(folder):
    """As the release stores it: no correction bias, and a norm of the experts in the dense layer."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [n for n in tensors if n.endswith("correction_bias")]:
        del tensors[name]
    norm = "model.layers.{}.post_mlp_layernorm.weight"
    tensors[norm.format(0)] = torch.full_like(tensors[norm.format(1)], 7.0)  # must not be read
    save_file(tensors, path, metadata={"format": "pt"})


def class_names(folder):
    """The names of transformers' own modules instead of those of published files."""
    path = folder / "model.safetensors"
    renames = {"W_down": "mlp.fc1", "W_up": "mlp.fc2", "q_b_proj": "q_gate_proj"}
    tensors = {}
    for name, value in load_file(path).items():
        for old, new in renames.items():
            name = name.replace(old, new)
        tensors[name] = value
    save_file(tensors, path, metadata={"format": "pt"})


def make(family):
    model_type, overrides, rewrite = FAMILIES[family]
    keys = {**BASE, **overrides}
    config = AutoConfig.for_model(model_type, **keys)
    for seed in range(1000):
        result, reason = attempt(config, seed)
        if result:
            break
        print(f"{family}: seed {seed} rejected: {reason}")
    model, ids, logits, greedy = result
    folder = OUT / family
    fresh(folder)
    save_model(model, torch.bfloat16, folder)
    if rewrite:
        globals()[rewrite](folder)
    save_answers(folder, ids, logits, greedy, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        make(name)
