#!/usr/bin/env python3
"""Videos with their sound, as the reference reads them: ids, positions and logits.

Made with transformers 5.23.0 and torch 2.15, float32 on a CPU, from the checkpoints of
make_grid_goldens.py. The rows of placeholders are those of the processors
(replace_video_with_audio_token), positions those of get_rope_index. Frames and sounds are not
stored: tests/support/noise_image.h and tests/encoders/signal.h make the same ones.

tests/golden/grid/<family>/heard.safetensors, per case k:
  case_<k>       (5) frames, frames per second * 100, samples of its sound, samples of a sound of
                 its own before the video or 0, pictures before the video
  ids_<k> (T), positions_<k> (3, T), next_<k> (1), logits_<k> (16, V) of the last tokens

usage: make_heard_video_goldens.py [grid folder]
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import (
    Qwen2_5OmniProcessor, _get_feat_extract_output_lengths as count_2_5)
from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import (
    Qwen3OmniMoeProcessor, _get_feat_extract_output_lengths as count_3)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from make_grid_goldens import video_patches
from make_hearing_goldens import signal
from make_vision_goldens import END_ID, IMAGE_ID, START_ID, VIDEO_ID, noise_image

AUDIO_ID, AUDIO_START, AUDIO_END = 154, 155, 156
KEPT = 16
CASES = [  # frames, rate, sound, sound before, pictures before
    (5, 2.0, 40000, 0, 0),     # longer than the pictures
    (9, 2.0, 9000, 16500, 1),  # shorter; a sound of its own and a picture before
    (5, 4.0, 20000, 0, 0),     # halves of positions at 13 a second
    (4, 0.4, 100000, 0, 0),    # a grid every five seconds
    (3, 3.0, 33000, 8000, 0),
    (2, 1.0, 700, 0, 1),       # next to nothing to hear
]


def load(folder, name):
    if name == "qwen2_5_omni":
        from transformers.models.qwen2_5_omni import Qwen2_5OmniThinkerForConditionalGeneration as M
    else:
        from transformers.models.qwen3_omni_moe import Qwen3OmniMoeThinkerForConditionalGeneration as M
    model = M.from_pretrained(folder / name, dtype=torch.float32, attn_implementation="eager").eval()
    processor = Qwen2VLImageProcessorPil.from_pretrained(folder / name)
    return model, processor


def hear(name, sounds):
    extractor = transformers.WhisperFeatureExtractor(feature_size=128)
    padding = (dict(padding="max_length", max_length=300 * 16000) if name == "qwen2_5_omni"
               else dict(padding=True, truncation=False))
    out = extractor(sounds, sampling_rate=16000, return_attention_mask=True, return_tensors="pt",
                    **padding)
    return out.input_features, out.attention_mask


def placeholders(name, grid, seconds_per_grid, sound_tokens, merge):
    cls = Qwen2_5OmniProcessor if name == "qwen2_5_omni" else Qwen3OmniMoeProcessor
    me = SimpleNamespace(video_processor=SimpleNamespace(merge_size=merge), video_token="V",
                         audio_token="A", audio_bos_token="<", audio_eos_token=">")
    me.get_chunked_index = lambda *a: cls.get_chunked_index(me, *a)
    row = cls.replace_video_with_audio_token(
        me, dict(video_grid_thw=torch.tensor([grid]).numpy(),
                 video_second_per_grid=[seconds_per_grid]), 0,
        dict(num_audio_tokens=[sound_tokens]), 0, seconds_per_chunk=2.0,
        position_id_per_seconds=25 if name == "qwen2_5_omni" else 13.0)
    return [dict(zip("VA<>", (VIDEO_ID, AUDIO_ID, AUDIO_START, AUDIO_END)))[c] for c in row]


def run(model, processor, name, case):
    num_frames, fps, samples, before, pictures = case
    frames = [noise_image(61, 100, 2000 + k) for k in range(num_frames)]
    patches, grid = video_patches(processor, frames)
    sounds = ([signal(before)] if before else []) + [signal(samples)]
    features, mask = hear(name, sounds)
    count = count_2_5 if name == "qwen2_5_omni" else count_3
    tokens = [int(count(int(n))) for n in mask.sum(-1)]
    ids = [1, 9]
    inputs = {}
    if before:
        ids += [AUDIO_START] + [AUDIO_ID] * tokens[0] + [AUDIO_END, 33]
    if pictures:
        once = processor(images=[Image.fromarray(noise_image(61, 100, 1001))], return_tensors="pt")
        t, h, w = once["image_grid_thw"][0].tolist()
        ids += [START_ID] + [IMAGE_ID] * (h * w // 4) + [END_ID, 34]
        inputs.update(pixel_values=once["pixel_values"], image_grid_thw=once["image_grid_thw"])
    seconds = 2 / fps
    ids += [START_ID] + placeholders(name, grid, seconds, tokens[-1], processor.merge_size)
    ids = torch.tensor([ids + [END_ID, 77, 5] + list(range(100, 100 + KEPT))])
    attention = torch.ones_like(ids)
    index = dict(input_ids=ids, image_grid_thw=inputs.get("image_grid_thw"),
                 video_grid_thw=torch.tensor([grid]), attention_mask=attention,
                 use_audio_in_video=True, audio_seqlens=mask.sum(-1),
                 second_per_grids=torch.tensor([seconds]))
    positions, delta = model.get_rope_index(**index)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=attention, pixel_values_videos=patches,
                       video_grid_thw=torch.tensor([grid]), input_features=features,
                       feature_attention_mask=mask, use_audio_in_video=True,
                       video_second_per_grid=torch.tensor([seconds]), **inputs).logits[0]
    print(" ", case, "grid", grid, "sound", tokens, "tokens", ids.shape[1], "std",
          logits.std().item(), "last position", positions.max().item())
    return dict(case=torch.tensor([num_frames, round(fps * 100), *case[2:]]).int(),
                ids=ids[0].int(), positions=positions[:, 0].float().contiguous(),
                next=(ids.shape[1] + delta.flatten()).float(),
                logits=logits[-KEPT:].contiguous())


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "grid"
    for name in ("qwen2_5_omni", "qwen3_omni"):
        print(name)
        model, processor = load(folder, name)
        golden = {}
        for k, case in enumerate(CASES):
            for key, value in run(model, processor, name, case).items():
                golden[f"{key}_{k}"] = value
        save_file(golden, folder / name / "heard.safetensors",
                  metadata=dict(transformers=transformers.__version__, torch=torch.__version__))


if __name__ == "__main__":
    main()
