"""Goldens of corners of tokenizer.json: what is dropped, refused or found although it is empty.

    python tests/golden/make_corner_tokenizer_goldens.py      (tokenizers 0.23)

Writes tests/golden/tokenizer/corners.json: [{"name", "tokenizer": a tokenizer.json, "cases": [[text, ids or null
where the library raises]]}].
"""

import json
import pathlib

from tokenizers import Tokenizer

OUT = pathlib.Path(__file__).parent / "tokenizer" / "corners.json"
LETTERS = list("abx-_ \n가나한ab12漢字かなカナー。、!éЖδא") + ["!?"]
WORDS = ["a", "b", "c", "ab", "bc", "abc", "▁", "▁a", "a▁"]
RULES = ["a b", "b c", "ab c", "▁ a", "a ▁"]


def bpe(vocab, merges=(), **more):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(dict.fromkeys(vocab))}, "merges": list(merges), **more}


def unigram(vocab, **more):
    return {"type": "Unigram", "unk_id": None, "vocab": vocab, "byte_fallback": False, **more}


def added(content, id, special=False):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special,
            "special": special}


def replace(content, **pattern):
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(regex, behavior, invert):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


DROPPED = ["axb", "abxc", "xab", "a한b", "한", "axxbc", "bxc", "x" * 30 + "a" * 30 + "x" + "b" * 30, "axb" * 20, "a한▁", "▁한a", "a한▁한a"]
SEEN = ["abxxa", "", "a b", "가xx가", "b", "a\nb", "a\n", "\n", "\na", "a\n\nb", "aba", "bba", "xx", "가나 한"]
SCRIPTS = ["Yo!あCrazy", "ab 가나 一二ひらカタカー、。abc12 é", "どこで生れ。Yes", "a1b-2 Ж д", "한글ABC漢字カナ  12", "áb‍c", "！？ａ１",
           "αβγ אב ابج ١٢", "  a", "1 2", "。。a", "a  b", "ーあ", "一ー二", "、ー。ー1", "々〆〇", "\n가\n나", "", " ", "\U0001f600a\U0001f600", "a\u0378b 가\u0378 나"]


def corners():
    yield "dropped", bpe(WORDS, RULES), {}, DROPPED
    yield "dropped_but_bytes", bpe(WORDS + ["<0x78>"], RULES, byte_fallback=True), {}, DROPPED
    yield "dropped_prefix", bpe(["a", "##b", "##c", "##bc"], ["##b ##c"], continuing_subword_prefix="##"), {}, ["axbc", "xbc", "bxc"]
    yield "dropped_suffix", bpe(["a", "b</w>", "ab</w>"], ["a b</w>"], end_of_word_suffix="</w>"), {}, ["axb", "abx"]
    yield "dropped_bytes", bpe(["a", "b", "ab"], ["a b"]), {"pre_tokenizer": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}}, ["axb", "a b", "x"]
    yield "kept_unknown", bpe(["<unk>"] + WORDS, RULES, unk_token="<unk>"), {}, DROPPED
    yield "no_unknown", unigram([["a", -1.0], ["b", -1.5], ["ab", -2.0], ["cab", -3.0]]), {}, ["ab", "axb", "", "cab", "bca", "a\nb"]
    yield "no_unknown_but_bytes", unigram([["a", -1.0], ["<0x78>", -5.0]], byte_fallback=True), {}, ["a", "axa", "x"]
    for i, regex in enumerate(["x*", "", r"\b", "(?=b)", "$", "^", "a*?", "(?<=a)", r"\s*", "b|", "(?=a)|b", "x{0}"]):
        yield f"replace_{i}", bpe(LETTERS), {"normalizer": replace("-", Regex=regex)}, SEEN
    yield "replace_nothing", bpe(LETTERS), {"normalizer": replace("-", String="")}, SEEN
    for i, regex in enumerate(["x*", "", "(?=b)", r"\b|a"]):
        for behavior in ("Isolated", "Removed", "MergedWithNext", "MergedWithPrevious", "Contiguous"):
            for invert in (False, True):
                yield f"split_{i}_{behavior}_{invert}", bpe(LETTERS + ["ab", "xx", "ba", "bx"], ["x x", "b a", "a b", "b x"]), {
                    "pre_tokenizer": split(regex, behavior, invert)}, ["abxxba", "xxa", "baxxb", "a b", "ab"]
    have = WORDS[:7]
    yield "added_known", bpe(have, RULES[:3]), {"added_tokens": [added("ab", 100), added("c", 3, True), added("zz", 7)]}, [
        "ab", "zz", "abc", "xzz", "cab", "aczzb"]
    names = LETTERS + SCRIPTS[0:1] + list("".join(SCRIPTS))
    pairs = sorted({a + b for text in SCRIPTS for a, b in zip(text, text[1:])})
    yield "scripts", bpe(names + pairs, [f"{p[0]} {p[1]}" for p in pairs if " " not in p]), {"pre_tokenizer": {"type": "UnicodeScripts"}}, SCRIPTS
    for length in (1, 2, 3, None):
        step = {"type": "FixedLength", **({"length": length} if length else {})}
        yield f"length_{length}", bpe(LETTERS + ["aa", "aaaa"], ["a a", "aa aa"]), {"pre_tokenizer": step}, ["aaaaaaaaa", "가나한a", "", "a", "한 a b aa aa"]


def main():
    out = []
    for name, model, more, texts in corners():
        made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
                "post_processor": None, "decoder": None, "model": model, **more}
        tokenizer = Tokenizer.from_str(json.dumps(made))
        cases = []
        for text in texts:
            try:
                cases.append([text, tokenizer.encode(text, add_special_tokens=False).ids])
            except Exception:  # a bare Exception is what the library raises
                cases.append([text, None])
        out.append({"name": name, "tokenizer": made, "cases": cases})
    OUT.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
