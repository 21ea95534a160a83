#!/usr/bin/env python3
"""Tiny random checkpoints of HyperCLOVA X SEED Omni: text, eyes, ears, and media as words.

transformers has no class for this family: its code comes with the published checkpoint. Taken from
transformers are the parts that it shares with others: the window encoder and the picture processor
of Qwen2-VL, the encoder of Qwen2-Audio with the Whisper front end, the SigLIP tower, Llama. Written
here from a description of that code: projectors, windows of 30 s, the order in which media replace
placeholders, the tokeniser of sounds, the codebook of pictures. So this data proves that the
runtime does what the description says, not that the description is right. One part is checked
further: with --package FOLDER (the s3tokenizer wheel, unpacked; 0.3.0 was used) the tokeniser of
sounds is compared with that package's model of the same weights.

Made with transformers 5.23.0, torch 2.15 and Pillow, float32 on a CPU. Every parameter is random;
weights are rounded to float16 before the reference runs, so that they are stored exactly. Pictures
and sounds are not stored: tests/support/noise_image.h and tests/encoders/signal.h make the same.

Per checkpoint, tests/golden/omni/<name>/: config.json, preprocessor_config.json, model.safetensors
under the published names, and golden.safetensors with sizes (pictures, 2), lengths (sounds),
input_ids (T), logits (T, n) of some words, columns (n), best (T), image_<k> and sound_<k> (tokens, hidden), generated (16), and where
media are spelt image_codes_<k>, sound_codes_<k>. omni_heard has a video of 5 frames of 61 x 100
between them, heard for VIDEO_SAMPLES: its sound is shortened by make_compressor_goldens.py, and
video_0 (tokens, hidden) is what becomes of it.

usage: make_omni_goldens.py [--package FOLDER] [name ...]
"""

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import save_file

import make_compressor_goldens as compressor
from make_grid_goldens import video_patches
from make_hearing_goldens import signal
from make_vision_goldens import MAX_PIXELS, MIN_PIXELS, NEW_TOKENS, SIZES, noise_image, randomize

WINDOW_FRAMES = 1000  # instead of 3000: 10 s
WINDOW_SAMPLES = WINDOW_FRAMES * 160
IMAGE_ID, VIDEO_ID, AUDIO_ID, IMAGE_CODE_ID, AUDIO_CODE_ID, EOL_ID = 150, 151, 152, 153, 154, 155
VIDEO_AUDIO_ID, VIDEO_SAMPLES = 156, WINDOW_SAMPLES + 9000  # one window and some
HIDDEN = 32


def text_config(vocab):
    return dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=vocab,
                hidden_size=HIDDEN, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-5,
                max_position_embeddings=4096, rope_theta=10000.0, bos_token_id=1, eos_token_id=2,
                pad_token_id=0, hidden_act="silu", tie_word_embeddings=vocab > 256)


VISION = dict(model_type="qwen2_5_vl", depth=4, hidden_size=32, intermediate_size=48, num_heads=2,
              out_hidden_size=40, window_size=112, fullatt_block_indexes=[1, 3], patch_size=14,
              spatial_merge_size=2, temporal_patch_size=2, in_channels=3, hidden_act="silu")
AUDIO = dict(model_type="qwen2_audio_encoder", num_mel_bins=80, encoder_layers=2, d_model=32,
             encoder_attention_heads=2, encoder_ffn_dim=48, activation_function="gelu",
             max_source_positions=WINDOW_FRAMES // 2)


class Mlp(nn.Module):
    def __init__(self, inputs, inner, outputs):
        super().__init__()
        self.fc1 = nn.Linear(inputs, inner)
        self.fc2 = nn.Linear(inner, outputs)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Memory(nn.Module):
    """Attention of whole sounds with turned queries and keys; values also pass a convolution."""

    def __init__(self, width, heads, taps):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.fsmn_block = nn.Conv1d(width, width, taps, padding=taps // 2, groups=width, bias=False)

    def turned(self, x):
        n, d = x.shape[1:]
        angles = torch.outer(torch.arange(n).float(), 10000.0 ** (-torch.arange(0, d, 2).float() / d))
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        return x * cos + torch.cat([-x[..., d // 2:], x[..., :d // 2]], -1) * sin

    def forward(self, x):
        n, width = x.shape
        split = lambda y: y.view(n, self.heads, -1).transpose(0, 1)
        v = self.value(x)
        q, k = self.turned(split(self.query(x))), self.turned(split(self.key(x)))
        d = width // self.heads
        weights = ((q * d ** -0.25) @ (k * d ** -0.25).transpose(1, 2)).softmax(-1)
        attended = (weights @ split(v)).transpose(0, 1).reshape(n, width)
        return self.out(attended) + self.fsmn_block(v.T).T + v


class SoundLayer(nn.Module):
    def __init__(self, width, heads, taps):
        super().__init__()
        self.attn_ln = nn.LayerNorm(width, eps=1e-6)
        self.attn = Memory(width, heads, taps)
        self.mlp_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class SoundTower(nn.Module):
    def __init__(self, mels, width, heads, layers, taps):
        super().__init__()
        self.conv1 = nn.Conv1d(mels, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(SoundLayer(width, heads, taps) for _ in range(layers)))

    def forward(self, mel):
        return self.blocks(F.gelu(self.conv2(F.gelu(self.conv1(mel)))).T)


class SoundCodes(nn.Module):
    """Mentzer et al. 2023 over the tower: eight digits to base 3."""

    def __init__(self, n_mels, n_audio_state, n_audio_head, n_audio_layer, fsmn_kernel_size):
        super().__init__()
        self.encoder = SoundTower(n_mels, n_audio_state, n_audio_head, n_audio_layer,
                                  fsmn_kernel_size)
        self.quantizer = nn.Module()
        self.quantizer._codebook = nn.Module()
        self.quantizer._codebook.project_down = nn.Linear(n_audio_state, 8)
        filters = transformers.audio_utils.mel_filter_bank(
            201, n_mels, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
        self.filters = torch.tensor(filters, dtype=torch.float32)

    def mel(self, samples):
        spectrum = torch.stft(samples, 400, 160, window=torch.hann_window(400), return_complex=True)
        power = spectrum[:, :-1].abs() ** 2
        log = (self.filters.T @ power).clamp(min=1e-10).log10()
        return (torch.maximum(log, log.max() - 8) + 4) / 4

    def digits(self, samples):
        rows = self.encoder(self.mel(samples))
        return self.quantizer._codebook.project_down(rows).tanh() * 0.9990000128746033

    def windows(self, samples):
        if len(samples) < 400:
            samples = F.pad(samples, (0, 400 - len(samples)))
        window, ends = 80 * 16000, []
        while not ends or ends[-1] < len(samples):
            end = (ends[-1] if ends else 0) + window
            ends.append(end if len(samples) - end >= 400 else len(samples))
        return [samples[a:b] for a, b in zip([0] + ends, ends)]

    def forward(self, samples):
        digits = torch.cat([self.digits(w) for w in self.windows(samples)])
        margin = (digits.abs() - 0.5).abs().min()  # at 0.5 a digit changes
        codes = ((digits.round() + 1) * 3 ** torch.arange(8)).sum(-1).long()
        return codes, margin.item()


class PictureCodes(nn.Module):
    def __init__(self, tower, code_size, num_codes, unit_length):
        from transformers import SiglipVisionConfig, SiglipVisionModel
        super().__init__()
        self.encoder = SiglipVisionModel(SiglipVisionConfig(**tower, vision_use_head=False))
        width = tower["hidden_size"]
        self.side, self.unit_length = tower["image_size"], unit_length
        self.encode_task_layer = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.bottleneck = nn.Module()
        self.bottleneck.in_linear = nn.Linear(width, code_size)
        self.bottleneck.regularizer = nn.Module()
        self.bottleneck.regularizer.embedding = nn.Embedding(num_codes, code_size)
        self.bottleneck.regularizer.embedding_proj = nn.Linear(code_size, code_size)

    def forward(self, image):
        image = image.resize((self.side, self.side), Image.BICUBIC)
        pixels = (torch.tensor(np.asarray(image)).float() / 255 - 0.5) / 0.5
        out = self.encoder(pixels.permute(2, 0, 1)[None], output_hidden_states=True)
        z = self.bottleneck.in_linear(self.encode_task_layer(out.hidden_states[-2][0]))
        book = self.bottleneck.regularizer.embedding_proj(self.bottleneck.regularizer.embedding.weight)
        if self.unit_length:
            z, book = F.normalize(z, dim=-1), F.normalize(book, dim=-1)
        distance = ((z[:, None] - book[None]) ** 2).sum(-1)
        least = distance.topk(2, largest=False).values
        return distance.argmin(-1), (least[:, 1] - least[:, 0]).min().item()


class Omni(nn.Module):
    def __init__(self, config):
        from transformers import LlamaConfig, LlamaForCausalLM, Qwen2AudioEncoderConfig
        from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
        from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
            Qwen2_5_VisionTransformerPretrainedModel)
        from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

        super().__init__()
        self.config = config
        self.vision_model = Qwen2_5_VisionTransformerPretrainedModel(
            Qwen2_5_VLVisionConfig(**config["vision_config"], attn_implementation="eager"))
        self.mm_projector = nn.Linear(config["vision_config"]["out_hidden_size"], HIDDEN)
        self.audio_model = Qwen2AudioEncoder(
            Qwen2AudioEncoderConfig(**config["audio_config"], attn_implementation="eager"))
        width, kind = config["audio_config"]["d_model"], config["audio_projector_type"]
        self.audio_projector = (nn.Linear(width, HIDDEN) if kind == "linear" else
                                Mlp(width, width * (2 if kind == "inverted_mlp" else 1), HIDDEN))
        if "discrete_audio_config" in config:
            self.discrete_audio_model = SoundCodes(**config["discrete_audio_config"])
        if "discrete_vision_config" in config:
            own = config["discrete_vision_config"]
            tower = {k: v for k, v in own.items() if k not in ("l2_normalized", "select_layer_id")}
            self.discrete_vision_model = PictureCodes(tower, 12, 96, own["l2_normalized"])
        self.language_model = LlamaForCausalLM(LlamaConfig(
            **config["text_config"], attn_implementation="eager"))
        self.extractor = transformers.WhisperFeatureExtractor(
            feature_size=config["audio_config"]["num_mel_bins"])

    def see(self, pixels, grids):
        out = self.vision_model(pixels, grid_thw=grids, return_dict=True).pooler_output
        return self.mm_projector(out).split((grids.prod(-1) // 4).tolist())

    def hear(self, sound):
        length = WINDOW_FRAMES * 160
        parts = [sound[i:i + length] for i in range(0, len(sound), length)]
        features = self.extractor(parts, sampling_rate=16000, return_attention_mask=True,
                                  return_tensors="pt", padding="max_length", max_length=length)
        frames, rows = self.audio_model._get_feat_extract_output_lengths(features.attention_mask.sum(-1))
        mask = torch.arange(WINDOW_FRAMES // 2)[None] >= frames[:, None]
        mask = torch.zeros(mask.shape).masked_fill(mask, float("-inf"))[:, None, None]
        mask = mask.expand(-1, 1, WINDOW_FRAMES // 2, -1)
        out = self.audio_model(features.input_features, attention_mask=mask).last_hidden_state
        out = self.audio_projector(out)
        return torch.cat([out[i, :n] for i, n in enumerate(rows.tolist())])

    def shorten(self, rows):
        return compressor.compress(rows.double(), self.video_sound).float()

    def tensors(self):
        tied = self.config["tie_word_embeddings"]
        stored = {"model." + n: t for n, t in self.state_dict().items()
                  if not (tied and n == "language_model.lm_head.weight")}
        if "video_audio_compressor_type" in self.config:
            stored |= {"model.video_audio_compressor." + stored_name(n): t
                       for n, t in self.video_sound.items()}
        return stored


def stored_name(name):
    """Of a tensor of make_compressor_goldens.py in the published checkpoint."""
    parts = {"in": "input_proj", "out": "output_proj", "question": "query_token",
             "in_norm": "input_norm", "norm": "model.norm_f"}
    inner = {"in": "mixer.in_proj", "out": "mixer.out_proj", "weigh": "weight_fc", "gate": "gate_fc",
             "conv": "mixer.conv1d", "inner_norm": "mixer.norm", "dt_bias": "mixer.dt_bias",
             "a_log": "mixer.A_log", "d": "mixer.D", "norm": "norm"}
    if not name.startswith("layers."):
        head, _, kind = name.partition(".")
        return parts[head] + (f".{kind}" if kind else "")
    _, layer, head, *kind = name.split(".")
    return ".".join(["model.layers", layer, inner[head], *kind])


def video_sound_weights():
    compressor.IN = compressor.OUT = HIDDEN
    return {n: t.half().double() for n, t in compressor.weights().items()}


CODE_IDS = dict(discrete_image_start_id=IMAGE_CODE_ID, discrete_audio_start_id=AUDIO_CODE_ID,
                discrete_image_unit_0_id=160, discrete_audio_unit_0_id=256)


def omni(vocab=160, **changes):
    config = dict(dict(
        model_type="vlm", architectures=["HCXVisionV2ForCausalLM"], img_start_id=IMAGE_ID,
        video_start_id=VIDEO_ID, audio_start_id=AUDIO_ID, mm_projector_type="linear",
        audio_projector_type="mlp", text_config=text_config(vocab), vision_config=VISION,
        audio_config=AUDIO, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=False), **changes)
    return Omni(config)


def spelling(unit_length, **changes):
    tower = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
                 image_size=48, patch_size=8, l2_normalized=unit_length)
    ears = dict(n_mels=128, n_audio_state=32, n_audio_head=2, n_audio_layer=2, fsmn_kernel_size=31)
    return omni(vocab=256 + 6562, discrete_vision_config=tower, discrete_audio_config=ears,
                **CODE_IDS, **changes)


NAMES = {
    "omni": (51, omni),
    "omni_heard": (57, lambda: omni(video_audio_start_id=VIDEO_AUDIO_ID,
                                    video_audio_compressor_type="mambamia")),
    "omni_codes": (53, lambda: spelling(True, audio_projector_type="linear",
                                        tie_word_embeddings=True)),
}
LENGTHS = [16000 * 2 + 77, WINDOW_FRAMES * 160 + 160 * 61, 160 * 3 + 1]


def prompt(images, sounds, image_codes, sound_codes):
    """Ids with placeholders: for each medium its codes, then its rows; text between them."""
    ids = [1, 17]
    for k, rows in enumerate(images):
        if image_codes:
            side = int(len(image_codes[k]) ** 0.5)
            ids += [40 + k] + ([IMAGE_CODE_ID] * side + [EOL_ID]) * side + [41]
        ids += [42] + [IMAGE_ID] * len(rows) + [43, 30 + 11 * k, 31 + 7 * k]
    for k, rows in enumerate(sounds):
        if sound_codes:
            ids += [44] + [AUDIO_CODE_ID] * len(sound_codes[k]) + [45]
        ids += [46] + [AUDIO_ID] * len(rows) + [47, 90 + k]
    return torch.tensor(ids + [77, 5, 120])


def greedy(text, embeds):
    out = []
    for _ in range(NEW_TOKENS):
        token = int(text(inputs_embeds=embeds).logits[0, -1].argmax())
        out.append(token)
        embeds = torch.cat([embeds, text.get_input_embeddings()(torch.tensor([[token]]))], 1)
    return out


def compare_with_package(folder, sounds):
    """The tokeniser of sounds against s3tokenizer, at a size that the package allows."""
    from importlib.machinery import ModuleSpec
    for name in ("onnx", "torchaudio", "einops"):
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        sys.modules.setdefault(name, module)
    sys.modules["einops"].rearrange = lambda x, pattern: {
        "... d -> (...) d": lambda: x.reshape(-1, x.shape[-1]),
        "b n d -> b d n": lambda: x.transpose(1, 2)}[pattern]()
    sys.path.insert(0, folder)
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2
    from s3tokenizer.utils import log_mel_spectrogram
    torch.manual_seed(3)
    theirs = S3TokenizerV2("speech_tokenizer_v2_25hz", ModelConfig(
        n_audio_state=128, n_audio_head=2, n_audio_layer=3)).eval()
    randomize(theirs, 7)
    ours = SoundCodes(128, 128, 2, 3, 31)
    ours.load_state_dict({n: t for n, t in theirs.state_dict().items()}, strict=True)
    for sound in sounds:
        samples = torch.tensor(sound)
        mel = log_mel_spectrogram(samples, 128)
        print("mel", (mel - ours.mel(samples)).abs().max().item())
        codes, _ = theirs.quantize(mel[None], torch.tensor([mel.shape[1]]))
        mine, margin = ours(samples)
        print("package", codes.shape[1], "codes, equal:", bool((codes[0] == mine).all()), "margin",
              margin, "distinct", len(set(mine.tolist())))


def make(name, folder):
    seed, build = NAMES[name]
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    torch.manual_seed(0)
    model = build().eval().float()
    randomize(model, seed)
    for key, value in model.named_parameters():  # norms of the tokeniser of sounds are called ln
        if key.endswith("_ln.weight"):
            value.data.copy_((1 + value.data).half().float())
    processor = Qwen2VLImageProcessorPil(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    images = [Image.fromarray(noise_image(h, w, 1000 + k)) for k, (h, w) in enumerate(SIZES)]
    sounds = [signal(n) for n in LENGTHS]
    pixels = processor(images=images, return_tensors="pt")
    tensors = {}
    with torch.no_grad():
        seen = model.see(pixels["pixel_values"], pixels["image_grid_thw"])
        heard = [model.hear(s) for s in sounds]
        image_codes, sound_codes = [], []
        if "discrete_audio_config" in model.config:
            for k, image in enumerate(images):
                codes, margin = model.discrete_vision_model(image)
                print("picture", k, "distinct", len(set(codes.tolist())), "margin", margin)
                image_codes.append(codes)
                tensors[f"image_codes_{k}"] = codes.int()
            for k, sound in enumerate(sounds):
                codes, margin = model.discrete_audio_model(torch.tensor(sound))
                print("sound", k, "codes", len(codes), "distinct", len(set(codes.tolist())),
                      "margin", margin)
                sound_codes.append(codes)
                tensors[f"sound_codes_{k}"] = codes.int()
        ids = prompt(seen, heard, image_codes, sound_codes)
        watched, listened = [], []
        if "video_audio_compressor_type" in model.config:
            model.video_sound = video_sound_weights()
            frames = [noise_image(61, 100, 2000 + k) for k in range(5)]
            patches, grid = video_patches(processor, frames)
            watched = [model.see(patches, torch.tensor([grid]))[0]]
            listened = [model.shorten(model.hear(signal(VIDEO_SAMPLES)))]
            tensors["video_0"] = torch.cat(watched + listened)
            video = [48] + [VIDEO_ID] * len(watched[0]) + [VIDEO_AUDIO_ID] * len(listened[0]) + [49]
            ids = torch.cat([ids[:2], torch.tensor(video), ids[2:]])
        words = ids.clone()
        if image_codes:
            words[ids == IMAGE_CODE_ID] = torch.cat(image_codes) + CODE_IDS["discrete_image_unit_0_id"]
            words[ids == AUDIO_CODE_ID] = torch.cat(sound_codes) + CODE_IDS["discrete_audio_unit_0_id"]
        embeds = model.language_model.get_input_embeddings()(words)
        embeds[ids == IMAGE_ID] = torch.cat(seen)
        embeds[ids == AUDIO_ID] = torch.cat(heard)
        if watched:
            embeds[ids == VIDEO_ID] = watched[0]
            embeds[ids == VIDEO_AUDIO_ID] = listened[0]
        logits = model.language_model(inputs_embeds=embeds[None]).logits[0]
        generated = greedy(model.language_model, embeds[None])
    top = logits.topk(2).values
    print(name, [len(f) for f in seen], [len(f) for f in heard], "tokens", len(ids), "std",
          logits.std().item(), "smallest margin", (top[:, 0] - top[:, 1]).min().item(), generated)

    to = folder / name
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    save_file({n: t.half().contiguous() for n, t in model.tensors().items()},
              to / "model.safetensors", metadata=dict(format="pt"))
    processor.save_pretrained(to)
    (to / "config.json").write_text(json.dumps(model.config, indent=1, sort_keys=True) + "\n")
    tensors |= dict(input_ids=ids.int(), sizes=torch.tensor(SIZES).int(),
                    lengths=torch.tensor(LENGTHS).int(), logits=logits,
                    generated=torch.tensor(generated).int())
    for k, f in enumerate(seen):
        tensors[f"image_{k}"] = f.contiguous()
    for k, f in enumerate(heard):
        tensors[f"sound_{k}"] = f.contiguous()
    tensors["best"] = logits.argmax(-1).int()
    step = 301 if logits.shape[1] > 256 else 4 if watched else 1
    columns = torch.arange(0, logits.shape[1], step)
    tensors |= dict(columns=columns.int(), logits=logits[:, columns].contiguous())
    save_file(tensors, to / "golden.safetensors",
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))


def main():
    names = sys.argv[1:]
    if names[:1] == ["--package"]:
        compare_with_package(names[1], [signal(n) for n in (400, 16000, 50077, 160 * 950)])
        names = names[2:]
    for name in names or NAMES:
        make(name, Path(__file__).parent / "omni")


if __name__ == "__main__":
    main()
