#!/usr/bin/env python3
"""What batch invariance costs: our products and attention beside torch's, which may add in any order.

Ours give the same bits for every number of rows and threads: one chain of sums over k for each
output, keys in fixed tiles. torch picks for each shape the order and the split that are fastest
(oneDNN, flash attention on the CPU). Runs alternate; medians of the rounds.

    benchmarks/invariance_cost.py --build build/release [--rounds 5] [--threads 2]

Needs torch in the Python that runs it.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch

SHAPES = [(4864, 896), (2048, 2048)]
ROWS = [1, 4, 16, 512]
DEPTHS = [8192, 32768]
HEADS = (14, 2, 64)


def ours(binary, names):
    """Microseconds by benchmark name."""
    run = subprocess.run([binary, "--benchmark_format=json", "--benchmark_min_time=0.1",
                          "--benchmark_filter=^(" + "|".join(names) + ")$"],
                         capture_output=True, text=True, check=True)
    return {b["name"]: b["real_time"] * {"ns": 1e-3, "us": 1.0, "ms": 1e3}[b["time_unit"]]
            for b in json.loads(run.stdout)["benchmarks"]}


def timed(call, least_s=0.1):
    call()
    times, end = [], time.perf_counter() + least_s
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    linear = os.path.join(options.build, "benchmarks", "bench_linear")
    attention = os.path.join(options.build, "benchmarks", "bench_attention")
    found = {}

    def add(key, side, value):
        found.setdefault(key, {}).setdefault(side, []).append(value)

    for _ in range(options.rounds):
        for kind, dtype in (("bf16", torch.bfloat16), ("f32", torch.float32)):
            names = {f"bench_linear/{kind}/{n}/{k}/{m}/{options.threads}/real_time": (kind, n, k, m)
                     for n, k in SHAPES for m in ROWS}
            for name, us in ours(linear, names).items():
                add(names[name], "ours", us)
            for n, k in SHAPES:
                weight = torch.randn(n, k, dtype=dtype)
                for m in ROWS:
                    x = torch.randn(m, k, dtype=dtype)
                    add((kind, n, k, m), "torch", timed(lambda: torch.nn.functional.linear(x, weight)))
        heads, kv_heads, dim = HEADS
        names = {f"decode/{options.threads}/{heads}/{kv_heads}/{dim}/{d}/min_time:0.200/real_time":
                 ("decode attention", heads, dim, d) for d in DEPTHS}
        for name, us in ours(attention, names).items():
            add(names[name], "ours", us)
        for depth in DEPTHS:
            for dtype, side in ((torch.bfloat16, "torch"), (torch.float32, "torch, float32")):
                q = torch.randn(1, heads, 1, dim, dtype=dtype)
                k, v = (torch.randn(1, kv_heads, depth, dim, dtype=dtype) for _ in range(2))
                call = torch.nn.functional.scaled_dot_product_attention
                add(("decode attention", heads, dim, depth), side, timed(lambda: call(q, k, v, enable_gqa=True)))
    print("load", open("/proc/loadavg").read().split()[:3])
    print("| what | ours, us | torch, us | torch / ours |\n| --- | --- | --- | --- |")
    for key, sides in found.items():
        mine = statistics.median(sides["ours"])
        best = min(statistics.median(v) for side, v in sides.items() if side != "ours")
        print(f"| {' '.join(map(str, key))} | {mine:.0f} | {best:.0f} | {best / mine:.2f} |")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
