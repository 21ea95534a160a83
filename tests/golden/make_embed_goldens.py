#!/usr/bin/env python3
"""Tiny random checkpoints that put pictures and texts into one space, and the vectors and
similarities that the reference computes.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU; weights as in
make_tile_goldens.py. Per family, tests/golden/vision/<family>/:
  config.json, preprocessor_config.json, model.safetensors   as save_pretrained writes them
  golden.safetensors   text_ids (n, T), text_embeds (n, D), image_embeds (k, D) of unit length,
                       logits_per_image (k, n), sizes (k, 2), hidden_<k> (patches, width): the last hidden state

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


def siglip2():
    """Grids of patches that keep the shape of the picture, at most 40 of them."""
    from transformers import Siglip2Config, Siglip2Model
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    fields = siglip_fields()
    side = fields.pop("image_size") // fields["patch_size"]
    config = Siglip2Config(text_config=dict(text_fields(), projection_size=32),
                           vision_config=dict(fields, num_patches=side * side))
    processor = Siglip2ImageProcessorPil(patch_size=fields["patch_size"], max_num_patches=40)
    return Siglip2Model(config), processor


# The old CLIP files say that texts end with token 2, which is wrong: the largest id ends them.
FAMILIES = {"clip": (31, clip), "clip_old": (32, lambda: clip(2)), "siglip": (33, siglip),
            "siglip2": (34, siglip2)}
# Long and tiny pictures beside the others: grids of one row, and up and down from the table's. Grids
# of one column are left out: torch 2.15 on a CPU does not mix rows of the position table there (a
# resampling to (23, 1) is not the product of its two directions, one to (23, 2) is).
MORE_SIZES = {"siglip2": [(20, 900), (700, 62), (3, 2)]}


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

    sizes = SIZES + MORE_SIZES.get(name, [])
    images = [Image.fromarray(noise_image(h, w, 1000 + k)) for k, (h, w) in enumerate(sizes)]
    pixels = processor(images=images, return_tensors="pt")
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, EOS, (3, 16), generator=generator)
    if not name.startswith("siglip"):
        for k, end in enumerate([15, 7, 4]):
            ids[k, end:] = EOS  # as the tokenizer of the family pads
    with torch.no_grad():
        out = model(input_ids=ids, **pixels)
    print(name, out.logits_per_image.tolist(), list(model.state_dict())[:6])

    to = folder / name
    to.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(to)
    processor.save_pretrained(to)
    if "spatial_shapes" in pixels:
        print("grids", pixels["spatial_shapes"].tolist())
    tensors = dict(sizes=torch.tensor(sizes).int(), text_ids=ids.int(), text_embeds=out.text_embeds, image_embeds=out.image_embeds,
                   logits_per_image=out.logits_per_image.contiguous())
    for k in range(len(images)):
        hidden = out.vision_model_output.last_hidden_state[k]
        if name == "siglip2":  # the rest is silence that no one sees
            hidden = hidden[: pixels["spatial_shapes"][k].prod()]
        tensors[f"hidden_{k}"] = hidden[0 if name.startswith("siglip") else 1 :].contiguous()
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
