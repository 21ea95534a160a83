"""Random small checkpoints, drawn by seed, against transformers: logits and greedy tokens.

    python tests/golden/compare_random_checkpoints.py [--draws 8] [--seed 0] [--keys] [family ...]

For every family a config is drawn with sizes that are powers of nothing, any rope scaling, tied and
untied heads, old and new key spellings, keys of default value left out, one or several safetensors
files, experts apart or stacked. Every parameter is random. The model then answers in transformers
and here, in float32: logits of a prompt within 1e-3 of their standard deviation and the same best
token at every position, in one pass and in chunks of an odd size, and 32 greedy tokens.

With --keys, config.json of one draw per family loses one key after the other. What is left must
either be refused in a message that names the key (or a tensor of the size the key sets), or give
what transformers makes of the same file.

Needs torch, transformers and the onnuri package (PYTHONPATH=build/python). Made with transformers
5.23.0, torch 2.15.0. Ends with status 1 after a failure; the failing folder is kept and named.
"""

import argparse
import json
import pathlib
import random
import re
import shutil
import sys
import tempfile
import traceback

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

import onnuri
import make_text_goldens as goldens
import tiny_checkpoint

GREEDY_TOKENS = tiny_checkpoint.GREEDY_TOKENS
# Keys that may be missing although transformers then refuses the file.
ANSWERED_ALONE = {
    "model_type": "the class name tells the family",
    "layer_types": "transformers divides by a pattern of 0 where there is no window",
    "tie_word_embeddings": "text_config says it too",
    "num_key_value_heads": "latent attention has no such heads",
    "use_post_norm": "the tensors tell",
}


def pick(rng, *values):
    return rng.choice(values)


def rope_of(rng, kinds=("default", "linear", "llama3", "yarn", "dynamic")):
    """Flat rope keys of transformers 5."""
    rope = dict(rope_type=rng.choice(kinds), rope_theta=pick(rng, 10000.0, 500000.0, 1e6, 777.0))
    kind = rope["rope_type"]
    if kind != "default":
        rope["factor"] = pick(rng, 2.0, 4.0, 8.0, 3.5, 16.0)
    if kind == "llama3":
        rope.update(low_freq_factor=1.0, high_freq_factor=pick(rng, 2.0, 4.0),
                    original_max_position_embeddings=pick(rng, 16, 32, 50))
    if kind == "yarn":
        rope["original_max_position_embeddings"] = pick(rng, 8, 16, 30)
        if rng.random() < 0.5:
            rope.update(beta_fast=pick(rng, 32, 32.0, 16, 4), beta_slow=pick(rng, 1, 1.0, 0.5))
        if rng.random() < 0.3:
            rope["attention_factor"] = pick(rng, 1.0, 1.3)
        elif rng.random() < 0.4:
            rope.update(mscale=pick(rng, 1.0, 0.707), mscale_all_dim=pick(rng, 1.0, 0.707, 0.5))
        if rng.random() < 0.3:
            rope["truncate"] = pick(rng, True, False)
    return rope


def sizes(rng, free_heads=True, head_dim=True):
    """What every family has. `free_heads`: hidden size need not be a multiple of the heads."""
    kv = pick(rng, 1, 2, 3)
    heads = kv * pick(rng, 1, 2, 3)
    dim = pick(rng, 10, 12, 14, 18, 20, 22, 34)
    hidden = pick(rng, 36, 48, 72, 40, 60)
    if not free_heads or not head_dim:
        hidden = heads * pick(rng, 4, 6, 8, 12) if head_dim else heads * dim
    out = dict(vocab_size=pick(rng, 150, 200, 336, 97), hidden_size=hidden,
               intermediate_size=pick(rng, 50, 64, 72, 33), num_hidden_layers=rng.randint(2, 5),
               num_attention_heads=heads, num_key_value_heads=kv, head_dim=dim,
               max_position_embeddings=pick(rng, 256, 300, 512),
               rms_norm_eps=pick(rng, 1e-5, 1e-6, 1e-3), bos_token_id=1, eos_token_id=2,
               pad_token_id=0, tie_word_embeddings=rng.random() < 0.5)
    if not head_dim:
        del out["head_dim"]
    return out


def experts(rng, number, shared=None):
    out = {number: pick(rng, 6, 8, 10, 12), "num_experts_per_tok": pick(rng, 1, 2, 3),
           "moe_intermediate_size": pick(rng, 9, 10, 12, 32), "norm_topk_prob": rng.random() < 0.6}
    if shared:
        out[shared] = pick(rng, 1, 2, 3)
        out["routed_scaling_factor"] = pick(rng, 1.0, 2.5, 1.7)
        out["n_group"] = pick(rng, 1, 2)
        out["topk_group"] = rng.randint(1, out["n_group"])
    return out


def layer_types(rng, count):
    return [pick(rng, "sliding_attention", "full_attention") for _ in range(count)]


def windows(rng, count):
    return dict(sliding_window=pick(rng, 5, 7, 8, 13), layer_types=layer_types(rng, count))


def maybe(rng, **keys):
    return keys if rng.random() < 0.5 else {}


def dense(rng, **more):
    base = sizes(rng, free_heads=False)
    return {**base, "rope_parameters": rope_of(rng), **more}


def draw_llama(rng):
    return dense(rng, attention_bias=rng.random() < 0.4, mlp_bias=rng.random() < 0.4)


def draw_uneven_llama(rng):
    """Heads that do not divide the hidden size (Kanana 1.5): the class refuses the arguments."""
    base = sizes(rng)
    while base["hidden_size"] % base["num_attention_heads"] == 0:
        base["num_attention_heads"] += base["num_key_value_heads"]
    return {**base, "rope_parameters": rope_of(rng), "attention_bias": rng.random() < 0.4}


def draw_mistral(rng):
    base = sizes(rng)
    return {**base, "rope_parameters": rope_of(rng), "sliding_window": pick(rng, None, 7, 12)}


def draw_qwen2(rng):
    base = sizes(rng, head_dim=False)
    if rng.random() < 0.5:
        base.update(use_sliding_window=True, sliding_window=pick(rng, 5, 9),
                    max_window_layers=rng.randint(0, base["num_hidden_layers"]))
    return {**base, "rope_parameters": rope_of(rng)}


def draw_qwen3(rng):
    base = sizes(rng)
    if rng.random() < 0.5:
        base.update(use_sliding_window=True, **windows(rng, base["num_hidden_layers"]))
    return {**base, "rope_parameters": rope_of(rng), "attention_bias": rng.random() < 0.4}


def draw_qwen3_moe(rng):
    base = {**sizes(rng), **experts(rng, "num_experts"), "attention_bias": rng.random() < 0.4}
    base.update(rope_parameters=rope_of(rng))
    base.update(maybe(rng, decoder_sparse_step=2))
    base.update(maybe(rng, mlp_only_layers=[base["num_hidden_layers"] - 1]))
    if rng.random() < 0.4:
        base.update(use_sliding_window=True, sliding_window=pick(rng, 5, 9))
    return base


def draw_exaone4_hybrid(rng):
    base = {**sizes(rng, free_heads=True), "rope_parameters": rope_of(rng)}
    base["sliding_window"] = pick(rng, 5, 8, 11)
    if rng.random() < 0.5:
        base["sliding_window_pattern"] = pick(rng, 2, 3, 4)
    else:
        base["layer_types"] = layer_types(rng, base["num_hidden_layers"])
    return base


def draw_exaone4_full(rng):
    base = {**sizes(rng, free_heads=True), "rope_parameters": rope_of(rng), "sliding_window": None}
    base["layer_types"] = ["full_attention"] * base["num_hidden_layers"]
    return base


def draw_exaone_moe(rng):
    base = {**sizes(rng), **experts(rng, "num_experts", "num_shared_experts"),
            "rope_parameters": rope_of(rng)}
    base["sliding_window"] = pick(rng, 5, 8, 11)
    if rng.random() < 0.5:
        base["sliding_window_pattern"] = pick(rng, 2, 3, 4)
    else:
        base["layer_types"] = layer_types(rng, base["num_hidden_layers"])
    count = base["num_hidden_layers"]
    if rng.random() < 0.5:
        base["first_k_dense_replace"] = rng.randint(0, count - 1)
    else:
        base["mlp_layer_types"] = [pick(rng, "dense", "sparse") for _ in range(count)]
    return base


def draw_hyperclovax(rng):
    return dense(rng, attention_bias=rng.random() < 0.3, mlp_bias=rng.random() < 0.3,
                 embedding_multiplier=pick(rng, 1.0, 3.0, 10), residual_multiplier=pick(rng, 1.0, 0.6),
                 logits_scaling=pick(rng, 1.0, 0.125), attention_multiplier=pick(rng, None, 0.15, 0.05),
                 use_post_norm=rng.random() < 0.5)


def draw_solar_open(rng):
    base = {**sizes(rng), **experts(rng, "n_routed_experts", "n_shared_experts"),
            "rope_parameters": rope_of(rng)}
    if rng.random() < 0.5:
        del base["intermediate_size"]
    return {**base, "attention_bias": rng.random() < 0.4}


def latent(rng):
    base = sizes(rng, head_dim=False)
    heads = base["num_key_value_heads"] = base["num_attention_heads"]
    base["hidden_size"] = pick(rng, 36, 40, 48, 72)
    base.update(experts(rng, "n_routed_experts", "n_shared_experts"))
    base.update(q_lora_rank=pick(rng, 18, 24, 30), kv_lora_rank=pick(rng, 16, 20, 33),
                qk_nope_head_dim=pick(rng, 10, 16, 9), qk_rope_head_dim=pick(rng, 6, 8, 10),
                v_head_dim=pick(rng, 12, 14, 11), attention_bias=rng.random() < 0.4,
                rope_parameters=rope_of(rng, ("default", "yarn", "yarn", "linear")))
    count = base["num_hidden_layers"]
    base["first_k_dense_replace"] = rng.randint(0, count - 1)
    return base


def draw_deepseek_v3(rng):
    base = latent(rng)
    return {**base, "rope_interleave": rng.random() < 0.6}


def draw_kanana2(rng):
    return {**draw_deepseek_v3(rng), "q_lora_rank": None, "n_group": 1, "topk_group": 1,
            "n_shared_experts": 2}


def draw_axk1(rng):
    return {**latent(rng), "rope_interleave": rng.random() < 0.6, **maybe(rng, moe_layer_freq=2)}


def draw_axk2(rng):
    base = latent(rng)
    if rng.random() < 0.5:
        base.update(n_group=None, topk_group=None)
    return {**base, "index_topk": pick(rng, 5, 8, 11), "index_n_heads": pick(rng, 3, 4, 8),
            "index_head_dim": pick(rng, 10, 16, 20), "gated_norm_rank": pick(rng, 3, 4, 5)}


def draw_gpt_oss(rng):
    base = {**sizes(rng), **experts(rng, "num_local_experts"), "rope_parameters": rope_of(rng)}
    for key in ("moe_intermediate_size", "norm_topk_prob"):
        del base[key]
    base["sliding_window"] = pick(rng, 5, 8)
    return {**base, **maybe(rng, layer_types=layer_types(rng, base["num_hidden_layers"])),
            "attention_bias": rng.random() < 0.7}


def draw_gemma3(rng):
    base = {**sizes(rng, free_heads=False), "query_pre_attn_scalar": pick(rng, 20, 256, 33),
            "attention_bias": rng.random() < 0.3}
    base["rope_parameters"] = dict(full_attention=rope_of(rng, ("default", "linear", "llama3")),
                                   sliding_attention=rope_of(rng, ("default",)))
    base["sliding_window"] = pick(rng, 5, 8)
    if rng.random() < 0.5:
        base["layer_types"] = layer_types(rng, base["num_hidden_layers"])
    else:
        base["sliding_window_pattern"] = pick(rng, 2, 3)
        base["rope_parameters"] = base["rope_parameters"]
    return base


def draw_ernie4_5(rng):
    return {**sizes(rng), "rope_parameters": rope_of(rng), "use_bias": rng.random() < 0.5}


def draw_granite(rng):
    base = {**sizes(rng, head_dim=False), "rope_parameters": rope_of(rng)}
    return {**base, "embedding_multiplier": pick(rng, 1.0, 3.0), "residual_multiplier": pick(rng, 1.0, 0.6),
            "attention_multiplier": pick(rng, 0.3, 0.15), "logits_scaling": pick(rng, 1.0, 3.0),
            "attention_bias": rng.random() < 0.3, "mlp_bias": rng.random() < 0.3}


def draw_exaone4_5(rng):
    return draw_exaone4_hybrid(rng) if rng.random() < 0.7 else draw_exaone4_full(rng)


# family: (model_type, draw)
FAMILIES = {
    "llama": ("llama", draw_llama), "uneven_llama": ("llama", draw_uneven_llama),
    "mistral": ("mistral", draw_mistral),
    "qwen2": ("qwen2", draw_qwen2), "qwen3": ("qwen3", draw_qwen3),
    "qwen3_moe": ("qwen3_moe", draw_qwen3_moe), "exaone4_hybrid": ("exaone4", draw_exaone4_hybrid),
    "exaone4_full": ("exaone4", draw_exaone4_full), "exaone4_5": ("exaone4_5", draw_exaone4_5),
    "exaone_moe": ("exaone_moe", draw_exaone_moe), "hyperclovax": ("hyperclovax", draw_hyperclovax),
    "solar_open": ("solar_open", draw_solar_open), "deepseek_v3": ("deepseek_v3", draw_deepseek_v3),
    "kanana2": ("deepseek_v3", draw_kanana2), "axk1": ("axk1", draw_axk1), "axk2": ("axk2", draw_axk2),
    "gpt_oss": ("gpt_oss", draw_gpt_oss), "gemma3": ("gemma3_text", draw_gemma3),
    "ernie4_5": ("ernie4_5", draw_ernie4_5), "granite": ("granite", draw_granite),
}


def build_config(model_type, keys):
    if model_type != "exaone4_5":
        heads = keys["num_attention_heads"]
        uneven = model_type == "llama" and keys["hidden_size"] % heads != 0
        config = AutoConfig.for_model(model_type, **dict(keys, num_attention_heads=1 if uneven else heads))
        config.num_attention_heads = heads
        return config
    vision = dict(depth=1, hidden_size=16, intermediate_size=24, num_heads=2, num_key_value_heads=1,
                  patch_size=2, out_hidden_size=keys["hidden_size"], window_size=8,
                  fullatt_block_indexes=[0])
    return AutoConfig.for_model(model_type, text_config=dict(keys, model_type="exaone4"),
                                vision_config=vision, tie_word_embeddings=keys["tie_word_embeddings"])


def build_model(config, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    auto = AutoModelForImageTextToText if config.model_type == "exaone4_5" else AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager", experts_implementation="eager")
    model = model.float().eval()
    goldens.randomize(model, generator, dtype)
    model.tie_weights()
    return model


def steps(model, ids, tokens):
    """Logits of the prompt, then of `tokens` fed one by one through the cache; of greedy ones if None."""
    with torch.no_grad():
        out = model(torch.tensor([ids]), use_cache=True)
        prompt, rows, greedy = out.logits[0], [out.logits[0, -1]], []
        for i in range(GREEDY_TOKENS):
            greedy.append(int(rows[-1].argmax()) if tokens is None else tokens[i])
            if len(greedy) == GREEDY_TOKENS:
                return prompt, torch.stack(rows), greedy
            out = model(torch.tensor([greedy[-1:]]), past_key_values=out.past_key_values, use_cache=True)
            rows.append(out.logits[0, -1])


def answers(model, ids):
    """(logits, greedy tokens), or None where rounding decides."""
    logits, rows, greedy = steps(model, ids, None)
    exact, exact_rows, _ = steps(model.double(), ids, greedy)
    model.float()
    std = logits.std().item()
    for found, expected in ((logits, exact), (rows, exact_rows)):
        if (expected - found).abs().max().item() > 1e-4 * std or tiny_checkpoint.margins(found).min() < 2e-3 * std:
            return None
    return logits.numpy(), greedy


def rewrite(folder, keys, rng):
    """Spellings and omissions of published files; returns what was done."""
    done = []
    path = folder / "config.json"
    whole = json.loads(path.read_text())
    config = whole.get("text_config", whole)
    rope = config.get("rope_parameters")
    nested = isinstance(rope, dict) and "full_attention" in rope
    if rope and not nested and rng.random() < 0.5:
        config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        if rng.random() < 0.5:
            rope["type"] = rope.pop("rope_type")
        plain = rope.get("rope_type", rope.get("type")) == "default"
        config["rope_scaling"] = None if plain else rope
        done.append("rope_scaling")
    elif nested and rng.random() < 0.5 and rope["full_attention"]["rope_type"] != "llama3":
        config.pop("rope_parameters")
        config["rope_theta"] = rope["full_attention"].pop("rope_theta")
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        scaled = rope["full_attention"]["rope_type"] != "default"
        config["rope_scaling"] = rope["full_attention"] if scaled else None
        done.append("rope_scaling")
    if rng.random() < 0.5:  # keys that hold the default of the class may be missing
        fresh = AutoConfig.for_model(config["model_type"])
        for key in list(config):
            if key in ("model_type", "architectures", "vocab_size", "layer_types"):
                continue
            if rng.random() < 0.7 and key not in keys and hasattr(fresh, key) and getattr(fresh, key) == config[key]:
                del config[key]
                done.append("-" + key)
    path.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    fused = any(k.endswith("experts.0.gate_proj.weight") for k in stored_names(folder))
    if fused and (folder / "model.safetensors").exists() and rng.random() < 0.4:
        goldens.fused_experts(folder)
        done.append("fused experts")
    return done


def stored_names(folder):
    from safetensors import safe_open
    names = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names += list(file.keys())
    return names


def difference(found, logits):
    """What is wrong with these logits, or None."""
    if found.shape != logits.shape:
        return f"shape {found.shape}, expected {logits.shape}"
    worst = float(np.abs(found - logits).max() / logits.std())
    if not worst < 1e-3:
        return f"logits differ by {worst:.2e} of their deviation"
    wrong = int((found.argmax(-1) != logits.argmax(-1)).sum())
    return f"another best token at {wrong} positions" if wrong else None


def compare(folder, ids, logits, greedy, rng):
    for chunk in (512, pick(rng, 3, 5, 7, 11, 13)):
        engine = onnuri.Engine(str(folder), compute_dtype="float32", num_threads=1, prefill_chunk=chunk)
        wrong = difference(engine.logits(ids), logits)
        if wrong:
            return f"chunk {chunk}: {wrong}"
        if greedy is None:
            continue
        tokens = engine.generate(input_ids=ids, max_new_tokens=GREEDY_TOKENS, temperature=0,
                                 ignore_eos=True).token_ids
        if list(tokens) != greedy:
            return f"chunk {chunk}: greedy tokens {list(tokens)}, expected {greedy}"
    return None


def draw(family, seed, folder):
    """Saves one checkpoint; (ids, logits, greedy, what was rewritten, rng)."""
    model_type, drawer = FAMILIES[family]
    for attempt in range(1000):
        rng = random.Random(f"{family} {seed} {attempt}")
        keys = drawer(rng)
        config = build_config(model_type, keys)
        dtype = pick(rng, torch.float32, torch.bfloat16, torch.float16)
        model = build_model(config, rng.randrange(1 << 30), dtype)
        ids = [rng.randrange(3, keys["vocab_size"]) for _ in range(pick(rng, 37, 41, 53))]
        found = answers(model, ids)
        if found is None:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        if family == "uneven_llama":
            model.config.num_attention_heads = 1
        tiny_checkpoint.save_model(model, dtype, folder, max_shard_size=pick(rng, "20KB", "5GB"))
        if family == "uneven_llama":
            goldens.rewrite_config(folder, lambda saved: saved.update(
                num_attention_heads=keys["num_attention_heads"]))
        done = rewrite(folder, keys, rng)
        return ids, *found, done, rng
    raise RuntimeError(f"{family}: no usable draw for seed {seed}")


def run_draws(family, args, scratch):
    failures = 0
    for seed in range(args.seed, args.seed + args.draws):
        folder = scratch / f"{family}_{seed}"
        ids, logits, greedy, done, rng = draw(family, seed, folder)
        try:
            wrong = compare(folder, ids, logits, greedy, rng)
        except onnuri.Error as error:
            wrong = f"refused: {error}"
        if wrong:
            failures += 1
            np.savez(folder / "expected.npz", ids=ids, logits=logits, greedy=greedy)
            print(f"FAIL {family} seed {seed} ({', '.join(done)}): {wrong}\n     {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    return failures


def transformers_logits(folder, ids):
    """What transformers makes of the folder, or None when it refuses or lacks weights."""
    config = AutoConfig.from_pretrained(folder)
    auto = AutoModelForImageTextToText if config.model_type == "exaone4_5" else AutoModelForCausalLM
    model, report = auto.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32,
                                         experts_implementation="eager", output_loading_info=True)
    if report["missing_keys"] or report["mismatched_keys"] or report["unexpected_keys"]:
        return None
    return tiny_checkpoint.last_logits(model.float().eval(), ids).numpy()


def run_keys(family, args, scratch):
    failures = 0
    folder = scratch / f"{family}_keys"
    ids, *_ = draw(family, args.seed, folder)
    path = folder / "config.json"
    text = path.read_text()
    whole = json.loads(text)
    places = [()] + [(k,) for k in ("text_config", "rope_parameters", "rope_scaling")
                     if isinstance(whole.get(k), dict)]
    if ("text_config",) in places:
        places += [("text_config", k) for k in ("rope_parameters", "rope_scaling")
                   if isinstance(whole["text_config"].get(k), dict)]
    counts = dict(refused=0, same=0)
    for place in places:
        target = whole
        for part in place:
            target = target[part]
        for key in sorted(target):
            changed = json.loads(text)
            inner = changed
            for part in place:
                inner = inner[part]
            del inner[key]
            path.write_text(json.dumps(changed))
            try:
                found = onnuri.Engine(str(folder), compute_dtype="float32", num_threads=1).logits(ids)
            except onnuri.Error as error:
                counts["refused"] += 1
                # Another key that would do instead is a name, and so is a tensor of another size.
                named = re.search(rf"{key}|missing key at|shape|tensor|sliding layers", str(error))
                if not named:
                    failures += 1
                    print(f"FAIL {family} without {'.'.join((*place, key))}: refused without its name: {error}")
                continue
            if key == "vision_config":  # its default is a large tower
                counts["same"] += 1
                continue
            try:
                expected = transformers_logits(folder, ids)
                reason = "weights do not fit"
            except Exception as error:  # any refusal will do
                expected, reason = None, f"{type(error).__name__}: {str(error)[:150]}"
            wrong = (f"accepted, transformers refuses ({reason})" if expected is None
                     else difference(found, expected))
            if expected is None and key in ANSWERED_ALONE:
                wrong = None
            if wrong:
                failures += 1
                print(f"FAIL {family} without {'.'.join((*place, key))}: {wrong}", flush=True)
            else:
                counts["same"] += 1
    path.write_text(text)
    print(f"{family}: {counts['refused']} missing keys refused, {counts['same']} read as transformers does")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", metavar="family")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keys", action="store_true", help="leave out one config key after the other")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="onnuri_random_"))
    total = 0
    for family in args.families or FAMILIES:
        if args.keys and family == "uneven_llama":
            continue  # transformers does not open it
        try:
            failures = (run_keys if args.keys else run_draws)(family, args, scratch)
        except Exception:  # a bug of the draw: report it and go on
            traceback.print_exc()
            failures = 1
        print(f"{family}: {failures} failures" + ("" if args.keys else f" in {args.draws} draws"), flush=True)
        total += failures
    if not total:
        shutil.rmtree(scratch)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
