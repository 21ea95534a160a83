"""The reference's side of compare_processors.py: processor and get_rope_index of each family, from a tiny checkpoint.

Written against transformers 5.23.0 with torchvision 0.29.
"""

import importlib
import json

import numpy as np
import torch
import transformers
from PIL import Image

import prompt_checkpoints as ours

QWEN_PICTURES = "qwen2_vl.Qwen2VLImageProcessorPil"
QWEN_VIDEOS = "qwen2_vl.Qwen2VLVideoProcessor"
# family: module of transformers, processor, image processor, video processor
SIGHT = {
    "qwen2_vl": ("qwen2_vl", "Qwen2VLProcessor", QWEN_PICTURES, QWEN_VIDEOS),
    "qwen2_5_vl": ("qwen2_5_vl", "Qwen2_5_VLProcessor", QWEN_PICTURES, QWEN_VIDEOS),
    "qwen3_vl": ("qwen3_vl", "Qwen3VLProcessor", QWEN_PICTURES, "qwen3_vl.Qwen3VLVideoProcessor"),
    "qwen3_vl_moe": ("qwen3_vl", "Qwen3VLProcessor", QWEN_PICTURES, "qwen3_vl.Qwen3VLVideoProcessor"),
    "exaone4_5": ("exaone4_5", "Exaone4_5_Processor", QWEN_PICTURES, QWEN_VIDEOS),
    "hyperclovax_vision": ("hyperclovax_vision_v2", "HyperCLOVAXVisionV2Processor", QWEN_PICTURES, QWEN_VIDEOS),
    "paddleocr_vl": ("paddleocr_vl", "PaddleOCRVLProcessor", "paddleocr_vl.PaddleOCRVLImageProcessorPil", None),
    "gemma3": ("gemma3", "Gemma3Processor", "gemma3.Gemma3ImageProcessorPil", None),
    "gemma3_crops": ("gemma3", "Gemma3Processor", "gemma3.Gemma3ImageProcessorPil", None),
    "llava": ("llava", "LlavaProcessor", "clip.CLIPImageProcessorPil", None),
    "llava_next": ("llava_next", "LlavaNextProcessor", "llava_next.LlavaNextImageProcessorPil", None),
    "llava_onevision": ("llava_onevision", "LlavaOnevisionProcessor", "llava_onevision.LlavaOnevisionImageProcessorPil",
                        "llava_onevision.LlavaOnevisionVideoProcessor"),
    "idefics3": ("idefics3", "Idefics3Processor", "idefics3.Idefics3ImageProcessorPil", None),
    "smolvlm": ("smolvlm", "SmolVLMProcessor", "smolvlm.SmolVLMImageProcessorPil", "smolvlm.SmolVLMVideoProcessor"),
}
# family: module, processor, model that numbers positions
HEARING = {
    "qwen2_audio": ("qwen2_audio", "Qwen2AudioProcessor", None),
    "qwen2_5_omni": ("qwen2_5_omni", "Qwen2_5OmniProcessor", "Qwen2_5OmniThinkerForConditionalGeneration"),
    "qwen3_omni": ("qwen3_omni_moe", "Qwen3OmniMoeProcessor", "Qwen3OmniMoeThinkerForConditionalGeneration"),
}
THIRTY_SECONDS = 480000


def video_processor(name, folder, **options):
    """Where a folder names no rate, the two frames a second of the published scripts: the processor would take none."""
    made = found("qwen2_vl", name).from_pretrained(folder, **options)
    if "Qwen" in type(made).__name__ and not made.fps:
        made.fps = 2.0
    return made


def found(module, name):
    if "." in name:
        module, name = name.split(".")
    for part in ("processing", "image_processing_pil", "image_processing", "video_processing", "modeling"):
        try:
            return getattr(importlib.import_module(f"transformers.models.{module}.{part}_{module}"), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"expected {name} in transformers.models.{module}")


def metadata(video):
    count = len(video["frames"])
    return dict(total_num_frames=count, fps=video["fps"], duration=count / video["fps"], frames_indices=list(range(count)))


def all_frames(part):
    """What a reader of the file would find."""
    return {"type": "video", "video": {"frames": np.zeros((*part["clip"], 3), np.uint8), "fps": part["rate"]}}


class Reference:
    """One family: the checkpoint made ready in `folder`, and what the reference makes of conversations."""

    def __init__(self, family, folder):
        self.family = family
        self.marks = dict(ours.CHECKPOINTS[family].marks)
        self.config = ours.equip(family, folder)
        self.window = THIRTY_SECONDS
        self.model = None
        side = Hearing if family in HEARING else Sight
        side.build(self, folder)
        self.ask = side.ask

    def tokenizer(self, folder, roles):
        return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="a",
                                                    extra_special_tokens=roles)

    def prepared(self, recipe):
        """(ids, positions (axes, T))."""
        parts = [all_frames(part) if "clip" in part else made for part, made in zip(recipe, ours.parts_of(recipe))]
        self.samples = any("clip" in part for part in recipe)
        text = "".join(self.marks.get(p["type"]) or p["text"] for p in parts)
        given = {kind: [p[kind] for p in parts if p["type"] == kind] for kind in ("audio", "image", "video")}
        ids, positions = self.ask(self, text, given)
        ids = ids[0].tolist()
        return ids, np.arange(len(ids))[None] if positions is None else positions.numpy()


class Sight:
    """Families that see and do not hear."""

    @staticmethod
    def build(side, folder):
        module, processor, pictures, videos = SIGHT[side.family]
        vision, config = side.config["vision_config"], side.config
        names = {i: text for text, i in ours.CHECKPOINTS[side.family].markers.items()}
        roles = {"image_token": names[150]}
        if side.family.startswith("gemma3"):
            roles |= {"boi_token": names[152], "eoi_token": names[153]}
        elif side.family in ("idefics3", "smolvlm"):
            roles |= {"fake_image_token": names[152], "global_image_token": names[153], "end_of_utterance_token": "a"}
        if side.family == "smolvlm":  # it spells the number of frames of a video, and there is none here
            code = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
            code.num2words = code.num2words or str
        options = {"image_processor": found(module, pictures).from_pretrained(folder), "tokenizer": side.tokenizer(folder, roles)}
        if videos:
            options["video_processor"] = video_processor(videos, folder, patch_size=vision.get("patch_size"))
        views = (vision.get("image_size", 0) // vision["patch_size"]) ** 2
        if side.family.startswith("llava"):
            options |= dict(patch_size=vision["patch_size"], vision_feature_select_strategy=config["vision_feature_select_strategy"])
            options |= dict(num_image_tokens=views, vision_aspect_ratio=config["vision_aspect_ratio"]) \
                if side.family == "llava_onevision" else dict(num_additional_image_tokens=1)
        elif side.family.startswith("gemma3"):
            options["image_seq_length"] = config["mm_tokens_per_image"]
        elif side.family in ("idefics3", "smolvlm"):
            options["image_seq_len"] = views // config["scale_factor"] ** 2
        side.processor = found(module, processor)(**options)
        if "mrope_section" in json.dumps(config):
            side.model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
        # transformers 5.23 leaves the markers around the frames of Qwen3-VL, each of which has its own; its version 4.57,
        # with which the checkpoints were published, replaced them, and so do we.
        if module == "qwen3_vl":
            side.marks["video"] = "<|video_pad|>"

    @staticmethod
    def ask(side, text, given):
        more = {}
        if given["image"]:
            more["images"] = [Image.fromarray(x) for x in given["image"]]
            if side.model is None:
                more["images"] = [more["images"]]
        if given["video"]:
            more |= dict(videos=[v["frames"].transpose(0, 3, 1, 2) for v in given["video"]], do_sample_frames=side.samples,
                         video_metadata=[metadata(v) for v in given["video"]])
        for key in ("do_pan_and_scan", "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate"):
            if getattr(side.processor.image_processor, key, None):  # the call has defaults of its own
                more[key] = getattr(side.processor.image_processor, key)
        made = side.processor(text=[text], return_tensors="pt", **more)
        ids = made["input_ids"]
        if side.model is None:
            return ids, None
        keys = {k: made[k] for k in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts", "mm_token_type_ids") if k in made}
        keys.setdefault("mm_token_type_ids", (ids == 150).int() + 2 * (ids == 151).int())
        return ids, side.model.model.get_rope_index(ids, attention_mask=torch.ones_like(ids), **keys)[0][:, 0]


class Hearing:
    """Families that hear; some of them see too."""

    @staticmethod
    def build(side, folder):
        module, processor, model = HEARING[side.family]
        audio = side.config["audio_config"]
        sees = "image" in side.marks
        roles = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
        if sees:
            roles |= {"image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "vision_bos_token": "<|vision_bos|>",
                      "vision_eos_token": "<|vision_eos|>"}
        # A tower with a table of positions hears one window of that length; tiny ones are shorter than 30 s.
        window = {} if sees else {"chunk_length": audio["max_source_positions"] * 2 // 100}
        side.window = window.get("chunk_length", 30) * 16000
        options = {"tokenizer": side.tokenizer(folder, roles),
                   "feature_extractor": transformers.WhisperFeatureExtractor(feature_size=audio["num_mel_bins"], **window)}
        if sees:
            options |= {"image_processor": found("qwen2_vl", QWEN_PICTURES).from_pretrained(folder),
                        "video_processor": video_processor(QWEN_VIDEOS, folder)}
        side.processor = found(module, processor)(**options)
        side.more = {"n_window": audio["n_window"]} if side.family == "qwen3_omni" else {}
        if model:  # it only numbers positions: its weights do not matter
            code = found(module, model)
            with torch.device("meta"):
                side.model = code(code.config_class.from_dict(side.config))

    @staticmethod
    def ask(side, text, given):
        more = {}
        if given["audio"]:
            more |= dict(side.more, audio=given["audio"])
        if side.model is not None:  # the processor's own bounds win over those of the folder
            bounds = side.processor.image_processor.size
            more["images_kwargs"] = {"size": {edge: bounds[edge] for edge in ("shortest_edge", "longest_edge")}}
        if given["image"]:
            more["images"] = [Image.fromarray(x) for x in given["image"]]
        if given["video"]:
            more["videos"] = [v["frames"].transpose(0, 3, 1, 2) for v in given["video"]]
            rate = side.processor.video_processor.fps if side.samples else given["video"][0]["fps"]
            more["videos_kwargs"] = dict(do_sample_frames=side.samples, fps=rate,
                                         video_metadata=[metadata(v) for v in given["video"]],
                                         size=dict(side.processor.video_processor.size))
        made = side.processor(text=[text], return_tensors="pt", **more)
        ids = made["input_ids"]
        if side.model is None:
            return ids, None
        mask, seconds = made.get("feature_attention_mask"), made.get("video_second_per_grid")
        positions, _ = side.model.get_rope_index(
            ids, made.get("image_grid_thw"), made.get("video_grid_thw"), torch.ones_like(ids), False,
            mask.sum(-1) if mask is not None else None, torch.as_tensor(seconds).float() if seconds is not None else None)
        return ids, positions[:, 0]
