#!/usr/bin/env python3
"""Decoding of several sequences at once beside llama.cpp: tokens/s of all together.

Both sides read a prompt of 64 tokens for each sequence, then write 64 tokens each; only the writing
counts (llama-batched-bench's S_TG). Here each sequence is a thread that calls generate(); the time
runs from when the last of them has its first token to when the first of them ends. Runs alternate.

    benchmarks/batched_decoding.py --llama path/to/llama-batched-bench MODEL.gguf ...
"""

import argparse
import json
import statistics
import subprocess
import threading
import time

import onnuri

PROMPT, NEW = 64, 64


def ours(engine, sequences):
    """Tokens per second while all sequences write."""
    times = [[] for _ in range(sequences)]

    def ask(n):
        ids = [1000 + (n * 977 + i * 31) % 20000 for i in range(PROMPT)]
        engine.generate(ids, max_new_tokens=NEW, ignore_eos=True,
                        stream=lambda event: times[n].append(time.perf_counter()) or True)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(sequences)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begin, end = max(t[0] for t in times), min(t[-1] for t in times)
    return sum(sum(begin < x <= end for x in t) for t in times) / (end - begin)


def llama(binary, model, counts, threads):
    run = subprocess.run([binary, "-m", model, "-c", str(max(counts) * 2 * (PROMPT + NEW)), "-npp", str(PROMPT),
                          "-ntg", str(NEW), "-npl", ",".join(map(str, counts)), "-t", str(threads),
                          "--output-format", "jsonl"], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return {row["pl"]: row["speed_tg"] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llama", help="llama-batched-bench; without it only ours")
    parser.add_argument("--sequences", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for model in options.models:
        found = {n: {"ours": [], "llama.cpp": []} for n in options.sequences}
        engine = onnuri.Engine(model, num_threads=options.threads, max_sequences=max(options.sequences),
                               context_size=2 * (PROMPT + NEW), prefix_caching=False,
                               kv_cache_tokens=max(options.sequences) * 2 * (PROMPT + NEW))
        for _ in range(options.rounds):
            for n in options.sequences:
                found[n]["ours"].append(ours(engine, n))
            if options.llama:
                for n, speed in llama(options.llama, model, options.sequences, options.threads).items():
                    found[n]["llama.cpp"].append(speed)
        print(f"{model.rsplit('/', 1)[-1]}, load {open('/proc/loadavg').read().split()[:3]}")
        print("| sequences | ours | llama.cpp | ratio |\n| --- | --- | --- | --- |")
        for n, sides in found.items():
            mine = statistics.median(sides["ours"])
            other = statistics.median(sides["llama.cpp"]) if sides["llama.cpp"] else float("nan")
            print(f"| {n} | {mine:.0f} | {other:.0f} | {mine / other:.2f} |")


if __name__ == "__main__":
    main()
