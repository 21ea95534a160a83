"""Makes the tiny random text checkpoints under tests/golden/text/ and what they must answer.

Every folder holds a checkpoint as `save_pretrained` writes it (config.json, model.safetensors) and
golden.safetensors with
    input_ids      (T)      the prompt, longer than any window and than the original rope length
    logits         (T, V)   float32 logits of one forward pass over the prompt
    greedy_ids     (32)     greedy continuation, recomputed without a cache at every step
All parameters are random: default initialisation (ones, zeros) would hide swapped norms, missing
biases and unused corrections. Weights are rounded to the stored type first and the model then runs
in float32, so a runtime that reads the same file computes the same numbers.

Seeds are judged by tiny_checkpoint.py: leads of 0.01, 10 distinct tokens (5 for the tied and
peri-normed family, which settles sooner). Those of models with linear layers also by how far
rounding moves their logits.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, tokenizers and safetensors as installed
with them. Usage: python tests/golden/make_text_goldens.py [family ...]
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from tiny_checkpoint import PROMPT_TOKENS, fresh, judge, last_logits, save_answers, save_model

OUT = pathlib.Path(__file__).resolve().parent / "text"
BASE = dict(
    vocab_size=256, hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    pad_token_id=0, tie_word_embeddings=False,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=16.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=32)
MOE = dict(intermediate_size=64, moe_intermediate_size=12, num_experts=8, num_experts_per_tok=2,
           num_shared_experts=1, n_group=1, topk_group=1, norm_topk_prob=True,
           routed_scaling_factor=2.5, sliding_window=8,
           layer_types=["sliding_attention"] * 3 + ["full_attention"],
           mlp_layer_types=["dense"] + ["sparse"] * 3)

YARN = dict(rope_type="yarn", rope_theta=10000.0, original_max_position_embeddings=16)
# The odd ones below: nothing is a power of two.
ODD = dict(vocab_size=336, hidden_size=36, num_attention_heads=3, num_key_value_heads=1, head_dim=20,
           intermediate_size=50, num_hidden_layers=3)
EXPERTS = dict(vocab_size=200, hidden_size=36, intermediate_size=40, moe_intermediate_size=12,
               num_experts=10, num_experts_per_tok=3)
LINEAR = dict(linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=20,
              linear_value_head_dim=18, linear_conv_kernel_dim=4, rope_parameters=dict(
                  rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25))
SCALARS = dict(embedding_multiplier=3.0, residual_multiplier=0.6, attention_multiplier=0.15)

# folder: (model_type, stored dtype, config keys, rewrite of the saved files)
FAMILIES = {
    "llama": ("llama", torch.float32, dict(num_hidden_layers=3, rope_parameters=LLAMA3), "legacy_rope"),
    "qwen2": ("qwen2", torch.float16, dict(vocab_size=320, head_dim=None, tie_word_embeddings=True),
              "tokenizer"),
    "qwen3": ("qwen3", torch.bfloat16, dict(), None),
    "gemma3": ("gemma3_text", torch.bfloat16,
               dict(num_hidden_layers=6, sliding_window=8, query_pre_attn_scalar=20,
                    num_key_value_heads=1, tie_word_embeddings=True,
                    rope_parameters=dict(
                        full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                        sliding_attention=dict(rope_type="default", rope_theta=1e4)),
                    layer_types=["sliding_attention"] * 5 + ["full_attention"]), None),
    "exaone4_hybrid": ("exaone4", torch.bfloat16,
                       dict(sliding_window=8, sliding_window_pattern=4, rope_parameters=LLAMA3), None),
    "exaone4_full": ("exaone4", torch.bfloat16,
                     dict(sliding_window=None, layer_types=["full_attention"] * 4,
                          rope_parameters=LLAMA3, tie_word_embeddings=True), "legacy_rope"),
    "exaone_moe": ("exaone_moe", torch.bfloat16, MOE, "hub_spelling"),
    # Nothing is a power of two: 10 experts, top 3, an odd number of query heads.
    "exaone_moe_odd": ("exaone_moe", torch.bfloat16,
                       dict(MOE, vocab_size=336, hidden_size=72, num_attention_heads=3,
                            num_key_value_heads=1, head_dim=20, num_experts=10,
                            num_experts_per_tok=3, moe_intermediate_size=10, sliding_window=5,
                            tie_word_embeddings=True), "fused_experts"),
    # Kanana 1.5 2.1B: heads that do not divide the hidden size. Scaling beyond the context is inert.
    "llama_biases": ("llama", torch.bfloat16,
                     dict(ODD, num_attention_heads=5, attention_bias=True, mlp_bias=True,
                          tie_word_embeddings=True,
                          rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=4.0)),
                     None),
    "qwen2_windows": ("qwen2", torch.bfloat16,
                      dict(vocab_size=200, num_hidden_layers=3, head_dim=None, use_sliding_window=True,
                           sliding_window=8, max_window_layers=2,
                           rope_parameters=dict(YARN, factor=4.0)), "legacy_windows"),
    "qwen3_windows": ("qwen3", torch.bfloat16,
                      dict(ODD, attention_bias=True, use_sliding_window=True, sliding_window=5,
                           layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
                      None),
    "qwen3_moe": ("qwen3_moe", torch.bfloat16,
                  dict(EXPERTS, norm_topk_prob=True, num_hidden_layers=3), None),
    "qwen3_moe_sparse": ("qwen3_moe", torch.bfloat16,
                         dict(EXPERTS, norm_topk_prob=False, decoder_sparse_step=2,
                              mlp_only_layers=[3], attention_bias=True, use_sliding_window=True, sliding_window=7),
                         "fused_experts"),
    "hyperclovax": ("hyperclovax", torch.bfloat16,
                    dict(SCALARS, vocab_size=200, hidden_size=40, num_hidden_layers=3,
                         logits_scaling=0.125, use_post_norm=True,
                         rope_parameters=dict(rope_type="default", rope_theta=1e8)), "no_post_norm_key"),
    "hyperclovax_plain": ("hyperclovax", torch.bfloat16,
                          dict(ODD, **SCALARS, logits_scaling=0.5, use_post_norm=False,
                               attention_bias=True, mlp_bias=True, tie_word_embeddings=True), None),
    "granite": ("granite", torch.bfloat16,
                dict(ODD, **SCALARS, head_dim=None, logits_scaling=3.0, attention_bias=True,
                     mlp_bias=True), None),
    "exaone4_5": ("exaone4_5", torch.bfloat16,
                  dict(ODD, vocab_size=240, num_hidden_layers=4, sliding_window=6, sliding_window_pattern=4,
                       rope_parameters=LLAMA3), None),
    "solar_open": ("solar_open", torch.bfloat16,
                   dict(vocab_size=200, hidden_size=36, num_hidden_layers=3, moe_intermediate_size=10,
                        n_routed_experts=10, num_experts_per_tok=3, n_shared_experts=1, n_group=2,
                        topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.5,
                        rope_parameters=dict(YARN, factor=2.0)), None),
    "qwen3_next": ("qwen3_next", torch.bfloat16,
                   dict(LINEAR, **EXPERTS, shared_expert_intermediate_size=20, norm_topk_prob=True,
                        head_dim=16, num_hidden_layers=4), None),
    "qwen3_5": ("qwen3_5_text", torch.bfloat16, dict(LINEAR, vocab_size=240, tie_word_embeddings=True), None),
    "qwen3_5_moe": ("qwen3_5_moe_text", torch.bfloat16,
                    dict(EXPERTS, **LINEAR, shared_expert_intermediate_size=14, head_dim=24,
                         num_attention_heads=3, num_key_value_heads=1,
                         layer_types=["linear_attention", "full_attention", "linear_attention",
                                      "linear_attention"]), "fused_experts"),
    "gpt_oss": ("gpt_oss", torch.bfloat16,
                dict(vocab_size=160, hidden_size=36, intermediate_size=14, num_local_experts=10,
                     num_hidden_layers=3, num_experts_per_tok=3, sliding_window=8,
                     rope_parameters=dict(YARN, factor=32.0, truncate=False)), None),
    "gpt_oss_mxfp4": ("gpt_oss", torch.bfloat16,
                      dict(vocab_size=160, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                           num_local_experts=4, num_experts_per_tok=2, sliding_window=8,
                           rope_parameters=dict(YARN, factor=32.0, truncate=False)),
                      "mxfp4_experts"),
    "mistral": ("mistral", torch.bfloat16,
                dict(ODD, head_dim=18, sliding_window=7, rope_parameters=dict(
                    rope_type="default", rope_theta=10000.0)), None),
    "ernie4_5": ("ernie4_5", torch.bfloat16, dict(ODD, use_bias=True, tie_word_embeddings=True), None),
}

FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def fp4_noise(shape, generator):
    """Random four-bit numbers with one power of two for 32 of them along the second axis."""
    codes = torch.randint(0, 8, shape, generator=generator)
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    powers = torch.randint(-5, -2, (shape[0], shape[1] // 32, 1, shape[2]), generator=generator)
    blocks = (FP4[codes] * signs).reshape(shape[0], shape[1] // 32, 32, shape[2])
    return (blocks * 2.0 ** powers).reshape(shape)


def randomize(model, generator, dtype, rewrite=None):
    """Fills every parameter and floating buffer of the checkpoint, rounded to `dtype`."""
    state = model.state_dict()
    family = model.config.model_type
    zero_centred = family.startswith(("gemma", "qwen3_next", "qwen3_5"))
    for name, tensor in state.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            value = (0.0 if zero_centred and "linear_attn.norm" not in name else 1.0) + 0.3 * noise
        elif name.endswith("correction_bias"):
            value = 0.3 * noise
        elif rewrite == "mxfp4_experts" and name.endswith(("gate_up_proj", "down_proj")):
            value = fp4_noise(tensor.shape, generator)
        elif name.endswith("sinks"):
            value = noise
        elif name.endswith("experts.gate_up_proj") and model.config.model_type == "gpt_oss":
            value = noise  # beyond the clamp of 7
        elif "embed_tokens" in name:
            value = (0.1 if family.startswith("gemma") else 0.3) * noise
        elif name.endswith("conv1d.weight"):
            value = 0.6 * noise
        else:
            value = 0.25 * noise
        stored = torch.float32 if name.endswith("correction_bias") else dtype
        with torch.no_grad():
            tensor.copy_(value.to(stored).to(torch.float32))


def rounding_error(model, ids):
    """How far the logits of the middle row move, in standard deviations, when what goes into every
    product is rounded to bfloat16."""
    exact = last_logits(model, ids)
    hooks = [module.register_forward_pre_hook(lambda _, x: (x[0].bfloat16().float(), *x[1:]))
             for module in model.modules() if isinstance(module, torch.nn.Linear)]
    rounded = last_logits(model, ids)
    for hook in hooks:
        hook.remove()
    return ((rounded - exact).square().mean(-1).sqrt().median() / exact.std()).item()


def attempt(config, dtype, seed, rewrite=None):
    """One seed: the model and its answers, or the reason why the seed is rejected."""
    generator = torch.Generator().manual_seed(seed)
    auto = AutoModelForImageTextToText if config.sub_configs else AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager", experts_implementation="eager")
    model = model.float().eval()
    randomize(model, generator, dtype, rewrite)
    model.tie_weights()
    ids = torch.randint(3, config.get_text_config().vocab_size, (PROMPT_TOKENS,), generator=generator).tolist()
    # The norm behind a linear layer makes small results large, with their errors; and a state carries
    # what a changed expert did to all later rows.
    if "linear_attention" in (config.get_text_config().to_dict().get("layer_types") or ()):
        if rounding_error(model, ids) > 0.016:
            return None, "rounding moves the logits too far"
    distinct = 5 if config.model_type.startswith("gemma") else 10
    found, reason = judge(model, ids, 0.01, distinct)
    return (found and (model, ids, *found)), reason


def rewrite_config(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def legacy_rope(folder):
    """Moves rope keys to where transformers 4 wrote them: both places are in circulation."""
    def change(config):
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope
    rewrite_config(folder, change)


def hub_spelling(folder):
    """The class name and dense-layer key as the published checkpoint spells them."""
    def change(config):
        config["architectures"] = ["ExaoneMoEForCausalLM"]
        config["first_k_dense_replace"] = config.pop("mlp_layer_types").count("dense")
    rewrite_config(folder, change)


def legacy_windows(folder):
    """Rope keys as above, and windows told by max_window_layers alone."""
    legacy_rope(folder)
    rewrite_config(folder, lambda config: config.pop("layer_types"))


def no_post_norm_key(folder):
    """Without the key the tensors tell whether there are norms behind the sublayers."""
    rewrite_config(folder, lambda config: config.pop("use_post_norm"))


def mxfp4_experts(folder):
    """Experts as blocks of 16 bytes and scales of one, rows of gate and up alternating."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
        rows = tensors.pop(name).float().transpose(1, 2)  # (experts, rows, columns)
        blocks = rows.reshape(*rows.shape[:2], -1, 32)
        power = torch.floor(torch.log2(blocks.abs().amax(-1, keepdim=True))) - 2
        codes = (blocks.abs() / 2.0 ** power).unsqueeze(-1).sub(FP4).abs().argmin(-1)
        assert torch.equal(FP4[codes] * 2.0 ** power, blocks.abs())
        codes += 8 * (blocks < 0)
        tensors[name + "_blocks"] = (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8)
        tensors[name + "_scales"] = (power.squeeze(-1) + 127).to(torch.uint8)
    save_file(tensors, path, metadata={"format": "pt"})
    rewrite_config(folder, lambda config: config.update(quantization_config=dict(
        quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn",
                                                      "model.layers.*.mlp.router",
                                                      "model.embed_tokens", "lm_head"])))


def fused_experts(folder):
    """Stacks experts as [E, 2I, H] and [E, H, I], the form a raw state dict has."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    stacks = {}
    for name in sorted(n for n in tensors if ".experts." in n and n.endswith("_proj.weight")):
        prefix, _, rest = name.partition(".experts.")
        expert, kind = int(rest.split(".")[0]), rest.split(".")[1]
        stacks.setdefault(prefix, {})[expert, kind] = tensors.pop(name)
    for prefix, parts in stacks.items():
        experts = range(len(parts) // 3)
        tensors[f"{prefix}.experts.gate_up_proj"] = torch.stack(
            [torch.cat([parts[e, "gate_proj"], parts[e, "up_proj"]]) for e in experts])
        tensors[f"{prefix}.experts.down_proj"] = torch.stack([parts[e, "down_proj"] for e in experts])
    save_file(tensors, path, metadata={"format": "pt"})


def tokenizer(folder):
    """A byte-level BPE with a few merges, two turn markers and a ChatML-like template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    text = ["the quick brown fox jumps over the lazy dog, the end of the theme",
            "안녕하세요, 반갑습니다. 안녕히 가세요."]
    tok.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.save(str(folder / "tokenizer.json"), pretty=False)
    template = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
                "{{ message['content'] }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>", "chat_template": template}, indent=1) + "\n")


def make_config(model_type, overrides):
    keys = {k: v for k, v in {**BASE, **overrides}.items() if v is not None or k == "sliding_window"}
    heads = keys["num_attention_heads"]
    if model_type == "exaone4_5":
        vision = dict(depth=1, hidden_size=16, intermediate_size=24, num_heads=2,
                      num_key_value_heads=1, patch_size=2, out_hidden_size=keys["hidden_size"],
                      window_size=8, fullatt_block_indexes=[0])
        return AutoConfig.for_model(
            model_type, text_config=dict(keys, model_type="exaone4"), vision_config=vision,
            tie_word_embeddings=keys["tie_word_embeddings"])
    if keys["hidden_size"] % heads:  # the class checks its arguments, published files do not care
        config = AutoConfig.for_model(model_type, **dict(keys, num_attention_heads=1))
        config.num_attention_heads = heads
        return config
    return AutoConfig.for_model(model_type, **keys)


def make(family):
    model_type, dtype, overrides, rewrite = FAMILIES[family]
    config = make_config(model_type, overrides)
    for seed in range(1000):
        result, reason = attempt(config, dtype, seed, rewrite)
        if result:
            break
        print(f"{family}: seed {seed} rejected: {reason}")
    model, ids, logits, greedy = result
    folder = OUT / family
    fresh(folder)
    text = model.config.get_text_config()
    heads = text.num_attention_heads
    text.num_attention_heads = 1 if text.hidden_size % heads else heads
    save_model(model, dtype, folder)
    if heads != text.num_attention_heads:
        rewrite_config(folder, lambda saved: saved.update(num_attention_heads=heads))
    if rewrite:
        globals()[rewrite](folder)
    save_answers(folder, ids, logits, greedy, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        make(name)
