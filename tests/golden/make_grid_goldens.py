#!/usr/bin/env python3
"""Tiny random vision-language checkpoints of the families whose patches come in merge blocks, and
what the reference makes of two pictures and a video.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU. Every parameter is random,
norms and biases too; weights are rounded to float16 before the reference runs, so that they are
stored exactly. Pictures and frames are not stored: tests/support/noise_image.h draws the same
bytes. The video processors of transformers need torchvision; their frames are resized here by
Pillow (at most one grey level away) and cut into patches by the rule of their source.

Per family, tests/golden/grid/<family>/:
  config.json, preprocessor_config.json, model.safetensors   as save_pretrained writes them
  video_preprocessor_config.json   Qwen3-VL: the sizes of its videos
  config_flat.json     Qwen2-VL: the layout of older files
  golden.safetensors   input_ids (T), logits (T, V), features_<k> (tokens, hidden), generated (16);
                       with a video between two pictures: video_ids, video_logits, video_positions
                       (3, T), video_next, video_generated

usage: make_grid_goldens.py [output folder] [family ...]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from make_vision_goldens import (END_ID, IMAGE_ID, SIZES, START_ID, VIDEO_ID, VOCAB, noise_image,
                                 prompt_ids, randomize, special_fields)

FRAMES = (5, 61, 100)  # an odd number of frames: the last one is repeated
NEW_TOKENS = 16
ROPE = dict(rope_type="default", rope_theta=1000000.0)


def text_fields(**more):
    return dict(vocab_size=VOCAB, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
                rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, pad_token_id=0, **more)


def picture_processor(patch_size, mean_and_std=None):
    factor = (2 * patch_size) ** 2
    colours = {} if mean_and_std is None else dict(image_mean=[mean_and_std] * 3,
                                                   image_std=[mean_and_std] * 3)
    return Qwen2VLImageProcessorPil(patch_size=patch_size, min_pixels=12 * factor,
                                    max_pixels=60 * factor, **colours)


def qwen2_vl():
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig(
        text_config=text_fields(rope_parameters=dict(ROPE, mrope_section=[1, 2, 3])),
        vision_config=dict(depth=3, embed_dim=32, hidden_size=48, num_heads=2, mlp_ratio=2,
                           patch_size=14),
        tie_word_embeddings=False, **special_fields())
    return Qwen2VLForConditionalGeneration(config), picture_processor(14)


def qwen3_vision():
    return dict(depth=4, hidden_size=32, intermediate_size=40, num_heads=2, patch_size=8,
                out_hidden_size=48, num_position_embeddings=25, deepstack_visual_indexes=[0, 2])


def qwen3_vl():
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(
        text_config=text_fields(head_dim=16, rope_parameters=dict(
            ROPE, mrope_section=[4, 2, 2], mrope_interleaved=True)),
        vision_config=qwen3_vision(), tie_word_embeddings=True, **special_fields())
    return Qwen3VLForConditionalGeneration(config), picture_processor(8, 0.5)


def qwen3_vl_moe():
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    config = Qwen3VLMoeConfig(
        text_config=dict(text_fields(head_dim=16, rope_parameters=dict(
            ROPE, mrope_section=[4, 2, 2], mrope_interleaved=True)), num_hidden_layers=3,
            num_experts=4, num_experts_per_tok=2, moe_intermediate_size=20),
        vision_config=qwen3_vision(), tie_word_embeddings=False, **special_fields())
    return Qwen3VLMoeForConditionalGeneration(config), picture_processor(8, 0.5)


def qwen3_vl_moe_hub():
    """As published: experts (in, out), which shapes alone cannot tell of the square first product."""
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    config = Qwen3VLMoeConfig(
        text_config=dict(text_fields(head_dim=16, rope_parameters=dict(
            ROPE, mrope_section=[4, 2, 2], mrope_interleaved=True)), num_hidden_layers=2,
            num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24),
        vision_config=dict(qwen3_vision(), depth=3), tie_word_embeddings=False, **special_fields())
    return Qwen3VLMoeForConditionalGeneration(config), picture_processor(8, 0.5)


def qwen3_5():
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    vision = qwen3_vision()
    vision.pop("deepstack_visual_indexes")
    config = Qwen3_5Config(
        text_config=dict(text_fields(head_dim=32, rope_parameters=dict(
            ROPE, partial_rotary_factor=0.5, mrope_section=[4, 2, 2], mrope_interleaved=True)),
            num_hidden_layers=4, linear_num_key_heads=2, linear_num_value_heads=4,
            linear_key_head_dim=20, linear_value_head_dim=18),
        vision_config=vision, tie_word_embeddings=False, **special_fields())
    return Qwen3_5ForConditionalGeneration(config), picture_processor(8, 0.5)


def turn_experts(file):
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if ".mlp.experts." in name:
            tensors[name] = tensor.transpose(1, 2).contiguous()
    save_file(tensors, file, metadata=dict(format="pt"))


def exaone4_5():
    from transformers import Exaone4_5_Config, Exaone4_5_ForConditionalGeneration

    config = Exaone4_5_Config(
        text_config=text_fields(model_type="exaone4", head_dim=12, sliding_window=8,
                                sliding_window_pattern=2, layer_types=["sliding_attention",
                                                                       "full_attention"],
                                rope_parameters=dict(ROPE)),
        vision_config=dict(depth=4, hidden_size=32, intermediate_size=40, num_heads=4,
                           num_key_value_heads=2, out_hidden_size=48, window_size=112,
                           fullatt_block_indexes=[1, 3]),
        tie_word_embeddings=False, image_token_id=IMAGE_ID, video_token_id=VIDEO_ID)
    return Exaone4_5_ForConditionalGeneration(config), picture_processor(14)


def qwen3_omni():
    from transformers.models.qwen3_omni_moe import (
        Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration)

    config = Qwen3OmniMoeThinkerConfig(
        audio_config=dict(num_mel_bins=128, encoder_layers=1, encoder_attention_heads=2,
                          encoder_ffn_dim=32, d_model=32, output_dim=48, downsample_hidden_size=4,
                          n_window=50, n_window_infer=800),
        text_config=dict(text_fields(head_dim=16, rope_parameters=dict(
            ROPE, mrope_section=[4, 2, 2], mrope_interleaved=True)), num_hidden_layers=3,
            num_experts=4, num_experts_per_tok=2, moe_intermediate_size=20),
        vision_config=qwen3_vision(), tie_word_embeddings=False,
        position_id_per_seconds=13, audio_token_id=154, audio_start_token_id=155,
        audio_end_token_id=156, image_token_id=IMAGE_ID, video_token_id=VIDEO_ID,
        vision_start_token_id=START_ID, vision_end_token_id=END_ID)
    return Qwen3OmniMoeThinkerForConditionalGeneration(config), picture_processor(8, 0.5)


def qwen2_5_omni():
    from transformers.models.qwen2_5_omni import (
        Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration)

    config = Qwen2_5OmniThinkerConfig(
        audio_config=dict(num_mel_bins=128, encoder_layers=1, encoder_attention_heads=2,
                          encoder_ffn_dim=32, d_model=32, output_dim=48, n_window=50),
        text_config=text_fields(rope_parameters=dict(ROPE, mrope_section=[1, 2, 3])),
        vision_config=dict(depth=4, hidden_size=32, intermediate_size=40, num_heads=2,
                           patch_size=14, out_hidden_size=48, window_size=112,
                           fullatt_block_indexes=[1, 3]),
        tie_word_embeddings=False, position_id_per_seconds=25, seconds_per_chunk=2,
        audio_token_index=154, audio_start_token_id=155, audio_end_token_id=156,
        image_token_index=IMAGE_ID, video_token_index=VIDEO_ID, vision_start_token_id=START_ID,
        vision_end_token_id=END_ID)
    return Qwen2_5OmniThinkerForConditionalGeneration(config), picture_processor(14)


OMNI = ("qwen2_5_omni", "qwen3_omni")


def video_patches(processor, frames):
    """(patches, grid) of one video, the layout of Qwen2VLVideoProcessor.patchify."""
    p, m, t = processor.patch_size, processor.merge_size, processor.temporal_patch_size
    once = processor(images=[Image.fromarray(f) for f in frames], return_tensors="pt")
    _, h, w = once["image_grid_thw"][0].tolist()
    rows = once["pixel_values"].reshape(len(frames), h * w, 3, t, p * p)[:, :, :, 0]
    pad = -len(frames) % t
    rows = torch.cat([rows] + [rows[-1:]] * pad)
    grid_t = len(rows) // t
    rows = rows.reshape(grid_t, t, h * w, 3, p * p).permute(0, 2, 3, 1, 4)
    return rows.reshape(grid_t * h * w, -1), [grid_t, h, w]


def video_prompt(image_grid, video_grid, frames_apart):
    count = image_grid[1] * image_grid[2] // 4
    ids = [1, 9, START_ID] + [IMAGE_ID] * count + [END_ID, 40]
    t, h, w = video_grid
    runs = [t] if not frames_apart else [1] * t
    for k, n in enumerate(runs):
        ids += [60 + k, START_ID] + [VIDEO_ID] * (n * h * w // 4) + [END_ID]
    return ids + [41, START_ID] + [IMAGE_ID] * count + [END_ID, 77, 5, 120]


def run(model, inputs):
    with torch.no_grad():
        logits = model(**inputs).logits[0]
        out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
                             eos_token_id=None, pad_token_id=0, use_cache=True)
    top = logits.topk(2).values
    print("  tokens", len(logits), "std", logits.std().item(), "smallest margin",
          (top[:, 0] - top[:, 1]).min().item(), out[0, len(logits):].tolist())
    return logits.contiguous(), out[0, len(logits):].int().contiguous()


def type_ids(ids):
    return (ids == IMAGE_ID).int() + 2 * (ids == VIDEO_ID).int()


def make(name, build, seed, folder):
    torch.manual_seed(0)
    model, processor = build()
    model = model.eval().float()
    model.set_attn_implementation("eager")
    randomize(model, seed)
    inner = getattr(model, "model", model)
    holder = model if name in OMNI else inner
    plain = name == "exaone4_5"
    needs_types = name not in ("exaone4_5", *OMNI)

    images = [noise_image(h, w, 1000 + k) for k, (h, w) in enumerate(SIZES)]
    pixels = processor(images=[Image.fromarray(i) for i in images], return_tensors="pt")
    grids = pixels["image_grid_thw"].tolist()
    ids = torch.tensor([prompt_ids(grids)])
    inputs = dict(input_ids=ids, pixel_values=pixels["pixel_values"],
                  image_grid_thw=pixels["image_grid_thw"])
    if needs_types:
        inputs["mm_token_type_ids"] = type_ids(ids)
    if name in OMNI:
        inputs["attention_mask"] = torch.ones_like(ids)
    print(name, "grids", grids)
    logits, generated = run(model, inputs)
    tensors = dict(input_ids=ids[0].int(), logits=logits, generated=generated)
    with torch.no_grad():
        features = holder.get_image_features(pixels["pixel_values"], pixels["image_grid_thw"],
                                             return_dict=True).pooler_output
    if torch.is_tensor(features):
        features = features.split([t * h * w // 4 for t, h, w in grids])
    for k, f in enumerate(features):
        tensors[f"features_{k}"] = f.contiguous()

    frames = [noise_image(FRAMES[1], FRAMES[2], 2000 + k) for k in range(FRAMES[0])]
    patches, grid = video_patches(processor, frames)
    small = processor(images=[Image.fromarray(images[1])] * 2, return_tensors="pt")
    apart = name.startswith(("qwen3_vl", "qwen3_5"))
    ids = torch.tensor([video_prompt(small["image_grid_thw"][0].tolist(), grid, apart)])
    video_grid = torch.tensor([grid])
    inputs = dict(input_ids=ids, pixel_values=small["pixel_values"],
                  image_grid_thw=small["image_grid_thw"], pixel_values_videos=patches,
                  video_grid_thw=video_grid)
    index = dict(input_ids=ids, image_grid_thw=small["image_grid_thw"], video_grid_thw=video_grid)
    if needs_types:
        inputs["mm_token_type_ids"] = index["mm_token_type_ids"] = type_ids(ids)
    if name in OMNI:
        inputs["attention_mask"] = index["attention_mask"] = torch.ones_like(ids)
        inputs["video_second_per_grid"] = index["second_per_grids"] = torch.tensor(
            [2.0 if name == "qwen3_omni" else 1.0])  # two frames, at each family's own rate
    logits, generated = run(model, inputs)
    tensors.update(video_ids=ids[0].int(), video_logits=logits, video_generated=generated)
    if not plain:
        positions, delta = holder.get_rope_index(**index)
        tensors["video_positions"] = positions[:, 0].int().contiguous()
        tensors["video_next"] = torch.tensor([ids.shape[1] + int(delta.flatten()[0])]).int()

    to = folder / name
    to.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(to)
    if name == "qwen3_vl_moe_hub":
        turn_experts(to / "model.safetensors")
    processor.save_pretrained(to)
    (to / "generation_config.json").unlink(missing_ok=True)
    save_file(tensors, to / "golden.safetensors",
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))
    if apart:  # areas of whole clips, wide enough to leave the frames at their rounded size
        video = dict(size=dict(shortest_edge=4096, longest_edge=65536), fps=2)
        (to / "video_preprocessor_config.json").write_text(json.dumps(video, indent=1) + "\n")
    config = json.loads((to / "config.json").read_text())
    config.pop("transformers_version", None)
    if name == "qwen2_vl":
        flat = dict(config, **{k: v for k, v in config["text_config"].items()
                               if k not in ("model_type", "rope_parameters")})
        flat.pop("text_config")
        flat.update(rope_theta=ROPE["rope_theta"], use_sliding_window=False, sliding_window=32768,
                    rope_scaling=dict(type="mrope", mrope_section=[1, 2, 3]),
                    tie_word_embeddings=False)
        for key in ("hidden_act", "model_type", "rope_parameters"):
            flat["vision_config"] = {k: v for k, v in flat["vision_config"].items() if k != key}
        (to / "config_flat.json").write_text(json.dumps(flat, indent=1, sort_keys=True) + "\n")
    (to / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


FAMILIES = dict(qwen2_vl=(qwen2_vl, 21), qwen3_vl=(qwen3_vl, 22), qwen3_vl_moe=(qwen3_vl_moe, 23),
                exaone4_5=(exaone4_5, 24), qwen3_omni=(qwen3_omni, 25),
                qwen3_vl_moe_hub=(qwen3_vl_moe_hub, 26), qwen2_5_omni=(qwen2_5_omni, 27),
                qwen3_5=(qwen3_5, 28))


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "grid"
    for name in sys.argv[2:] or FAMILIES:
        build, seed = FAMILIES[name]
        make(name, build, seed, folder)


if __name__ == "__main__":
    main()
