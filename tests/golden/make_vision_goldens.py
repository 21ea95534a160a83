#!/usr/bin/env python3
"""Tiny random vision-language checkpoints, and what the reference makes of two pictures.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU. Every parameter is random,
norms and biases too; weights are rounded to float16 before the reference runs, so that they are
stored exactly. The pictures are not stored: tests/support/noise_image.h draws the same bytes.

Per family, tests/golden/vision/<family>/:
  config.json, preprocessor_config.json, model.safetensors   as save_pretrained writes them
  golden.safetensors   input_ids (T), logits (T, V), features_<k> (tokens, hidden), generated (16)

usage: make_vision_goldens.py [output folder]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

VOCAB = 160
IMAGE_ID, VIDEO_ID, START_ID, END_ID = 150, 151, 152, 153
SIZES = [(300, 181), (61, 100)]  # height, width: 20 x 12 and 6 x 10 patches
MIN_PIXELS, MAX_PIXELS = 10000, 50000
NEW_TOKENS = 16


def noise_image(height, width, seed):
    """A ramp with noise on it; integers only, so that any language draws the same bytes."""
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    state = seed
    for y in range(height):
        for x in range(width):
            for c in range(3):
                state = (state * 1664525 + 1013904223) % 2**32
                rgb[y, x, c] = ((x * (3 + c) + y * 2) & 127) + (state >> 25)
    return rgb


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim == 1:
                is_norm = "norm" in name or "ln_q" in name
                value = 0.2 * noise + (1.0 if is_norm and name.endswith("weight") else 0.0)
            elif "embed" in name and "patch" not in name:
                value = 0.5 * noise
            else:
                value = 1.5 * noise / np.sqrt(p[0].numel())
            p.copy_(value.half().float())


def text_fields():
    return dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
                bos_token_id=1, eos_token_id=2, pad_token_id=0)


def special_fields():
    return dict(image_token_id=IMAGE_ID, video_token_id=VIDEO_ID, vision_start_token_id=START_ID,
                vision_end_token_id=END_ID)


def qwen2_5_vl():
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    config = Qwen2_5_VLConfig(
        text_config=dict(text_fields(), rms_norm_eps=1e-6, rope_parameters=dict(
            rope_type="default", rope_theta=1000000.0, mrope_section=[2, 3, 3])),
        vision_config=dict(depth=4, hidden_size=32, intermediate_size=48, num_heads=2,
                           out_hidden_size=64, window_size=112, fullatt_block_indexes=[1, 3]),
        tie_word_embeddings=False, **special_fields())
    processor = Qwen2VLImageProcessorPil(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    return Qwen2_5_VLForConditionalGeneration(config), processor


def paddleocr_vl():
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration
    from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import (
        PaddleOCRVLImageProcessorPil)

    config = PaddleOCRVLConfig(
        text_config=dict(text_fields(), head_dim=16, rms_norm_eps=1e-5, rope_parameters=dict(
            rope_type="default", rope_theta=500000.0, mrope_section=[2, 3, 3])),
        vision_config=dict(num_hidden_layers=4, hidden_size=32, intermediate_size=48,
                           num_attention_heads=2, image_size=70),
        tie_word_embeddings=True, **special_fields())
    processor = PaddleOCRVLImageProcessorPil(
        min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return PaddleOCRVLForConditionalGeneration(config), processor


def hyperclovax_vision():
    from transformers import HyperCLOVAXVisionV2Config, HyperCLOVAXVisionV2ForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    config = HyperCLOVAXVisionV2Config(
        text_config=dict(text_fields(), model_type="hyperclovax", rms_norm_eps=1e-5, head_dim=16,
                         rope_parameters=dict(rope_type="default", rope_theta=50000.0),
                         residual_multiplier=0.7, logits_scaling=0.5, attention_multiplier=0.2,
                         use_post_norm=True),
        vision_config=dict(model_type="qwen2_5_vl_vision", depth=4, hidden_size=32,
                           intermediate_size=48, num_heads=2, out_hidden_size=40, window_size=112,
                           fullatt_block_indexes=[1, 3]),
        tie_word_embeddings=False, image_token_id=IMAGE_ID, video_token_id=VIDEO_ID)
    processor = Qwen2VLImageProcessorPil(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    return HyperCLOVAXVisionV2ForConditionalGeneration(config), processor


def prompt_ids(grids):
    ids = [1, 17]
    for k, (t, h, w) in enumerate(grids):
        ids += [START_ID] + [IMAGE_ID] * (t * h * w // 4) + [END_ID, 30 + 11 * k, 31 + 7 * k]
    return ids + [77, 5, 120]


def make(name, build, seed, folder):
    torch.manual_seed(0)
    model, processor = build()
    model = model.eval().float()
    model.set_attn_implementation("eager")
    randomize(model, seed)

    images = [noise_image(h, w, 1000 + k) for k, (h, w) in enumerate(SIZES)]
    pixels = processor(images=[Image.fromarray(i) for i in images], return_tensors="pt")
    grids = pixels["image_grid_thw"].tolist()
    ids = torch.tensor([prompt_ids(grids)])
    inputs = dict(input_ids=ids, pixel_values=pixels["pixel_values"],
                  image_grid_thw=pixels["image_grid_thw"],
                  mm_token_type_ids=(ids == IMAGE_ID).int())
    if name == "hyperclovax_vision":
        inputs.pop("mm_token_type_ids")  # plain positions
    with torch.no_grad():
        logits = model(**inputs).logits[0]
        features = model.model.get_image_features(
            pixels["pixel_values"], pixels["image_grid_thw"], return_dict=True).pooler_output
        out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
                             eos_token_id=None, pad_token_id=0, use_cache=True)
    generated = out[0, ids.shape[1]:]
    top = logits.topk(2).values
    print(name, "grids", grids, "tokens", ids.shape[1], "std", logits.std().item(),
          "smallest margin", (top[:, 0] - top[:, 1]).min().item(), generated.tolist())

    to = folder / name
    to.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(to)
    processor.save_pretrained(to)
    (to / "generation_config.json").unlink(missing_ok=True)
    tensors = dict(input_ids=ids[0].int(), logits=logits, generated=generated.int())
    for k, f in enumerate(features):
        tensors[f"features_{k}"] = f.contiguous()
    save_file(tensors, to / "golden.safetensors",
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))
    config = json.loads((to / "config.json").read_text())
    config.pop("transformers_version", None)
    (to / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def main():
    default = Path(__file__).parent / "vision"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    make("qwen2_5_vl", qwen2_5_vl, 11, folder)
    make("paddleocr_vl", paddleocr_vl, 12, folder)
    make("hyperclovax_vision", hyperclovax_vision, 13, folder)


if __name__ == "__main__":
    main()
