"""How long a text waits for its first token while pictures are being encoded, beside an idle engine.

    python benchmarks/first_token.py [--prompt 256] [--size 448] [--pictures 2] [--runs 9] [--threads 2]

The model has random weights: PaddleOCR-VL's encoder (27 layers, 1152) before a decoder of 12 layers of
width 1024, written as bfloat16 to a folder of its own that is removed. Some threads send pictures without
pause, each another one; meanwhile texts of random ids ask for one token. Needs torch and transformers.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import threading
import time

import numpy as np
import onnuri

TOKENS = dict(image_token_id=150, video_token_id=151, vision_start_token_id=152, vision_end_token_id=153)


def write_model(folder, size):
    import torch
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration
    from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil

    rope = dict(rope_type="default", rope_theta=5e5, mrope_section=[16, 24, 24])
    torch.manual_seed(0)
    model = PaddleOCRVLForConditionalGeneration(PaddleOCRVLConfig(
        text_config=dict(vocab_size=32000, hidden_size=1024, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=16,
                         num_key_value_heads=2, head_dim=128, rope_parameters=rope),
        vision_config=dict(num_hidden_layers=27, hidden_size=1152, intermediate_size=4304, num_attention_heads=16,
                           image_size=384), tie_word_embeddings=True, **TOKENS))
    model.to(torch.bfloat16).save_pretrained(folder)
    PaddleOCRVLImageProcessorPil(min_pixels=784, max_pixels=size * size, image_mean=[0.5] * 3,
                                 image_std=[0.5] * 3).save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--pictures", type=int, default=2, help="threads that send pictures")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        write_model(pathlib.Path(folder), args.size)
        engine = onnuri.Engine(folder, num_threads=args.threads, context_size=8192, max_sequences=4,
                               prefix_caching=False, encoder_cache_bytes=0)
        side = args.size

        def picture():
            return random.integers(0, 256, (side, side, 3), dtype=np.uint8)

        tokens = engine.encode_image(picture()).shape[0]
        seen = [152, *[150] * tokens, 153, 40, 41]

        def first_token():
            ids = random.integers(200, 30000, args.prompt).tolist()
            start = time.perf_counter()
            engine.generate(ids, max_new_tokens=1, ignore_eos=True)
            return 1e3 * (time.perf_counter() - start)

        first_token()
        idle = [first_token() for _ in range(args.runs)]
        start = time.perf_counter()
        engine.generate(seen, images=[picture()], max_new_tokens=1, ignore_eos=True)
        alone = 1e3 * (time.perf_counter() - start)
        stop = threading.Event()
        sent = [0] * args.pictures

        def send(which):
            while not stop.is_set():
                engine.generate(seen, images=[picture()], max_new_tokens=1, ignore_eos=True)
                sent[which] += 1

        threads = [threading.Thread(target=send, args=(i,)) for i in range(args.pictures)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        start = time.perf_counter()
        busy = []
        for _ in range(args.runs):
            busy.append(first_token())
            time.sleep(0.3)
        seconds = time.perf_counter() - start
        stop.set()
        for thread in threads:
            thread.join()
        print(json.dumps(dict(
            prompt=args.prompt, picture_tokens=tokens, picture_ms=round(alone), idle_ms=round(statistics.median(idle), 1),
            busy_ms=round(statistics.median(busy), 1), worst_ms=round(max(busy), 1),
            ratio=round(statistics.median(busy) / statistics.median(idle), 2), pictures=sum(sent), seconds=round(seconds, 1),
            metrics=engine.metrics())))


if __name__ == "__main__":
    main()
