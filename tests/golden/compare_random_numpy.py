"""Random small checkpoints of the families that no library here runs, against the NumPy references of
make_numpy_goldens.py and make_vaetki_goldens.py: logits and greedy tokens.

    python tests/golden/compare_random_numpy.py [--draws 8] [--seed 0] [family ...]

Configs are drawn with odd sizes as compare_random_checkpoints.py draws its own, and compared with
the same tolerances, in one pass and in chunks of an odd size. What the references do not prove,
their own files say. Needs NumPy, safetensors and the onnuri package (PYTHONPATH=build/python).
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

import make_numpy_goldens as plain
import make_vaetki_goldens as vaetki
import onnuri

GREEDY_TOKENS = 12


def pick(rng, *values):
    return rng.choice(values)


def sizes(rng, **more):
    return {**plain.BASE, "vocab_size": pick(rng, 97, 150, 240, 336),
            "hidden_size": pick(rng, 28, 36, 40, 50, 72), "intermediate_size": pick(rng, 33, 44, 52, 72),
            "num_hidden_layers": rng.randint(2, 5), "head_dim": pick(rng, 6, 8, 10, 14, 22),
            "rms_norm_eps": pick(rng, 1e-5, 1e-6), "rope_theta": pick(rng, 1e4, 5e5, 777.0),
            "tie_word_embeddings": rng.random() < 0.5, "hidden_act": "silu", **more}


def draw_motif(rng):
    pairs = pick(rng, 1, 2, 3)
    config = sizes(rng, model_type=pick(rng, "Motif", "motif"), hidden_act="poly_norm",
                   architectures=["MotifForCausalLM"], num_attention_heads=2 * pairs * pick(rng, 1, 2),
                   num_key_value_heads=2 * pairs, attn_rms_norm_eps=pick(rng, 1e-4, 1e-5))
    if rng.random() < 0.5:
        config.update(use_sliding_window=True, sliding_window=pick(rng, 5, 11),
                      max_window_layers=rng.randint(0, config["num_hidden_layers"]))
    return config


def draw_motif_grouped(rng):
    config = draw_motif(rng)
    noise = config["num_key_value_heads"] // 2 * pick(rng, 1, 2)
    return {**config, "num_noise_heads": noise, "num_attention_heads": noise * pick(rng, 3, 4, 5)}


def draw_solar_pro(rng):
    kv = pick(rng, 1, 2, 3)
    layers = rng.randint(4, 8)

    def some(first):
        return sorted(rng.sample(range(first, layers), pick(rng, 1, 2)))

    return sizes(rng, model_type="solar", architectures=["SolarForCausalLM"], num_hidden_layers=layers,
                 num_key_value_heads=kv, num_attention_heads=kv * pick(rng, 1, 2, 3),
                 sliding_window=pick(rng, None, 9, 7), bskcn_1=[0] + some(1), bskcn_2=[1] + some(2),
                 bskcn_3=some(0), bskcn_4=some(1), bskcn_tv=[0.9, pick(rng, 0.8, 0.55)])


def draw_exaone_moe2(rng):
    kv, layers = pick(rng, 1, 2, 3), rng.randint(2, 5)
    windows = [pick(rng, 5, 7, 11, None) for _ in range(layers)]
    windows[0] = windows[0] or 6
    experts = pick(rng, 4, 6, 10)
    return sizes(rng, model_type=pick(rng, "exaone_moe", "exaone_moe2"), num_hidden_layers=layers,
                 architectures=[pick(rng, "ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM")],
                 num_key_value_heads=kv, num_attention_heads=kv * pick(rng, 1, 2, 3),
                 moe_intermediate_size=pick(rng, 9, 11, 12), num_experts=experts,
                 num_experts_per_tok=pick(rng, 1, 2, 3), num_shared_experts=1, n_group=1, topk_group=1,
                 norm_topk_prob=True, routed_scaling_factor=pick(rng, 1.0, 2.5), sliding_window=7,
                 is_moe_layer=[0] + [pick(rng, 0, 1) for _ in range(layers - 1)],
                 layer_types=["sliding_attention" if w else "full_attention" for w in windows],
                 sliding_windows=windows, swiglu_limits=[pick(rng, 0.4, 0.9, None) for _ in windows],
                 tie_word_embeddings=False)


def draw_vaetki(rng):
    heads, layers = pick(rng, 1, 2, 3, 5), rng.randint(2, 6)
    return {**vaetki.CONFIG, "vocab_size": pick(rng, 97, 160), "hidden_size": pick(rng, 36, 40, 72),
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads,
            "q_lora_rank": pick(rng, 18, 24), "kv_lora_rank": pick(rng, 16, 21, 33),
            "qk_nope_head_dim": pick(rng, 9, 12, 16), "qk_rope_head_dim": pick(rng, 6, 8, 10),
            "v_head_dim": pick(rng, 10, 11, 14), "n_routed_experts": pick(rng, 6, 8, 10),
            "num_experts_per_tok": pick(rng, 1, 2, 3), "n_shared_experts": pick(rng, 1, 2),
            "moe_intermediate_size": pick(rng, 9, 12), "first_k_dense_replace": rng.randint(0, layers),
            "sliding_window": pick(rng, 5, 7, 12), "rope_theta": pick(rng, 1e4, 500.0),
            "layer_types": [pick(rng, "sliding_attention", "full_attention") for _ in range(layers)]}


FAMILIES = {
    "motif": (draw_motif, plain.motif_shapes, plain.motif_logits),
    "motif_grouped": (draw_motif_grouped, plain.motif_shapes, plain.motif_logits),
    "solar_pro": (draw_solar_pro, plain.solar_shapes, plain.solar_logits),
    "exaone_moe2": (draw_exaone_moe2, plain.exaone_moe_shapes, plain.exaone_moe_logits),
    "vaetki": (draw_vaetki, None, None),
}


def checkpoint(family, seed, folder):
    """Saves one checkpoint; (ids, logits, greedy)."""
    drawer, shapes_of, logits_of = FAMILIES[family]
    for attempt in range(1000):
        rng = random.Random(f"{family} {seed} {attempt}")
        config = drawer(rng)
        numbers = np.random.default_rng(rng.randrange(1 << 30))
        ids = [rng.randrange(3, config["vocab_size"]) for _ in range(37)]
        if family == "vaetki":
            tensors = vaetki.make_weights(config, numbers)
            answer = lambda tokens: vaetki.logits_of(config, tensors, tokens, [])
        else:
            tensors = plain.random_tensors(shapes_of(config), pick(rng, np.float16, np.float32), numbers)
            wide = {name: value.astype(np.float64) for name, value in tensors.items()}
            answer = lambda tokens: logits_of(config, wide, tokens)
        logits = answer(ids)
        if min(plain.margin(row) for row in logits) < 2e-3 * logits.std():
            continue
        greedy, row = [], logits[-1]
        while len(greedy) < GREEDY_TOKENS and plain.margin(row) > 2e-3 * logits.std():
            greedy.append(int(row.argmax()))
            row = answer(ids + greedy)[-1]
        if len(greedy) < GREEDY_TOKENS:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        if family == "vaetki":
            vaetki.bfloat16_file(folder / "model.safetensors", tensors)
        else:
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return ids, logits, greedy
    raise RuntimeError(f"{family}: no usable draw for seed {seed}")


def compare(folder, ids, logits, greedy, chunk):
    engine = onnuri.Engine(str(folder), compute_dtype="float32", num_threads=1, prefill_chunk=chunk)
    found = engine.logits(ids)
    if found.shape != logits.shape:
        return f"shape {found.shape}, expected {logits.shape}"
    worst = float(np.abs(found - logits).max() / logits.std())
    if not worst < 1e-3:
        return f"chunk {chunk}: logits differ by {worst:.2e} of their deviation"
    if (found.argmax(-1) != logits.argmax(-1)).any():
        return f"chunk {chunk}: another best token"
    tokens = engine.generate(input_ids=ids, max_new_tokens=GREEDY_TOKENS, temperature=0,
                             ignore_eos=True).token_ids
    return None if list(tokens) == greedy else f"chunk {chunk}: greedy {list(tokens)}, expected {greedy}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", metavar="family")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="onnuri_numpy_"))
    total = 0
    for family in args.families or FAMILIES:
        failures = 0
        for seed in range(args.seed, args.seed + args.draws):
            folder = scratch / f"{family}_{seed}"
            ids, logits, greedy = checkpoint(family, seed, folder)
            wrong = None
            for chunk in (512, random.Random(seed).choice((3, 5, 7, 11))):
                try:
                    wrong = wrong or compare(folder, ids, logits, greedy, chunk)
                except onnuri.Error as error:
                    wrong = f"refused: {error}"
            if wrong:
                failures += 1
                print(f"FAIL {family} seed {seed}: {wrong}\n     {folder}", flush=True)
            else:
                shutil.rmtree(folder)
        print(f"{family}: {failures} failures in {args.draws} draws", flush=True)
        total += failures
    if not total:
        shutil.rmtree(scratch)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
