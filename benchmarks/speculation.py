#!/usr/bin/env python3
"""Guessing ahead on a text that repeats itself: plain decoding, prompt lookup and a draft model.

The model is asked to give a piece of code back word for word (or, with --edit, with comments added:
fewer guesses are right). All ways answer in alternation,
greedily; their texts must be the same, or the run fails.

    benchmarks/speculation.py --onnuri build/release/demos/cli/onnuri MODEL.gguf [--lookup 4 8 16]
        [--draft-model SMALL.gguf] [--edit] [--rounds 3] [--tokens 200]
"""

import argparse
import json
import statistics
import subprocess
import sys

CODE = '''def moving_average(values, window):
    total, out = 0.0, []
    for i, value in enumerate(values):
        total += value
        if i >= window:
            total -= values[i - window]
        out.append(total / min(i + 1, window))
    return out


def moving_maximum(values, window):
    best, out = [], []
    for i, value in enumerate(values):
        while best and values[best[-1]] <= value:
            best.pop()
        best.append(i)
        if best[0] <= i - window:
            best.pop(0)
        out.append(values[best[0]])
    return out


def crossings(values, level):
    out = []
    for i in range(1, len(values)):
        if (values[i - 1] < level) != (values[i] < level):
            out.append(i)
    return out
'''
REPEAT = "Repeat this code word for word:\n\n" + CODE
EDIT = "Repeat this code word for word, and add one comment above each function:\n\n" + CODE


def answer(options, extra):
    command = [options.onnuri, "chat", options.model, EDIT if options.edit else REPEAT, "--max-tokens", str(options.tokens), "--json", "-q",
               "--threads", str(options.threads), *extra]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--onnuri", default=".venv/bin/onnuri")
    parser.add_argument("--lookup", type=int, nargs="*", default=[4, 8, 16])
    parser.add_argument("--draft-model")
    parser.add_argument("--edit", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    ways = {"plain": []}
    ways.update({f"lookup {k}": ["--lookup", str(k)] for k in options.lookup})
    if options.draft_model:
        ways["draft model"] = ["--draft-model", options.draft_model]
    speeds, guesses, texts = {way: [] for way in ways}, {}, set()
    for _ in range(options.rounds):
        for way, extra in ways.items():
            reply = answer(options, extra)
            usage = reply["usage"]
            texts.add(reply["text"])
            speeds[way].append(usage["tokens_per_second"])
            guesses[way] = (usage["accepted_tokens"], usage["draft_tokens"])
    print("load", open("/proc/loadavg").read().split()[:3])
    print("| way | tokens/s | range | times plain | guesses right |\n| --- | --- | --- | --- | --- |")
    plain = statistics.median(speeds["plain"])
    for way, found in speeds.items():
        middle = statistics.median(found)
        right, made = guesses[way]
        print(f"| {way} | {middle:.1f} | {min(found):.1f}-{max(found):.1f} | {middle / plain:.2f} | {right} of {made} |")
    if len(texts) != 1:
        sys.exit(f"expected one text from all ways, found {len(texts)}")


if __name__ == "__main__":
    main()
