"""Onnuri beside llama.cpp: the same files, the same threads, alternating runs in one sitting.

    benchmarks/compare_llama.py --llama-bench path/to/llama-bench model.gguf [model.gguf ...]

Prints a Markdown table of medians and their ratios (above 1: Onnuri is faster), and writes the raw
samples with --json FILE. Timings decide nothing here; they go into docs/speed.md with the machine.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess


def run_llama(options, model, prompt, fresh):
    arguments = [options.llama_bench, "-m", model, "-t", str(options.threads), "-p", str(prompt),
                 "-n", str(fresh), "-r", "1", "-o", "json"]
    rows = json.loads(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)
    return rows[0]["avg_ts"]


def run_onnuri(options, model, prompt, fresh):
    arguments = [options.onnuri, "bench", model, "-t", str(options.threads), "-p", str(prompt),
                 "-n", str(fresh), "-r", "1", "--json", "-q"]
    row = json.loads(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)
    return row["prefill_tokens_per_s"] if prompt else row["decode_tokens_per_s"], row


def compare(options, model, prompt, fresh):
    ours, theirs, facts = [], [], {}
    for _ in range(options.repeats):
        rate, facts = run_onnuri(options, model, prompt, fresh)
        ours.append(rate)
        theirs.append(run_llama(options, model, prompt, fresh))
    return {
        "model": pathlib.Path(model).name,
        "test": f"pp{prompt}" if prompt else f"tg{fresh}",
        "onnuri": ours,
        "llama": theirs,
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "read_bandwidth_gb_s": facts["read_bandwidth_gb_s"],
        "share_of_bandwidth": facts.get("decode_share_of_bandwidth"),
        "kernels": facts["kernels"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llama-bench", required=True, help="a native release build")
    parser.add_argument("--onnuri", default=".venv/bin/onnuri")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--new", type=int, default=64)
    parser.add_argument("-r", "--repeats", type=int, default=5)
    parser.add_argument("--json", help="raw samples")
    options = parser.parse_args()
    rows = []
    print("| model | test | onnuri, tokens/s | llama.cpp, tokens/s | ratio | share of read bandwidth |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model in options.models:
        for prompt, fresh in ((0, options.new), (options.prompt, 0)):
            row = compare(options, model, prompt, fresh)
            rows.append(row)
            share = f"{row['share_of_bandwidth'] * 100:.0f} %" if row["share_of_bandwidth"] else ""
            print(f"| {row['model']} | {row['test']} | {statistics.median(row['onnuri']):.1f} "
                  f"| {statistics.median(row['llama']):.1f} | {row['ratio']:.2f} | {share} |", flush=True)
    if options.json:
        facts = {"machine": platform.processor() or platform.machine(), "threads": options.threads, "rows": rows}
        pathlib.Path(options.json).write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
