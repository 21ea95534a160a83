#!/usr/bin/env python3
"""What a sequence compressor of random weights makes of noise.

The part that shortens the sound of a video in HyperCLOVA X SEED Omni comes with the published
checkpoint and needs CUDA kernels; it is written here from a description of that code. The
state-space layer is computed in its quadratic form (Dao and Gu 2024, section 3), not step by step
as in the runtime. So this data proves the arithmetic, not the description.

Made with torch 2.15, float64 on a CPU, stored as float32. tests/golden/omni/compressor.safetensors:
weights under the canonical names of fusion/sequence_compressor.h, rows_<n> (n, 20), compressed_<n>
(ceil(n / 5), 12).

usage: make_compressor_goldens.py
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

IN, HIDDEN, OUT, CHUNK, LAYERS = 20, 24, 12, 5, 2
INNER, HEAD, STATE, TAPS = 48, 16, 8, 4
MIXED, HEADS = INNER + 2 * STATE, INNER // HEAD


def weights():
    generator = torch.Generator().manual_seed(61)
    draw = lambda *shape: torch.randn(shape, generator=generator).half().double()
    w = {"in.weight": draw(HIDDEN, IN) / 4, "in.bias": draw(HIDDEN) / 4, "question": draw(HIDDEN),
         "in_norm.weight": 1 + draw(HIDDEN) / 5, "in_norm.bias": draw(HIDDEN) / 5,
         "norm.weight": 1 + draw(HIDDEN) / 5, "out.weight": draw(OUT, HIDDEN) / 4,
         "out.bias": draw(OUT) / 4}
    for i in range(LAYERS):
        w |= {f"layers.{i}.{n}": t for n, t in {
            "norm.weight": 1 + draw(HIDDEN) / 5, "weigh.weight": draw(CHUNK, HIDDEN) / 4,
            "weigh.bias": draw(CHUNK) / 4, "gate.weight": draw(1, HIDDEN) / 2,
            "gate.bias": draw(1) / 4, "in.weight": draw(INNER + MIXED + HEADS, HIDDEN) / 3,
            "conv.weight": draw(MIXED, 1, TAPS) / 2, "conv.bias": draw(MIXED) / 4,
            "dt_bias": draw(HEADS), "a_log": draw(HEADS), "d": 1 + draw(HEADS) / 5,
            "inner_norm.weight": 1 + draw(INNER) / 5, "out.weight": draw(HIDDEN, INNER) / 4,
        }.items()}
    return {n: t.float().double() for n, t in w.items()}


def rms(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * weight


def mixer(x, w):
    z, mixed, dt = (x @ w["in.weight"].T).split([INNER, MIXED, HEADS], -1)
    mixed = F.conv1d(mixed.T[None], w["conv.weight"], w["conv.bias"], padding=TAPS - 1, groups=MIXED)
    mixed = F.silu(mixed[0, :, : len(x)].T)
    value, b, c = mixed.split([INNER, STATE, STATE], -1)
    value = value.view(len(x), HEADS, HEAD)
    dt = F.softplus(dt + w["dt_bias"])
    decay = (dt * -w["a_log"].exp()).cumsum(0)
    allowed = torch.ones(len(x), len(x), dtype=torch.bool).tril()
    between = (decay[:, None] - decay[None]).masked_fill(~allowed[..., None], float("-inf")).exp()
    y = torch.einsum("ts,tsh,sh,shd->thd", c @ b.T, between, dt, value)
    y = (y + w["d"][:, None] * value).reshape(len(x), INNER)
    return (rms(y, w["inner_norm.weight"]) * F.silu(z)) @ w["out.weight"].T


def compress(x, w):
    x = F.pad(x, (0, 0, 0, -len(x) % CHUNK)) @ w["in.weight"].T + w["in.bias"]
    x = x.view(-1, CHUNK, HIDDEN)
    h = torch.cat([x, w["question"].expand(len(x), 1, -1)], 1)
    h = F.layer_norm(h, [HIDDEN], w["in_norm.weight"], w["in_norm.bias"], 1e-6)
    for i in range(LAYERS):
        own = {n.removeprefix(f"layers.{i}."): t for n, t in w.items() if n.startswith(f"layers.{i}.")}
        n = rms(h, own["norm.weight"])
        frames, question = n[:, :CHUNK], n[:, CHUNK]
        share = (question @ own["weigh.weight"].T + own["weigh.bias"]).softmax(-1)
        gate = (question @ own["gate.weight"].T + own["gate.bias"]).sigmoid() * 0.98 + 0.01
        question = (1 - gate) * question + gate * (share[..., None] * frames).sum(1)
        n = torch.cat([frames, question[:, None]], 1)
        h = h + mixer(n.reshape(-1, HIDDEN), own).view(h.shape)
    return rms(h[:, CHUNK], w["norm.weight"]) @ w["out.weight"].T + w["out.bias"]


def main():
    w = weights()
    tensors = {n: t.float() for n, t in w.items()}
    generator = torch.Generator().manual_seed(62)
    for count in (1, 5, 6, 203):
        x = torch.randn(count, IN, generator=generator)
        tensors[f"rows_{count}"] = x
        tensors[f"compressed_{count}"] = compress(x.double(), w).float()
        print(count, tensors[f"compressed_{count}"].shape, tensors[f"compressed_{count}"].std())
    save_file(tensors, Path(__file__).parent / "omni" / "compressor.safetensors",
              metadata=dict(torch=torch.__version__))


if __name__ == "__main__":
    main()
