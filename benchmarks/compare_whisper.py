"""Whisper here beside transformers, CTranslate2 and whisper.cpp: one clip, alternating runs, medians.

    python benchmarks/compare_whisper.py FOLDER [--ct2 FOLDER] [--ggml FILE] [--threads 2] [--runs 3]

FOLDER is a checkpoint as published; --ct2 the same converted for CTranslate2, --ggml by
whisper_ggml.py. The clip: five LibriVox utterances in one 30-s window (whisper_wer.py). Two times for
each: the encoder alone, and the whole clip (log-mel, encoder, greedy text). A rival whose package is
not installed is left out and said.
"""

import argparse
import importlib
import pathlib
import statistics
import time

import numpy as np

from whisper_wer import errors, fetch_clips, join_clips, words


def package(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"without {name}: it is not installed")
        return None


def ours(options, dtype):
    import onnuri

    engine = onnuri.Engine(options.model, compute_dtype=dtype, num_threads=options.threads)
    shift = [0.0]

    def encode(sound):  # the encoder cache must not answer
        shift[0] += 1e-7
        engine.encode_audio(sound + np.float32(shift[0]))

    def whole(sound):
        shift[0] += 1e-7
        return engine.transcribe(sound + np.float32(shift[0]), language="en").text

    return encode, whole


def transformers(options, dtype):
    import torch
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    torch.set_num_threads(options.threads)
    model = WhisperForConditionalGeneration.from_pretrained(options.model, dtype=dtype).eval()
    processor = AutoProcessor.from_pretrained(options.model)

    def features(sound):
        return processor(sound, sampling_rate=16000, return_tensors="pt").input_features.to(dtype)

    @torch.no_grad()
    def encode(sound):
        model.model.encoder(features(sound))

    @torch.no_grad()
    def whole(sound):
        ids = model.generate(features(sound), language="en", task="transcribe", max_new_tokens=400)
        return processor.batch_decode(ids, skip_special_tokens=True)[0]

    return encode, whole


def ctranslate2(options, compute_type):
    import ctranslate2 as ct2
    from transformers import AutoProcessor

    model = ct2.models.Whisper(str(options.ct2), compute_type=compute_type, intra_threads=options.threads, inter_threads=1)
    processor = AutoProcessor.from_pretrained(options.model)
    prompt = processor.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"])

    def features(sound):
        return ct2.StorageView.from_array(processor(sound, sampling_rate=16000, return_tensors="np").input_features.astype(np.float32))

    def encode(sound):
        np.array(model.encode(features(sound), to_cpu=True))

    def whole(sound):
        result = model.generate(features(sound), [prompt], beam_size=1, max_length=448)[0]
        return processor.decode(result.sequences_ids[0], skip_special_tokens=True)

    return encode, whole


def whisper_cpp(options):
    import _pywhispercpp as binding
    from pywhispercpp.model import Model

    model = Model(str(options.ggml), n_threads=options.threads, print_progress=False, redirect_whispercpp_logs_to=None)
    context = model._ctx

    def encode(sound):
        binding.whisper_pcm_to_mel(context, sound, len(sound), options.threads)
        binding.whisper_encode(context, 0, options.threads)

    def whole(sound):
        # Greedy, one window, no timestamps: what the others do.
        found = model.transcribe(sound, language="en", no_context=True, single_segment=True, temperature_inc=0.0,
                                 greedy={"best_of": 1}, no_timestamps=True)
        return " ".join(s.text for s in found)

    return encode, whole


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--ct2", type=pathlib.Path)
    parser.add_argument("--ggml", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ours", nargs="*", default=["auto"], help="compute types of onnuri")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path.home() / ".cache" / "onnuri" / "media")
    options = parser.parse_args()

    sound, text = join_clips(fetch_clips(options.cache))
    expected = words(text)
    sides = {f"onnuri {dtype}": ours(options, dtype) for dtype in options.ours}
    if (torch := package("torch")) and package("transformers"):
        for dtype in (torch.float32, torch.bfloat16):
            sides[f"transformers {str(dtype).removeprefix('torch.')}"] = transformers(options, dtype)
        if options.ct2 and (ct2 := package("ctranslate2")):
            for kind in ("float32", "int8"):
                sides[f"ctranslate2 {ct2.__version__} {kind}"] = ctranslate2(options, kind)
    if options.ggml and package("pywhispercpp"):
        sides["whisper.cpp float16"] = whisper_cpp(options)

    times = {name: ([], []) for name in sides}
    texts = {}
    for run in range(options.runs + 1):  # the first one warms up
        for name, (encode, whole) in sides.items():
            start = time.perf_counter()
            encode(sound)
            middle = time.perf_counter()
            texts[name] = whole(sound)
            if run > 0:
                times[name][0].append(middle - start)
                times[name][1].append(time.perf_counter() - middle)
    print(f"{'':32} encode, ms (range)      whole clip, ms (range)   wrong words of {len(expected)}")
    for name, columns in times.items():
        cells = [f"{1000 * statistics.median(c):6.0f} ({1000 * min(c):.0f}-{1000 * max(c):.0f})" for c in columns]
        print(f"{name:32} {cells[0]:24} {cells[1]:24} {errors(expected, words(texts[name]))}")


if __name__ == "__main__":
    main()
