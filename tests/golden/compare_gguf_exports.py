"""Exports of the tiny checkpoints (onnuri quantize) as llama.cpp reads them: the same logits.

    python tests/golden/compare_gguf_exports.py [--types f32 q4_k ...] [family ...]

Every folder of tests/golden/text whose family has a place in GGUF is written as GGUF, checked with
the gguf package and loaded by llama.cpp, which gets the same tokens. In float32, logits of all
positions agree to 1e-2 of their standard deviation (llama.cpp keeps keys and values as it likes)
with the same best token wherever it leads by that much. With smaller types, only that llama.cpp
loads the file and comes as near to the float32 answer as Onnuri does with the same file.

Needs the onnuri command (ONNURI_CLI), the onnuri package and the packages gguf, torch and llama_cpp
(llama-cpp-python; LLAMA_CPP_LIB_PATH may name a folder with libllama). Made with gguf 0.19 and
llama-cpp-python 0.3.36. Ends with status 1 after a failure.
"""

import argparse
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import onnuri

TEXT = pathlib.Path(__file__).resolve().parent / "text"


def llama_logits(path, ids):
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_load_model_from_file(str(path).encode(), params)
    if not model:
        raise ValueError("llama.cpp does not load it")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 256
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = 0  # float32
    settings.flash_attn_type = 0
    settings.swa_full = True
    context = llama_cpp.llama_new_context_with_model(model, settings)
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), i, 1, True
        batch.seq_id[i][0] = 0
    if llama_cpp.llama_decode(context, batch) != 0:
        raise ValueError("llama.cpp does not run it")
    rows = [np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), shape=(vocab,)).copy()
            for i in range(len(ids))]
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_free_model(model)
    return np.stack(rows)


def widened(folder, work):
    """The folder with all tensors in float32: llama.cpp rounds inputs of float16 weights."""
    wide = work / folder.name
    shutil.copytree(folder, wide)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t.float() if t.dtype.is_floating_point else t for name, t in tensors.items()},
              wide / "model.safetensors")
    return wide


def export(folder, out, kind):
    return subprocess.run([os.environ["ONNURI_CLI"], "quantize", str(folder), str(out), "-t", kind,
                           "-q"], capture_output=True, text=True)


def check(folder, kind, work, ids=None):
    """An error, or the distance in standard deviations of the logits."""
    out = work / f"{folder.name}.{kind}.gguf"
    result = export(folder, out, kind)
    if result.returncode != 0:
        return result.stderr.strip(), None
    plain = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16}
    is_exact = all(t.tensor_type in plain for t in gguf.GGUFReader(str(out)).tensors)
    if ids is None:
        with safe_open(folder / "golden.safetensors", "np") as golden:
            ids = golden.get_tensor("input_ids").reshape(-1).astype(np.int32)
    expected = onnuri.Engine(str(folder), compute_dtype="float32").logits(ids)
    ours = onnuri.Engine(str(out), compute_dtype="float32").logits(ids)
    try:
        theirs = llama_logits(out, ids)
    except ValueError as error:
        return str(error), None
    scale = expected.std()
    between = np.abs(theirs - ours).max() / scale
    if kind != "f32" or not is_exact:
        near = np.sqrt(np.mean((ours - expected) ** 2)) / scale
        far = np.sqrt(np.mean((theirs - expected) ** 2)) / scale
        return (None if far < 1.5 * near + 0.05 else "llama.cpp lies further off"), (near, far)
    if np.abs(ours - expected).max() > 1e-3 * scale:
        return f"the export changes logits by {np.abs(ours - expected).max() / scale:.2g}", None
    top = np.sort(theirs, axis=1)
    clear = top[:, -1] - top[:, -2] > 0.02 * scale
    same = (theirs.argmax(1) == ours.argmax(1)) | ~clear
    if between > 1e-2 or not same.all():
        return f"llama.cpp differs by {between:.2g}, {np.count_nonzero(~same)} best tokens", None
    return None, (between, int(clear.sum()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--types", nargs="+", default=["f32"])
    options = parser.parse_args()
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for folder in sorted(TEXT.iterdir()):
            if options.families and folder.name not in options.families:
                continue
            wide = widened(folder, pathlib.Path(work))
            for kind in options.types:
                error, found = check(wide, kind, pathlib.Path(work))
                refused = error and "unsupported" in error
                failed += bool(error) and not refused
                print(f"{folder.name:20} {kind:7}", error or found, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
