"""Prompts with pictures, videos and sounds beside the reference processors: the same ids, the same positions.

    PYTHONPATH=build/python python tests/golden/compare_processors.py [--draws N] [--seed S] [--write] [family ...]

For each checkpoint of prompt_checkpoints.py: conversations drawn at random (one to four media of odd sizes and lengths,
words between them) go through Engine.prepare here and through the processor and get_rope_index there. Written against
transformers 5.23 with torchvision 0.29, and PyAV 18 for videos as files; what is not installed is said. Exit status 1 where anything differs; what only
the reference refuses is shown and does not count (a video of one frame, which Qwen3-VL's does not repeat).

--write keeps what the reference answers in tests/golden/prompts/<family>.json, for tests without it.
"""

import argparse
import json
import pathlib
import random
import sys
import tempfile

import numpy as np

import prompt_checkpoints as ours

OUT = ours.ROOT / "prompts"


def answer(ask, refusals):
    """(ids, positions), or the words of the refusal."""
    try:
        return ask()
    except refusals as error:
        return f"{type(error).__name__}: {error}"


def judge(there, here):
    if isinstance(there, str):
        return "refused by both" if isinstance(here, str) else "refused there"
    if isinstance(here, str):
        return "differ"
    return "equal" if there[0] == here[0] and np.array_equal(there[1], here[1]) else "differ"


def show_difference(there, here):
    if isinstance(there, str) or isinstance(here, str):
        return f"    there {str(there)[:200]}\n    here  {str(here)[:200]}"
    (ids, positions), (found_ids, found) = there, here
    if ids != found_ids:
        at = next((i for i, (a, b) in enumerate(zip(ids, found_ids)) if a != b), min(len(ids), len(found_ids)))
        return f"    ids ({len(ids)}, here {len(found_ids)}) from {at}: {ids[at:at + 12]}, here {found_ids[at:at + 12]}"
    if positions.shape != found.shape:
        return f"    positions {positions.shape}, here {found.shape}"
    at = np.argwhere(positions != found)[0]
    return f"    positions from {at.tolist()}: {positions[:, at[1]].tolist()}, here {found[:, at[1]].tolist()}"


def kept(recipe, found):
    """One case of the golden file."""
    return {"parts": recipe, "ids": ours.runs(found[0]), "positions": ours.packed_positions(found[1])}


def clips(folder):
    """Draws a video file of some length, size and rate, or the one that is always there."""
    try:
        import av
    except ImportError:
        return lambda rnd: ours.STEADY

    def draw(rnd):
        frames, height, width = rnd.randint(2, 90), 2 * rnd.randint(12, 80), 2 * rnd.randint(12, 80)
        rate = rnd.choice([1, 4, 8, 10, 12, 15, 24, 25, 30])
        path = folder / f"{frames}-{height}-{width}-{rate}.{rnd.choice(['avi', 'mkv', 'mp4'])}"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("mpeg4", rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for _ in range(frames):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")))
            out.mux(stream.encode(None))
        return {"clip": [frames, height, width], "rate": rate, "file": str(path)}

    return draw


def compare(family, options):
    """How many conversations differ."""
    from processor_reference import Reference

    import onnuri

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        reference = Reference(family, folder)
        engine = ours.load(folder)
        rnd = random.Random(f"{family} {options.seed}")
        counts = {"equal": 0, "refused by both": 0, "refused there": 0, "differ": 0}
        cases = []
        clip = (lambda rnd: ours.STEADY) if options.write else clips(folder)
        for _ in range(options.draws):
            recipe = ours.draw_conversation(rnd, family, reference.window, clip)
            there = answer(lambda: reference.prepared(recipe), Exception)
            here = answer(lambda: ours.prepared(engine, recipe), onnuri.Error)
            if not isinstance(there, str):
                cases.append(kept(recipe, there))
            verdict = judge(there, here)
            counts[verdict] += 1
            if verdict in ("differ", "refused there"):
                print(f"  {family} {json.dumps(recipe)}\n{show_difference(there, here)}")
    print(f"{family}: " + ", ".join(f"{n} {what}" for what, n in counts.items()), flush=True)
    if options.write:
        OUT.mkdir(exist_ok=True)
        lines = ",\n ".join(json.dumps(case, separators=(",", ":")) for case in cases)
        (OUT / f"{family}.json").write_text(f"[{lines}]\n")
    return counts["differ"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", default=list(ours.CHECKPOINTS))
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the answers of the reference in tests/golden/prompts")
    options = parser.parse_args()
    try:
        import torchvision  # noqa: F401 (the video processors need it)
        import transformers
    except ImportError as error:
        print(f"skipped: {error}")
        return 0
    transformers.logging.set_verbosity_error()
    return 1 if sum(compare(family, options) for family in options.families) else 0


if __name__ == "__main__":
    sys.exit(main())
