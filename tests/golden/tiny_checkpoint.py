"""What the makers of tiny text checkpoints share: whether a random model is a good test, and how it is saved.

A seed is rejected, and the next one taken, when
  * float32 and float64 logits differ by more than 1e-4 of their standard deviation: some router
    choice hangs on rounding, and a correct runtime could answer differently;
  * the best logit of a greedy step or a prompt position leads by less than `margin` of the standard
    deviation: the winner would be decided by the order of summation;
  * the greedy text has too few distinct tokens: a broken cache could still repeat one.
"""

import shutil

import torch
import transformers
from safetensors.torch import save_file

PROMPT_TOKENS = 40
GREEDY_TOKENS = 32


def last_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def margins(logits):
    top = logits.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


def judge(model, ids, margin, min_distinct, choices_are_clear=lambda ids: True):
    """((logits, greedy ids), None), or (None, the reason why the seed is rejected)."""
    logits = last_logits(model, ids)
    std = logits.std().item()
    exact = last_logits(model.double(), ids)
    model.float()
    if (exact - logits).abs().max().item() > 1e-4 * std:
        return None, "a choice hangs on rounding"
    if margins(logits).min().item() < margin * std:
        return None, "two best logits of a prompt position are too close"
    if not choices_are_clear(ids):
        return None, "two keys are equally good for the indexer"
    greedy = []
    for _ in range(GREEDY_TOKENS):
        row = last_logits(model, ids + greedy)[-1]
        if margins(row).item() < margin * std:
            return None, f"greedy step {len(greedy)} is a near tie"
        greedy.append(int(row.argmax()))
    if not choices_are_clear(ids + greedy):
        return None, "two keys are equally good for the indexer"
    if len(set(greedy)) < min_distinct:
        return None, "the greedy text repeats itself"
    return (logits, greedy), None


def save_model(model, dtype, folder, **options):
    """As `save_pretrained` writes it in `dtype`; correction biases stay in float32."""
    kept = {n: t.clone() for n, t in model.state_dict().items() if n.endswith("correction_bias")}
    model.to(dtype)
    for name, value in kept.items():
        module, _, leaf = name.rpartition(".")
        getattr(model.get_submodule(module), leaf).data = value
    model.save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def save_answers(folder, ids, logits, greedy, seed):
    save_file({"input_ids": torch.tensor(ids), "logits": logits.float().contiguous(),
               "greedy_ids": torch.tensor(greedy)}, folder / "golden.safetensors",
              metadata={"made_by": f"transformers {transformers.__version__}, torch "
                                   f"{torch.__version__}, seed {seed}"})
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{folder.name}: seed {seed}, std {logits.std():.3f}, {len(set(greedy))} distinct greedy "
          f"ids, {size // 1000} kB")
