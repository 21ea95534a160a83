"""Random records of every GGUF block type with their decoded values.

Made with gguf 0.19.0 (its numpy decoders are the reference) and numpy 2. One file per type in quant/:
int32 number of bytes, int32 number of values, the bytes, the float32 values.
"""

import pathlib
import struct

import gguf
import numpy as np
from gguf.quants import dequantize

OUT = pathlib.Path(__file__).parent / "quant"
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Byte offsets of the halves of a record; they get finite values, all else is random bytes.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def main():
    rng = np.random.default_rng(7)
    OUT.mkdir(exist_ok=True)
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = 512 // elements
        raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
        for offset in HALVES[name]:
            half = (rng.standard_normal(blocks) * 0.1).astype(np.float16)
            raw[:, offset:offset + 2] = half.view(np.uint8).reshape(blocks, 2)
        values = dequantize(raw.reshape(1, -1), kind).astype(np.float32).reshape(-1)
        head = struct.pack("<ii", raw.size, values.size)
        (OUT / f"{name.lower()}.bin").write_bytes(head + raw.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
