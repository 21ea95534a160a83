#!/usr/bin/env python3
"""Tiny random checkpoints that put pictures and texts into one space, and the vectors and
similarities that the reference computes.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU; weights as in
make_tile_goldens.py. Per family, tests/golden/vision/<family>/:
  config.json, preprocessor_config.json, model.safetensors   as save_pretrained writes them
  golden.safetensors   text_ids (n, T), text_embeds (n, D), image_embeds (2, D) of unit length,
                       logits_per_image (2, n), hidden_<k> (patches, width): the last hidden state

usage: make_embed_goldens.py [family ...]
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from make_tile_goldens import clip_fields, siglip_fields
from make_vision_goldens import SIZES, noise_image, randomize

EOS = 59


def text_fields():
    return dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=16, bos_token_id=1,
                eos_token_id=EOS, pad_token_id=0)


def clip(eos=EOS):
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = CLIPConfig(text_config=dict(text_fields(), projection_dim=24, eos_token_id=eos),
                        vision_config=clip_fields(num_hidden_layers=3), projection_dim=24)
    processor = CLIPImageProcessorPil(size=dict(shortest_edge=36),
                                      crop_size=dict(height=32, width=32))
    return CLIPModel(config), processor


def siglip():
    from transformers import SiglipConfig, SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    config = SiglipConfig(text_config=dict(text_fields(), projection_size=32),
                          vision_config=siglip_fields())
    return SiglipModel(config), SiglipImageProcessorPil(size=dict(height=32, width=32))


# The old CLIP files say that texts end with token 2, which is wrong: the largest id ends them.
FAMILIES = {"clip": (31, clip), "clip_old": (32, lambda: clip(2)), "siglip": (33, siglip)}


def make(name, folder):
    seed, build = FAMILIES[name]
    torch.manual_seed(0)
    model, processor = build()
    model = model.eval().float()
    model.set_attn_implementation("eager")
    scale = model.logit_scale
    del model.logit_scale  # a scalar has no rows to scale its noise by
    randomize(model, seed)
    model.logit_scale = scale
    with torch.no_grad():
        model.logit_scale.fill_(1.25)  # exact in float16
        if hasattr(model, "logit_bias"):
            model.logit_bias.fill_(-0.75)

    images = [Image.fromarray(noise_image(h, w, 1000 + k)) for k, (h, w) in enumerate(SIZES)]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, EOS, (3, 16), generator=generator)
    if name != "siglip":
        for k, end in enumerate([15, 7, 4]):
            ids[k, end:] = EOS  # as the tokenizer of the family pads
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels)
    print(name, out.logits_per_image.tolist(), list(model.state_dict())[:6])

    to = folder / name
    to.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(to)
    processor.save_pretrained(to)
    tensors = dict(text_ids=ids.int(), text_embeds=out.text_embeds, image_embeds=out.image_embeds,
                   logits_per_image=out.logits_per_image.contiguous())
    for k in range(len(images)):
        hidden = out.vision_model_output.last_hidden_state[k]
        tensors[f"hidden_{k}"] = hidden[0 if name == "siglip" else 1 :].contiguous()
    save_file(tensors, to / "golden.safetensors",
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))
    config = json.loads((to / "config.json").read_text())
    config.pop("transformers_version", None)
    (to / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    for file in to.iterdir():
        file.chmod(0o644)


def main():
    for name in sys.argv[1:] or FAMILIES:
        make(name, Path(__file__).parent / "vision")


if __name__ == "__main__":
    main()
