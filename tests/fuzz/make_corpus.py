"""Makes tests/fuzz/corpus: the small inputs that fuzzing starts from, all written here or taken from
the golden files of the tests. Python 3.11, standard library only.

Usage: python tests/fuzz/make_corpus.py
"""

import json
import pathlib
import shutil
import struct

TESTS = pathlib.Path(__file__).resolve().parent.parent
OUT = TESTS / "fuzz" / "corpus"


def put(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(header, body):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def make_safetensors():
    pair = {"__metadata__": {"format": "pt"},
            "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b.bias": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}
    put("safetensors", "pair", safetensors(pair, bytes(range(32))))
    put("safetensors", "truncated", safetensors(pair, bytes(range(20))))
    put("safetensors", "empty", safetensors({}, b""))
    scalar = {"x": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
              "none": {"dtype": "F8_E4M3", "shape": [0, 7], "data_offsets": [8, 8]}}
    put("safetensors", "scalar", safetensors(scalar, bytes(8)))
    overlap = {"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
               "b": {"dtype": "U8", "shape": [8], "data_offsets": [4, 12]}}
    put("safetensors", "overlap", safetensors(overlap, bytes(12)))


def make_quantized():
    """The smallest files of the storage goldens, less what they must decode to."""
    for name in ("awq", "float_block", "fp8_tensor", "gptq_act_order", "int_quantized", "nvfp4",
                 "packed_int4_zeros", "packed_int8"):
        data = (TESTS / "golden" / "storage" / "parts" / f"{name}.safetensors").read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8:8 + size]), data[8 + size:]
        kept, out = {}, b""
        config = header.pop("__metadata__")["quantization_config"]
        for key, entry in header.items():
            if key.startswith("expected."):
                continue
            part = body[slice(*entry["data_offsets"])]
            kept[key] = dict(entry, data_offsets=[len(out), len(out) + len(part)])
            out += part
        put("quantized", name, config.encode() + b"\n" + safetensors(kept, out))


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(pairs, tensors, body, version=3):
    """pairs: (key, type, packed value); tensors: (name, extents, type, offset)."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, kind, value in pairs:
        out += string(key) + struct.pack("<I", kind) + value
    for name, extents, kind, offset in tensors:
        out += string(name) + struct.pack("<I", len(extents))
        out += b"".join(struct.pack("<Q", e) for e in extents) + struct.pack("<IQ", kind, offset)
    return out + bytes(-len(out) % 32) + body


def strings(values):
    return struct.pack("<IQ", 8, len(values)) + b"".join(string(v) for v in values)


def llama_pairs():
    def u32(value):
        return struct.pack("<I", value)
    sizes = {"block_count": 1, "embedding_length": 8, "feed_forward_length": 8, "context_length": 32,
             "attention.head_count": 2, "attention.head_count_kv": 1}
    pairs = [("general.architecture", 8, string("llama"))]
    pairs += [("llama." + key, 4, u32(value)) for key, value in sizes.items()]
    pairs.append(("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)))
    pairs.append(("tokenizer.ggml.model", 8, string("llama")))
    tokens = ["<unk>", "<s>", "<0x41>", "a", "b", "ab"]
    pairs.append(("tokenizer.ggml.tokens", 9, strings(tokens)))
    pairs.append(("tokenizer.ggml.scores", 9, struct.pack("<IQ6f", 6, 6, 0, 0, 0, -1, -2, -3)))
    pairs.append(("tokenizer.ggml.token_type", 9, struct.pack("<IQ6i", 5, 6, 2, 3, 6, 1, 1, 1)))
    return pairs


def make_gguf():
    embed = ("token_embd.weight", (8, 6), 0, 0)
    put("gguf", "llama", gguf(llama_pairs(), [embed], bytes(192)))
    put("gguf", "version2", gguf(llama_pairs(), [embed], bytes(192), version=2))
    put("gguf", "truncated", gguf(llama_pairs(), [embed], bytes(100)))
    put("gguf", "quantised", gguf(llama_pairs(), [("x", (32, 2), 8, 0), ("y", (256,), 12, 96)],
                                  bytes(96 + 144)))
    nested = struct.pack("<IQ", 9, 1) + struct.pack("<IQ2H", 2, 2, 7, 9)
    put("gguf", "nested", gguf([("a", 9, nested), ("b", 7, b"\x01"), ("c", 12, bytes(8))], [], b""))


def make_config():
    for folder in sorted((TESTS / "golden" / "text").iterdir()):
        config = folder / "config.json"
        if config.exists():
            put("config", folder.name, json.dumps(json.loads(config.read_text())))


def make_tokenizers():
    golden = TESTS / "golden" / "tokenizer"
    for name in ("gpt2", "metaspace", "unigram", "bert", "three_digits", "prepended_space",
                 "cased_words"):
        put("tokenizer", name, json.dumps(json.loads((golden / f"{name}.json").read_text())))
    put("vocabulary", "pieces", b"s" + (golden / "pieces.model").read_bytes())
    for path in sorted(golden.glob("gguf_*.json")):
        put("vocabulary", path.stem, b"g" + path.read_bytes())


def make_templates():
    cases = json.loads((TESTS / "golden" / "templates" / "cases.json").read_text())
    sources = cases["templates"]
    sources = sources.values() if isinstance(sources, dict) else sources
    for index, case in enumerate(sources):
        source = case if isinstance(case, str) else case.get("template") or case.get("source", "")
        put("chat_template", f"{index:03}", source)


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": -3, "maximum": 120}, "b": {"type": "string", "pattern": "^a+b?$"}},
     "required": ["a"], "additionalProperties": False},
    {"$defs": {"n": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/n"}, "maxItems": 3}]}}, "$ref": "#/$defs/n"},
    {"enum": ["가", 1.5, None, {"x": [True]}]}, {"allOf": [{"type": "number", "multipleOf": 5}, {"exclusiveMinimum": 0}]},
    {"type": "string", "format": "date-time", "minLength": 2}, {"oneOf": [{"const": 1}, {"type": "string"}], "not": {"const": 2}},
    {"type": "object", "patternProperties": {"^x": {}}, "propertyNames": {"maxLength": 4}, "minProperties": 1}]
REGEXES = ["(a|b)*c{2,5}", "[^\\d\\s]+?|\\p{L}", "^가{0,3}(?:x|y)$", "\\u{1F600}\\x41[\\]-_]", "((((a?)+)*)){3}"]
EBNF = ['root ::= item ("," item)*\nitem ::= [a-z]+ | "\\"" [^"]* "\\""', 'root ::= "a" root? "b" # nested\n', "root ::= (x | y){2,4}\nx ::= 'q'\ny ::= x x"]
STREAMS = ['<think>\nhm\n</think>\n\nyes<tool_call>\n{"name": "f", "arguments": {"x": [1, "\\u00e9"]}}\n</tool_call>',
           "<function=f><parameter=a>1 < 2</parameter></function>", '<|channel|>analysis<|message|>so<|end|><|start|>assistant to=functions.f<|message|>{"a":1}<|call|>',
           "[f(a=1, b='x', c=[True, None]), g()]", '[TOOL_CALLS]f[ARGS]{"a": 1}', '{"name": "f", "parameters": {}}', "<thi", "안녕 <tool_call>{"]


def make_grammars():
    for kind, texts in [("s", map(json.dumps, SCHEMAS)), ("r", REGEXES), ("e", EBNF)]:
        for index, text in enumerate(texts):
            put("grammar", f"{kind}{index}", kind + text)


def make_outputs():
    for index, stream in enumerate(STREAMS):
        for case in (0, 40, 80, 120):
            put("output", f"{index}_{case}", bytes([case + index, 3]) + stream.encode())


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    make_safetensors()
    make_quantized()
    make_gguf()
    make_config()
    make_tokenizers()
    make_templates()
    make_grammars()
    make_outputs()
    count = sum(1 for path in OUT.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{count} inputs, {size // 1000} kB")
