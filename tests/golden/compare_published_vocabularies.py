"""Ours against the expected ids of published vocabularies.

    PYTHONPATH=build/python python tests/golden/compare_published_vocabularies.py FOLDER

FOLDER holds files as llama.cpp has them in models/ (the source distribution of llama-cpp-python
carries them in vendor/llama.cpp/models): ggml-vocab-NAME.gguf, with NAME.gguf.inp, texts between
lines "__ggml_vocab_test__", and NAME.gguf.out, their ids without special tokens, one text a line.
Prints equal/total for each; a file without texts only has to load and to give every text back.
Skips, and says so, when the folder is absent. The exit status says whether an id differed.
"""

import pathlib
import sys

import onnuri

BORDER = "\n__ggml_vocab_test__\n"


def rows(path):
    texts = pathlib.Path(f"{path}.inp").read_bytes().decode().split(BORDER)
    lines = pathlib.Path(f"{path}.out").read_text().split("\n")
    texts = texts[:-1] if len(texts) == len(lines) and not texts[-1] else texts
    return [(text, [int(n) for n in line.split()]) for text, line in zip(texts, lines)]


def compare(path, samples):
    try:
        ours = onnuri.Tokenizer(path)
    except onnuri.Error as error:
        print(f"{path.name}: not loaded: {error}")
        return False
    if not pathlib.Path(f"{path}.inp").is_file():
        kept = sum(ours.decode(ours.encode(text, parse_special_tokens=False)) == text for text in samples)
        print(f"{path.name}: no expected ids; loads, {kept}/{len(samples)} texts come back")
        return True
    wanted = rows(path)
    differing = [(text, ids, ours.encode(text)) for text, ids in wanted if ours.encode(text) != ids]
    print(f"{path.name}: {len(wanted) - len(differing)}/{len(wanted)}")
    for text, ids, got in differing[:4]:
        print(f"  {text[:80]!r}\n    want {ids[:24]}\n    got  {got[:24]}")
    return not differing


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    files = sorted(folder.glob("ggml-vocab-*.gguf")) if folder else []
    if not files:
        print(f"skipped: no ggml-vocab-*.gguf in {folder}")
        return 0
    samples = next(([text for text, _ in rows(path)] for path in files if pathlib.Path(f"{path}.inp").is_file()), [])
    return 0 if all([compare(path, samples) for path in files]) else 1


if __name__ == "__main__":
    sys.exit(main())
