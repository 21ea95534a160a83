#!/usr/bin/env python3
"""Tiny random checkpoints of families whose eyes end in a convolutional abstractor.

transformers has none of these families: their code comes with the published checkpoints. The parts
that it does have are taken from it (towers, text models); the rest is written here from a
description of that code: the abstractor, the geometry of pictures, the joining of tiles, and the
timm 1.0 RegStage that the abstractor is made of.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU. Every parameter is random;
weights are rounded to float16 before the reference runs, so that they are stored exactly. The
pictures are not stored: tests/support/noise_image.h draws the same bytes.

Per checkpoint, tests/golden/abstractor/<name>/: config.json, preprocessor_config.json,
model.safetensors under the published names, and golden.safetensors with sizes (pictures, 2),
input_ids (T), logits (T, V), features_<k> (tokens, hidden), generated (16).

usage: make_abstractor_goldens.py [name ...]
"""

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import save_file

from make_vision_goldens import NEW_TOKENS, SIZES, noise_image, randomize

IMAGE_ID = 150
TEXT = dict(vocab_size=160, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=4096,
            rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            tie_word_embeddings=False, rope_theta=10000.0)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (B, C, H, W)."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-5)
        return y.permute(0, 3, 1, 2)


class NormedConv(nn.Module):
    def __init__(self, inputs, outputs, kernel=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups,
                              bias=False)
        self.bn = ChannelNorm(outputs)
        self.act = act

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.silu(x) if self.act else x


class Gate(nn.Module):
    def __init__(self, channels, inner):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        return x * self.fc2(F.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = NormedConv(inputs, outputs)
        self.conv2 = NormedConv(outputs, outputs, 3, groups=outputs)
        self.se = Gate(outputs, int(round(inputs * 0.25)))
        self.conv3 = NormedConv(outputs, outputs, act=False)
        self.downsample = NormedConv(inputs, outputs, act=False) if inputs != outputs else None

    def forward(self, x):
        y = self.conv3(self.se(self.conv2(self.conv1(x))))
        return F.silu(y + (x if self.downsample is None else self.downsample(x)))


def stage(depth, inputs, outputs):
    return nn.Sequential(*(
        Block(inputs if i == 0 else outputs, outputs) for i in range(depth)))


def mlp(depth, inputs, outputs):
    layers = [nn.Linear(inputs, outputs)]
    for _ in range(depth - 1):
        layers += [nn.SiLU(), nn.Linear(outputs, outputs)]
    return nn.Sequential(*layers)


class Abstractor(nn.Module):
    """`queries`: of the mean pool; without it 2 x 2 cells are joined and grids have any size."""

    def __init__(self, depth, width, hidden, out, positions, queries=None, prenorm=False,
                 products=2):
        super().__init__()
        self.queries = queries
        self.pos_emb = nn.Parameter(torch.zeros(1, positions, width)) if positions else None
        self.prenorm = nn.LayerNorm(width, eps=1e-6) if prenorm else None
        joined = hidden if queries else 4 * hidden
        self.net = nn.ModuleList([stage(depth, width, hidden), nn.Identity(),
                                  stage(depth, joined, hidden)])
        self.readout = mlp(products, hidden, out)

    def positions(self, h, w):
        side = math.isqrt(self.pos_emb.shape[1])
        if h == w == side:
            return self.pos_emb
        table = self.pos_emb.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=(h, w), mode="bicubic", antialias=True)
        return table.permute(0, 2, 3, 1).reshape(1, h * w, -1)

    def forward(self, x, h, w):
        if self.prenorm is not None:
            x = self.prenorm(x)
        if self.pos_emb is not None:
            x = x + self.positions(h, w)
        x = x.reshape(x.shape[0], h, w, -1).permute(0, 3, 1, 2)
        x = self.net[0](x)
        if self.queries:
            x = F.adaptive_avg_pool2d(x, math.isqrt(self.queries))
        else:
            b, c, h, w = x.shape
            x = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
            x = x.reshape(b, 4 * c, h // 2, w // 2)
        x = self.net[2](x)
        return self.readout(x.flatten(2).transpose(1, 2))

    def named_tensors(self):
        """As RegStage stores them: blocks are called b1, b2, ..."""
        for name, value in self.state_dict().items():
            parts = name.split(".")
            if parts[0] == "net":
                parts[2] = f"b{int(parts[2]) + 1}"
            yield ".".join(parts), value


def normalized(image, processor):
    x = torch.from_numpy(np.array(image)).float().permute(2, 0, 1) / 255
    mean = torch.tensor(processor["image_mean"])[:, None, None]
    return (x - mean) / torch.tensor(processor["image_std"])[:, None, None]


# HyperCLOVA X SEED Vision: tiles.

def best_resolution(size, choices):
    height, width = size
    best, most, least = None, 0, math.inf
    for h, w in choices:
        scale = min(w / width, h / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        wasted = w * h - effective
        if effective > most or (effective == most and wasted < least):
            best, most, least = (h, w), effective, wasted
    return best


def on_canvas(image, height, width, color):
    canvas = Image.new("RGB", (width, height), color)
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas


def cut_tiles(image, processor, config):
    side = processor["size"]["shortest_edge"]
    color = tuple(int(m * 255) for m in processor["image_mean"])
    width, height = image.size
    if processor["pad_to_square"]:
        w = side if width >= height else math.ceil(width / height * side)
        h = side if height >= width else math.ceil(height / width * side)
        overview = on_canvas(image.resize((w, h), processor["resample"]), side, side, color)
    else:
        overview = image.resize((side, side), processor["resample"])
    if not config["anyres"]:
        assert processor["pad_to_square"]
        return [overview], None
    target = best_resolution((height, width), processor["possible_resolutions"])
    scale_h, scale_w = target[0] / height, target[1] / width
    if scale_w < scale_h:
        w, h = target[1], min(math.ceil(height * scale_w), target[0])
    else:
        w, h = min(math.ceil(width * scale_h), target[1]), target[0]
    canvas = on_canvas(image.resize((w, h), processor["resample"]), *target, color)
    tiles = [canvas.crop((x, y, x + side, y + side))
             for y in range(0, target[0], side) for x in range(0, target[1], side)]
    return [overview] + tiles, (target[0] // side, target[1] // side)


def join_tiles(rows, grid, size, unpad, newline):
    """rows (1 + tiles, queries, D)."""
    if grid is None:
        return rows[0]
    q = math.isqrt(rows.shape[1])
    gh, gw = grid
    x = rows[1:].reshape(gh, gw, q, q, -1).permute(0, 2, 1, 3, 4).reshape(gh * q, gw * q, -1)
    if not unpad:
        return torch.cat([rows[0], x.flatten(0, 1)])
    width, height = size
    h, w = x.shape[:2]
    if width / height > w / h:
        cut = (h - int(height * (w / width))) // 2
        x = x[cut:h - cut]
    else:
        cut = (w - int(width * (h / height))) // 2
        x = x[:, cut:w - cut]
    x = torch.cat([x, newline.expand(x.shape[0], 1, -1)], 1)
    return torch.cat([rows[0], x.flatten(0, 1)])


class Tiles(nn.Module):
    def __init__(self, config, processor):
        from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
        from transformers import SiglipVisionConfig, SiglipVisionModel

        super().__init__()
        self.config, self.processor = config, processor
        vision = config["vision_config"]
        clip = vision["model_type"] == "clip_vision_model"
        self.vision_model = (CLIPVisionModel(CLIPVisionConfig(**vision)) if clip
                             else SiglipVisionModel(SiglipVisionConfig(**vision)))
        self.first = int(clip)
        width = vision["hidden_size"]
        kind = config["mm_projector_type"]
        side = vision["image_size"] // vision["patch_size"]
        if kind == "cabstractor":
            self.mm_projector = Abstractor(
                3, width, width, 32, side ** 2 if config["proj_pos_emb"] else 0,
                queries=config["num_queries_vis_abstractor_image"], prenorm=config["proj_prenorm"])
        elif kind == "linear":
            self.mm_projector = nn.Linear(width, 32)
        else:
            wide = width * (2 if kind == "inverted_mlp" else 1)
            self.mm_projector = nn.Sequential(nn.Linear(width, wide), nn.GELU(),
                                              nn.Linear(wide, 32))
        self.side = side
        if config["anyres"]:
            self.image_newline = nn.Parameter(torch.zeros(32))
        self.language_model = LlamaForCausalLM(LlamaConfig(**config["text_config"]))

    def features(self, image):
        tiles, grid = cut_tiles(image, self.processor, self.config)
        pixels = torch.stack([normalized(t, self.processor) for t in tiles])
        out = self.vision_model(pixels, output_hidden_states=True)
        rows = out.hidden_states[self.config["use_nth_layer"]][:, self.first:]
        if isinstance(self.mm_projector, Abstractor):
            rows = self.mm_projector(rows, self.side, self.side)
        else:
            rows = self.mm_projector(rows)
        return join_tiles(rows, grid, image.size, self.config["unpad"],
                          getattr(self, "image_newline", None))

    def tensors(self):
        out = {}
        for name, value in self.vision_model.state_dict().items():
            name = name.removeprefix("vision_model.")
            if not name.endswith("position_ids"):
                out["vision_model.vision_model." + name] = value
        if isinstance(self.mm_projector, Abstractor):
            out |= {"mm_projector." + n: v for n, v in self.mm_projector.named_tensors()}
        else:
            renamed = {"0.": "fc1.", "2.": "fc2."}
            for name, value in self.mm_projector.state_dict().items():
                for old, new in renamed.items():
                    name = name.replace(old, new)
                out["mm_projector." + name] = value
        if self.config["anyres"]:
            out["image_newline"] = self.image_newline
        return out | {"language_model." + n: v for n, v in self.language_model.state_dict().items()}


def tiles(vision=None, processor=None, **changes):
    tower = dict(dict(model_type="siglip_vision_model", num_hidden_layers=3, hidden_size=32,
                      intermediate_size=48, num_attention_heads=2, image_size=48, patch_size=8),
                 **(vision or {}))
    side = tower["image_size"]
    config = dict(dict(
        model_type="hyperclovax_vlm", architectures=["HCXVisionForCausalLM"], anyres=True,
        unpad=True, max_num_grids=6, use_1x1_grid=True, mm_projector_type="cabstractor",
        num_queries_vis_abstractor_image=9, proj_pos_emb=True, proj_prenorm=False, use_nth_layer=-2,
        image_token_id=IMAGE_ID, vision_config=tower,
        text_config=dict(TEXT, model_type="llama")), **changes)
    grids = [[side * h, side * w] for h in range(1, 7) for w in range(1, 7)
             if h * w <= config["max_num_grids"] and (h * w > 1 or config["use_1x1_grid"])]
    processor = dict(dict(
        anyres=config["anyres"], unpad=config["unpad"], pad_to_square=True, patch_size=8,
        resample=3, size=dict(shortest_edge=side), crop_size=dict(height=side, width=side),
        image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5], possible_resolutions=grids),
        **(processor or {}))
    return Tiles(config, processor)


# Kanana 1.5 V: one grid of any size.

def smart_size(height, width, processor):
    factor = processor["patch_size"] * processor["merge_size"]
    h, w = round(height / factor) * factor, round(width / factor) * factor
    if h * w > processor["max_pixels"]:
        shrink = math.sqrt(height * width / processor["max_pixels"])
        h = math.floor(height / shrink / factor) * factor
        w = math.floor(width / shrink / factor) * factor
    elif h * w < processor["min_pixels"]:
        grow = math.sqrt(processor["min_pixels"] / (height * width))
        h, w = math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return h, w


class Blocks(nn.Module):
    def __init__(self, config, processor):
        from transformers import LlamaConfig, LlamaForCausalLM
        from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
        from transformers.models.qwen2_vl.modeling_qwen2_vl import (
            Qwen2VisionTransformerPretrainedModel)

        super().__init__()
        self.config, self.processor = config, processor
        fields = {k: v for k, v in config["vision_config"].items() if k != "model_type"}
        self.vision_model = Qwen2VisionTransformerPretrainedModel(Qwen2VLVisionConfig(**fields))
        self.vision_model.set_attn_implementation("eager")
        p = config["projector_config"]
        self.abstractor = Abstractor(p["depth"], p["encoder_hidden_size"], p["hidden_size"],
                                     p["output_hidden_size"], p["pos_emb_size"] * p["pos_emb"],
                                     prenorm=p["prenorm"], products=p["mlp_depth"])
        text = {k: v for k, v in config["text_config"].items() if k != "model_type"}
        self.language_model = LlamaForCausalLM(LlamaConfig(**text))

    def features(self, image):
        side, merge = self.processor["patch_size"], self.processor["merge_size"]
        if min(image.size) < side * merge:
            scale = side * merge / min(image.size)
            image = image.resize((int(image.width * scale), int(image.height * scale)),
                                 Image.BICUBIC)
        h, w = smart_size(image.height, image.width, self.processor)
        pixels = normalized(image.resize((w, h), Image.BICUBIC), self.processor)
        h, w = h // side, w // side
        x = pixels.reshape(3, h // merge, merge, side, w // merge, merge, side)
        x = x.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5).expand(-1, -1, -1, -1, -1, 2, -1, -1)
        x = x.reshape(h * w, -1)
        grid = torch.tensor([[1, h, w]])
        states = []
        hooks = [block.register_forward_hook(lambda m, i, o: states.append(o))
                 for block in self.vision_model.blocks]
        self.vision_model(x, grid_thw=grid)
        for hook in hooks:
            hook.remove()
        rows = states[self.config["projector_config"]["feature_layer_index"]]
        return self.abstractor(rows[None], h, w)[0]  # blocks of 2 x 2, read row by row

    def tensors(self):
        out = {"vision_model." + n: v for n, v in self.vision_model.state_dict().items()
               if not n.startswith("merger.") and "inv_freq" not in n}
        out |= {"abstractor." + n: v for n, v in self.abstractor.named_tensors()}
        return out | {"language_model." + n: v for n, v in self.language_model.state_dict().items()}


def blocks(**changes):
    config = dict(
        model_type="kanana-1.5-v", architectures=["KananaVForConditionalGeneration"],
        vision_config=dict(model_type="kanana-1.5-v-visual-encoder", depth=3, embed_dim=32,
                           hidden_size=32, mlp_ratio=2, num_heads=2, patch_size=14,
                           spatial_merge_size=2, spatial_patch_size=14, temporal_patch_size=2,
                           hidden_act="quick_gelu", image_size="dynamic"),
        projector_config=dict(dict(
            model_type="kanana-1.5-v-visual_projector", projector_type="dynamic-c-abs", depth=2,
            encoder_hidden_size=32, hidden_size=24, output_hidden_size=32, merge_size=2,
            mlp_depth=2, num_eos_tokens=0, pos_emb=True, pos_emb_size=36, prenorm=False,
            feature_layer_index=-1), **changes),
        text_config=dict(TEXT, model_type="kanana-1.5-3b-instruct"))
    processor = dict(image_processor_type="KananaVImageProcessor", patch_size=14, merge_size=2,
                     temporal_patch_size=2, min_pixels=3136, max_pixels=30000,
                     image_mean=[0.48145466, 0.4578275, 0.40821073],
                     image_std=[0.26862954, 0.26130258, 0.27577711])
    return Blocks(config, processor)


NAMES = {
    "hyperclovax_tiles": (41, tiles),
    # Four rows of one tile from five patches: areas that overlap. A norm in front, another colour.
    "hyperclovax_tiles_clip": (42, lambda: tiles(
        vision=dict(model_type="clip_vision_model", image_size=40, projection_dim=24),
        processor=dict(pad_to_square=False, image_mean=[0.48145466, 0.4578275, 0.40821073],
                       image_std=[0.26862954, 0.26130258, 0.27577711], resample=2),
        num_queries_vis_abstractor_image=4, proj_prenorm=True, use_1x1_grid=False,
        use_nth_layer=-1)),
    # 50 / 8: the last pixels are not seen. No newline.
    "hyperclovax_tiles_plain": (43, lambda: tiles(
        vision=dict(image_size=50), mm_projector_type="inverted_mlp", unpad=False, max_num_grids=4)),
    "hyperclovax_tiles_lone": (44, lambda: tiles(anyres=False, mm_projector_type="linear",
                                                 use_nth_layer=1)),
    "kanana_v": (45, blocks),
    # Sides below 28 pixels, a tie at 70, a grid of the table's own size, another layer.
    "kanana_v_small": (46, lambda: blocks(depth=1, mlp_depth=3, pos_emb_size=16, prenorm=True,
                                          feature_layer_index=-2)),
}
SIZES_OF = {"kanana_v_small": [(20, 33), (70, 98), (56, 56)]}
IDS = {"kanana_v": -1, "kanana_v_small": 3}


def prompt_ids(counts, image_id):
    ids = [1, 17]
    for k, count in enumerate(counts):
        ids += [image_id] * count + [30 + 11 * k, 31 + 7 * k]
    return ids + [77, 5, 120]


def greedy(text, embeds):
    out = []
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            token = int(text(inputs_embeds=embeds).logits[0, -1].argmax())
            out.append(token)
            row = text.get_input_embeddings()(torch.tensor([[token]]))
            embeds = torch.cat([embeds, row], 1)
    return out


def make(name, folder):
    seed, build = NAMES[name]
    torch.manual_seed(0)
    model = build().eval().float()
    randomize(model, seed)
    for key, value in model.named_parameters():  # conv norms are called bn
        if key.endswith("bn.weight"):
            value.data.copy_((1 + value.data).half().float())
    model.language_model.set_attn_implementation("eager")
    sizes = SIZES_OF.get(name, SIZES)
    image_id = IDS.get(name, IMAGE_ID)
    images = [Image.fromarray(noise_image(h, w, 1000 + k)) for k, (h, w) in enumerate(sizes)]
    with torch.no_grad():
        features = [model.features(image) for image in images]
        ids = torch.tensor(prompt_ids([len(f) for f in features], image_id))
        embeds = model.language_model.get_input_embeddings()(ids.clamp(min=0))
        embeds[ids == image_id] = torch.cat(features)
        logits = model.language_model(inputs_embeds=embeds[None]).logits[0]
    generated = greedy(model.language_model, embeds[None])
    top = logits.topk(2).values
    print(name, [len(f) for f in features], "std", logits.std().item(), "feature std",
          features[0].std().item(), "smallest margin", (top[:, 0] - top[:, 1]).min().item(),
          generated)

    to = folder / name
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    save_file({n: t.half().contiguous() for n, t in model.tensors().items()},
              to / "model.safetensors", metadata=dict(format="pt"))
    for file, value in (("config", model.config), ("preprocessor_config", model.processor)):
        (to / f"{file}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    tensors = dict(input_ids=ids.int(), logits=logits, sizes=torch.tensor(sizes).int(),
                   generated=torch.tensor(generated, dtype=torch.int32))
    for k, f in enumerate(features):
        tensors[f"features_{k}"] = f.contiguous()
    save_file(tensors, to / "golden.safetensors",
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))


def main():
    folder = Path(__file__).parent / "abstractor"
    for name in sys.argv[1:] or NAMES:
        make(name, folder)


if __name__ == "__main__":
    main()
