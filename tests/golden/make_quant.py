"""Random records of every GGUF block type with their decoded values.

Made with gguf 0.19.0 (its numpy decoders are the reference) and numpy 2. One file per type in quant/:
int32 number of bytes, int32 number of values, the bytes, the float32 values. Half of the records have
scales of ordinary size; in the rest every byte is random and scales reach from subnormal to the
largest finite value, zeros and infinities of the result included.
"""

import pathlib
import struct

import gguf
import numpy as np
from gguf.quants import dequantize

OUT = pathlib.Path(__file__).parent / "quant"
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4", "F16", "BF16"]
# Byte offsets of the halves of a record; they get finite values, all else is random bytes.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "IQ4_NL": [0], "IQ4_XS": [0]}
INFINITY = {"F16": 0x7c00, "BF16": 0x7f80}
EXTREMES = np.array([0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00], np.uint16)


def main():
    rng = np.random.default_rng(7)
    OUT.mkdir(exist_ok=True)
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = max(2048 // elements, 8)
        raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
        for offset in HALVES.get(name, []):
            half = (rng.standard_normal(blocks) * 0.1).astype(np.float16)
            half[blocks // 2:] = rng.permutation(np.resize(EXTREMES, blocks - blocks // 2)).view(np.float16)
            raw[:, offset:offset + 2] = half.view(np.uint8).reshape(blocks, 2)
        if name in INFINITY:  # not-a-numbers have no bits to agree upon
            words = raw.view(np.uint16)
            words[(words & 0x7fff) > INFINITY[name]] = INFINITY[name]
        if name == "MXFP4":
            raw[:8, 0] = [0, 1, 2, 3, 127, 253, 254, 255]
        if name == "NVFP4":
            raw[:2, :4] = [[0x00, 0x01, 0x07, 0x08], [0x7e, 0x7f, 0x80, 0xff]]
        with np.errstate(over="ignore"):
            values = dequantize(raw.reshape(1, -1), kind).astype(np.float32).reshape(-1)
        head = struct.pack("<ii", raw.size, values.size)
        (OUT / f"{name.lower()}.bin").write_bytes(head + raw.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
