"""Prompts with pictures and videos beside the reference processors: the same ids, the same positions.

    PYTHONPATH=build/python python tests/golden/compare_processors.py [--draws N] [--seed S] [family ...]

For each tiny checkpoint of tests/golden that has a processor in transformers: conversations drawn at
random (one to four pictures of odd sizes, words between them, for some families videos with odd
numbers of frames) go through Engine.prepare here and through the processor and get_rope_index there.
The checkpoints have no tokenizer; one of printable bytes is put beside them, with the family's own
marker tokens at the ids of its config. Written against transformers 5.23 with torchvision 0.29;
what is not installed is said. Exit status 1 where anything differs.
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent
QWEN = {"<|image_pad|>": 150, "<|video_pad|>": 151, "<|vision_start|>": 152, "<|vision_end|>": 153}
IMAGE, VIDEO = "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
# family: folder, module of transformers, processor, image processor, video processor, marker tokens, picture, video
FAMILIES = {
    "qwen2_vl": ("grid/qwen2_vl", "qwen2_vl", "Qwen2VLProcessor", "Qwen2VLImageProcessorPil", "Qwen2VLVideoProcessor", QWEN, IMAGE, VIDEO),
    "qwen2_5_vl": ("vision/qwen2_5_vl", "qwen2_5_vl", "Qwen2_5_VLProcessor", "qwen2_vl.Qwen2VLImageProcessorPil",
                   "qwen2_vl.Qwen2VLVideoProcessor", QWEN, IMAGE, VIDEO),
    "qwen3_vl": ("grid/qwen3_vl", "qwen3_vl", "Qwen3VLProcessor", "qwen2_vl.Qwen2VLImageProcessorPil", "Qwen3VLVideoProcessor", QWEN, IMAGE, VIDEO),
    "qwen3_vl_moe": ("grid/qwen3_vl_moe", "qwen3_vl", "Qwen3VLProcessor", "qwen2_vl.Qwen2VLImageProcessorPil", "Qwen3VLVideoProcessor", QWEN, IMAGE, VIDEO),
    "paddleocr_vl": ("vision/paddleocr_vl", "paddleocr_vl", "PaddleOCRVLProcessor", "PaddleOCRVLImageProcessorPil", None,
                     {"<|IMAGE_PLACEHOLDER|>": 150, "<|IMAGE_START|>": 152, "<|IMAGE_END|>": 153},
                     "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>", None),
    "gemma3": ("vision/gemma3_vision", "gemma3", "Gemma3Processor", "Gemma3ImageProcessorPil", None,
               {"<image_soft_token>": 150, "<start_of_image>": 152, "<end_of_image>": 153}, "<start_of_image>", None),
    "gemma3_crops": ("vision/gemma3_crops", "gemma3", "Gemma3Processor", "Gemma3ImageProcessorPil", None,
                     {"<image_soft_token>": 150, "<start_of_image>": 152, "<end_of_image>": 153}, "<start_of_image>", None),
    "llava": ("vision/llava", "llava", "LlavaProcessor", "clip.CLIPImageProcessorPil", None, {"<image>": 150}, "<image>", None),
    "llava_next": ("vision/llava_next", "llava_next", "LlavaNextProcessor", "LlavaNextImageProcessorPil", None, {"<image>": 150}, "<image>", None),
    "llava_onevision": ("vision/llava_onevision", "llava_onevision", "LlavaOnevisionProcessor", "LlavaOnevisionImageProcessorPil",
                        "LlavaOnevisionVideoProcessor", {"<image>": 150, "<video>": 151}, "<image>", None),
    "idefics3": ("vision/idefics3", "idefics3", "Idefics3Processor", "Idefics3ImageProcessorPil", None,
                 {"<image>": 150, "<fake_token_around_image>": 152, "<global-img>": 153}, "<image>", None),
}


def byte_tokenizer(special, roles, folder, transformers):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocab = {chr(c): c - 33 for c in range(33, 127)} | {"Ġ": 94, "Ċ": 95}
    vocab |= {f"<unused {i}>": i for i in range(96, 154) if i not in special.values()} | special
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for t, i in special.items()]
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}))
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="!", extra_special_tokens=roles)


def found(module, name):
    import importlib

    if "." in name:
        module, name = name.split(".")
    package = f"transformers.models.{module}"
    for part in ("processing", "image_processing_pil", "image_processing", "video_processing"):
        try:
            return getattr(importlib.import_module(f"{package}.{part}_{module}"), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"expected {name} in {package}")


class Side:
    """One family on both sides."""

    def __init__(self, family, folder, transformers, onnuri):
        where, module, processor, pictures, videos, special, self.picture, self.video = FAMILIES[family]
        for file in (ROOT / where).iterdir():
            shutil.copy(file, folder)
        config = json.loads((folder / "config.json").read_text())
        names = {i: text for text, i in special.items()}
        roles = {"image_token": names[150]}
        if family.startswith("gemma3"):
            roles |= {"boi_token": names[152], "eoi_token": names[153]}
        elif family == "idefics3":
            roles |= {"fake_image_token": names[152], "global_image_token": names[153], "end_of_utterance_token": "!"}
        tokenizer = byte_tokenizer(special, roles, folder, transformers)
        options = {"image_processor": found(module, pictures).from_pretrained(folder), "tokenizer": tokenizer}
        if videos:
            options["video_processor"] = found(module, videos).from_pretrained(folder, patch_size=config["vision_config"].get("patch_size"))
        vision = config.get("vision_config", {})
        if family.startswith("llava"):
            options |= dict(patch_size=vision["patch_size"], vision_feature_select_strategy=config["vision_feature_select_strategy"])
            if family == "llava_onevision":
                options["vision_aspect_ratio"] = config["vision_aspect_ratio"]
            options |= dict(num_image_tokens=(vision["image_size"] // vision["patch_size"]) ** 2) if family == "llava_onevision" else dict(
                num_additional_image_tokens=1)
        if family.startswith("gemma3"):
            options["image_seq_length"] = config["mm_tokens_per_image"]
        if family in ("idefics3", "smolvlm"):
            options["image_seq_len"] = (vision["image_size"] // vision["patch_size"]) ** 2 // config["scale_factor"] ** 2
        self.processor = found(module, processor)(**options)
        self.model = transformers.AutoModelForImageTextToText.from_pretrained(folder) if "mrope_section" in json.dumps(config) else None
        video = "{%- elif p.type == 'video' -%}" + self.video if self.video else ""
        (folder / "chat_template.jinja").write_text(
            "{%- for m in messages -%}{%- for p in m.content -%}{%- if p.type == 'image' -%}" + self.picture + video
            + "{%- else -%}{{ p.text }}{%- endif -%}{%- endfor -%}{%- endfor -%}")
        self.engine = onnuri.Engine(str(folder), compute_dtype="float32", context_size=4096, num_threads=1)

    def theirs(self, parts):
        import torch
        from PIL import Image

        # transformers 5.23 leaves the markers around the frames of Qwen3-VL, each of which has its own; its version 4.57,
        # with which the checkpoints were published, replaced them, and so do we.
        video = "<|video_pad|>" if type(self.processor).__name__ == "Qwen3VLProcessor" else self.video
        text = "".join({"image": self.picture, "video": video}.get(p["type"]) or p["text"] for p in parts)
        images = [Image.fromarray(p["image"]) for p in parts if p["type"] == "image"]
        videos = [p["video"] for p in parts if p["type"] == "video"]
        more = {}
        if videos:
            more = dict(videos=[v["frames"].transpose(0, 3, 1, 2) for v in videos], do_sample_frames=False,
                        video_metadata=[dict(total_num_frames=len(v["frames"]), fps=v["fps"], duration=len(v["frames"]) / v["fps"],
                                             frames_indices=list(range(len(v["frames"])))) for v in videos])
        for key in ("do_pan_and_scan", "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate"):
            if getattr(self.processor.image_processor, key, None):  # the call has defaults of its own
                more[key] = getattr(self.processor.image_processor, key)
        made = self.processor(text=[text], images=[images] if images and self.model is None else images or None, return_tensors="pt", **more)
        positions = None
        if self.model is not None:
            keys = {k: made[k] for k in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts", "mm_token_type_ids") if k in made}
            if "mm_token_type_ids" not in keys:
                ids = made["input_ids"]
                keys["mm_token_type_ids"] = (ids == 150).int() + 2 * (ids == 151).int()
            positions = self.model.model.get_rope_index(made["input_ids"], attention_mask=torch.ones_like(made["input_ids"]), **keys)[0][:, 0]
        return made["input_ids"][0].tolist(), positions

    def ours(self, parts):
        layout = self.engine.prepare([{"role": "user", "content": parts}])
        return [int(i) for i in layout["ids"]], np.asarray(layout["positions"])


def conversation(rnd, side):
    parts = []
    draw = np.random.default_rng(rnd.randrange(2**32))
    for _ in range(rnd.randint(1, 4)):
        if rnd.random() < 0.7:
            parts.append({"type": "text", "text": "".join(rnd.choice("abc .") for _ in range(rnd.randint(1, 6)))})
        height, width = rnd.choice([(rnd.randint(20, 300), rnd.randint(20, 300)), (rnd.randint(8, 40), rnd.randint(150, 400)), (64, 64)])
        if side.video and rnd.random() < 0.4:
            frames = draw.integers(0, 256, (rnd.randint(1, 9), height, width, 3), dtype=np.uint8)
            parts.append({"type": "video", "video": {"frames": frames, "fps": rnd.choice([1.0, 2.0, 3.0])}})
        else:
            parts.append({"type": "image", "image": draw.integers(0, 256, (height, width, 3), dtype=np.uint8)})
    return parts + [{"type": "text", "text": "what?"}]


def shown(parts):
    return [p["image"].shape[:2] if p["type"] == "image" else (p["video"]["frames"].shape[:3], p["video"]["fps"]) if p["type"] == "video" else p["text"]
            for p in parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        import torchvision  # noqa: F401 (the video processors need it)
        import transformers
    except ImportError as error:
        print(f"skipped: {error}")
        return 0
    import onnuri

    transformers.logging.set_verbosity_error()
    failures = 0
    for family in options.families:
        with tempfile.TemporaryDirectory() as folder:
            side = Side(family, pathlib.Path(folder), transformers, onnuri)
            rnd = random.Random(f"{family} {options.seed}")
            counts = {"equal": 0, "refused by both": 0, "differ": 0}
            for _ in range(options.draws):
                parts = conversation(rnd, side)
                try:
                    ids, positions = side.theirs(parts)
                except Exception as error:  # a picture that the processor refuses
                    ids, positions = f"{type(error).__name__}: {error}", None
                try:
                    found_ids, found_positions = side.ours(parts)
                except onnuri.Error as error:
                    found_ids, found_positions = f"onnuri: {error}", None
                if isinstance(ids, str) and isinstance(found_ids, str):
                    counts["refused by both"] += 1
                elif ids == found_ids and (positions is None or np.array_equal(positions.numpy(), found_positions)):
                    counts["equal"] += 1
                else:
                    counts["differ"] += 1
                    print(f"  {family} {shown(parts)}")
                    if ids == found_ids:
                        at = np.argwhere(positions.numpy() != found_positions)[0]
                        print(f"    positions from {at.tolist()}: {positions[:, at[1]].tolist()}, here {found_positions[:, at[1]].tolist()}")
                    elif isinstance(ids, str) or isinstance(found_ids, str):
                        print(f"    {str(ids)[:200]}\n    {str(found_ids)[:200]}")
                    else:
                        at = next((i for i, (a, b) in enumerate(zip(ids, found_ids)) if a != b), min(len(ids), len(found_ids)))
                        print(f"    ids ({len(ids)}, here {len(found_ids)}) from {at}: {ids[at:at + 12]}, here {found_ids[at:at + 12]}")
            failures += counts["differ"]
            print(f"{family}: " + ", ".join(f"{n} {what}" for what, n in counts.items()), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
