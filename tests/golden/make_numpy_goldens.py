"""Makes the tiny random checkpoints under tests/golden/text/ of families that no library here runs,
with plain NumPy (float64) references written from papers and vendors' sources:

    motif          differential attention (arXiv 2410.05258), PolyNorm (arXiv 2411.03884)
    motif_grouped  grouped differential attention (arXiv 2510.06949), several groups to a key pair
    solar_pro      Llama layers with long skips and a window
    exaone_moe_mtp K-EXAONE with the extra module that guesses the token after next, and
                     draft_logits  (T-1, V) its answers over the prompt, row t from the trunk's
                                   normed row t and the id at t+1
                     second_draft  (V) its answer when it is applied again: to its own last row
                                   and the best id there, one position further
    exaone_moe2    the same with the keys of K-EXAONE 2.0 (windows and clamps per layer)
    deepseek_mtp   DeepSeek-V3 (latent attention) with its extra layer, the same two answers; this
                     layer has an embedding and a head of its own

What this does not prove: that the released checkpoints compute this. The references share nothing
with the C++ code but the formulas, and the formulas were read from third-party sources (vLLM 0.10.2
for Motif 2.6B, the vendor's vLLM backend and an MLX port for Motif-2, vLLM and SGLang for Solar
Pro); no released weights were run. Motif-2's order of heads inside a group and the reach of Solar's
sliding_window in particular rest on those readings alone. That the extra module reads the trunk's
row after its final norm, and its own row after (K-EXAONE) or before (DeepSeek) the module's norm, is
what vLLM feeds it.

Files and rejected seeds are as make_text_goldens.py describes. All parameters are random and sizes
odd; prompts outgrow the windows. Made with Python 3.11, NumPy 2 and safetensors; no torch.
Usage: python tests/golden/make_numpy_goldens.py [family ...]
"""

import json
import math
import pathlib
import shutil
import sys

import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent / "text"
PROMPT_TOKENS = 40
GREEDY_TOKENS = 32


def rms(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rope(x, positions, theta):
    """x (T, heads, d): column i turns with column i + d/2."""
    half = x.shape[-1] // 2
    angle = positions[:, None, None] * theta ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                           b * np.cos(angle) + a * np.sin(angle)], -1)


def softmax_attention(q, k, v, window):
    """One head: q, k (T, d), v (T, any); a query sees `window` keys, its own included, or all."""
    length = len(q)
    scores = q @ k.T / math.sqrt(q.shape[-1])
    i, j = np.arange(length)[:, None], np.arange(length)[None, :]
    hidden = (j > i) | ((j <= i - window) if window else False)
    scores = np.where(hidden, -np.inf, scores)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


def silu(x):
    return x / (1 + np.exp(-x))


def poly_norm(x, weight, bias):
    def n(z):
        return z / np.sqrt((z * z).mean(-1, keepdims=True) + 1e-6)
    return weight[0] * n(x ** 3) + weight[1] * n(x ** 2) + weight[2] * n(x) + bias[0]


def project(x, tensors, name):
    y = x @ tensors[name + ".weight"].T
    return y + tensors[name + ".bias"] if name + ".bias" in tensors else y


def heads_of(x, dim):
    return x.reshape(len(x), -1, dim)


def differential(config, tensors, prefix, layer, x, window):
    """Query heads in groups: `ratio` signal heads, then the noise head. Key heads in pairs of signal
    and noise. The two values of a pair lie side by side."""
    t, dim = len(x), config["head_dim"]
    positions = np.arange(t)
    q = rope(heads_of(project(x, tensors, prefix + "q_proj"), dim), positions, config["rope_theta"])
    k = rope(heads_of(project(x, tensors, prefix + "k_proj"), dim), positions, config["rope_theta"])
    v = project(x, tensors, prefix + "v_proj").reshape(t, -1, 2 * dim)
    groups = config.get("num_noise_heads", config["num_attention_heads"] // 2)
    ratio = config["num_attention_heads"] // groups - 1
    pairs = config["num_key_value_heads"] // 2
    init = 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))
    lam = (math.exp(tensors[prefix + "lambda_q1"] @ tensors[prefix + "lambda_k1"])
           - math.exp(tensors[prefix + "lambda_q2"] @ tensors[prefix + "lambda_k2"]) + init)
    out = []
    for group in range(groups):
        pair = group * pairs // groups
        first = group * (ratio + 1)
        noise = softmax_attention(q[:, first + ratio], k[:, 2 * pair + 1], v[:, pair], window)
        for s in range(ratio):
            signal = softmax_attention(q[:, first + s], k[:, 2 * pair], v[:, pair], window)
            out.append(rms(signal - lam * noise, tensors[prefix + "subln.weight"],
                           config["attn_rms_norm_eps"]) * (1 - init))
    return project(np.concatenate(out, -1), tensors, prefix + "o_proj")


def grouped_query(config, tensors, prefix, x, window):
    t, dim = len(x), config["head_dim"]
    positions = np.arange(t)
    q = rope(heads_of(project(x, tensors, prefix + "q_proj"), dim), positions, config["rope_theta"])
    k = rope(heads_of(project(x, tensors, prefix + "k_proj"), dim), positions, config["rope_theta"])
    v = heads_of(project(x, tensors, prefix + "v_proj"), dim)
    group = q.shape[1] // k.shape[1]
    out = [softmax_attention(q[:, h], k[:, h // group], v[:, h // group], window)
           for h in range(q.shape[1])]
    return project(np.concatenate(out, -1), tensors, prefix + "o_proj")


def head_of(config, tensors, h):
    h = rms(h, tensors["model.norm.weight"], config["rms_norm_eps"])
    name = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return h @ tensors[name].T


def motif_logits(config, tensors, ids):
    h = tensors["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        slides = config.get("use_sliding_window") and layer >= config["max_window_layers"]
        window = config["sliding_window"] if slides else 0
        x = rms(h, tensors[prefix + "input_layernorm.weight"], config["rms_norm_eps"])
        h = h + differential(config, tensors, prefix + "self_attn.", layer, x, window)
        x = rms(h, tensors[prefix + "post_attention_layernorm.weight"], config["rms_norm_eps"])
        gate = poly_norm(project(x, tensors, prefix + "mlp.gate_proj"),
                         tensors[prefix + "mlp.act_fn.weight"], tensors[prefix + "mlp.act_fn.bias"])
        h = h + project(gate * project(x, tensors, prefix + "mlp.up_proj"), tensors,
                        prefix + "mlp.down_proj")
    return head_of(config, tensors, h)


def solar_logits(config, tensors, ids):
    h = tensors["model.embed_tokens.weight"][ids]
    slots, tv = {}, config["bskcn_tv"][1]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for slot in (1, 2):
            if layer in config[f"bskcn_{slot}"]:
                slots[slot] = h
        for slot in (1, 2):
            if layer in config[f"bskcn_{slot + 2}"]:
                h = slots[slot] * tv + h * (1 - tv)
        x = rms(h, tensors[prefix + "input_layernorm.weight"], config["rms_norm_eps"])
        h = h + grouped_query(config, tensors, prefix + "self_attn.", x,
                              config["sliding_window"] or 0)
        x = rms(h, tensors[prefix + "post_attention_layernorm.weight"], config["rms_norm_eps"])
        gated = silu(project(x, tensors, prefix + "mlp.gate_proj"))
        h = h + project(gated * project(x, tensors, prefix + "mlp.up_proj"), tensors,
                        prefix + "mlp.down_proj")
    return head_of(config, tensors, h)


def common_shapes(config, q_width, kv_width, o_width):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden),
              "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}{norm}.weight"] = (hidden,)
        shapes[prefix + "self_attn.q_proj.weight"] = (q_width, hidden)
        shapes[prefix + "self_attn.k_proj.weight"] = (kv_width, hidden)
        shapes[prefix + "self_attn.v_proj.weight"] = (kv_width, hidden)
        shapes[prefix + "self_attn.o_proj.weight"] = (hidden, o_width)
        shapes[prefix + "mlp.gate_proj.weight"] = (inner, hidden)
        shapes[prefix + "mlp.up_proj.weight"] = (inner, hidden)
        shapes[prefix + "mlp.down_proj.weight"] = (hidden, inner)
    return shapes


def motif_shapes(config):
    dim, heads = config["head_dim"], config["num_attention_heads"]
    noise = config.get("num_noise_heads", heads // 2)
    shapes = common_shapes(config, heads * dim, config["num_key_value_heads"] * dim,
                           (heads - noise) * 2 * dim)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            shapes[prefix + "self_attn." + name] = (dim,)
        shapes[prefix + "self_attn.subln.weight"] = (2 * dim,)
        shapes[prefix + "mlp.act_fn.weight"] = (3,)
        shapes[prefix + "mlp.act_fn.bias"] = (1,)
    return shapes


def solar_shapes(config):
    dim = config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    return common_shapes(config, q, kv, q)


def moe(config, tensors, prefix, x, correction="e_score_correction_bias", limit=0):
    """Sigmoid scores; the correction only chooses. Experts come from the groups whose two best sum
    highest. One shared expert, not scaled."""
    scores = 1 / (1 + np.exp(-(x @ tensors[prefix + "gate.weight"].T)))
    choice = scores + tensors[prefix + correction]
    if config["n_group"] > 1:
        groups = choice.reshape(len(x), config["n_group"], -1)
        best = np.sort(groups, -1)[..., -2:].sum(-1)
        kept = np.argsort(-best, -1, kind="stable")[:, :config["topk_group"]]
        masked = np.full_like(groups, -np.inf)
        np.put_along_axis(masked, kept[..., None], np.take_along_axis(groups, kept[..., None], 1), 1)
        choice = masked.reshape(choice.shape)
    out = gated_mlp(tensors, prefix + "shared_experts.", x, limit)
    for t, row in enumerate(x):
        chosen = np.argsort(-choice[t], kind="stable")[:config["num_experts_per_tok"]]
        weights = scores[t, chosen] / scores[t, chosen].sum() * config["routed_scaling_factor"]
        for expert, weight in zip(chosen, weights):
            out[t] += weight * gated_mlp(tensors, f"{prefix}experts.{expert}.", row, limit)
    return out


def gated_mlp(tensors, prefix, x, limit=0):
    """A limit holds the gate from above and the other factor from both sides."""
    gate, up = project(x, tensors, prefix + "gate_proj"), project(x, tensors, prefix + "up_proj")
    if limit:
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    return project(silu(gate) * up, tensors, prefix + "down_proj")


def exaone_moe_layer(config, tensors, prefix, h, window, rotates, sparse, limit=0):
    eps, dim, t = config["rms_norm_eps"], config["head_dim"], len(h)
    x = rms(h, tensors[prefix + "input_layernorm.weight"], eps)
    q = heads_of(project(x, tensors, prefix + "self_attn.q_proj"), dim)
    k = heads_of(project(x, tensors, prefix + "self_attn.k_proj"), dim)
    v = heads_of(project(x, tensors, prefix + "self_attn.v_proj"), dim)
    q = rms(q, tensors[prefix + "self_attn.q_norm.weight"], eps)
    k = rms(k, tensors[prefix + "self_attn.k_norm.weight"], eps)
    if rotates:
        q = rope(q, np.arange(t), config["rope_theta"])
        k = rope(k, np.arange(t), config["rope_theta"])
    group = q.shape[1] // k.shape[1]
    heads = [softmax_attention(q[:, n], k[:, n // group], v[:, n // group], window)
             for n in range(q.shape[1])]
    h = h + project(np.concatenate(heads, -1), tensors, prefix + "self_attn.o_proj")
    x = rms(h, tensors[prefix + "post_attention_layernorm.weight"], eps)
    return h + (moe(config, tensors, prefix + "mlp.", x, limit=limit) if sparse
                else gated_mlp(tensors, prefix + "mlp.", x, limit))


def exaone_moe_rows(config, tensors, ids):
    """The trunk's rows after the final norm."""
    h = tensors["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        slides = config["layer_types"][layer] == "sliding_attention"
        window = config["sliding_window"] if slides else 0
        if "sliding_windows" in config:
            window = config["sliding_windows"][layer] or 0
        limits = config.get("swiglu_limits", [0] * config["num_hidden_layers"])
        h = exaone_moe_layer(config, tensors, f"model.layers.{layer}.", h, window, slides,
                             config["is_moe_layer"][layer], limits[layer] or 0)
    return rms(h, tensors["model.norm.weight"], config["rms_norm_eps"])


def exaone_moe_logits(config, tensors, ids):
    return exaone_moe_rows(config, tensors, ids) @ tensors["lm_head.weight"].T


def exaone_moe_module(config, tensors, rows, next_ids):
    """The module's rows after mtp.norm: its layer rotates, slides and is dense."""
    eps = config["rms_norm_eps"]
    joined = np.concatenate([
        rms(tensors["model.embed_tokens.weight"][next_ids],
            tensors["mtp.pre_fc_norm_embedding.weight"], eps),
        rms(rows, tensors["mtp.pre_fc_norm_hidden.weight"], eps)], -1)
    h = exaone_moe_layer(config, tensors, "mtp.layers.0.", project(joined, tensors, "mtp.fc"),
                         config.get("mtp_sliding_windows", [config["sliding_window"]])[0], True, False)
    return rms(h, tensors["mtp.norm.weight"], eps)


def exaone_moe_drafts(config, tensors, ids):
    rows = exaone_moe_rows(config, tensors, ids)[:-1]
    module = exaone_moe_module(config, tensors, rows, ids[1:])
    drafts = module @ tensors["lm_head.weight"].T
    # Applied again: its own row joins the best id of that row.
    again = exaone_moe_module(config, tensors, np.concatenate([rows, module[-1:]]),
                              ids[1:] + [int(drafts[-1].argmax())])
    return {"draft_logits": drafts, "second_draft": again[-1] @ tensors["lm_head.weight"].T}


def rope_pairs(x, positions, theta):
    """x (T, heads, d): column 2i turns with column 2i + 1."""
    half = x.shape[-1] // 2
    angle = positions[:, None, None] * theta ** (-np.arange(half) / half)
    out = np.empty_like(x)
    out[..., ::2] = x[..., ::2] * np.cos(angle) - x[..., 1::2] * np.sin(angle)
    out[..., 1::2] = x[..., 1::2] * np.cos(angle) + x[..., ::2] * np.sin(angle)
    return out


def deepseek_layer(config, tensors, prefix, h, sparse):
    eps, t, theta = config["rms_norm_eps"], len(h), config["rope_theta"]
    nope, rot = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    attention = prefix + "self_attn."
    x = rms(h, tensors[prefix + "input_layernorm.weight"], eps)
    latent = rms(project(x, tensors, attention + "q_a_proj"),
                 tensors[attention + "q_a_layernorm.weight"], 1e-6)
    q = heads_of(project(latent, tensors, attention + "q_b_proj"), nope + rot)
    q = np.concatenate([q[..., :nope], rope_pairs(q[..., nope:], np.arange(t), theta)], -1)
    down = project(x, tensors, attention + "kv_a_proj_with_mqa")
    latent, turned = down[:, :config["kv_lora_rank"]], down[:, None, config["kv_lora_rank"]:]
    turned = rope_pairs(turned, np.arange(t), theta)[:, 0]
    latent = rms(latent, tensors[attention + "kv_a_layernorm.weight"], 1e-6)
    kv = heads_of(project(latent, tensors, attention + "kv_b_proj"), nope + config["v_head_dim"])
    heads = [softmax_attention(q[:, n], np.concatenate([kv[:, n, :nope], turned], -1),
                               kv[:, n, nope:], 0) for n in range(q.shape[1])]
    h = h + project(np.concatenate(heads, -1), tensors, attention + "o_proj")
    x = rms(h, tensors[prefix + "post_attention_layernorm.weight"], eps)
    return h + (moe(config, tensors, prefix + "mlp.", x, "gate.e_score_correction_bias") if sparse
                else gated_mlp(tensors, prefix + "mlp.", x))


def deepseek_rows(config, tensors, ids):
    h = tensors["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        h = deepseek_layer(config, tensors, f"model.layers.{layer}.", h,
                           layer >= config["first_k_dense_replace"])
    return rms(h, tensors["model.norm.weight"], config["rms_norm_eps"])


def deepseek_logits(config, tensors, ids):
    return deepseek_rows(config, tensors, ids) @ tensors["lm_head.weight"].T


def deepseek_drafts(config, tensors, ids):
    eps, prefix = config["rms_norm_eps"], f"model.layers.{config['num_hidden_layers']}."

    def module(rows, next_ids):
        joined = np.concatenate([
            rms(tensors[prefix + "embed_tokens.weight"][next_ids], tensors[prefix + "enorm.weight"], eps),
            rms(rows, tensors[prefix + "hnorm.weight"], eps)], -1)
        return deepseek_layer(config, tensors, prefix, project(joined, tensors, prefix + "eh_proj"),
                              True)

    def head(rows):
        return (rms(rows, tensors[prefix + "shared_head.norm.weight"], eps)
                @ tensors[prefix + "shared_head.head.weight"].T)

    rows = deepseek_rows(config, tensors, ids)[:-1]
    own = module(rows, ids[1:])
    drafts = head(own)
    again = module(np.concatenate([rows, own[-1:]]), ids[1:] + [int(drafts[-1].argmax())])
    return {"draft_logits": drafts, "second_draft": head(again)[-1]}


def deepseek_shapes(config):
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    nope, rot, wide = (config[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    vocab = (config["vocab_size"], hidden)
    extra = f"model.layers.{config['num_hidden_layers']}."
    shapes = {"model.embed_tokens.weight": vocab, "model.norm.weight": (hidden,),
              "lm_head.weight": vocab, extra + "embed_tokens.weight": vocab,
              extra + "shared_head.head.weight": vocab, extra + "shared_head.norm.weight": (hidden,),
              extra + "enorm.weight": (hidden,), extra + "hnorm.weight": (hidden,),
              extra + "eh_proj.weight": (hidden, 2 * hidden)}

    def mlp(prefix, inner):
        shapes[prefix + "gate_proj.weight"] = shapes[prefix + "up_proj.weight"] = (inner, hidden)
        shapes[prefix + "down_proj.weight"] = (hidden, inner)

    for layer in range(config["num_hidden_layers"] + 1):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}{norm}.weight"] = (hidden,)
        q, kv = config["q_lora_rank"], config["kv_lora_rank"]
        for name, shape in {
                "q_a_proj": (q, hidden), "q_a_layernorm": (q,),
                "q_b_proj": (heads * (nope + rot), q), "kv_a_proj_with_mqa": (kv + rot, hidden),
                "kv_a_layernorm": (kv,), "kv_b_proj": (heads * (nope + wide), kv),
                "o_proj": (hidden, heads * wide)}.items():
            shapes[f"{prefix}self_attn.{name}.weight"] = shape
        if layer < config["first_k_dense_replace"]:
            mlp(prefix + "mlp.", config["intermediate_size"])
            continue
        shapes[prefix + "mlp.gate.weight"] = (config["n_routed_experts"], hidden)
        shapes[prefix + "mlp.gate.e_score_correction_bias"] = (config["n_routed_experts"],)
        mlp(prefix + "mlp.shared_experts.", config["moe_intermediate_size"])
        for expert in range(config["n_routed_experts"]):
            mlp(f"{prefix}mlp.experts.{expert}.", config["moe_intermediate_size"])
    return shapes


def exaone_moe_shapes(config):
    hidden, dim = config["hidden_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden),
              "model.norm.weight": (hidden,), "lm_head.weight": (config["vocab_size"], hidden),
              "mtp.fc.weight": (hidden, 2 * hidden), "mtp.norm.weight": (hidden,),
              "mtp.pre_fc_norm_embedding.weight": (hidden,),
              "mtp.pre_fc_norm_hidden.weight": (hidden,)}

    def mlp(prefix, inner):
        shapes[prefix + "gate_proj.weight"] = shapes[prefix + "up_proj.weight"] = (inner, hidden)
        shapes[prefix + "down_proj.weight"] = (hidden, inner)

    sparse = {f"model.layers.{i}.": s for i, s in enumerate(config["is_moe_layer"])}
    for prefix, is_moe in {**sparse, "mtp.layers.0.": False}.items():
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}{norm}.weight"] = (hidden,)
        for name, shape in dict(q=(q, hidden), k=(kv, hidden), v=(kv, hidden), o=(hidden, q)).items():
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = shape
        for name in ("q", "k"):
            shapes[f"{prefix}self_attn.{name}_norm.weight"] = (dim,)
        if not is_moe:
            mlp(prefix + "mlp.", config["intermediate_size"])
            continue
        shapes[prefix + "mlp.gate.weight"] = (config["num_experts"], hidden)
        shapes[prefix + "mlp.e_score_correction_bias"] = (config["num_experts"],)
        mlp(prefix + "mlp.shared_experts.", config["moe_intermediate_size"])
        for expert in range(config["num_experts"]):
            mlp(f"{prefix}mlp.experts.{expert}.", config["moe_intermediate_size"])
    return shapes


BASE = dict(vocab_size=240, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
            pad_token_id=0, rms_norm_eps=1e-5, rope_scaling=None, use_cache=True)

# folder: (config, shapes, logits, stored dtype)
FAMILIES = {
    "motif": (dict(BASE, model_type="Motif", architectures=["MotifForCausalLM"], hidden_size=40,
                   intermediate_size=52, num_hidden_layers=3, num_attention_heads=4,
                   num_key_value_heads=4, head_dim=10, rope_theta=5e5, attn_rms_norm_eps=1e-4,
                   hidden_act="poly_norm", use_bias=False, tie_word_embeddings=True,
                   use_sliding_window=True, sliding_window=11, max_window_layers=1),
              motif_shapes, motif_logits, np.float32),
    # 2 signal heads to a noise head, 4 groups, 2 pairs of keys; q is wider than the hidden size.
    "motif_grouped": (dict(BASE, model_type="motif", architectures=["MotifForCausalLM"],
                           hidden_size=36, intermediate_size=44, num_hidden_layers=3,
                           num_attention_heads=12, num_noise_heads=4, num_key_value_heads=4,
                           k_ratio=1, head_dim=6, rope_theta=1e4, attn_rms_norm_eps=1e-5,
                           hidden_act="poly_norm", tie_word_embeddings=False),
                      motif_shapes, motif_logits, np.float16),
    "solar_pro": (dict(BASE, model_type="solar", architectures=["SolarForCausalLM"], hidden_size=40,
                       intermediate_size=56, num_hidden_layers=7, num_attention_heads=6,
                       num_key_value_heads=2, head_dim=8, rope_theta=1e4, hidden_act="silu",
                       tie_word_embeddings=False, sliding_window=9, bskcn_1=[0, 2], bskcn_2=[2],
                       bskcn_3=[1, 4], bskcn_4=[4, 5], bskcn_tv=[0.9, 0.8]),
                  solar_shapes, solar_logits, np.float16),
    # The keys of K-EXAONE 2.0: a window and a clamp for each layer, the module's own window.
    "exaone_moe2": (dict(BASE, model_type="exaone_moe", architectures=["ExaoneMoEForCausalLM"],
                         hidden_size=34, intermediate_size=44, moe_intermediate_size=11,
                         num_hidden_layers=4, num_attention_heads=3, num_key_value_heads=3,
                         head_dim=14, rope_theta=1e4, hidden_act="silu",
                         tie_word_embeddings=False, sliding_window=7, num_experts=10,
                         num_experts_per_tok=3, num_shared_experts=1, n_group=1, topk_group=1,
                         norm_topk_prob=True, routed_scaling_factor=2.5, is_moe_layer=[0, 1, 1, 1],
                         layer_types=["sliding_attention", "full_attention"] + ["sliding_attention"] * 2,
                         sliding_windows=[5, None, 11, 7], swiglu_limits=[0.9, 0.7, None, 0.4],
                         mtp_layer_types=["sliding_attention"], mtp_sliding_windows=[6],
                         mtp_num_speculative_steps=4, num_nextn_predict_layers=1),
                    exaone_moe_shapes, exaone_moe_logits, np.float16),
    "exaone_moe_mtp": (dict(BASE, model_type="exaone_moe", architectures=["ExaoneMoEForCausalLM"],
                            hidden_size=36, intermediate_size=52, moe_intermediate_size=10,
                            num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2,
                            head_dim=10, rope_theta=1e4, hidden_act="silu",
                            tie_word_embeddings=False, sliding_window=7, num_experts=5,
                            num_experts_per_tok=2, num_shared_experts=1, n_group=1, topk_group=1,
                            norm_topk_prob=True, routed_scaling_factor=2.5, is_moe_layer=[0, 1, 1, 1],
                            layer_types=["sliding_attention"] * 3 + ["full_attention"],
                            num_nextn_predict_layers=1, mtp_share_layers=False),
                       exaone_moe_shapes, exaone_moe_logits, np.float16),
    "deepseek_mtp": (dict(BASE, model_type="deepseek_v3", architectures=["DeepseekV3ForCausalLM"],
                          hidden_size=28, intermediate_size=40, moe_intermediate_size=6,
                          num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3,
                          q_lora_rank=18, kv_lora_rank=14, qk_nope_head_dim=10, qk_rope_head_dim=6,
                          v_head_dim=8, rope_theta=1e4, rope_interleave=True, hidden_act="silu",
                          tie_word_embeddings=False, first_k_dense_replace=1, moe_layer_freq=1,
                          n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=1, n_group=3,
                          topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5,
                          scoring_func="sigmoid", topk_method="noaux_tc", attention_bias=False,
                          num_nextn_predict_layers=1),
                     deepseek_shapes, deepseek_logits, np.float16),
}
DRAFTS = {"exaone_moe2": exaone_moe_drafts, "exaone_moe_mtp": exaone_moe_drafts, "deepseek_mtp": deepseek_drafts}


def random_tensors(shapes, dtype, rng):
    tensors = {}
    for name in sorted(shapes):
        noise = rng.standard_normal(shapes[name])
        if "norm" in name or "subln" in name:
            value = 1.0 + 0.3 * noise
        elif "embed_tokens" in name:
            value = 0.5 * noise
        elif "lambda" in name or "act_fn" in name or "correction" in name:
            value = 0.4 * noise
        else:
            value = 0.25 * noise
        tensors[name] = value.astype(dtype)
    return tensors


def margin(row):
    top = np.sort(row)[-2:]
    return top[1] - top[0]


def attempt(logits_of, config, tensors, rng):
    wide = {name: value.astype(np.float64) for name, value in tensors.items()}
    ids = rng.integers(3, config["vocab_size"], PROMPT_TOKENS).tolist()
    logits = logits_of(config, wide, ids)
    std = logits.std()
    if min(margin(row) for row in logits) < 0.01 * std:
        return None, "two best logits of a prompt position are too close"
    greedy = []
    for step in range(GREEDY_TOKENS):
        row = logits_of(config, wide, ids + greedy)[-1]
        if margin(row) < 0.01 * std:
            return None, f"greedy step {step} is a near tie"
        greedy.append(int(row.argmax()))
    if len(set(greedy)) < 10:
        return None, "the greedy text repeats itself"
    return (ids, logits, greedy), None


def make(family):
    config, shapes_of, logits_of, dtype = FAMILIES[family]
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        tensors = random_tensors(shapes_of(config), dtype, rng)
        result, reason = attempt(logits_of, config, tensors, rng)
        if result:
            break
        print(f"{family}: seed {seed} rejected: {reason}")
    ids, logits, greedy = result
    folder = OUT / family
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    answers = {"input_ids": np.array(ids), "logits": logits.astype(np.float32),
               "greedy_ids": np.array(greedy)}
    if family in DRAFTS:
        wide = {name: value.astype(np.float64) for name, value in tensors.items()}
        for name, value in DRAFTS[family](config, wide, ids).items():
            answers[name] = value.astype(np.float32)
    save_file(answers, folder / "golden.safetensors",
              metadata={"made_by": f"NumPy {np.__version__}, seed {seed}"})
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{family}: seed {seed}, std {logits.std():.3f}, {len(set(greedy))} distinct greedy ids, "
          f"{size // 1000} kB")


if __name__ == "__main__":
    for name in sys.argv[1:] or FAMILIES:
        make(name)
