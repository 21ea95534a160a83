#!/usr/bin/env python3
"""Tiny random checkpoints of families that see tiles of one size, and what the reference makes of
two pictures of different shape.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU. Every parameter is random,
norms and biases too; weights are rounded to float16 before the reference runs, so that they are
stored exactly. The pictures are not stored: tests/support/noise_image.h draws the same bytes.

Per family, tests/golden/vision/<family>/:
  config.json, preprocessor_config.json, model.safetensors   as save_pretrained writes them
  golden.safetensors   input_ids (T), logits (T, V), features_<k> (tokens, hidden), generated (16);
                       LLaVA-OneVision: among_ids, among_logits, the pictures given as several of one
                       prompt, each of which is then a single view; video_ids, video_logits, three
                       frames and the second picture

usage: make_tile_goldens.py [family ...]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from make_vision_goldens import NEW_TOKENS, SIZES, noise_image, randomize, text_fields

IMAGE_ID, VIDEO_ID, BOI_ID, EOI_ID = 150, 151, 152, 153


def small_text(**changes):
    return dict(text_fields(), **dict(dict(hidden_size=32, intermediate_size=48,
                                           num_attention_heads=2, num_key_value_heads=1,
                                           head_dim=16), **changes))


def siglip_fields(**changes):
    return dict(dict(model_type="siglip_vision_model", num_hidden_layers=3, hidden_size=32,
                     intermediate_size=48, num_attention_heads=2, image_size=32, patch_size=8),
                **changes)


def clip_fields(**changes):
    return dict(dict(model_type="clip_vision_model", num_hidden_layers=4, hidden_size=32,
                     intermediate_size=48, num_attention_heads=2, image_size=32, patch_size=8,
                     projection_dim=24), **changes)


def gemma3_text(**changes):
    return small_text(num_hidden_layers=3, query_pre_attn_scalar=16, sliding_window=12,
                      rms_norm_eps=1e-6,
                      layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                      **changes)


def gemma3(pan_and_scan=False):
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    # Blocks of 16 tokens behind a window of 12: sliding layers see part of a block only.
    config = Gemma3Config(
        text_config=gemma3_text(), vision_config=siglip_fields(image_size=64),
        mm_tokens_per_image=16, boi_token_index=BOI_ID, eoi_token_index=EOI_ID,
        image_token_index=IMAGE_ID, tie_word_embeddings=True)
    extra = dict(do_pan_and_scan=True, pan_and_scan_min_crop_size=50, pan_and_scan_max_num_crops=3,
                 pan_and_scan_min_ratio_to_activate=1.2) if pan_and_scan else {}
    processor = Gemma3ImageProcessorPil(size=dict(height=64, width=64), **extra)
    return Gemma3ForConditionalGeneration(config), processor


def gemma3_runs(model, pixels, k):
    return [16] * (1 + int(pixels["num_crops"][k]))


def gemma3_inputs(ids, pixels):
    return dict(pixel_values=pixels["pixel_values"], token_type_ids=(ids == IMAGE_ID).int())


def llama_text(**changes):
    return small_text(model_type="llama", rms_norm_eps=1e-5, tie_word_embeddings=False,
                      rope_parameters=dict(rope_type="default", rope_theta=10000.0), **changes)


def llava():
    from transformers import LlavaConfig, LlavaForConditionalGeneration
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = LlavaConfig(
        text_config=llama_text(), vision_config=clip_fields(), image_token_index=IMAGE_ID,
        image_seq_length=16, tie_word_embeddings=False)
    processor = CLIPImageProcessorPil(size=dict(shortest_edge=32),
                                      crop_size=dict(height=32, width=32))
    return LlavaForConditionalGeneration(config), processor


def llava_next():
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil)

    pinpoints = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    config = LlavaNextConfig(
        text_config=llama_text(), vision_config=clip_fields(), image_token_index=IMAGE_ID,
        image_grid_pinpoints=pinpoints, tie_word_embeddings=False)
    processor = LlavaNextImageProcessorPil(
        size=dict(shortest_edge=32), crop_size=dict(height=32, width=32),
        image_grid_pinpoints=pinpoints)
    return LlavaNextForConditionalGeneration(config), processor


def llava_onevision():
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil)

    # A limit of two tiles, so that the larger picture is shrunk.
    pinpoints = [[32 * h, 32 * w] for h in range(1, 5) for w in range(1, 5)]
    config = LlavaOnevisionConfig(
        text_config=small_text(model_type="qwen2", rms_norm_eps=1e-6, rope_parameters=dict(
            rope_type="default", rope_theta=1000000.0)),
        vision_config=siglip_fields(vision_use_head=False), image_token_index=IMAGE_ID,
        video_token_index=VIDEO_ID, image_grid_pinpoints=pinpoints, vision_aspect_ratio="anyres_max_2",
        tie_word_embeddings=False)
    processor = LlavaOnevisionImageProcessorPil(
        size=dict(height=32, width=32), image_grid_pinpoints=pinpoints)
    return LlavaOnevisionForConditionalGeneration(config), processor


def idefics(kind):
    import transformers.models.idefics3.image_processing_pil_idefics3 as pil

    cls = getattr(transformers, f"{kind}ForConditionalGeneration")
    config = getattr(transformers, f"{kind}Config")(
        text_config=llama_text(),
        vision_config=dict(num_hidden_layers=3, hidden_size=32, intermediate_size=48,
                           num_attention_heads=2, image_size=48, patch_size=8),
        scale_factor=2, image_token_id=IMAGE_ID, tie_word_embeddings=False, pad_token_id=0)
    processor = pil.Idefics3ImageProcessorPil(size=dict(longest_edge=144),
                                              max_image_size=dict(longest_edge=48))
    return cls(config), processor


def idefics_runs(model, pixels, k):
    return [9] * int(pixels["pixel_attention_mask"][k, :, 0, 0].sum())


def packed_runs(model, pixels, k):
    """The reference counts these in its processor class, which needs a tokenizer."""
    features = model.model.get_image_features(
        pixels["pixel_values"], pixels["image_sizes"], return_dict=True).pooler_output
    return [features[k].shape[0]]


def sized_inputs(ids, pixels):
    return dict(pixel_values=pixels["pixel_values"], image_sizes=pixels["image_sizes"])


def idefics_inputs(ids, pixels):
    return dict(pixel_values=pixels["pixel_values"],
                pixel_attention_mask=pixels["pixel_attention_mask"])


# name: (seed, maker, runs of placeholders per picture, inputs of the model)
FAMILIES = {
    "gemma3_vision": (21, gemma3, gemma3_runs, gemma3_inputs),
    "gemma3_crops": (22, lambda: gemma3(True), gemma3_runs, gemma3_inputs),
    "llava": (23, llava, lambda model, pixels, k: [16],
              lambda ids, pixels: dict(pixel_values=pixels["pixel_values"])),
    "llava_next": (24, llava_next, packed_runs, sized_inputs),
    "llava_onevision": (35, llava_onevision, packed_runs, sized_inputs),
    "idefics3": (26, lambda: idefics("Idefics3"), idefics_runs, idefics_inputs),
    "smolvlm": (27, lambda: idefics("SmolVLM"), idefics_runs, idefics_inputs),
}

NESTED = {"gemma3_vision", "gemma3_crops", "idefics3", "smolvlm"}


def among_others(model, processor, images):
    """Several pictures of one prompt: nested in a list they are not cut into tiles."""
    pixels = processor(images=[images], return_tensors="pt")
    assert pixels["batch_num_images"].tolist() == [len(images)]
    run = (model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2 + 1
    ids = torch.tensor([prompt_ids([[run]] * len(images))])
    with torch.no_grad():
        logits = model(input_ids=ids, **{k: pixels[k] for k in (
            "pixel_values", "image_sizes", "batch_num_images")}).logits[0]
    return dict(among_ids=ids[0].int(), among_logits=logits)


def seen_video(model, processor, images):
    """Frames of a video before a picture. The video processor of transformers needs torchvision;
    its frames are resized here by Pillow, at most one grey level away."""
    frames = [Image.fromarray(noise_image(61, 100, 2000 + k)).resize((32, 32), Image.BICUBIC)
              for k in range(3)]
    frames = torch.tensor(np.stack([np.asarray(f) for f in frames])).float() / 255
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    video = ((frames - mean) / std).permute(0, 3, 1, 2)[None]
    pixels = processor(images=images[1:], return_tensors="pt")
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    count = len(frames) * ((side + 1) // 2) ** 2 + 1
    with torch.no_grad():
        run = packed_runs(model, pixels, 0)[0]
        ids = torch.tensor([[1, 17] + [VIDEO_ID] * count + [44] + [IMAGE_ID] * run + [77, 5, 120]])
        logits = model(input_ids=ids, pixel_values_videos=video, **sized_inputs(ids, pixels)).logits[0]
    return dict(video_ids=ids[0].int(), video_logits=logits)


def prompt_ids(runs_of_images):
    """Runs of placeholders with other tokens between them and between pictures."""
    ids = [1, 17]
    for k, runs in enumerate(runs_of_images):
        for i, run in enumerate(runs):
            ids += [BOI_ID] + [IMAGE_ID] * run + [EOI_ID, 40 + (i + 3 * k) % 60]
        ids += [30 + 11 * k, 31 + 7 * k]
    return ids + [77, 5, 120]


def split_features(features, counts):
    if not isinstance(features, torch.Tensor):
        features = torch.cat([f.reshape(-1, f.shape[-1]) for f in features])
    features = features.reshape(-1, features.shape[-1])
    assert features.shape[0] == sum(counts), (features.shape, counts)
    return features.split(counts)


def make(name, folder):
    seed, build, runs_of, inputs_of = FAMILIES[name]
    torch.manual_seed(0)
    model, processor = build()
    model = model.eval().float()
    model.set_attn_implementation("eager")
    randomize(model, seed)
    if name.startswith("gemma3"):  # large rows under a tied head would repeat the last token
        model.get_input_embeddings().weight.data.mul_(0.25)

    images = [Image.fromarray(noise_image(h, w, 1000 + k)) for k, (h, w) in enumerate(SIZES)]
    nested = [[i] for i in images] if name in NESTED else images
    pixels = processor(images=nested, return_tensors="pt")
    with torch.no_grad():
        runs = [runs_of(model, pixels, k) for k in range(len(images))]
    ids = torch.tensor([prompt_ids(runs)])
    inputs = dict(input_ids=ids, **inputs_of(ids, pixels))
    with torch.no_grad():
        logits = model(**inputs).logits[0]
        media = {k: v for k, v in inputs.items() if k not in ("input_ids", "token_type_ids")}
        features = model.model.get_image_features(**media, return_dict=True).pooler_output
        out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
                             eos_token_id=None, pad_token_id=0, use_cache=True)
    generated = out[0, ids.shape[1]:]
    top = logits.topk(2).values
    print(name, "runs", runs, "tokens", ids.shape[1], "std", logits.std().item(),
          "smallest margin", (top[:, 0] - top[:, 1]).min().item(), generated.tolist())

    tensors = dict(input_ids=ids[0].int(), logits=logits, generated=generated.int())
    if name == "llava_onevision":
        tensors.update(among_others(model, processor, images))
        tensors.update(seen_video(model, processor, images))
    to = folder / name
    to.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(to)
    processor.save_pretrained(to)
    (to / "generation_config.json").unlink(missing_ok=True)
    for k, f in enumerate(split_features(features, [sum(r) for r in runs])):
        tensors[f"features_{k}"] = f.contiguous()
    save_file(tensors, to / "golden.safetensors",
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))
    config = json.loads((to / "config.json").read_text())
    config.pop("transformers_version", None)
    (to / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def main():
    folder = Path(__file__).parent / "vision"
    for name in sys.argv[1:] or FAMILIES:
        make(name, folder)


if __name__ == "__main__":
    main()
