"""Goldens of the sound path: log-mel frames and a tiny random speech model.

    python tests/golden/make_audio_goldens.py        (transformers 5.23, torch 2.15, CPU, float32)

Writes tests/golden/speech/: log_mel.txt (lines "length mels num_frames frame value...", a negative length:
not padded to 30 s, frame -1: the mean over all frames), a checkpoint with a
byte-level tokenizer (all weights random, float16), and expected.safetensors. The signals are made
from integers, so the tests rebuild them bit by bit (tests/encoders/signal.h).
"""

import json
import os
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (GenerationConfig, WhisperConfig, WhisperFeatureExtractor,
                          WhisperForConditionalGeneration)

OUT = pathlib.Path(__file__).parent / "speech"
SECOND = 16000
# To 30 s of silence or a cut, as Whisper and Qwen2-Audio hear; unpadded as Qwen3-Omni hears, and long sounds of the others.
PADDED = {80: [0, 1, 79, 80, 99, 159, 160, 161, 201, 399, 400, 401, 15999, 16000, 16001, 48000, 52801, 30 * SECOND - 1,
               30 * SECOND, 30 * SECOND + 1, 500000, 31 * SECOND, 95 * SECOND]}
PADDED[128] = [0, 1, 80, 161, 399, 400, 401, 15999, 16000, 16001, 30 * SECOND - 1, 30 * SECOND, 30 * SECOND + 1, 31 * SECOND,
               95 * SECOND]
UNPADDED = [201, 319, 320, 321, 399, 400, 401, 15999, 16000, 16001, 52801, 30 * SECOND, 31 * SECOND, 95 * SECOND]
HIDDEN, HEADS, WIDE, VOCAB, LAYERS = 32, 2, 64, 266 + 501, 2
SPECIALS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|ko|>", "<|translate|>",
            "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
            "<|notimestamps|>"]
EOT, SOT, EN, KO, TRANSLATE, TRANSCRIBE = range(256, 262)
NO_TIMESTAMPS = 265


def signal(length):
    """Noise whose loudness halves every 2,500 samples, twelve times, then starts again."""
    state, out = 12345, np.empty(length, np.float32)
    for i in range(length):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = ((state >> 8) - 8388608) / 8388608.0 * 0.5 ** (i // 2500 % 12)
    return out


def log_mel_lines():
    lines = []
    samples = signal(95 * SECOND)

    def write(name, features, frames):
        count = features.shape[1]
        kept = [(f, features[:, f]) for f in sorted(frames) if 0 <= f < count] + [(-1, features.astype(np.float64).mean(axis=1))]
        for frame, column in kept:
            lines.append(f"{name} {features.shape[0]} {count} {frame} " + " ".join(f"{v:.6g}" for v in column))

    for mels, lengths in PADDED.items():
        extractor = WhisperFeatureExtractor(feature_size=mels)
        for length in lengths:
            found = extractor(samples[:length], sampling_rate=SECOND, return_tensors="np").input_features[0]
            write(length, found, {0, length // 160 - 1, length // 160, 2999} if length <= 30 * SECOND else {2999})
    for mels in PADDED:
        extractor = WhisperFeatureExtractor(feature_size=mels)
        for length in UNPADDED:
            found = extractor(samples[:length], sampling_rate=SECOND, return_tensors="np", padding=True,
                              truncation=False).input_features[0]
            last = found.shape[1] - 1
            write(-length, found, {0, last // 2, last - 1, last})
    return lines


def bytes_to_unicode():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


def write_tokenizer(path):
    vocab = {c: b for b, c in bytes_to_unicode().items()}
    names = SPECIALS + [f"<|{i * 0.02:.2f}|>" for i in range(VOCAB - 266)]
    added = [{"id": 256 + i, "content": n, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": i < len(SPECIALS)} for i, n in enumerate(names)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    path.write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "vocab": vocab, "merges": []}}, ensure_ascii=False, separators=(",", ":")))


def make_model():
    torch.manual_seed(7)
    config = WhisperConfig(
        vocab_size=VOCAB, d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=WIDE,
        decoder_ffn_dim=WIDE, num_mel_bins=80, max_source_positions=1500, max_target_positions=64,
        bos_token_id=EOT, eos_token_id=EOT, pad_token_id=EOT, decoder_start_token_id=SOT,
        attn_implementation="eager")
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = {"embed_tokens": 0.15, "embed_positions": 0.6}.get(name.split(".")[-2], None)
            base = 1.0 if name.endswith("norm.weight") else 0.0
            scale = scale or (0.3 if p.dim() == 1 else 2.0 / (p[0].numel() ** 0.5))
            p.copy_((base + scale * torch.randn_like(p)).half().float())
    model.generation_config = GenerationConfig(
        alignment_heads=[[0, 0]], begin_suppress_tokens=[32, EOT], suppress_tokens=[1, 2, 7, 262, 263],
        bos_token_id=EOT, eos_token_id=EOT, pad_token_id=EOT, decoder_start_token_id=SOT,
        is_multilingual=True, lang_to_id={"<|en|>": EN, "<|ko|>": KO}, max_length=64,
        task_to_id={"transcribe": TRANSCRIBE, "translate": TRANSLATE},
        no_timestamps_token_id=NO_TIMESTAMPS, max_initial_timestamp_index=50,
        return_timestamps=False)
    return model


def greedy(model, features, prompt, count):
    """Plain greedy decoding with the suppress lists; generate() would cut at timestamps."""
    config, ids = model.generation_config, list(prompt)
    for step in range(count):
        logits = model(input_features=features, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        logits[config.suppress_tokens] = -float("inf")
        if step == 0:
            logits[config.begin_suppress_tokens] = -float("inf")
        ids.append(int(logits.argmax()))
        if ids[-1] == EOT:
            break
    return torch.tensor([ids[len(prompt):]])


def main():
    os.makedirs(OUT, exist_ok=True)
    (OUT / "log_mel.txt").write_text("\n".join(log_mel_lines()) + "\n")
    model = make_model()
    folder = OUT / "tiny"
    os.makedirs(folder, exist_ok=True)
    stored = {k: v.half().contiguous() for k, v in model.state_dict().items() if k != "proj_out.weight"}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": ["WhisperForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps(model.generation_config.to_dict(), indent=1))
    write_tokenizer(folder / "tokenizer.json")

    features = WhisperFeatureExtractor()(signal(48000), sampling_rate=16000,
                                         return_tensors="pt").input_features
    ids = torch.tensor([[SOT, EN, TRANSCRIBE, NO_TIMESTAMPS, 72, 105, 33, 200, 17]])
    with torch.no_grad():
        encoded = model.model.encoder(features).last_hidden_state
        logits = model(input_features=features, decoder_input_ids=ids).logits[0]
        language = model.detect_language(input_features=features)
        plain = greedy(model, features, [SOT, EN, TRANSCRIBE, NO_TIMESTAMPS], 32)
        long = WhisperFeatureExtractor()(signal(500000), sampling_rate=16000, truncation=False,
                                         padding="longest", return_tensors="pt").input_features
        timed = model.generate(long, language="ko", task="translate", return_timestamps=True)
        longer = WhisperFeatureExtractor()(signal(1300000), sampling_rate=16000, truncation=False,
                                           padding="longest", return_tensors="pt").input_features
        model.generation_config.prev_sot_token_id = NO_TIMESTAMPS - 2
        led = model.generate(longer, language="ko", task="translate", return_timestamps=True,
                             condition_on_prev_tokens=True)
    rows = torch.tensor([0, 1, 2, 74, 75, 76, 149, 150, 151, 700, 1498, 1499])
    strip = lambda t: torch.tensor([i for i in t[0].tolist() if i < 257 or i > 265], dtype=torch.int32)
    save_file({"encoder.rows": rows.int(), "encoder.values": encoded[0, rows].contiguous(),
               "encoder.std": encoded.std().reshape(1), "ids": ids[0].int(),
               "logits": logits.contiguous(), "language": language.int(),
               "plain": strip(plain), "timed": strip(timed),
               "led": strip(led)}, OUT / "expected.safetensors")
    print("plain", plain.tolist(), "timed", timed.tolist(), "language", language.tolist())


if __name__ == "__main__":
    main()
