"""Makes the quantised checkpoints under tests/golden/storage/ and what they must decode to.

  parts/NAME.safetensors   one or more small quantised matrices as the scheme stores them, the
                           quantization_config in the metadata, and for each matrix m the float32
                           values it stands for as "expected.m"
  models/NAME/             a tiny checkpoint in the scheme (config.json, model.safetensors) and
                           golden.safetensors with input_ids (T) and logits (T, V): the float32
                           answer of transformers for the same model with decoded weights

Where an independent decoder exists it makes the expectations: compressed-tensors for its own
formats and for the AWQ layout, transformers for the blocks of GPT-OSS. The others (FP8 scales,
GPTQ) are written here from the definition: the integers are known before they are packed.

Made with Python 3.11, numpy, torch 2.15.0, transformers 5.23.0, compressed-tensors 0.20.0,
safetensors 0.8.0. Usage: python tests/golden/make_storage_goldens.py [name ...]
"""

import json
import pathlib
import shutil
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

OUT = pathlib.Path(__file__).resolve().parent / "storage"
F8 = torch.float8_e4m3fn


def randn(gen, *shape):
    return torch.randn(shape, generator=gen)


def spread(groups, cols, size):
    """Repeats one value per group over the columns of the group."""
    return groups.repeat_interleave(size, dim=-1)[..., :cols]


# ---- FP8 ---------------------------------------------------------------------------------------

def fp8(w, block=None, per="block", scale_dtype=torch.float32, name="weight_scale_inv"):
    rows, cols = w.shape
    if per == "tensor":
        block = (rows, cols)
    elif per == "row":
        block = (1, cols)
    grid = (-(-rows // block[0]), -(-cols // block[1]))
    scale = torch.empty(grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            part = w[i * block[0]:(i + 1) * block[0], j * block[1]:(j + 1) * block[1]]
            scale[i, j] = part.abs().max() / 448.0
    scale = scale.to(scale_dtype)
    wide = scale.float().repeat_interleave(block[0], 0)[:rows]
    wide = wide.repeat_interleave(block[1], 1)[:, :cols]
    q = (w / wide).to(F8)
    stored = scale.reshape(()) if per == "tensor" else scale
    return {"weight": q, name: stored.contiguous()}, q.float() * wide


# ---- GPTQ --------------------------------------------------------------------------------------

def pack_words(codes, bits, dim):
    """Packs 32 / bits neighbours along `dim` into one int32, the first in the lowest bits."""
    per = 32 // bits
    codes = codes.long().movedim(dim, 0)
    words = torch.zeros((codes.shape[0] // per, *codes.shape[1:]), dtype=torch.long)
    for i in range(per):
        words |= codes[i::per] << (bits * i)
    words = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
    return words.movedim(0, dim).contiguous()


def quantize_asym(w, size, bits, symmetric, groups=None):
    """Codes, scales (N, G) in float16 and zeros (N, G); groups: group of each column."""
    rows, cols = w.shape
    groups = torch.arange(cols) // size if groups is None else groups
    count = int(groups.max()) + 1
    top = 2**bits - 1
    scales, zeros = torch.empty(rows, count), torch.empty(rows, count, dtype=torch.long)
    for g in range(count):
        part = w[:, groups == g]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if symmetric:
            high = torch.maximum(-low, high)
            low = -high
        scales[:, g] = ((high - low) / top).half().float()
        zeros[:, g] = 2 ** (bits - 1) if symmetric else (-low / scales[:, g]).round().clamp(0, top)
    codes = (w / scales[:, groups] + zeros[:, groups]).round().clamp(0, top).long()
    return codes, scales, zeros, groups


def gptq(w, size=32, bits=4, symmetric=False, v2=False, groups=None):
    size = w.shape[1] if size == -1 else size
    codes, scales, zeros, groups = quantize_asym(w, size, bits, symmetric, groups)
    stored = zeros if v2 else (zeros - 1) % 2**bits
    parts = {"qweight": pack_words(codes.T, bits, 0), "qzeros": pack_words(stored.T, bits, 1),
             "scales": scales.T.half().contiguous(), "g_idx": groups.int()}
    return parts, (codes - zeros[:, groups]).float() * scales[:, groups]


# ---- AWQ ---------------------------------------------------------------------------------------

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(w, size=32, zero_point=True):
    codes, scales, zeros, groups = quantize_asym(w, size, 4, not zero_point)
    order = torch.arange(w.shape[0]).view(-1, 8)[:, AWQ_ORDER].reshape(-1)
    parts = {"qweight": pack_words(codes.T[:, order], 4, 1), "scales": scales.T.half().contiguous()}
    if zero_point:
        parts["qzeros"] = pack_words(zeros.T[:, order], 4, 1)
    codes8, zeros8 = AutoAWQConverter.reverse_awq_order(
        *AutoAWQConverter.unpack_awq(parts["qweight"], parts.get("qzeros"), 4), 4)
    found = (codes8 & 15).T
    assert torch.equal(found.long(), codes)
    offset = (zeros8 & 15).T[:, groups] if zero_point else 8
    return parts, (found - offset).float() * scales[:, groups]


# ---- compressed-tensors ------------------------------------------------------------------------

def compressed(w, fmt, scale_dtype=torch.bfloat16, g_idx=None, **args):
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    compressor = BaseCompressor.get_value_from_registry(fmt)
    rows, cols = w.shape
    size = args.get("group_size") or cols
    bits, symmetric = args["num_bits"], args.get("symmetric", True)
    if args.get("strategy") == "tensor":
        absmax = w.abs().max().reshape(1)
    elif args.get("strategy") == "block":
        bn, bk = args["block_structure"]
        padded = torch.zeros(-(-rows // bn) * bn, -(-cols // bk) * bk)
        padded[:rows, :cols] = w.abs()
        absmax = padded.view(-1, bn, padded.shape[1] // bk, bk).amax((1, 3))
    else:
        groups = torch.arange(cols) // size if g_idx is None else g_idx
        absmax = torch.stack([w[:, groups == g].abs().amax(1) for g in range(-(-cols // size))], 1)
    state = {"weight": w}
    if args["type"] == "float" and bits == 8:
        scale = absmax / 448.0
    elif args["type"] == "float":
        scale = absmax / 6.0
    else:
        scale = absmax * 2 / (2**bits - 1)
    if fmt == "nvfp4-pack-quantized":
        state["weight_global_scale"] = (448.0 * 6.0 / w.abs().max()).reshape(1)
        scale = (scale * state["weight_global_scale"]).to(F8).float()
    elif fmt == "mxfp4-pack-quantized":
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
    else:
        scale = scale.to(scale_dtype).float()
    state["weight_scale"] = scale
    if not symmetric:
        low = torch.stack([w[:, i:i + size].amin(1) for i in range(0, cols, size)], 1)
        zero = (-(2 ** (bits - 1)) - low / scale).round()
        state["weight_zero_point"] = zero.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8)
    packed = compressor.compress(state, scheme)
    if fmt == "nvfp4-pack-quantized":  # its decompress rounds to bfloat16
        codes = unpack_fp4_from_uint8(packed["weight_packed"], rows, cols, dtype=torch.float32)
        plain = dequantize(codes, packed["weight_scale"].float(), args=scheme.weights,
                           global_scale=packed["weight_global_scale"], dtype=torch.float32)
    else:
        plain = compressor.decompress(dict(packed), scheme)["weight"].float()
    if packed["weight_scale"].dtype == torch.float32 and scale_dtype != torch.float32:
        packed["weight_scale"] = packed["weight_scale"].to(scale_dtype)
    return {k: v.contiguous() for k, v in packed.items()}, plain


# ---- NVFP4 of Model Optimizer, MXFP4 of GPT-OSS ---------------------------------------------------

E2M1 = torch.tensor([0.0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def nearest_e2m1(x):
    return (x.unsqueeze(-1) - E2M1).abs().argmin(-1)


def modelopt_nvfp4(w):
    rows, cols = w.shape
    second = w.abs().max() / (6.0 * 448.0)
    scale = (w.view(rows, -1, 16).abs().amax(2) / 6.0 / second).to(F8)
    wide = spread(scale.float() * second, cols, 16)
    codes = nearest_e2m1(w / wide)
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).to(torch.uint8)
    parts = {"weight": packed, "weight_scale": scale, "weight_scale_2": second.reshape(())}
    return parts, E2M1[codes] * wide


def mxfp4_blocks(gen, experts, rows, cols):
    blocks = torch.randint(0, 256, (experts, rows, cols // 32, 16), generator=gen).to(torch.uint8)
    scales = torch.randint(110, 130, (experts, rows, cols // 32), generator=gen).to(torch.uint8)
    plain = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)  # (E, K, N)
    return blocks, scales, plain.transpose(1, 2).contiguous()


# ---- Parts -------------------------------------------------------------------------------------

def ct_config(fmt, **weights):
    return {"quant_method": "compressed-tensors", "format": fmt, "ignore": ["lm_head", "re:.*skip.*"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


INT = dict(type="int", strategy="group")
FLOAT = dict(type="float")
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}


def act_order(gen, cols, size):
    order = torch.randperm(cols, generator=gen)
    groups = torch.empty(cols, dtype=torch.long)
    groups[order] = torch.arange(cols) // size
    return groups


# name: (quantization_config, function of a matrix (N, K) and a generator)
SCHEMES = {
    "fp8_block": ({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                   "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]},
                  lambda w, g: fp8(w, (128, 128))),
    "fp8_small_block": ({"quant_method": "fp8", "weight_block_size": [16, 24]},
                        lambda w, g: fp8(w, (16, 24), scale_dtype=torch.bfloat16)),
    "fp8_tensor": ({"quant_method": "fp8", "activation_scheme": "static"},
                   lambda w, g: fp8(w, per="tensor", name="weight_scale")),
    "fbgemm": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0,
                "modules_to_not_convert": ["lm_head"]},
               lambda w, g: fp8(w, per="row", name="weight_scale")),
    "gptq": (GPTQ, lambda w, g: gptq(w)),
    "gptq_sym": (dict(GPTQ, sym=True, group_size=-1), lambda w, g: gptq(w, -1, symmetric=True)),
    "gptq_v2": (dict(GPTQ, checkpoint_format="gptq_v2"), lambda w, g: gptq(w, v2=True)),
    "gptq_act_order": (dict(GPTQ, desc_act=True),
                       lambda w, g: gptq(w, groups=act_order(g, w.shape[1], 32))),
    "gptq_int8": (dict(GPTQ, bits=8), lambda w, g: gptq(w, bits=8)),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True,
             "version": "gemm"}, lambda w, g: awq(w)),
    "awq_no_zero": ({"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": False,
                     "version": "gemm"}, lambda w, g: awq(w, zero_point=False)),
    "packed_int4": (ct_config("pack-quantized", num_bits=4, group_size=32, symmetric=True, **INT),
                    lambda w, g: compressed(w, "pack-quantized", num_bits=4, group_size=32, **INT)),
    "packed_int4_zeros": (
        ct_config("pack-quantized", num_bits=4, group_size=32, symmetric=False, **INT),
        lambda w, g: compressed(w, "pack-quantized", num_bits=4, group_size=32, symmetric=False,
                                **INT)),
    "packed_int8": (
        ct_config("pack-quantized", num_bits=8, type="int", strategy="channel", symmetric=True),
        lambda w, g: compressed(w, "pack-quantized", num_bits=8, type="int", strategy="channel")),
    "int_quantized": (
        ct_config("int-quantized", num_bits=8, type="int", strategy="channel", symmetric=True),
        lambda w, g: compressed(w, "int-quantized", num_bits=8, type="int", strategy="channel")),
    "float_quantized": (
        ct_config("float-quantized", num_bits=8, strategy="channel", symmetric=True, **FLOAT),
        lambda w, g: compressed(w, "float-quantized", num_bits=8, strategy="channel", **FLOAT)),
    "float_block": (
        ct_config("float-quantized", num_bits=8, strategy="block", block_structure=[16, 32],
                  symmetric=True, **FLOAT),
        lambda w, g: compressed(w, "float-quantized", num_bits=8, strategy="block",
                                block_structure=[16, 32], **FLOAT)),
    "nvfp4": (
        ct_config("nvfp4-pack-quantized", num_bits=4, strategy="tensor_group", group_size=16,
                  symmetric=True, **FLOAT),
        lambda w, g: compressed(w, "nvfp4-pack-quantized", num_bits=4, strategy="tensor_group",
                                group_size=16, **FLOAT)),
    "mxfp4": (
        ct_config("mxfp4-pack-quantized", num_bits=4, strategy="group", group_size=32,
                  symmetric=True, scale_dtype="torch.uint8", **FLOAT),
        lambda w, g: compressed(w, "mxfp4-pack-quantized", num_bits=4, strategy="group",
                                group_size=32, **FLOAT)),
    "modelopt_nvfp4": ({"quant_method": "modelopt", "quant_algo": "NVFP4"},
                       lambda w, g: modelopt_nvfp4(w)),
}
# Schemes of whole models only: experts are stored one by one, as published checkpoints do.
MOE_SCHEMES = {
    "fp8_experts": ({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                     "weight_block_size": [64, 64]}, lambda w, g: fp8(w, (64, 64))),
    "packed_int4_experts": (
        dict(SCHEMES["packed_int4"][0], ignore=["lm_head", "re:.*mlp.gate$"]),
        SCHEMES["packed_int4"][1]),
}
PART_SHAPES = {"fp8_block": (136, 160), "fp8_small_block": (40, 88)}


def make_parts(name):
    gen = torch.Generator().manual_seed(len(name) * 1000 + 7)
    tensors = {}
    if name == "gpt_oss":
        config = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
        blocks, scales, plain = mxfp4_blocks(gen, 2, 18, 64)
        tensors = {"m.experts_blocks": blocks, "m.experts_scales": scales,
                   "expected.m.experts_blocks": plain}
    else:
        config, make = SCHEMES[name]
        w = 0.1 * randn(gen, *PART_SHAPES.get(name, (24, 96)))
        parts, plain = make(w, gen)
        tensors = {f"m.{key}": value for key, value in parts.items()}
        tensors["expected.m.weight"] = plain
        tensors["m.input_scale"] = torch.ones(1)
    (OUT / "parts").mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "parts" / f"{name}.safetensors",
              metadata={"quantization_config": json.dumps(config)})


# ---- Models ------------------------------------------------------------------------------------

MODEL = dict(vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
WIDE = dict(MODEL, hidden_size=144, intermediate_size=272, num_hidden_layers=1)
TOKENS = 24


MOE = dict(MODEL, intermediate_size=128, moe_intermediate_size=96, num_experts=6,
           num_experts_per_tok=3, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])


def store_experts(model, stored, make, gen):
    """The stacked experts of transformers as one matrix each, quantised."""
    for name, experts in model.named_modules():
        if not name.endswith(".experts"):
            continue
        for e in range(experts.num_experts):
            gate, up = experts.gate_up_proj[e].chunk(2)
            for part, matrix in (("gate", gate), ("up", up), ("down", experts.down_proj[e])):
                parts, plain = make(matrix.detach().clone(), gen)
                matrix.copy_(plain)
                stored.update({f"{name}.{e}.{part}_proj.{k}": v for k, v in parts.items()})
        del stored[f"{name}.gate_up_proj"], stored[f"{name}.down_proj"]


def quantized_modules(model):
    return [n for n, m in model.named_modules()
            if isinstance(m, torch.nn.Linear) and n != "lm_head" and not n.endswith(".gate")]


def make_model(name):
    quant, make = SCHEMES.get(name) or MOE_SCHEMES[name]
    family = "qwen3" if name.startswith(("fp8", "awq", "packed")) else "llama"
    if name in MOE_SCHEMES:
        family = "qwen3_moe"
    sizes = WIDE if name == "fp8_block" else MOE if family == "qwen3_moe" else MODEL
    config = AutoConfig.for_model(family, **sizes)
    config.architectures = [{"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM",
                             "qwen3_moe": "Qwen3MoeForCausalLM"}[family]]
    for seed in range(100):
        gen = torch.Generator().manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        stored = {}
        with torch.no_grad():
            for key, tensor in model.state_dict().items():
                noise = randn(gen, *tensor.shape)
                value = 1 + 0.3 * noise if "norm" in key else (0.3 if "embed" in key else 0.2) * noise
                tensor.copy_(value.to(torch.bfloat16).float())
                stored[key] = tensor.to(torch.bfloat16)
            for module in quantized_modules(model):
                linear = model.get_submodule(module)
                parts, plain = make(linear.weight.detach().clone(), gen)
                del stored[f"{module}.weight"]
                stored.update({f"{module}.{k}": v for k, v in parts.items()})
                linear.weight.copy_(plain)
            store_experts(model, stored, make, gen)
            ids = torch.randint(3, config.vocab_size, (1, TOKENS), generator=gen)
            logits = model(ids, use_cache=False).logits[0]
        top = logits.topk(2, dim=-1).values
        if (top[:, 0] - top[:, 1]).min() > 0.01 * logits.std():
            break
    else:
        raise SystemExit(f"{name}: no seed gives a clear winner everywhere")
    save_model(name, config, quant, stored, ids, logits, seed)


def save_model(name, config, quant, stored, ids, logits, seed):
    folder = OUT / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    saved = config.to_dict()
    saved["quantization_config"] = quant
    (folder / "config.json").write_text(json.dumps(saved, indent=1, default=str) + "\n")
    save_file({k: v.clone().contiguous() for k, v in stored.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    save_file({"input_ids": ids[0], "logits": logits.contiguous()}, folder / "golden.safetensors")
    print(f"{name}: seed {seed}")


def main():
    names = sys.argv[1:] or [*SCHEMES, *MOE_SCHEMES, "gpt_oss"]
    for name in names:
        if name not in MOE_SCHEMES:
            make_parts(name)
        if name not in ("fp8_small_block", "gpt_oss"):
            make_model(name)


if __name__ == "__main__":
    main()
