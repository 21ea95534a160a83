"""Writes a Whisper checkpoint (a folder as published) in the file format of whisper.cpp, float16.

    python benchmarks/whisper_ggml.py FOLDER OUT.bin

Only so that whisper.cpp can run the same weights in benchmarks/compare_whisper.py. Order of the file:
sizes, mel filters, the tokens before the special ones, tensors under their first published names.
Needs numpy and safetensors.
"""

import json
import pathlib
import struct
import sys

import numpy as np
from safetensors import safe_open

BLOCK = {"self_attn.q_proj": "attn.query", "self_attn.k_proj": "attn.key", "self_attn.v_proj": "attn.value",
         "self_attn.out_proj": "attn.out", "self_attn_layer_norm": "attn_ln", "encoder_attn.q_proj": "cross_attn.query",
         "encoder_attn.k_proj": "cross_attn.key", "encoder_attn.v_proj": "cross_attn.value",
         "encoder_attn.out_proj": "cross_attn.out", "encoder_attn_layer_norm": "cross_attn_ln", "fc1": "mlp.0", "fc2": "mlp.2",
         "final_layer_norm": "mlp_ln"}
OUTER = {"encoder.layer_norm": "encoder.ln_post", "decoder.layer_norm": "decoder.ln", "decoder.embed_tokens": "decoder.token_embedding"}


def renamed(name):
    name = name.removeprefix("model.")
    if name.endswith("embed_positions.weight"):
        return name.replace("embed_positions.weight", "positional_embedding")
    stem, leaf = name.rsplit(".", 1)
    if ".layers." in stem:
        side, index, part = stem.replace(".layers", "").split(".", 2)
        return f"{side}.blocks.{index}.{BLOCK[part]}.{leaf}"
    return f"{OUTER.get(stem, stem)}.{leaf}"


def byte_of_letter():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


def mel_filters(n_mels):
    """Slaney's bank of 201 bins at 16 kHz."""
    low, step, bend = 0.0, 200 / 3, 1000.0
    to_mel = lambda f: np.where(f >= bend, 15 + np.log(np.maximum(f, 1e-9) / bend) * 27 / np.log(6.4), (f - low) / step)
    to_hz = lambda m: np.where(m >= 15, bend * np.exp(np.log(6.4) / 27 * (m - 15)), low + step * m)
    edges = to_hz(np.linspace(to_mel(np.array(0.0)), to_mel(np.array(8000.0)), n_mels + 2))
    bins = np.linspace(0, 8000, 201)
    slopes = edges[:, None] - bins[None]
    up, down = -slopes[:-2] / np.diff(edges)[:-1, None], slopes[2:] / np.diff(edges)[1:, None]
    return (np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def main():
    folder, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    config = json.loads((folder / "config.json").read_text())
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    first_special = config["eos_token_id"]
    letters = byte_of_letter()
    tokens = [bytes(letters[c] for c in t) for t, i in sorted(vocab.items(), key=lambda kv: kv[1]) if i < first_special]
    with open(out, "wb") as f:
        sizes = ["vocab_size", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers", "max_target_positions",
                 "d_model", "decoder_attention_heads", "decoder_layers", "num_mel_bins"]
        f.write(struct.pack("<I11i", 0x67676D6C, *(config[k] for k in sizes), 1))
        filters = mel_filters(config["num_mel_bins"])
        f.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        f.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            f.write(struct.pack("<i", len(token)) + token)
        with safe_open(folder / "model.safetensors", "np") as weights:
            for name in weights.keys():
                if name == "proj_out.weight":
                    continue
                new, data = renamed(name), weights.get_tensor(name).astype(np.float32)
                if new in ("encoder.conv1.bias", "encoder.conv2.bias"):
                    data = data.reshape(-1, 1)
                half = data.ndim > 1 and "positional" not in new and "bias" not in new
                f.write(struct.pack("<3i", data.ndim, len(new), int(half)))
                f.write(struct.pack(f"<{data.ndim}i", *reversed(data.shape)) + new.encode())
                f.write(data.astype(np.float16 if half else np.float32).tobytes())


if __name__ == "__main__":
    main()
