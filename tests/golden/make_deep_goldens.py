"""Makes tests/golden/deep/exaone_moe: a tiny random K-EXAONE and its logits at a depth of 32K tokens.

A folder as make_text_goldens.py writes it, but with windows of 128 and positions to 65536, and
golden.safetensors with
    num_tokens     (1)      length of the prompt; its ids are deep_ids() below
    rows           (R)      positions of the prompt, the last one among them
    logits         (R, V)   float32 logits there
    greedy_ids     (8)      greedy continuation
The reference reads the prompt in chunks into a DynamicCache: a mask of 32K x 32K numbers would not
fit. That chunks change nothing is checked on 2,000 tokens, against one pass without a cache. A seed
is rejected when float32 and float64 differ by more than 1e-4 of the standard deviation, or when the
best logit of a kept row or a greedy step leads by less than 0.01 of it.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0. Usage: python tests/golden/make_deep_goldens.py
"""

import pathlib

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, DynamicCache

from make_text_goldens import MOE, hub_spelling, make_config, randomize
from tiny_checkpoint import fresh, margins, save_model

OUT = pathlib.Path(__file__).resolve().parent / "deep" / "exaone_moe"
NUM_TOKENS = 32768 + 57
ROWS = [100, 127, 128, 129, 4095, 16384, 32000, 32767, NUM_TOKENS - 1]
CHUNK = 1024


def deep_ids(count, vocab_size):
    return [3 + (31 * i * i + 7 * i + i // 32) % (vocab_size - 3) for i in range(count)]


def chunked(model, ids, rows, greedy):
    """Logits of some rows of the prompt, and of `greedy` steps behind it with their ids."""
    cache = DynamicCache(config=model.config)
    kept, rest = [], list(rows)
    with torch.no_grad():
        for begin in range(0, len(ids), CHUNK):
            part = torch.tensor([ids[begin:begin + CHUNK]])
            logits = model(part, past_key_values=cache, use_cache=True).logits[0]
            while rest and rest[0] < begin + CHUNK:
                kept.append(logits[rest.pop(0) - begin])
        steps, chosen = [], []
        for _ in range(greedy):
            steps.append(kept[-1] if not steps else logits[-1])
            chosen.append(int(steps[-1].argmax()))
            logits = model(torch.tensor([chosen[-1:]]), past_key_values=cache, use_cache=True).logits[0]
    return torch.stack(kept), chosen, torch.stack(steps) if steps else None


def attempt(config, seed):
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", experts_implementation="eager")
    model = model.float().eval()
    randomize(model, torch.Generator().manual_seed(seed), torch.bfloat16)
    ids = deep_ids(NUM_TOKENS, config.vocab_size)
    with torch.no_grad():
        whole = model(torch.tensor([ids[:2000]]), use_cache=False).logits[0]
    parts, _, _ = chunked(model, ids[:2000], range(2000), 0)
    std = whole.std().item()
    if (whole - parts).abs().max().item() > 1e-4 * std:
        return None, "chunks differ from a whole pass"
    logits, greedy, steps = chunked(model, ids, ROWS, 8)
    exact, exact_greedy, _ = chunked(model.double(), ids, ROWS, 8)
    model.float()
    if (exact - logits).abs().max().item() > 1e-4 * std or greedy != exact_greedy:
        return None, "a choice hangs on rounding"
    if min(margins(logits).min().item(), margins(steps).min().item()) < 0.01 * std:
        return None, "a near tie"
    return (model, logits, greedy), None


def main():
    config = make_config("exaone_moe", dict(MOE, sliding_window=128, max_position_embeddings=65536))
    for seed in range(100):
        result, reason = attempt(config, seed)
        if result:
            break
        print(f"seed {seed} rejected: {reason}", flush=True)
    model, logits, greedy = result
    fresh(OUT)
    save_model(model, torch.bfloat16, OUT)
    hub_spelling(OUT)
    save_file({"num_tokens": torch.tensor([NUM_TOKENS]), "rows": torch.tensor(ROWS),
               "logits": logits.float().contiguous(), "greedy_ids": torch.tensor(greedy)},
              OUT / "golden.safetensors",
              metadata={"made_by": f"transformers {transformers.__version__}, torch "
                                   f"{torch.__version__}, seed {seed}"})
    print(f"seed {seed}, std {logits.std():.3f}, greedy {greedy}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
