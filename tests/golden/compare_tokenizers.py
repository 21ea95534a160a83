"""Our tokenizers beside the reference libraries, over megabytes of hard text.

    PYTHONPATH=build/python python tests/golden/compare_tokenizers.py [--bytes N] [--only WORD]

Builds a tokenizer of every family (pre-tokenizers, models, normalizers, added tokens, decoders,
post-processors), trains it on the corpus of scripts/text_corpus.py and compares ids and decoded
texts with ours: `tokenizers` (tokenizer.json), `sentencepiece` (tokenizer.model), `transformers`
(LlamaTokenizer, legacy or not) and `tiktoken` (ranked vocabularies). What is not installed is
skipped and said. Differences are printed; the exit status says whether there was one. Written
against tokenizers 0.23, sentencepiece 0.2, transformers 5.23, tiktoken 0.14.

On purpose not compared: truncation and padding that a tokenizer.json may carry (transformers
switches both off, and so do we), and special pieces of a Unigram vocabulary inside text that is
declared plain (the reference finds them; ours must not).
"""

import argparse
import base64
import importlib
import io
import json
import pathlib
import random
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(pathlib.Path(__file__).parent)]

import text_corpus
from token_patterns import CLIP, JOINED, LLAMA3, O200K, QWEN2, QWEN35

SPECIALS = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def library(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped what needs the package {name}: it is not installed")
        return None


class Texts:
    """The corpus in pieces of many sizes, single hard texts, and pieces with tokens written in."""

    def __init__(self, size):
        rnd = random.Random(11)
        whole = text_corpus.corpus(size)
        self.training = [whole[i:i + 2000] for i in range(0, 300_000, 2000)]
        self.pieces, pos = [], 0
        while pos < len(whole):
            step = rnd.choice([1, 5, 20, 100, 1000, 5000, 20000])
            self.pieces.append(whole[pos:pos + step])
            pos += step
        self.hard = text_corpus.nasty_texts()
        self.broken = text_corpus.invalid_bytes()
        self.slices = [whole[i:i + rnd.randint(0, 40)] for i in range(0, len(whole) - 50, len(whole) // 600)]

    def with_tokens(self, tokens):
        rnd = random.Random(12)
        out = []
        for text in self.slices:
            for _ in range(rnd.randint(1, 4)):
                at = rnd.randint(0, len(text))
                token = rnd.choice(tokens)
                token = rnd.choice([token] * 4 + [token[:-1], token + token, token.lower(), token.upper()])
                pad = rnd.choice(["", "", " ", "  ", "\n", "\t", "\u3000", "a", "é", ",", "_", "\u0301"])
                text = text[:at] + pad + token + rnd.choice(["", pad]) + text[at:]
            out.append(text)
        return out


class Report:
    def __init__(self):
        self.failed = 0

    def start(self, name):
        self.name, self.count, self.bytes, self.ids, self.bad = name, 0, 0, 0, 0

    def check(self, what, text, want, got):
        self.count += 1
        if want == got:
            return
        self.bad += 1
        if self.bad <= 3:
            at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
            print(f"  {self.name}, {what}: {str(text)[:120]!r}\n    want[{at}:] {want[at:at + 12]!r}\n    got [{at}:] {got[at:at + 12]!r}")

    def note(self, text, ids):
        self.bytes += len(text if isinstance(text, bytes) else text.encode())
        self.ids += len(ids)

    def finish(self):
        self.failed += self.bad > 0
        print(f"{self.name}: {self.count} comparisons, {self.bytes / 1e6:.2f} MB, {self.ids} ids, {self.bad} differences", flush=True)


def load_ours(write):
    import onnuri  # here, since the scripts that make goldens borrow from this one without it

    with tempfile.TemporaryDirectory() as folder:
        write(pathlib.Path(folder))
        return onnuri.Tokenizer(folder)


# --- tokenizer.json --------------------------------------------------------------------------


def families(tk, texts, charsmap):
    """(name, tokenizer) of every kind that a tokenizer.json may hold."""
    N, P, D, M, T = tk.normalizers, tk.pre_tokenizers, tk.decoders, tk.models, tk.trainers
    seq = P.Sequence

    def split(pattern, behavior="isolated", invert=False):
        return P.Split(tk.Regex(pattern), behavior, invert)

    def raw_bytes():
        return P.ByteLevel(add_prefix_space=False, use_regex=False)

    def byte_level(pre, vocab=4000, normalizer=None, decoder=None, **model):
        t = tk.Tokenizer(M.BPE(**model))
        if normalizer:
            t.normalizer = normalizer
        t.pre_tokenizer = pre
        t.decoder = decoder or D.ByteLevel()
        t.train_from_iterator(texts.training, T.BpeTrainer(
            vocab_size=vocab, special_tokens=SPECIALS, show_progress=False, initial_alphabet=P.ByteLevel.alphabet(),
            **{k: v for k, v in model.items() if k.endswith("prefix") or k.endswith("suffix")}))
        return t

    def changed(t, **members):
        j = json.loads(t.to_str())
        for path, value in members.items():
            j["model"][path] = value
        return tk.Tokenizer.from_str(json.dumps(j))

    def characters(normalizer=None, pre=None, decoder=None, vocab=4000, fallback=True, **model):
        """BPE over characters; its byte tokens are plain members of the vocabulary."""
        byte_tokens = [f"<0x{b:02X}>" for b in range(256)] if fallback else []
        t = tk.Tokenizer(M.BPE(unk_token="<unk>", **model))
        if normalizer:
            t.normalizer = normalizer
        if pre:
            t.pre_tokenizer = pre
        if decoder:
            t.decoder = decoder
        t.train_from_iterator(texts.training[:60], T.BpeTrainer(
            vocab_size=vocab, special_tokens=SPECIALS + byte_tokens, limit_alphabet=900, show_progress=False, max_token_length=24))
        j = json.loads(t.to_str())
        j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] not in byte_tokens]
        j["model"]["byte_fallback"] = fallback
        return tk.Tokenizer.from_str(json.dumps(j))

    def unigram(normalizer, pre, decoder, fallback=False):
        t = tk.Tokenizer(M.Unigram())
        t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
        t.train_from_iterator(texts.training[:60], T.UnigramTrainer(
            vocab_size=3000, unk_token="<unk>", show_progress=False, special_tokens=SPECIALS))
        if not fallback:
            return t
        j = json.loads(t.to_str())
        j["model"]["vocab"] += [[f"<0x{b:02X}>", -30.0] for b in range(256)]
        j["model"]["byte_fallback"] = True
        return tk.Tokenizer.from_str(json.dumps(j))

    def words(model, trainer, normalizer, pre, decoder=None):
        t = tk.Tokenizer(model)
        if normalizer:
            t.normalizer = normalizer
        t.pre_tokenizer = pre
        if decoder:
            t.decoder = decoder
        t.train_from_iterator(texts.training, trainer)
        return t

    def template(t, single):
        ids = [(s, t.token_to_id(s)) for s in SPECIALS]
        t.post_processor = tk.processors.TemplateProcessing(single=single, special_tokens=ids)
        return t

    llama_decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    gemma_decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()])
    yield "GPT-2", byte_level(P.ByteLevel(add_prefix_space=False))
    yield "GPT-2 with a space in front", byte_level(P.ByteLevel(add_prefix_space=True))
    t = byte_level(P.ByteLevel(add_prefix_space=False), unk_token="<unk>")
    t.post_processor = tk.processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    yield "GPT-2, Roberta ends", t
    yield "Qwen2, NFC", byte_level(seq([split(QWEN2), raw_bytes()]), normalizer=N.NFC())
    yield "Qwen3.5 marks", byte_level(seq([split(QWEN35), raw_bytes()]), normalizer=N.NFC())
    t = changed(byte_level(seq([split(LLAMA3), raw_bytes()])), ignore_merges=True)
    yield "Llama 3, ignore_merges, template", template(t, "<s> $A")
    t = changed(byte_level(seq([split(LLAMA3), raw_bytes()])), ignore_merges=True)
    j = json.loads(t.to_str())  # a word that is a token but that no merge makes
    for i, word in enumerate(["xylophone", "Ġuncopyrightable", "ìķĪëħķ"]):
        j["model"]["vocab"].setdefault(word, len(j["model"]["vocab"]))
    yield "ignore_merges, unreachable tokens", tk.Tokenizer.from_str(json.dumps(j))
    j["model"]["ignore_merges"] = False
    yield "merges honoured, unreachable tokens", tk.Tokenizer.from_str(json.dumps(j))
    yield "o200k", byte_level(seq([split(O200K), raw_bytes()]))
    yield "digits alone, then GPT-2", byte_level(seq([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)]))
    yield "digit runs, then GPT-2", byte_level(seq([P.Digits(individual_digits=False), P.ByteLevel(add_prefix_space=False)]))
    yield "SuperBPE", byte_level(seq([split(JOINED), raw_bytes()]), vocab=6000)
    yield "digit triples, kana and Han, the rest", byte_level(seq([
        split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"),
        split(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        raw_bytes()]))
    yield "splits that remove, merge and invert", byte_level(seq([
        split(r"[\r\n]", "removed"), split("e", "merged_with_next"), split("다", "merged_with_previous"),
        split(r"[a-z]+", "contiguous"), split(r"\s+", "removed", True), raw_bytes()]))
    t = byte_level(seq([split(CLIP, "removed", True), P.ByteLevel(add_prefix_space=False)]), end_of_word_suffix="</w>",
                   normalizer=N.Sequence([N.NFC(), N.Replace(tk.Regex(r"\s+"), " "), N.Lowercase()]), unk_token="<unk>",
                   decoder=D.BPEDecoder("</w>"))
    yield "CLIP, words end in </w>", template(t, "<s> $A </s>")
    yield "BPE with ## inside words", characters(pre=P.Whitespace(), fallback=False, continuing_subword_prefix="##")
    yield "written spaces", characters(N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), gemma_decoder, fuse_unk=True)
    t = characters(N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), None, llama_decoder, fuse_unk=True)
    yield "prepended space", template(t, "<s> $A </s>")
    for scheme in ("first", "always", "never"):
        yield f"Metaspace BPE, {scheme}, byte fallback", characters(
            N.NFC() if scheme == "first" else None, P.Metaspace(prepend_scheme=scheme, split=scheme != "never"),
            D.Sequence([D.ByteFallback(), D.Metaspace(prepend_scheme=scheme)]) if scheme == "first" else D.Metaspace(prepend_scheme=scheme))
    yield "Metaspace BPE, unknowns one by one", characters(pre=P.Metaspace(), fallback=False, decoder=D.Metaspace())
    yield "unknowns fused", characters(pre=P.WhitespaceSplit(), fallback=False, fuse_unk=True)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield f"{form}, Latin lowered", byte_level(P.ByteLevel(add_prefix_space=False), vocab=2000, normalizer=N.Sequence(
            [getattr(N, form)(), N.Lowercase()]))
    yield "NFKD, accents off, Strip", byte_level(P.ByteLevel(add_prefix_space=False), vocab=2000, normalizer=N.Sequence(
        [N.Strip(), N.NFKD(), N.StripAccents()]))
    yield "Strip right, Replace by regex and string", byte_level(P.ByteLevel(add_prefix_space=True), vocab=2000, normalizer=N.Sequence(
        [N.Strip(left=False), N.Replace(tk.Regex(r"[ \t]{2,}"), " "), N.Replace("``", "\""), N.Prepend("·")]))
    yield "Unigram, NFKC", unigram(N.NFKC(), P.Metaspace(prepend_scheme="always"), D.Metaspace(prepend_scheme="always"))
    yield "Unigram, bytes", unigram(N.NFC(), P.Metaspace(prepend_scheme="first"),
                                    D.Sequence([D.ByteFallback(), D.Metaspace(prepend_scheme="first")]), True)
    if charsmap:
        t = unigram(N.Sequence([N.Precompiled(charsmap), N.Replace(tk.Regex(" {2,}"), " ")]),
                    P.Metaspace(prepend_scheme="always"), D.Metaspace(prepend_scheme="always"))
        yield "Unigram, compiled character map", template(t, "$A </s>")
    for cased in (False, True):
        t = words(M.WordPiece(unk_token="<unk>"), T.WordPieceTrainer(vocab_size=4000, special_tokens=SPECIALS, show_progress=False),
                  N.BertNormalizer(lowercase=not cased, strip_accents=True if cased else None, handle_chinese_chars=True, clean_text=True),
                  P.BertPreTokenizer(), D.WordPiece(cleanup=cased))
        t.post_processor = tk.processors.BertProcessing(("</s>", 2), ("<s>", 1))
        yield f"WordPiece, {'cased' if cased else 'lowered'}", t
    yield "WordLevel", words(M.WordLevel(unk_token="<unk>"), T.WordLevelTrainer(vocab_size=3000, special_tokens=SPECIALS, show_progress=False),
                             N.Lowercase(), seq([P.Whitespace(), P.Punctuation("isolated"), P.Digits(True)]))
    yield "WordLevel, cut at a sign", words(M.WordLevel(unk_token="<unk>"), T.WordLevelTrainer(
        vocab_size=3000, special_tokens=SPECIALS, show_progress=False), None, seq([P.CharDelimiterSplit(","), P.Punctuation("removed")]))


def added(tk):
    A = tk.AddedToken
    return [A("<think>", normalized=False), A("Ångström", normalized=True), A("mask", single_word=True, lstrip=True, normalized=True),
            A("한국", rstrip=True, normalized=False), A("\n\n", normalized=False), A("Café", single_word=True, rstrip=True, normalized=True),
            A("ab", normalized=False), A("abc", lstrip=True, normalized=False), A("  ", normalized=False)], \
           [A("<|sep|>", lstrip=True, rstrip=True), A("<|SEP|>x", normalized=True, special=True), A("[MASK]", lstrip=True)]


def compare_json(tk, name, t, texts, report):
    plain_tokens, special_tokens = added(tk)
    report.start(name)
    bare = t.to_str()
    for extended in (False, True):
        t = tk.Tokenizer.from_str(bare)
        if extended:
            t.add_tokens(plain_tokens)
            t.add_special_tokens(special_tokens)
        written = SPECIALS + ([a.content for a in plain_tokens + special_tokens] if extended else [])
        ours = load_ours(lambda folder: (folder / "tokenizer.json").write_text(t.to_str()))
        unigram = json.loads(bare)["model"]["type"] == "Unigram"
        small = texts.with_tokens(written) + [b.decode("utf-8", "replace") for b in texts.broken]
        if extended:
            small += texts.slices
        else:
            small += texts.pieces + texts.hard
        t.encode_special_tokens = False
        for text in small:
            want = t.encode(text, add_special_tokens=False).ids
            report.note(text, want)
            report.check("ids", text, want, ours.encode(text))
            report.check("decode", text, t.decode(want, skip_special_tokens=False), ours.decode(want))
            if len(text) < 200:
                report.check("with ends", text, t.encode(text).ids, ours.encode(text, add_special_tokens=True))
                report.check("decode, no special", text, t.decode(want), ours.decode(want, skip_special_tokens=True))
        t.encode_special_tokens = True
        for text in small:
            if len(text) < 200 and not (unigram and any(s in text.lower() for s in ("<s>", "</s>", "<unk>", "<|", "[mask"))):
                report.check("plain", text, t.encode(text, add_special_tokens=False).ids, ours.encode(text, parse_special_tokens=False))
        for data in texts.broken:
            t.encode_special_tokens = False
            report.check("broken bytes", data, t.encode(data.decode("utf-8", "replace"), add_special_tokens=False).ids, ours.encode(data))
    report.finish()


# --- tokenizer.model -------------------------------------------------------------------------


def train_pieces(spm, texts, **options):
    out = io.BytesIO()
    settings = dict(vocab_size=2500, character_coverage=0.98, minloglevel=2, num_threads=2, hard_vocab_limit=False)
    lines = [line for text in texts.training[:60] for line in text.split("\n") if line]
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, **{**settings, **options})
    return out.getvalue()


def members(message):
    """(number, bytes) of every length-delimited field of a protocol buffer message."""
    def varint(at):
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    at = 0
    while at < len(message):
        tag, at = varint(at)
        if tag & 7 == 0:
            _, at = varint(at)
        elif tag & 7 == 2:
            size, at = varint(at)
            yield tag >> 3, message[at:at + size]
            at += size
        else:
            at += 8 if tag & 7 == 1 else 4


def character_map(model):
    """The compiled normalization rules inside a model file (normalizer_spec, precompiled_charsmap)."""
    spec = next(value for number, value in members(model) if number == 3)
    return next(value for number, value in members(spec) if number == 2)


PIECES = {
    "BPE, byte fallback, identity": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False),
    "BPE, nmt_nfkc, own symbols": dict(model_type="bpe", user_defined_symbols=["<sep>", "▁▁", "한국", "\n"], normalization_rule_name="nmt_nfkc"),
    "BPE, no space in front, digits split": dict(model_type="bpe", byte_fallback=True, add_dummy_prefix=False, split_digits=True,
                                                 normalization_rule_name="nfkc"),
    "Unigram, nmt_nfkc": dict(model_type="unigram", normalization_rule_name="nmt_nfkc"),
    "Unigram, byte fallback, own symbols": dict(model_type="unigram", byte_fallback=True, user_defined_symbols=["<sep>", "ab"],
                                                control_symbols=["<ctl>"], normalization_rule_name="identity", remove_extra_whitespaces=False),
    "Unigram, nmt_nfkc_cf, space behind": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf", treat_whitespace_as_suffix=True),
}


def compare_pieces(spm, name, model, texts, report):
    report.start("sentencepiece " + name)
    theirs = spm.SentencePieceProcessor(model_proto=model)
    ours = load_ours(lambda folder: (folder / "tokenizer.model").write_bytes(model))
    for text in texts.pieces + texts.hard + texts.slices + texts.broken:
        want = theirs.encode(text)
        report.note(text, want)
        report.check("ids", text, want, ours.encode(text, parse_special_tokens=False))
        # The library joins special pieces as "" and unknown ones as " ⁇ "; ours as they are written.
        if all(not theirs.is_unknown(i) for i in want):
            report.check("decode", text, theirs.decode(want), ours.decode(want))
    report.finish()


def llama_pieces(pieces):
    """Vocabulary and merges of a model: every way to make a token of two, best token first."""
    vocab = {pieces.id_to_piece(i): i for i in range(len(pieces))}
    merges = []
    for piece, id in vocab.items():
        if not (pieces.is_control(id) or pieces.is_unknown(id) or pieces.is_byte(id)):
            ways = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
            merges += [(-pieces.get_score(id), vocab[a], vocab[b], a, b) for a, b in ways]
    return vocab, [(a, b) for *_, a, b in sorted(merges)]


def compare_llama(transformers, spm, model, texts, report):
    """Added tokens in a text: what `legacy` changes. Stretches that begin with a space are left out: there
    transformers adds no second one, and the sentencepiece library, which is what counts, does."""
    vocab, merges = llama_pieces(spm.SentencePieceProcessor(model_proto=model))
    for legacy in (True, False):
        report.start(f"LlamaTokenizer, legacy {legacy}")
        theirs = transformers.LlamaTokenizer(vocab=vocab, merges=merges, legacy=legacy)

        def write(folder):
            (folder / "tokenizer.model").write_bytes(model)
            (folder / "tokenizer_config.json").write_text(json.dumps({"legacy": legacy}))

        ours = load_ours(write)
        for text in texts.with_tokens(["<s>", "</s>", "<unk>"]) + texts.slices:
            if text[:1] in " ▁" or any(token + space in text for token in ("<s>", "</s>", "<unk>") for space in " ▁"):
                continue
            want = theirs.encode(text, add_special_tokens=False)
            report.note(text, want)
            report.check("ids", text, want, ours.encode(text))
        report.finish()


# --- ranked vocabularies ---------------------------------------------------------------------


def byte_table():
    """The byte that each character of a byte-level vocabulary stands for."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in plain]
    return {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(others)}}


def compare_ranks(tk, tiktoken, texts, report):
    alphabet, table = tk.pre_tokenizers.ByteLevel.alphabet(), byte_table()
    for name, pattern in (("ranks", LLAMA3), ("o200k_ranks", O200K), ("qwen", QWEN2)):
        t = tk.Tokenizer(tk.models.BPE())
        t.pre_tokenizer = tk.pre_tokenizers.Sequence([tk.pre_tokenizers.Split(tk.Regex(pattern), "isolated"),
                                                      tk.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.train_from_iterator(texts.training, tk.trainers.BpeTrainer(vocab_size=4000, show_progress=False, initial_alphabet=sorted(alphabet)))
        ranks = {bytes(table[c] for c in word): id for word, id in t.get_vocab().items()}
        config = {"added_tokens_decoder": {str(len(ranks) + i): {"content": s, "special": True} for i, s in enumerate(SPECIALS)}}
        theirs = tiktoken.Encoding(name=name, pat_str=pattern, mergeable_ranks=ranks,
                                   special_tokens={s: len(ranks) + i for i, s in enumerate(SPECIALS)})

        def write(folder):
            lines = [f"{base64.b64encode(b).decode()} {rank}\n" for b, rank in sorted(ranks.items(), key=lambda kv: kv[1])]
            (folder / f"{name}.tiktoken").write_text("".join(lines))
            (folder / "tokenizer_config.json").write_text(json.dumps(config))

        def tekken(folder):
            vocab = [{"rank": rank, "token_bytes": base64.b64encode(b).decode(), "token_str": None}
                     for b, rank in sorted(ranks.items(), key=lambda kv: kv[1])]
            special = [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(SPECIALS)]
            (folder / "tekken.json").write_text(json.dumps({
                "config": {"pattern": pattern, "num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) + 10,
                           "default_num_special_tokens": 10, "version": "v3"}, "vocab": vocab, "special_tokens": special}))

        shifted = load_ours(tekken)
        ours = load_ours(write)
        report.start(f"tiktoken and tekken, {name}")
        for text in texts.pieces + texts.hard + texts.with_tokens(SPECIALS):
            want = theirs.encode(text, allowed_special="all")
            report.note(text, want)
            report.check("ids", text, want, ours.encode(text))
            report.check("decode", text, theirs.decode(want), ours.decode(want))
            moved = [i + 10 if i < len(ranks) else i - len(ranks) for i in want]
            report.check("tekken ids", text, moved, shifted.encode(text))
            report.check("tekken decode", text, theirs.decode(want), shifted.decode(moved))
            if len(text) < 200:
                report.check("plain", text, theirs.encode(text, disallowed_special=()), ours.encode(text, parse_special_tokens=False))
        report.finish()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, default=2_200_000)
    parser.add_argument("--only", default="", help="families whose names hold this word")
    options = parser.parse_args()
    texts, report = Texts(options.bytes), Report()
    tk, spm, transformers, tiktoken = map(library, ("tokenizers", "sentencepiece", "transformers", "tiktoken"))

    def wanted(name):
        return options.only.lower() in name.lower()

    charsmap = None
    if spm:
        charsmap = character_map(train_pieces(spm, texts, model_type="bpe", vocab_size=2000, normalization_rule_name="nmt_nfkc"))
    if tk:
        for name, t in families(tk, texts, charsmap):
            if wanted(name):
                compare_json(tk, name, t, texts, report)
    if spm:
        for name, settings in PIECES.items():
            if wanted("sentencepiece " + name):
                compare_pieces(spm, name, train_pieces(spm, texts, **settings), texts, report)
    if spm and transformers and wanted("LlamaTokenizer"):
        compare_llama(transformers, spm, train_pieces(spm, texts, **PIECES["BPE, byte fallback, identity"]), texts, report)
    if tk and tiktoken and wanted("tiktoken and tekken"):
        compare_ranks(tk, tiktoken, texts, report)
    print(f"families with differences: {report.failed}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
