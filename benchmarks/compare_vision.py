"""A vision encoder of published width beside transformers: one picture, alternating runs, medians.

    python benchmarks/compare_vision.py [--shape paddleocr_vl] [--size 448] [--threads 2] [--runs 3]
                                        [--layers N] [--bfloat16]

The weights are random, with the widths of PaddleOCR-VL (27 layers, 1152, 4304 inside) or Qwen2.5-VL
(32 layers, 1280, 3420 inside and gated, seven layers in eight see windows of 112 pixels), both with 16
heads, patches of 14 and four patches to a token, in front of a small decoder, written as bfloat16 to a
folder of its own that is removed. Timed: picture to projected tokens. Also says how far the tokens lie
apart and what share of the machine's peak the work is (2 FLOP for each weight and patch, 4 for each
pair of patches and channel; the peak is a product of matrices in torch, float32). Needs torch and
transformers 5.23.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np

TOKENS = dict(image_token_id=150, video_token_id=151, vision_start_token_id=152, vision_end_token_id=153)
WINDOW_PATCHES = (112 // 14) ** 2


class PaddleShape:
    """Every layer sees the whole picture."""

    layers = 27

    @staticmethod
    def build(layers):
        from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

        rope = dict(rope_type="default", rope_theta=5e5, mrope_section=[2, 3, 3])
        return PaddleOCRVLForConditionalGeneration(PaddleOCRVLConfig(
            text_config=dict(vocab_size=160, hidden_size=1024, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
                             num_key_value_heads=2, head_dim=16, rope_parameters=rope),
            vision_config=dict(num_hidden_layers=layers, hidden_size=1152, intermediate_size=4304, num_attention_heads=16,
                               image_size=384), tie_word_embeddings=True, **TOKENS))

    @staticmethod
    def processor(most_pixels):
        from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil

        return PaddleOCRVLImageProcessorPil(min_pixels=784, max_pixels=most_pixels, image_mean=[0.5] * 3, image_std=[0.5] * 3)

    @staticmethod
    def flop(layers, patches):
        return layers * (2 * patches * (4 * 1152**2 + 2 * 1152 * 4304) + 4 * patches**2 * 1152)


class QwenShape:
    """Every eighth layer sees the whole picture, the others windows."""

    layers = 32

    @staticmethod
    def build(layers):
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        rope = dict(rope_type="default", rope_theta=1e6, mrope_section=[16, 24, 24])
        return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
            text_config=dict(vocab_size=160, hidden_size=2048, intermediate_size=96, num_hidden_layers=1, num_attention_heads=16,
                             num_key_value_heads=2, rope_parameters=rope),
            vision_config=dict(depth=layers, hidden_size=1280, intermediate_size=3420, num_heads=16, out_hidden_size=2048,
                               hidden_act="silu", patch_size=14, window_size=112, fullatt_block_indexes=list(range(7, layers, 8))),
            tie_word_embeddings=True, **TOKENS))

    @staticmethod
    def processor(most_pixels):
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        return Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=most_pixels)

    @staticmethod
    def flop(layers, patches):
        whole = len(range(7, layers, 8))
        pairs = whole * patches**2 + (layers - whole) * patches * WINDOW_PATCHES
        return layers * 2 * patches * (4 * 1280**2 + 3 * 1280 * 3420) + 4 * pairs * 1280


SHAPES = {"paddleocr_vl": PaddleShape, "qwen2_5_vl": QwenShape}


def build(shape, folder, layers, most_pixels):
    import torch

    torch.manual_seed(0)
    model = shape.build(layers).to(torch.bfloat16).eval()
    model.save_pretrained(folder)
    processor = shape.processor(most_pixels)
    processor.save_pretrained(folder)
    return model, processor


def peak(threads):
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=448, help="of the square picture, pixels")
    parser.add_argument("--shape", choices=list(SHAPES), default="paddleocr_vl")
    parser.add_argument("--layers", type=int, help="instead of as many as published")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ours", nargs="*", default=["auto"], help="compute types of onnuri")
    parser.add_argument("--bfloat16", action="store_true", help="transformers in bfloat16 too (slow without AVX-512)")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    layers = options.layers or shape.layers

    import onnuri
    import torch

    torch.set_num_threads(options.threads)
    picture = np.random.default_rng(1).integers(0, 256, (options.size, options.size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        model, processor = build(shape, folder, layers, options.size**2)
        engines = {d: onnuri.Engine(str(folder), compute_dtype=d, num_threads=options.threads) for d in options.ours}

    def reference(dtype):
        typed = model.to(dtype)
        inputs = processor(images=picture, return_tensors="pt")
        with torch.no_grad():
            out = typed.get_image_features(inputs["pixel_values"].to(dtype), inputs["image_grid_thw"])
        out = getattr(out, "pooler_output", out)
        return torch.cat(list(out)).float().numpy()

    turn = [0]

    def ours(engine):
        picture[0, 0, 0] = turn[0] = (turn[0] + 1) % 256  # the encoder cache must not answer
        return engine.encode_image(picture)

    sides = {f"onnuri {d}": (lambda e=e: ours(e)) for d, e in engines.items()}
    for dtype in [torch.float32] + [torch.bfloat16] * options.bfloat16:
        sides[f"transformers {str(dtype).removeprefix('torch.')}"] = lambda d=dtype: reference(d)
    times, tokens = {name: [] for name in sides}, {}
    for run in range(options.runs + 1):  # the first one warms up
        for name, step in sides.items():
            if name.startswith("transformers"):
                model.to(getattr(torch, name.split()[1]))  # not timed
            start = time.perf_counter()
            tokens[name] = step()
            if run > 0:
                times[name].append(time.perf_counter() - start)
    patches = (options.size // 14) ** 2
    work = shape.flop(layers, patches) / 1e9
    print(f"{options.shape}, {layers} layers, {patches} patches, {work:.0f} GFLOP; torch multiplies matrices at {peak(options.threads):.0f} GFLOP/s")
    want = tokens["transformers float32"]
    for name, column in times.items():
        mid = statistics.median(column)
        apart = np.abs(tokens[name] - want).max() / want.std()
        print(f"{name:24} {mid:6.2f} s ({min(column):.2f}-{max(column):.2f}), {work / mid:5.0f} GFLOP/s, "
              f"furthest token value {apart:.4f} standard deviations away")


if __name__ == "__main__":
    main()
