"""Makes a tiny random VAETKI checkpoint under tests/golden/text/vaetki and what it must answer.

transformers does not have this family, so the answers come from the NumPy reference below, in
float64, written from the description of the vendor's vLLM plugin: keys and values expanded per head,
one token after the other, no cache. It shares no code with the runtime. What it does not prove: that
the description is right. Names of config keys and tensors, the order of the four norms, the division
of the global frequencies by eight and the window are taken from the plugin's text, never compared
with the released model's own output.

Files are those of make_text_goldens.py. Made with Python 3.11 and NumPy 2.4.
Usage: python tests/golden/make_vaetki_goldens.py
"""

import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent / "text" / "vaetki"
PROMPT_TOKENS = 40
GREEDY_TOKENS = 32
CONFIG = dict(
    architectures=["VaetkiForCausalLM"], model_type="vaetki", vocab_size=160, hidden_size=40,
    intermediate_size=56, moe_intermediate_size=12, num_hidden_layers=6, num_attention_heads=3,
    num_key_value_heads=3, q_lora_rank=24, kv_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=6,
    v_head_dim=10, n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=1, norm_topk_prob=True,
    routed_scaling_factor=2.5, first_k_dense_replace=2, moe_layer_freq=1, sliding_window=7,
    layer_types=["sliding_attention"] * 5 + ["full_attention"], rope_theta=10000.0,
    rope_theta_global=1000000.0, rope_scaling=None, rms_norm_eps=1e-5, max_position_embeddings=512,
    hidden_act="silu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)


def rounded(value):
    """Nearest bfloat16, as float64."""
    bits = np.asarray(value, np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def make_weights(c, rng):
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    nope, turn, v = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    weights = {}

    def add(name, *shape, scale=0.25):
        weights[name] = rounded(scale * rng.standard_normal(shape))

    def add_ffn(prefix, width):
        add(prefix + "gate_proj.weight", width, hidden)
        add(prefix + "up_proj.weight", width, hidden)
        add(prefix + "down_proj.weight", hidden, width)

    add("model.embed_tokens.weight", c["vocab_size"], hidden, scale=0.3)
    add("model.norm.weight", hidden, scale=0.3)
    add("lm_head.weight", c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for norm in ("input", "post_attention", "pre_mlp", "post_mlp"):
            add(f"{p}{norm}_layernorm.weight", hidden, scale=0.3)
        a = p + "self_attn."
        add(a + "q_a_proj.weight", c["q_lora_rank"], hidden)
        add(a + "q_a_layernorm.weight", c["q_lora_rank"], scale=0.3)
        add(a + "q_b_proj.weight", heads * (nope + turn), c["q_lora_rank"])
        add(a + "kv_a_proj_with_mqa.weight", c["kv_lora_rank"] + turn, hidden)
        add(a + "kv_a_layernorm.weight", c["kv_lora_rank"], scale=0.3)
        add(a + "kv_b_proj.weight", heads * (nope + v), c["kv_lora_rank"])
        add(a + "o_proj.weight", hidden, heads * v)
        if i < c["first_k_dense_replace"]:
            add_ffn(p + "mlp.", c["intermediate_size"])
            continue
        add(p + "mlp.gate.weight", c["n_routed_experts"], hidden)
        for e in range(c["n_routed_experts"]):
            add_ffn(f"{p}mlp.experts.{e}.", c["moe_intermediate_size"])
        add_ffn(p + "mlp.shared_experts.", c["n_shared_experts"] * c["moe_intermediate_size"])
    return weights


def norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * (1.0 + weight)


def turned(x, position, theta, divisor):
    """Adjacent pairs of the last axis, turned by position * theta^(-2i/d) / divisor."""
    half = x.shape[-1] // 2
    angle = position * theta ** (-2.0 * np.arange(half) / x.shape[-1]) / divisor
    a, b = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2] = a * np.cos(angle) - b * np.sin(angle)
    out[..., 1::2] = b * np.cos(angle) + a * np.sin(angle)
    return out


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def ffn(w, prefix, x):
    gate = w[prefix + "gate_proj.weight"] @ x
    up = w[prefix + "up_proj.weight"] @ x
    return w[prefix + "down_proj.weight"] @ (gate * sigmoid(gate) * up)


def experts(c, w, prefix, x, leads):
    scores = sigmoid(w[prefix + "gate.weight"] @ x)
    order = np.argsort(-scores, kind="stable")
    count = c["num_experts_per_tok"]
    leads.append(scores[order[count - 1]] - scores[order[count]])
    kept = order[:count]
    share = scores[kept] / (scores[kept].sum() + 1e-20) * c["routed_scaling_factor"]
    out = ffn(w, prefix + "shared_experts.", x)
    for e, s in zip(kept, share):
        out = out + s * ffn(w, f"{prefix}experts.{e}.", x)
    return out


def attention(c, w, prefix, rows, sliding):
    heads, nope, turn = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
    v_dim, rank, eps = c["v_head_dim"], c["kv_lora_rank"], c["rms_norm_eps"]
    theta, divisor = (c["rope_theta"], 1.0) if sliding else (c["rope_theta_global"], 8.0)
    keys, values, out = [], [], []
    for t, x in enumerate(rows):
        latent = w[prefix + "kv_a_proj_with_mqa.weight"] @ x
        shared_key = turned(latent[rank:], t, theta, divisor)
        expanded = w[prefix + "kv_b_proj.weight"] @ norm(
            latent[:rank], w[prefix + "kv_a_layernorm.weight"], eps)
        expanded = expanded.reshape(heads, nope + v_dim)
        keys.append([np.concatenate([expanded[h, :nope], shared_key]) for h in range(heads)])
        values.append(expanded[:, nope:])
        q = norm(w[prefix + "q_a_proj.weight"] @ x, w[prefix + "q_a_layernorm.weight"], eps)
        q = (w[prefix + "q_b_proj.weight"] @ q).reshape(heads, nope + turn)
        first = max(0, t - c["sliding_window"] + 1) if sliding else 0
        mixed = []
        for h in range(heads):
            query = np.concatenate([q[h, :nope], turned(q[h, nope:], t, theta, divisor)])
            s = np.array([query @ keys[j][h] for j in range(first, t + 1)]) / np.sqrt(nope + turn)
            p = np.exp(s - s.max())
            p /= p.sum()
            mixed.append(sum(p[j] * values[first + j][h] for j in range(len(p))))
        out.append(w[prefix + "o_proj.weight"] @ np.concatenate(mixed))
    return out


def logits_of(c, w, ids, leads):
    eps = c["rms_norm_eps"]
    rows = [w["model.embed_tokens.weight"][i] for i in ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."

        def scaled(name, x):
            return norm(x, w[f"{p}{name}_layernorm.weight"], eps)
        mixed = attention(c, w, p + "self_attn.", [scaled("input", x) for x in rows],
                          c["layer_types"][i] == "sliding_attention")
        rows = [x + scaled("post_attention", y) for x, y in zip(rows, mixed)]
        dense = i < c["first_k_dense_replace"]
        for t, x in enumerate(rows):
            y = scaled("pre_mlp", x)
            y = ffn(w, p + "mlp.", y) if dense else experts(c, w, p + "mlp.", y, leads)
            rows[t] = x + scaled("post_mlp", y)
    return np.stack([w["lm_head.weight"] @ norm(x, w["model.norm.weight"], eps) for x in rows])


def lead_of_best(logits):
    top = np.sort(logits, axis=-1)
    return (top[..., -1] - top[..., -2]).min()


def attempt(seed):
    rng = np.random.default_rng(seed)
    weights = make_weights(CONFIG, rng)
    ids = rng.integers(3, CONFIG["vocab_size"], PROMPT_TOKENS).tolist()
    leads = []
    logits = logits_of(CONFIG, weights, ids, leads)
    std = logits.std()
    if lead_of_best(logits) < 0.005 * std:
        return None, "two best logits of a prompt position are too close"
    greedy = []
    for _ in range(GREEDY_TOKENS):
        row = logits_of(CONFIG, weights, ids + greedy, leads)[-1]
        if lead_of_best(row) < 0.005 * std:
            return None, f"greedy step {len(greedy)} is a near tie"
        greedy.append(int(row.argmax()))
    if min(leads) < 1e-5:
        return None, "two experts are equally good"
    if len(set(greedy)) < 10:
        return None, "the greedy text repeats itself"
    return (weights, ids, logits, greedy), None


def bfloat16_file(path, weights):
    """safetensors.numpy has no bfloat16: the file is written by hand."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(weights):
        bits = (weights[name].astype(np.float32).view(np.uint32) >> 16).astype("<u2")
        header[name] = {"dtype": "BF16", "shape": list(bits.shape),
                        "data_offsets": [offset, offset + bits.nbytes]}
        blobs.append(bits.tobytes())
        offset += bits.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


if __name__ == "__main__":
    for seed in range(1000):
        result, reason = attempt(seed)
        if result:
            break
        print(f"seed {seed} rejected: {reason}")
    weights, ids, logits, greedy = result
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    bfloat16_file(OUT / "model.safetensors", weights)
    (OUT / "config.json").write_text(json.dumps(CONFIG, indent=1, sort_keys=True) + "\n")
    save_file({"input_ids": np.array(ids), "logits": logits.astype(np.float32),
               "greedy_ids": np.array(greedy)}, OUT / "golden.safetensors",
              metadata={"made_by": f"numpy {np.__version__}, seed {seed}"})
    size = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"seed {seed}, std {logits.std():.3f}, {len(set(greedy))} distinct greedy ids, "
          f"{size // 1000} kB")
