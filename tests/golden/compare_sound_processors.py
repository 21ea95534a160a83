"""Prompts with sounds, pictures and videos beside the reference processors: the same ids, the same positions.

    PYTHONPATH=build/python python tests/golden/compare_sound_processors.py [--draws N] [--seed S] [family ...]

As compare_processors.py, for the families that hear: conversations drawn at random (sounds of 0.03 to 41 s, and pictures
and videos where the family sees) go through Engine.prepare here and through the processor and get_rope_index there. The
tiny checkpoints of tests/golden/hearing and tests/golden/grid are given a vocabulary that holds the bytes of a text.
Written against transformers 5.23 with torchvision 0.29; what is not installed is said. Exit status 1 where anything differs.
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
VOCAB = 160
OMNI = {"<|IMAGE|>": 150, "<|VIDEO|>": 151, "<|vision_bos|>": 152, "<|vision_eos|>": 153, "<|AUDIO|>": 154, "<|audio_bos|>": 155,
        "<|audio_eos|>": 156}
SOUND = "<|audio_bos|><|AUDIO|><|audio_eos|>"
PICTURE, VIDEO = "<|vision_bos|><|IMAGE|><|vision_eos|>", "<|vision_bos|><|VIDEO|><|vision_eos|>"
# family: folder, module of transformers, processor, model, whether it sees
FAMILIES = {
    "qwen2_audio": ("hearing/qwen2_audio", "qwen2_audio", "Qwen2AudioProcessor", None, False),
    "qwen2_5_omni": ("hearing/qwen2_5_omni", "qwen2_5_omni", "Qwen2_5OmniProcessor", "Qwen2_5OmniThinkerForConditionalGeneration", True),
    "qwen3_omni": ("grid/qwen3_omni", "qwen3_omni_moe", "Qwen3OmniMoeProcessor", "Qwen3OmniMoeThinkerForConditionalGeneration", True),
}
IDS = {"audio_token_index": 154, "audio_token_id": 154, "image_token_index": 150, "image_token_id": 150, "video_token_index": 151,
       "video_token_id": 151, "vision_start_token_id": 152, "vision_end_token_id": 153, "audio_start_token_id": 155,
       "audio_end_token_id": 156}


def with_vocabulary(source, folder):
    """The checkpoint with room for bytes and markers: more rows of zeros, other ids."""
    from safetensors.numpy import load_file, save_file

    for file in source.iterdir():
        shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in IDS.items():
        if key in config:
            config[key] = value
    config["text_config"]["vocab_size"] = VOCAB
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")) and value.shape[0] < VOCAB:
            tensors[name] = np.concatenate([value, np.zeros((VOCAB - value.shape[0], value.shape[1]), value.dtype)])
    save_file(tensors, folder / "model.safetensors")
    return config


class Side:
    """One family on both sides."""

    def __init__(self, family, folder, transformers, onnuri):
        import importlib

        from compare_processors import byte_tokenizer

        where, module, processor, model, self.sees = FAMILIES[family]
        config = with_vocabulary(ROOT / where, folder)
        special = OMNI if self.sees else {t: i for t, i in OMNI.items() if "udio" in t or "AUDIO" in t}
        roles = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
        if self.sees:
            roles |= {"image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "vision_bos_token": "<|vision_bos|>",
                      "vision_eos_token": "<|vision_eos|>"}
        # A tower with a table of positions hears one window of that length; tiny ones are shorter than 30 s.
        window = {} if self.sees else {"chunk_length": config["audio_config"]["max_source_positions"] * 2 // 100}
        options = {"tokenizer": byte_tokenizer(special, roles, folder, transformers),
                   "feature_extractor": transformers.WhisperFeatureExtractor(
                       feature_size=config["audio_config"]["num_mel_bins"], **window)}
        if self.sees:
            vision = config["vision_config"]
            if not (folder / "preprocessor_config.json").exists():
                side = vision["patch_size"] * vision["spatial_merge_size"]
                (folder / "preprocessor_config.json").write_text(json.dumps({
                    "patch_size": vision["patch_size"], "merge_size": vision["spatial_merge_size"], "temporal_patch_size": 2,
                    "min_pixels": 16 * side * side, "max_pixels": 400 * side * side,
                    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}))
            from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
            from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

            options |= {"image_processor": Qwen2VLImageProcessorPil.from_pretrained(folder),
                        "video_processor": Qwen2VLVideoProcessor.from_pretrained(folder)}
        self.processor = getattr(importlib.import_module(f"transformers.models.{module}.processing_{module}"), processor)(**options)
        self.more = {"n_window": config["audio_config"]["n_window"]} if family == "qwen3_omni" else {}
        self.model = None
        if model:  # weights do not matter here, and some folders leave their eyes out
            code = getattr(importlib.import_module(f"transformers.models.{module}.modeling_{module}"), model)
            self.model = code(code.config_class.from_dict(config))
            self.model.save_pretrained(folder)
            (folder / "config.json").write_text(json.dumps(config))
        (folder / "chat_template.jinja").write_text(
            "{%- for m in messages -%}{%- for p in m.content -%}{%- if p.type == 'audio' -%}" + SOUND
            + "{%- elif p.type == 'image' -%}" + PICTURE + "{%- elif p.type == 'video' -%}" + VIDEO
            + "{%- else -%}{{ p.text }}{%- endif -%}{%- endfor -%}{%- endfor -%}")
        self.engine = onnuri.Engine(str(folder), compute_dtype="float32", context_size=4096, num_threads=1)

    def theirs(self, parts):
        import torch
        from PIL import Image

        text = "".join({"audio": SOUND, "image": PICTURE, "video": VIDEO}.get(p["type"]) or p["text"] for p in parts)
        given = {kind: [p[kind] for p in parts if p["type"] == kind] for kind in ("audio", "image", "video")}
        more = dict(self.more) if given["audio"] else {}
        if given["audio"]:
            more["audio"] = given["audio"]
        if given["image"]:
            more["images"] = [Image.fromarray(x) for x in given["image"]]
        if given["video"]:
            fps = given["video"][0]["fps"]
            more["videos"] = [v["frames"].transpose(0, 3, 1, 2) for v in given["video"]]
            more["videos_kwargs"] = dict(do_sample_frames=False, fps=fps, video_metadata=[
                dict(total_num_frames=len(v["frames"]), fps=fps, duration=len(v["frames"]) / fps,
                     frames_indices=list(range(len(v["frames"])))) for v in given["video"]])
        if self.sees:  # the processor's own bounds win over those of the folder
            size = dict(shortest_edge=self.processor.image_processor.size["shortest_edge"],
                        longest_edge=self.processor.image_processor.size["longest_edge"])
            more["images_kwargs"] = dict(size=size)
            if given["video"]:
                more["videos_kwargs"]["size"] = dict(self.processor.video_processor.size)
        made = self.processor(text=[text], return_tensors="pt", **more)
        ids = made["input_ids"]
        if self.model is None:
            return ids[0].tolist(), None
        mask = made.get("feature_attention_mask")
        seconds = made.get("video_second_per_grid")
        positions, _ = self.model.get_rope_index(
            ids, made.get("image_grid_thw"), made.get("video_grid_thw"), torch.ones_like(ids), False,
            mask.sum(-1) if mask is not None else None, torch.as_tensor(seconds).float() if seconds is not None else None)
        return ids[0].tolist(), positions[:, 0]

    def ours(self, parts):
        layout = self.engine.prepare([{"role": "user", "content": parts}])
        return [int(i) for i in layout["ids"]], np.asarray(layout["positions"])


def conversation(rnd, side):
    draw = np.random.default_rng(rnd.randrange(2**32))
    fps = rnd.choice([1.0, 2.0, 4.0])
    parts = []
    for _ in range(rnd.randint(1, 4)):
        if rnd.random() < 0.7:
            parts.append({"type": "text", "text": "".join(rnd.choice("abc .") for _ in range(rnd.randint(1, 6)))})
        kind = rnd.choice(["audio", "audio", "image", "video"]) if side.sees else "audio"
        if kind == "audio":
            seconds = rnd.choice([rnd.uniform(0.03, 2), rnd.uniform(2, 12), rnd.uniform(29.9, 30.0)])
            parts.append({"type": "audio", "audio": draw.standard_normal(int(seconds * 16000)).astype(np.float32) * 0.1})
            continue
        height, width = rnd.choice([(rnd.randint(20, 200), rnd.randint(20, 200)), (64, 64)])
        if kind == "image":
            parts.append({"type": "image", "image": draw.integers(0, 256, (height, width, 3), dtype=np.uint8)})
        else:
            frames = draw.integers(0, 256, (rnd.randint(1, 9), height, width, 3), dtype=np.uint8)
            parts.append({"type": "video", "video": {"frames": frames, "fps": fps}})
    return parts + [{"type": "text", "text": "what?"}]


def shown(parts):
    return [p["text"] if p["type"] == "text" else f"{len(p['audio'])} samples" if p["type"] == "audio" else p["image"].shape[:2]
            if p["type"] == "image" else (p["video"]["frames"].shape[:3], p["video"]["fps"]) for p in parts]


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
            equal = 0
            for _ in range(options.draws):
                parts = conversation(rnd, side)
                ids, positions = side.theirs(parts)
                try:
                    found_ids, found_positions = side.ours(parts)
                except onnuri.Error as error:
                    print(f"  {family} {shown(parts)}\n    onnuri: {error}")
                    failures += 1
                    continue
                if ids == found_ids and (positions is None or np.array_equal(positions.numpy(), found_positions)):
                    equal += 1
                    continue
                failures += 1
                print(f"  {family} {shown(parts)}")
                if ids == found_ids:
                    at = np.argwhere(positions.numpy() != found_positions)[0]
                    print(f"    positions from {at.tolist()}: {positions[:, at[1]].tolist()}, here {found_positions[:, at[1]].tolist()}")
                else:
                    at = next((i for i, (a, b) in enumerate(zip(ids, found_ids)) if a != b), min(len(ids), len(found_ids)))
                    print(f"    ids ({len(ids)}, here {len(found_ids)}) from {at}: {ids[at:at + 12]}, here {found_ids[at:at + 12]}")
            print(f"{family}: {equal} of {options.draws} equal", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
