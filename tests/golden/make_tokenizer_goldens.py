"""Goldens of the tokenizers: small vocabularies of every kind, texts, ids and decoded texts.

    python tests/golden/make_tokenizer_goldens.py     (tokenizers 0.23, sentencepiece 0.2)

Writes tests/golden/tokenizer/: NAME.json (a tokenizer.json, or GGUF metadata for gguf_*),
pieces.model, and cases.json: {"texts": [...], "expected": {NAME: [{"plain", "special", "added",
"decode", "skip"}, ...]}}. "plain" leaves special tokens as text, "special" finds them, "added"
also adds bos and eos (null: no reference); "decode" and "skip" decode "special" with and without special tokens.
"""

import io
import json
import pathlib
import random

import sentencepiece as spm
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

OUT = pathlib.Path(__file__).parent / "tokenizer"
LINES = [
    "Hello world! It's a test, isn't it? I'LL go; you've 1234567 things & 3.14159 more.",
    "안녕하세요, 온누리입니다. 오늘 날씨가 좋네요!  한국어 문장을 나눕니다. 대한민국의 수도는 서울이다.",
    "你好，世界！这是一个测试。今天天气很好，我们去公园吧。",
    "こんにちは世界。これはテストです。カタカナとひらがなと漢字。",
    "Привет мир! Ça va très bien, naïve café Ångström Straße ﬁne.",
    "def f(x):\n\treturn x**2 + 1  # note\n\n\n    if a != b:\n        print(\"a\\tb\")\n",
    "😀😃👍🏽👨‍👩‍👧‍👦🇰🇷❤️ e\u0301 n\u0303 \u1112\u1161\u11ab שלום हिन्दी ไทย",
    "\t \n  \r\n   \u00a0\u3000\u2003 x   y\n\n\n\n\nz",
    "1 22 333 4444 55555 ①②③ ½ ٣٤٥ Ⅳ x² CamelCase snake_case XMLHttp",
    "the cat sat on the mat, and the other cats sat on the other mats together",
]
SPECIALS = ["<|im_start|>user\nhi<|im_end|>\n", "a<|im_end|> b", "<s>x</s>", "<unk> <0x41>",
            "say <think> then", "xmaskx mask , mask.", "a  <|sep|>  b", "<|im_start|><|im_start|>"]
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
JOINED = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+")
CHAT = ["<|im_start|>", "<|im_end|>", "<s>", "</s>"]


def texts():
    rnd = random.Random(7)
    letters = "".join(LINES)
    mixed = ["".join(rnd.choice(letters) for _ in range(rnd.randint(1, 40))) for _ in range(25)]
    return LINES + ["", " ", "  ", "a", " a", "a ", "\n", "’s don’t"] + mixed + SPECIALS


def byte_level(name, pre, vocab=420, specials=CHAT, normalizer=None, **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return name, t


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def with_bytes(t, vocab, **options):
    """A character-level BPE whose byte tokens are plain members of the vocabulary."""
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=["<unk>", "<s>", "</s>"] + byte_tokens, limit_alphabet=120,
        show_progress=False))
    j = json.loads(t.to_str())
    j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] not in byte_tokens]
    j["model"].update(byte_fallback=True, **options)
    return Tokenizer.from_str(json.dumps(j))


def tokenizer_jsons():
    seq = pre_tokenizers.Sequence
    yield byte_level("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=False))
    yield byte_level("prefix_space", pre_tokenizers.ByteLevel(add_prefix_space=True))
    name, t = byte_level("single_digits", seq([split(QWEN), bytes_only()]), normalizer=normalizers.NFC())
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("Ångström", normalized=True)])
    yield name, t
    name, t = byte_level("three_digits", seq([split(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)), bytes_only()]))
    j = json.loads(t.to_str())
    j["model"]["ignore_merges"] = True
    t = Tokenizer.from_str(json.dumps(j))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", t.token_to_id("<s>"))])])
    yield name, t
    yield byte_level("cased_words", seq([split(O200K), bytes_only()]))
    yield byte_level("joined_words", seq([split(JOINED), bytes_only()]), vocab=480)
    yield byte_level("digits_first", seq([pre_tokenizers.Digits(individual_digits=True),
                                          pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    yield byte_level("many_splits", seq([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(r"[\r\n]", "removed"),
                                         split(r"\s+$"), bytes_only()]))

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t = with_bytes(t, 560, fuse_unk=True)
    t.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("<think>", normalized=False)])
    t.add_special_tokens(CHAT[:2])
    yield "written_spaces", t

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t = with_bytes(t, 560)
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    yield "prepended_space", t

    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                         normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=350, special_tokens=["<unk>", "<s>", "</s>"],
                                                         show_progress=False))
    t.add_tokens([AddedToken("mask", single_word=True, lstrip=True, normalized=True)])
    t.add_special_tokens([AddedToken("<|sep|>", lstrip=True, rstrip=True)])
    yield "metaspace", t

    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = seq([pre_tokenizers.WhitespaceSplit(), split("a", "merged_with_next"), split("o", "merged_with_previous"),
                           pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False),
                           split("e", "contiguous")])
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=330, special_tokens=["<unk>"], show_progress=False))
    yield "behaviors", t

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False))
    yield "bert", t

    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False))
    yield "words", t

    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.train_from_iterator(LINES * 5, trainers.UnigramTrainer(vocab_size=330, unk_token="<unk>", show_progress=False,
                                                             special_tokens=["<unk>", "<s>", "</s>"]))
    yield "unigram", t


def rows(t):
    out = []
    for text in texts():
        t.encode_special_tokens = True
        plain = t.encode(text, add_special_tokens=False).ids
        if "Unigram" in str(t.model) and any(s in text for s in ("<s>", "</s>", "<unk>")):
            plain = None  # the library's model finds special pieces in plain text; ours must not
        t.encode_special_tokens = False
        ids = t.encode(text, add_special_tokens=False).ids
        out.append({"plain": plain, "special": ids, "added": t.encode(text).ids,
                    "decode": t.decode(ids, skip_special_tokens=False), "skip": t.decode(ids)})
    return out


def gguf_from_json(t, pre):
    """The metadata that a converter would write for a byte-level tokenizer.json."""
    j = json.loads(t.to_str())
    vocab = sorted(j["model"]["vocab"].items(), key=lambda kv: kv[1])
    special = {a["content"] for a in j["added_tokens"]}
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": [k for k, _ in vocab],
            "tokenizer.ggml.token_type": [3 if k in special else 1 for k, _ in vocab],
            "tokenizer.ggml.merges": [" ".join(m) for m in j["model"]["merges"]],
            "tokenizer.ggml.bos_token_id": t.token_to_id("<s>"), "tokenizer.ggml.eos_token_id": t.token_to_id("</s>")}


def sentence_pieces():
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(LINES * 5), model_writer=model, vocab_size=560, model_type="bpe",
                                   byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
                                   remove_extra_whitespaces=False, minloglevel=2)
    sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = [6 if sp.is_byte(i) else 3 if sp.is_control(i) else 2 if sp.is_unknown(i) else 1 for i in range(len(sp))]
    meta = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": [sp.id_to_piece(i) for i in range(len(sp))],
            "tokenizer.ggml.scores": [sp.get_score(i) for i in range(len(sp))], "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.bos_token_id": sp.bos_id(), "tokenizer.ggml.eos_token_id": sp.eos_id(),
            "tokenizer.ggml.unknown_token_id": sp.unk_id()}
    out = []
    for text in texts():
        ids = sp.encode(text)
        out.append({"plain": ids, "added": [sp.bos_id()] + ids, "decode": sp.decode(ids)})
    return model.getvalue(), meta, out


def write(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", newline="")


def main():
    OUT.mkdir(exist_ok=True)
    expected = {}
    for name, t in tokenizer_jsons():
        write(f"{name}.json", json.loads(t.to_str()))
        expected[name] = rows(t)
        pre = {"gpt2": "gpt-2", "digits_first": "smollm", "cased_words": "gpt-4o", "joined_words": "exaone-moe"}.get(name)
        if pre:
            write(f"gguf_{name}.json", gguf_from_json(t, pre))
            expected[f"gguf_{name}"] = [{k: r[k] for k in ("plain", "special")} for r in expected[name]]
    model, meta, out = sentence_pieces()
    (OUT / "pieces.model").write_bytes(model)
    write("gguf_pieces.json", meta)
    expected["pieces.model"] = out
    expected["gguf_pieces"] = out
    write("cases.json", {"texts": texts(), "expected": expected})


if __name__ == "__main__":
    main()
