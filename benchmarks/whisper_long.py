"""Word error rate of long transcriptions, beside the long-form generation of transformers.

    python benchmarks/whisper_long.py MODEL_FOLDER [--reference] [--dtype auto] [--threads 2]

Three recordings of two to three minutes are made from the five LibriVox utterances that
whisper_wer.py fetches (public domain, text known), always in the same way:
  joined   four rounds of the utterances in turned order, 0.7 s apart
  silent   the same with 12 s of digital silence after the second and fourth utterance of each round
  noisy    the same as silent, white noise over all of it (30 dB below the loudest sample)
Both sides: 30-s windows, timestamps, temperatures 0 to 1 in steps of 0.2, mean log-probability -1,
no-speech 0.6; the repetition limit is 2.4 of the text here and 1.35 of the tokens there (its own
units). --lead lets the text of each window lead the next.
"""

import argparse
import pathlib
import time

import numpy as np

from whisper_wer import RATE, errors, fetch_clips, load_reference, read_wav, words


def spoken(folder):
    lines = [line for line in (folder / "transcription").read_text().splitlines() if line.strip()]
    out = []
    for name, line in zip((folder / "fileids").read_text().split(), lines):
        assert name in line
        out.append((read_wav(folder / f"{name}.wav"), line.replace("<s>", "").split("</s>")[0].strip()))
    return out


def silence(seconds):
    return np.zeros(int(seconds * RATE), np.float32)


def recordings(clips):
    def rounds(long_gap):
        sound, text = [], []
        for turn in range(4):
            order = clips[turn:] + clips[:turn]
            for k, (samples, line) in enumerate(order):
                sound += [samples, silence(long_gap if long_gap and k in (1, 3) else 0.7)]
                text.append(line)
        return np.concatenate(sound), " ".join(text)

    joined, silent = rounds(0), rounds(12)
    noise = np.random.default_rng(1).standard_normal(len(silent[0])).astype(np.float32)
    level = np.abs(silent[0]).max() * 10 ** (-30 / 20)
    noisy = np.clip(silent[0] + level * noise / 3, -1, 1).astype(np.float32)
    return {"joined": joined, "silent": silent, "noisy": (noisy, silent[1])}


def transcribe_reference(reference, sound, context):
    model, processor = reference
    inputs = processor(sound, sampling_rate=RATE, return_tensors="pt", truncation=False,
                       padding="longest", return_attention_mask=True)
    # Language and length are given, as in whisper_wer.py.
    ids = model.generate(inputs.input_features, attention_mask=inputs.attention_mask,
                         return_timestamps=True, language="en", task="transcribe",
                         max_new_tokens=200, temperature=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
                         compression_ratio_threshold=1.35, logprob_threshold=-1.0,
                         no_speech_threshold=0.6, condition_on_prev_tokens=context)
    return processor.batch_decode(ids, skip_special_tokens=True)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--reference", action="store_true", help="also run transformers (float32)")
    parser.add_argument("--lead", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="auto", help="onnuri's compute_dtype")
    parser.add_argument("--show", action="store_true", help="print the texts")
    parser.add_argument("--cache", type=pathlib.Path,
                        default=pathlib.Path.home() / ".cache" / "onnuri" / "media")
    options = parser.parse_args()

    import onnuri

    engine = onnuri.Engine(options.model, compute_dtype=options.dtype, num_threads=options.threads)
    peers = {"onnuri": lambda s: engine.transcribe(s, condition_on_previous=options.lead).text}
    if options.reference:
        reference = load_reference(options.model, options.threads)
        peers["transformers"] = lambda s: transcribe_reference(reference, s, options.lead)
    totals = {name: [0, 0] for name in peers}
    for title, (sound, text) in recordings(spoken(fetch_clips(options.cache))).items():
        expected = words(text)
        for name, run in peers.items():
            start = time.perf_counter()
            found = run(sound)
            seconds = time.perf_counter() - start
            wrong = errors(expected, words(found))
            totals[name][0] += wrong
            totals[name][1] += len(expected)
            print(f"{title} ({len(sound) / RATE:.1f} s), {name}: {wrong}/{len(expected)} wrong, "
                  f"{seconds:.1f} s", flush=True)
            if options.show:
                print("  " + found.strip())
    for name, (wrong, count) in totals.items():
        print(f"{name}: word error rate {100 * wrong / count:.2f} %")


if __name__ == "__main__":
    main()
