#!/usr/bin/env python3
"""Tiny random checkpoints that hear, and what the reference makes of noise.

Made with transformers 5.23.0 and torch 2.15, float32 on a CPU. Every parameter is random, norms and
biases too; weights are rounded to float16 before the reference runs, so that they are stored
exactly. Sounds are not stored: tests/encoders/signal.h makes the same samples. Features and
placeholder counts come from the feature extractor with the settings of each family's processor.

Per family, tests/golden/hearing/<family>/:
  config.json, model.safetensors   as save_pretrained writes them
  golden.safetensors   per case k: lengths_<k> (samples), ids_<k> (T), logits_<k> (T, V); for the
                       last case also generated (12)

usage: make_hearing_goldens.py [output folder]
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

VOCAB = 64
AUDIO_ID, START_ID, END_ID = 60, 61, 62
FRAMES = [1, 99, 100, 101, 199, 200, 201, 950]
NEW_TOKENS = 12


def signal(length):
    """As in make_audio_goldens.py: noise whose loudness halves every 2,500 samples."""
    state, out = 12345, np.empty(length, np.float32)
    for i in range(length):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = ((state >> 8) - 8388608) / 8388608.0 * 0.5 ** (i // 2500 % 12)
    return out


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim == 1:
                is_norm = "norm" in name or "ln_post" in name
                value = 0.2 * noise + (1.0 if is_norm and name.endswith("weight") else 0.0)
            elif "embed" in name:
                value = 0.5 * noise
            else:
                value = 1.5 * noise / np.sqrt(p[0].numel())
            p.copy_(value.half().float())


def text_fields():
    return dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
                bos_token_id=1, eos_token_id=2, pad_token_id=0, hidden_act="silu",
                rms_norm_eps=1e-6)


def audio_fields(mels):
    return dict(num_mel_bins=mels, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48,
                d_model=32, max_source_positions=1500)


def sections():
    return dict(rope_type="default", rope_theta=10000.0, mrope_section=[2, 1, 1])


def qwen2_audio():
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration
    config = Qwen2AudioConfig(
        audio_config=dict(audio_fields(80), model_type="qwen2_audio_encoder", max_source_positions=500),
        text_config=dict(text_fields(), model_type="qwen2", rope_theta=10000.0),
        audio_token_index=AUDIO_ID)
    count = lambda n: (((n - 1) // 2 + 1) - 2) // 2 + 1
    return Qwen2AudioForConditionalGeneration(config), dict(padding="max_length", max_length=160000), count


def qwen2_5_omni():
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration
    config = Qwen2_5OmniThinkerConfig(
        audio_config=dict(audio_fields(80), n_window=100, output_dim=32),
        text_config=dict(text_fields(), rope_parameters=sections()),
        vision_config=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=1, out_hidden_size=32,
                           fullatt_block_indexes=[0], patch_size=2, window_size=8),
        audio_token_index=AUDIO_ID, image_token_index=58, video_token_index=59,
        audio_start_token_id=START_ID, audio_end_token_id=END_ID, vision_start_token_id=56)
    count = lambda n: (((n - 1) // 2 + 1) - 2) // 2 + 1
    return Qwen2_5OmniThinkerForConditionalGeneration(config), dict(padding="max_length", max_length=160000), count


def qwen3_omni():
    from transformers import Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration
    from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import _get_feat_extract_output_lengths
    config = Qwen3OmniMoeThinkerConfig(
        audio_config=dict(audio_fields(80), n_window=50, n_window_infer=400, output_dim=32,
                          downsample_hidden_size=8),
        text_config=dict(text_fields(), rope_parameters=sections(), num_experts=4,
                         num_experts_per_tok=2, moe_intermediate_size=24),
        vision_config=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=1, out_hidden_size=32,
                           patch_size=2, num_position_embeddings=4, deepstack_visual_indexes=[]),
        audio_token_id=AUDIO_ID, image_token_id=58, video_token_id=59,
        audio_start_token_id=START_ID, vision_start_token_id=56)
    count = lambda n: int(_get_feat_extract_output_lengths(n))
    return Qwen3OmniMoeThinkerForConditionalGeneration(config), dict(padding=True, truncation=False), count


def build_ids(counts, generator):
    text = lambda n: torch.randint(3, 50, (n,), generator=generator).tolist()
    ids = text(3)
    for count in counts:
        ids += [START_ID] + [AUDIO_ID] * count + [END_ID] + text(2)
    return ids


def cases(name):
    single = [[160 * n] for n in FRAMES if name != "qwen3_omni" or n > 1]
    return single + [[16000 * 2 + 77, 7 * 1600 + 33], [160 * 61, 160 * 49 + 100], [160 * 950, 160 * 75]]


def run(name, make, out):
    model, padding, count = make()
    model = model.eval()
    randomize(model, 11)
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    generator = torch.Generator().manual_seed(5)
    golden = {}
    for k, lengths in enumerate(cases(name)):
        sounds = [signal(n) for n in lengths]
        features = extractor(sounds, sampling_rate=16000, return_attention_mask=True,
                             return_tensors="pt", **padding)
        mask = features.attention_mask
        ids = build_ids([count(int(n)) for n in mask.sum(-1)], generator)
        inputs = dict(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                      input_features=features.input_features, feature_attention_mask=mask)
        with torch.no_grad():
            golden[f"logits_{k}"] = model(**inputs).logits[0].contiguous()
        golden[f"lengths_{k}"] = torch.tensor(lengths, dtype=torch.int32)
        golden[f"ids_{k}"] = torch.tensor(ids, dtype=torch.int32)
        assert golden[f"logits_{k}"].shape[0] == len(ids)
        if hasattr(model, "get_rope_index"):
            positions, _ = model.get_rope_index(inputs["input_ids"], None, None, inputs["attention_mask"],
                                                False, mask.sum(-1), None)
            assert (positions == torch.arange(len(ids))).all()  # sound counts like text
    with torch.no_grad():
        generated = model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
                                   do_sample=False)
    golden["generated"] = generated[0, len(ids):].int()
    folder = out / name
    model.half().save_pretrained(folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    stored = load_file(folder / "model.safetensors")
    # What sees is not part of this data.
    save_file({k: v for k, v in stored.items() if "visual" not in k}, folder / "model.safetensors",
              metadata={"format": "pt"})
    save_file(golden, folder / "golden.safetensors")
    print(name, sorted(stored)[:3], [len(golden[f"ids_{k}"]) for k in range(len(cases(name)))])


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "hearing"
    for name, make in dict(qwen2_audio=qwen2_audio, qwen2_5_omni=qwen2_5_omni, qwen3_omni=qwen3_omni).items():
        run(name, make, out)


if __name__ == "__main__":
    main()
