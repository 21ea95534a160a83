#!/usr/bin/env python3
"""Compares Onnuri with llama.cpp on one GGUF file: token ids, greedy text, perplexity.

    python benchmarks/compare_greedy.py MODEL.gguf [--llama-cpp FOLDER] [--tokens 32] [--greedy-only] [--json OUT]

llama.cpp is reached through its Python binding: `import llama_cpp`, or the folder that holds it
(LLAMA_CPP_LIB_PATH may name the folder of the shared library). Onnuri is `import onnuri`.

For each of 20 prompts both continue greedily. Where they part, the lead of llama.cpp's token over
ours is given in four opinions: llama.cpp as it ran, token by token; llama.cpp once more with the
common text as one batch, which takes other kernels; Onnuri, whose logits do not depend on batching;
and Onnuri in float32 on the same stored weights, which rounds no activation to 8 bits. Beside it
stands the root mean square by which each strays from float32. A lead of that size is a near tie; a
much larger one would be a bug.

Perplexity is taken over tests/golden/perplexity.txt in windows of 1024 tokens, on the same ids.
"""

import argparse
import json
import math
import pathlib
import sys
import time

import numpy as np
import onnuri

PROMPTS = [
    "The capital of France is", "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n", "The three primary colours are", "Water boils at",
    "In 1969, the first human being", "A recipe for pancakes:\n1.", "Dear Sir or Madam,\n\n",
    "The quick brown fox", "SELECT name, age FROM", "import numpy as np\n\ndef softmax(x):\n",
    "Q: What is the largest planet in the solar system?\nA:", "The opposite of hot is",
    "Translate to German: Good morning, my friend.\n", "#include <vector>\n\nint sum(",
    "To be, or not to be,", "The main causes of the First World War were",
    "한국의 수도는", "오늘 날씨가 좋아서", "인공지능이란",
]
WINDOW = 1024
TEXT = pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden" / "perplexity.txt"


class LlamaCpp:
    """The few calls of llama.cpp that the comparison needs."""

    def __init__(self, path, threads):
        import llama_cpp
        self.llama = llama_cpp.Llama(str(path), n_ctx=WINDOW, n_batch=256, n_threads=threads,
                                     n_threads_batch=threads, logits_all=True, verbose=False)
        self.vocab_size = self.llama.n_vocab()

    def tokenize(self, text):
        return self.llama.tokenize(text.encode(), add_bos=True, special=True)

    def logits(self, ids):
        self.llama.reset()
        self.llama.eval(ids)
        return np.array(self.llama.scores[:len(ids)])

    def greedy(self, ids, count):
        """Token ids, and the logits that each was chosen from."""
        self.llama.reset()
        self.llama.eval(ids)
        out, rows = [], []
        for _ in range(count):
            rows.append(np.array(self.llama.scores[self.llama.n_tokens - 1]))
            out.append(int(np.argmax(rows[-1])))
            if len(out) < count:
                self.llama.eval(out[-1:])
        return out, rows

    def mean_nll(self, ids):
        logits = self.logits(ids)[:-1]
        total = 0.0
        for row, target in zip(logits, ids[1:]):
            row = row.astype(np.float64)
            top = row.max()
            total += top + math.log(np.exp(row - top).sum()) - row[target]
        return total / (len(ids) - 1)


def rms(a, b):
    """Distance of two rows of logits; a shift of all of them alike changes no probability."""
    return float(np.std(a - b))


def divergence(prefix, ours, theirs, their_row, engine, exact, llama):
    """How close a call it was at the first differing token."""
    rows = {"llama.cpp": their_row, "llama.cpp in one batch": llama.logits(prefix)[-1],
            "onnuri": engine.logits(prefix)[-1], "float32": exact.logits(prefix)[-1]}
    lead = {name: float(row[theirs] - row[ours]) for name, row in rows.items()}
    return {"ours": ours, "theirs": theirs, "lead_of_theirs": lead,
            "noise_rms": {name: rms(row, rows["float32"]) for name, row in rows.items()
                          if name != "float32"},
            "std": float(rows["float32"].std()),
            "float32_sides_with": "onnuri" if lead["float32"] < 0 else "llama.cpp"}


def compare_greedy(engine, exact, llama, count):
    results = []
    for prompt in PROMPTS:
        ids = engine.tokenize(prompt, add_special_tokens=True)
        same_ids = ids == llama.tokenize(prompt)
        ours = engine.generate(ids, max_new_tokens=count, ignore_eos=True).token_ids
        theirs, rows = llama.greedy(ids, count)
        agree = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), count)
        result = {"prompt": prompt, "same_prompt_ids": same_ids, "agree": agree}
        if agree < count:
            result["divergence"] = divergence(ids + ours[:agree], ours[agree], theirs[agree],
                                              rows[agree], engine, exact, llama)
        results.append(result)
        print(f"  {agree:3d}/{count} {prompt!r}" + ("" if same_ids else "  PROMPT IDS DIFFER"))
        if agree < count:
            d = result["divergence"]
            print("        lead of llama.cpp's token: " +
                  ", ".join(f"{k} {v:+.4f}" for k, v in d["lead_of_theirs"].items()) +
                  "; rms distance to float32: " +
                  ", ".join(f"{k} {v:.4f}" for k, v in d["noise_rms"].items()))
        sys.stdout.flush()
    return results


def compare_perplexity(engine, exact, llama):
    text = TEXT.read_text(encoding="utf-8")
    ids = engine.tokenize(text, add_special_tokens=True)
    same_ids = ids == llama.tokenize(text)
    sums = {"onnuri": 0.0, "float32": 0.0, "llama.cpp": 0.0}
    total = 0
    for begin in range(0, len(ids) - 1, WINDOW):
        window = ids[begin:begin + WINDOW]
        if len(window) < 2:
            continue
        total += len(window) - 1
        for name, model in (("onnuri", engine.nll), ("float32", exact.nll), ("llama.cpp", llama.mean_nll)):
            sums[name] += model(window) * (len(window) - 1)
    out = {name: math.exp(value / total) for name, value in sums.items()}
    print(f"  perplexity over {total} tokens: " + ", ".join(f"{k} {v:.4f}" for k, v in out.items()) +
          f"; onnuri / llama.cpp - 1 = {out['onnuri'] / out['llama.cpp'] - 1:+.3%}" +
          ("" if same_ids else "  TEXT IDS DIFFER"))
    return {"tokens": total, "same_ids": same_ids, **out}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--llama-cpp", help="folder that holds the llama_cpp package")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--greedy-only", action="store_true", help="leave the perplexity out")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    if args.llama_cpp:
        sys.path.insert(0, args.llama_cpp)
    started = time.time()
    engine = onnuri.Engine(args.model, num_threads=args.threads)
    exact = onnuri.Engine(args.model, num_threads=args.threads, compute_dtype="float32")
    llama = LlamaCpp(args.model, args.threads)
    facts = engine.describe()
    print(f"{facts['model_name']}: kernels {facts['kernels']}")
    out = {"model": facts["model_name"], "kernels": facts["kernels"],
           "perplexity": None if args.greedy_only else compare_perplexity(engine, exact, llama),
           "greedy": compare_greedy(engine, exact, llama, args.tokens)}
    same = sum(r["agree"] == args.tokens for r in out["greedy"])
    print(f"  {same} of {len(PROMPTS)} prompts identical over {args.tokens} tokens, "
          f"{time.time() - started:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
