"""Goldens of the rarer tokenizers: WordPiece, WordLevel, a compiled character map, words that end in
</w>, added tokens with every flag, ranked vocabularies, Llama's two ways with special tokens.

    python tests/golden/make_rare_tokenizer_goldens.py
    (tokenizers 0.23, sentencepiece 0.2, tiktoken 0.14, transformers 5.23)

Writes to tests/golden/tokenizer/: rare_NAME.json, rare_pieces.model, rare_ranks.tiktoken, rare_tekken.json and
rare_cases.json, in the form of make_tokenizer_goldens.py.
"""

import base64
import io
import json
import pathlib
import random
import tempfile

import sentencepiece as spm
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizer

from compare_tokenizers import byte_table, character_map, llama_pieces
from make_tokenizer_goldens import CHAT, LINES, OUT, SPECIALS, write
from token_patterns import CLIP, LLAMA3

TEXTS = LINES + SPECIALS + [
    "", " ", "\n", "’s don’t", "unaffable UNAFFABLE Ångström café", "\ufb01ne ①②\u3000x\u200by \u304b\u3099", "a  <|sep|>   b<|sep|><|sep|>  c",
    "the maskmask mask. xmask mask", "Ångström A\u030angström ÅNGSTRÖM", "\n\n\n\nabc ab abcab", "<|SEP|>x [MASK]  [MASK]", "x" * 120 + " y",
    "\u4e2d\u6587\u548cEnglish\U0002b820\U00020000", "½ Ⅷ ｶﾞ ㍿", "\u24b6mask \u200dmask mask\u0301"]
BROKEN = [b"\xff", b"a\xc3", b"\xed\xa0\x80b", b"ok \xc0\x80", b"\xf5\x80\x80\x80 end", b"\x80<sep>\xe4\xb8"]
RULES = {"ﬁ": "fi", "①": "1", "②": "2", "\u3000": " ", "\t": " ", "\n": " ", "か\u3099": "が", "A\u030a": "Å", "㍿": "株式会社", "\u200b": ""}


def word_models():
    special = ["<unk>", "<s>", "</s>"]
    t = Tokenizer(models.WordPiece(unk_token="<unk>"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(cleanup=True)
    t.train_from_iterator(LINES * 3, trainers.WordPieceTrainer(vocab_size=330, special_tokens=special, show_progress=False))
    t.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    yield "rare_word_piece", t

    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    t.train_from_iterator(LINES * 3, trainers.WordLevelTrainer(vocab_size=120, special_tokens=special, show_progress=False))
    yield "rare_word_level", t


def byte_models(model):
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.BPEDecoder("</w>")
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=640, special_tokens=["<unk>", "<s>", "</s>"], end_of_word_suffix="</w>",
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    yield "rare_word_ends", t

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=360, special_tokens=CHAT, show_progress=False,
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("Ångström", normalized=True), AddedToken("  ", normalized=False),
                  AddedToken("mask", single_word=True, lstrip=True, normalized=True), AddedToken("한국", rstrip=True, normalized=False),
                  AddedToken("\n\n", normalized=False), AddedToken("café", single_word=True, rstrip=True), AddedToken("abc", lstrip=True)])
    t.add_special_tokens([AddedToken("<|sep|>", lstrip=True, rstrip=True), AddedToken("<|SEP|>x", normalized=True), AddedToken("[MASK]", lstrip=True)])
    t.normalizer = normalizers.NFC()
    t.enable_truncation(5)  # a file may carry it; neither transformers nor we heed it
    yield "rare_added", t

    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(character_map(model)), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.train_from_iterator(LINES * 5, trainers.UnigramTrainer(vocab_size=330, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"],
                                                             show_progress=False))
    yield "rare_charsmap", t


def rows(t):
    t.no_truncation()
    out = []
    for text in TEXTS:
        t.encode_special_tokens = False
        ids = t.encode(text, add_special_tokens=False).ids
        out.append({"special": ids, "added": t.encode(text).ids, "decode": t.decode(ids, skip_special_tokens=False), "skip": t.decode(ids)})
    return out


def unigram_pieces():
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        for source, target in RULES.items():
            rules.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")
        rules.flush()
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(sentence_iterator=iter(LINES * 5), model_writer=model, vocab_size=600, model_type="unigram",
                                       byte_fallback=True, character_coverage=0.98, normalization_rule_tsv=rules.name,
                                       user_defined_symbols=["<sep>", "mask"], minloglevel=2, hard_vocab_limit=False)
    return model.getvalue()


def gguf_of(sp, model):
    kinds = [6 if sp.is_byte(i) else 3 if sp.is_control(i) else 2 if sp.is_unknown(i) else 4 if sp.id_to_piece(i) in ("<sep>", "mask") else 1
             for i in range(len(sp))]
    return {"tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": [sp.id_to_piece(i) for i in range(len(sp))],
            "tokenizer.ggml.scores": [sp.get_score(i) for i in range(len(sp))], "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.eos_token_id": sp.eos_id(), "tokenizer.ggml.unknown_token_id": sp.unk_id(),
            "tokenizer.ggml.precompiled_charsmap": list(character_map(model)), "tokenizer.ggml.remove_extra_whitespaces": True}


def gguf_words(t):
    """As a converter writes WordPiece: word starts marked, the rest bare."""
    vocab = sorted(t.get_vocab().items(), key=lambda kv: kv[1])
    names = [k if i < 3 else k[2:] if k.startswith("##") else "▁" + k for k, i in vocab]
    return {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": names, "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (len(names) - 3),
            "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.cls_token_id": 1, "tokenizer.ggml.seperator_token_id": 2}


def ranked():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=380, show_progress=False,
                                                         initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    table = byte_table()
    ranks = {bytes(table[c] for c in word): id for word, id in t.get_vocab().items()}
    ordered = sorted(ranks.items(), key=lambda kv: kv[1])
    (OUT / "rare_ranks.tiktoken").write_text("".join(f"{base64.b64encode(b).decode()} {rank}\n" for b, rank in ordered))
    write("rare_tekken.json", {
        "config": {"pattern": LLAMA3, "num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) + 5, "default_num_special_tokens": 5,
                   "version": "v3"},
        "vocab": [{"rank": r, "token_bytes": base64.b64encode(b).decode(), "token_str": None} for b, r in ordered],
        "special_tokens": [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(["<unk>", "<s>", "</s>", "<|im_start|>"])]})
    bare = tiktoken.Encoding(name="bare", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens={})
    shifted = tiktoken.Encoding(name="shifted", pat_str=LLAMA3, mergeable_ranks={b: r + 5 for b, r in ranks.items()},
                                special_tokens={"<unk>": 0, "<s>": 1, "</s>": 2, "<|im_start|>": 3})
    plain = [bare.encode(text, disallowed_special=()) for text in TEXTS]
    special = [shifted.encode(text, allowed_special="all") for text in TEXTS]
    return ([{"plain": ids, "decode": text} for ids, text in zip(plain, TEXTS)],
            [{"special": ids, "added": [1] + ids, "decode": text} for ids, text in zip(special, TEXTS)])


def main():
    model = unigram_pieces()
    sp = spm.SentencePieceProcessor(model_proto=model)
    expected = {}
    for name, t in [*word_models(), *byte_models(model)]:
        write(f"{name}.json", json.loads(t.to_str()))
        expected[name] = rows(t)
        if name == "rare_word_piece":
            write("rare_gguf_words.json", gguf_words(t))
            expected["rare_gguf_words"] = [{"special": row["special"], "added": row["added"]} for row in expected[name]]
    (OUT / "rare_pieces.model").write_bytes(model)
    write("rare_gguf_pieces.json", gguf_of(sp, model))
    expected["rare_pieces.model"] = [{"plain": sp.encode(text)} for text in TEXTS]
    expected["rare_gguf_pieces"] = [{"plain": None if "mask" in text else sp.encode(text)} for text in TEXTS]
    expected["rare_ranks.tiktoken"], expected["rare_tekken"] = ranked()
    vocab, merges = llama_pieces(spm.SentencePieceProcessor(model_file=str(OUT / "pieces.model")))
    talks = ["hello", "<s>hello", "the cat</s>the dog<s>안녕", "a<s>b", "<s><s>x", "x</s>", "안녕<unk>하세요"]
    llama = {str(legacy).lower(): [LlamaTokenizer(vocab=vocab, merges=merges, legacy=legacy).encode(t, add_special_tokens=False) for t in talks]
             for legacy in (True, False)}
    # Long enough that equally good paths are told apart by how sums of scores are rounded.
    rnd = random.Random(4)
    words = " ".join(LINES).split()
    long = " ".join(rnd.choice(words) if rnd.random() < 0.5 else "".join(rnd.choices("abehinst,.", k=2)) + rnd.choice(["333", "4444", "33333"]) for _ in range(2500))
    write("rare_cases.json", {"texts": TEXTS, "expected": expected, "llama": {"texts": talks, **llama},
                              "long_pieces": {"text": long, "ids": sp.encode(long), "broken": [[b.hex(), sp.encode(b)] for b in BROKEN]}})


if __name__ == "__main__":
    main()
