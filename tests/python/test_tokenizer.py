"""onnuri.Tokenizer: every kind of file, text and bytes, both ways."""

import json
import pathlib
import shutil

import onnuri
import pytest

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "tokenizer"
CASES = json.loads((GOLDEN / "rare_cases.json").read_text())


def test_a_file_or_a_folder(tmp_path):
    shutil.copy(GOLDEN / "rare_added.json", tmp_path / "tokenizer.json")
    for place in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json"):
        tokenizer = onnuri.Tokenizer(place)
        for text, row in zip(CASES["texts"], CASES["expected"]["rare_added"], strict=True):
            assert tokenizer.encode(text) == row["special"]
            assert tokenizer.encode(text, add_special_tokens=True) == row["added"]
            assert tokenizer.decode(row["special"]) == row["decode"]
            assert tokenizer.decode(row["special"], skip_special_tokens=True) == row["skip"]


@pytest.mark.parametrize("name", ["rare_pieces.model", "rare_ranks.tiktoken"])
def test_other_files(name):
    tokenizer = onnuri.Tokenizer(GOLDEN / name)
    for text, row in zip(CASES["texts"], CASES["expected"][name], strict=True):
        assert tokenizer.encode(text, parse_special_tokens=False) == row["plain"]


@pytest.mark.parametrize("name", ["gpt2.json", "rare_added.json", "rare_ranks.tiktoken", "pieces.model"])
def test_broken_bytes_become_replacement_characters(name):
    tokenizer = onnuri.Tokenizer(GOLDEN / name)
    for data in (b"\xff", b"a\xc3", b"\xed\xa0\x80b", b"\xc0\x80", b"\xf0\x9f\x98 x", bytes(range(256))):
        ids = tokenizer.encode(data)
        if name.endswith(".model"):  # the library's way: one for each byte
            continue
        assert ids == tokenizer.encode(data.decode("utf-8", "replace"))
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode("\ud800")


def test_ids_out_of_range_add_nothing():
    tokenizer = onnuri.Tokenizer(GOLDEN / "gpt2.json")
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode([*ids, 2**31 - 1]) == "the cat"
    with pytest.raises(onnuri.Error, match="-1"):
        tokenizer.decode([-1, *ids])
    assert tokenizer.decode([]) == ""


def test_long_words_come_back():
    for name in ("gpt2.json", "joined_words.json", "rare_ranks.tiktoken", "unigram.json"):
        tokenizer = onnuri.Tokenizer(GOLDEN / name)
        word = "theothercats" * 9000
        assert tokenizer.decode(tokenizer.encode(word)).strip() == word
