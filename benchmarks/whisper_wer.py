"""Word error rate and times of a speech model on clips with known text.

    python benchmarks/whisper_wer.py MODEL_FOLDER [--reference] [--long FILE] [--threads 2] [--runs 3]

The clips are the five LibriVox utterances (public domain) of the pocketsphinx sdist, fetched by pip,
joined with 0.7 s gaps and padded to one 30-s window. --reference also runs transformers (it must be
installed) on the same checkpoint in float32; --long compares both on a longer recording.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import wave

import numpy as np

RATE = 16000


def fetch_clips(cache):
    folder = cache / "librivox"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation",
                    "--no-binary", "pocketsphinx", "pocketsphinx", "-d", str(cache)], check=True)
    archive = next(cache.glob("pocketsphinx-*.tar.gz"))
    with tempfile.TemporaryDirectory(dir=cache) as temporary, tarfile.open(archive) as tar:
        out = pathlib.Path(temporary) / "clips"
        out.mkdir()
        for member in tar.getmembers():
            name = pathlib.PurePosixPath(member.name)
            if "librivox" in name.parts and (name.suffix == ".wav" or name.name in ("fileids", "transcription")):
                (out / name.name).write_bytes(tar.extractfile(member).read())
        out.rename(folder)
    return folder


def read_wav(path):
    with wave.open(str(path)) as w:
        if (w.getframerate(), w.getnchannels(), w.getsampwidth()) != (RATE, 1, 2):
            raise SystemExit(f"{path}: expected 16 kHz mono 16-bit")
        return np.frombuffer(w.readframes(w.getnframes()), np.int16).astype(np.float32) / 32768


def join_clips(folder):
    names = (folder / "fileids").read_text().split()
    gap, parts = np.zeros(int(0.7 * RATE), np.float32), []
    for name in names:
        parts += [gap, read_wav(folder / f"{name}.wav")]
    sound = np.concatenate(parts[1:])
    sound = np.pad(sound, (0, 30 * RATE - len(sound)))
    text = re.sub(r"</?s>|\(.*?\)", " ", (folder / "transcription").read_text())
    return sound, text


def words(text):
    text = text.lower().replace("mr.", "mister").replace("-", " ")
    return re.sub(r"[^a-z' ]", " ", text).split()


def errors(reference, found):
    """Edit distance over words."""
    row = list(range(len(found) + 1))
    for i, r in enumerate(reference, 1):
        last, row[0] = row[0], i
        for j, f in enumerate(found, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (r != f))
    return row[-1]


def run_onnuri(engine, sound, runs):
    best = None
    for _ in range(runs):
        start = time.perf_counter()
        out = engine.transcribe(sound)
        total = (time.perf_counter() - start) * 1000
        if best is None or total < best[1]:
            best = (out, total)
    out, total = best
    print(f"  total {total:.0f} ms: mel {out.mel_ms:.0f}, encoder {out.encode_ms:.0f}, text {out.decode_ms:.0f}")
    return out.text


def load_reference(path, threads):
    import torch
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    torch.set_num_threads(threads)
    model = WhisperForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(path)


def run_reference(reference, sound, runs):
    model, processor = reference
    best = (None, float("inf"))
    long = len(sound) > 30 * RATE
    for _ in range(runs):
        start = time.perf_counter()
        inputs = processor(sound, sampling_rate=RATE, return_tensors="pt",
                           **({"truncation": False, "padding": "longest"} if long else {}))
        # Language and length are given: left to itself, generate() of transformers 5.23 repeats the
        # first word of this clip for ever.
        ids = model.generate(inputs.input_features, return_timestamps=long, language="en",
                             task="transcribe", max_new_tokens=400,
                             temperature=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if long else None,
                             **({"compression_ratio_threshold": 1.35, "logprob_threshold": -1.0,
                                 "no_speech_threshold": 0.6} if long else {}))
        total = (time.perf_counter() - start) * 1000
        if total < best[1]:
            best = (processor.batch_decode(ids, skip_special_tokens=True)[0], total)
    print(f"  total {best[1]:.0f} ms")
    return best[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--long", type=pathlib.Path, help="a longer 16 kHz mono WAV file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dtype", default="auto", help="onnuri's compute_dtype")
    parser.add_argument("--cache", type=pathlib.Path,
                        default=pathlib.Path.home() / ".cache" / "onnuri" / "media")
    options = parser.parse_args()

    import onnuri

    sound, text = join_clips(fetch_clips(options.cache))
    expected = words(text)
    engine = onnuri.Engine(options.model, compute_dtype=options.dtype, num_threads=options.threads)
    reference = load_reference(options.model, options.threads) if options.reference else None
    peers = {"onnuri": lambda s, n: run_onnuri(engine, s, n)}
    if reference:
        peers["transformers"] = lambda s, n: run_reference(reference, s, n)
    for name, run in peers.items():
        print(f"{name}:")
        found = run(sound, options.runs)
        print(f"  {found.strip()}\n  word errors {errors(expected, words(found))}/{len(expected)}")
    if options.long:
        texts = {}
        for name, run in peers.items():
            print(f"{name}, {options.long.name}:")
            texts[name] = run(read_wav(options.long), 1)
            print(f"  {texts[name].strip()}")
        if reference:
            ours, theirs = words(texts["onnuri"]), words(texts["transformers"])
            print(f"words that differ: {errors(theirs, ours)}/{len(theirs)}")


if __name__ == "__main__":
    main()
