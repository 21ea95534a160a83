"""Our tokenizer beside the Rust library `tokenizers`: one thread, the same tokenizer.json.

    PYTHONPATH=build/python python benchmarks/tokenizer_speed.py [tokenizer.json] [--runs N] [--megabytes N]

Encodes 10 MB of mixed Korean, English, Chinese, Japanese and code (scripts/text_corpus.py), in
pieces of about 20 kB and as one text, in alternating runs, and prints the medians of both and their
ratio. Without a file, a byte-level BPE with Qwen2's words is trained on a part of the text. Time is
this process's CPU time and ends with a Python list of ids on both sides; the ids are compared first.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "golden")]

import onnuri
import tokenizers
from text_corpus import corpus
from token_patterns import QWEN2


def train(text, folder):
    tk = tokenizers
    t = tk.Tokenizer(tk.models.BPE())
    t.normalizer = tk.normalizers.NFC()
    t.pre_tokenizer = tk.pre_tokenizers.Sequence([tk.pre_tokenizers.Split(tk.Regex(QWEN2), "isolated"),
                                                  tk.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = tk.decoders.ByteLevel()
    t.train_from_iterator([text[i:i + 4000] for i in range(0, len(text), 4000)], tk.trainers.BpeTrainer(
        vocab_size=20_000, special_tokens=["<|endoftext|>"], initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    path = pathlib.Path(folder) / "tokenizer.json"
    t.save(str(path))
    return path


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", nargs="?")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=10)
    options = parser.parse_args()
    text = corpus(int(options.megabytes * 1e6))
    size = len(text.encode()) / 1e6
    pieces = [text[i:i + 10_000] for i in range(0, len(text), 10_000)]
    with tempfile.TemporaryDirectory() as folder:
        path = options.tokenizer or train(text[:400_000], folder)
        rust, ours = tokenizers.Tokenizer.from_file(str(path)), onnuri.Tokenizer(path)
    rust.no_truncation()

    def rust_ids(texts):
        return [rust.encode(t, add_special_tokens=False).ids for t in texts]

    def our_ids(texts):
        return [ours.encode(t) for t in texts]

    if rust_ids(pieces[:20]) != our_ids(pieces[:20]):
        print("the ids differ: nothing to time")
        return 1
    print(f"{size:.1f} MB, {len(pieces)} pieces, {options.runs} alternating runs, CPU time, MB/s: median (all runs)")
    for name, texts in (("pieces", pieces), ("one text", [text])):
        rates = {"Onnuri": [], "tokenizers " + tokenizers.__version__: []}
        for _ in range(options.runs):
            for who, encode in zip(rates, (our_ids, rust_ids)):
                rates[who].append(size / seconds(lambda: encode(texts)))
        for who, values in rates.items():
            print(f"{name}: {who}: {statistics.median(values):.2f} ({', '.join(f'{v:.2f}' for v in values)})")
        first, second = (statistics.median(values) for values in rates.values())
        print(f"{name}: ratio of medians {first / second:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
