"""Engine.prepare beside what the reference processors and get_rope_index made of the same conversations: equal ids and
equal positions, for every family that transformers has a processor of (tests/golden/prompts, by compare_processors.py)."""

import json
import pathlib
import sys

import numpy as np
import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
import prompt_checkpoints as prompts  # noqa: E402

FAMILIES = sorted(prompts.CHECKPOINTS)


def engine_of(family, folder):
    prompts.equip(family, folder)
    return prompts.load(folder)


def test_no_family_is_left_out():
    assert sorted(p.stem for p in (GOLDEN / "prompts").glob("*.json")) == FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_positions_equal_the_reference(family, tmp_path):
    engine = engine_of(family, tmp_path)
    cases = json.loads((GOLDEN / "prompts" / f"{family}.json").read_text())
    assert len(cases) >= 6
    checkpoint = prompts.CHECKPOINTS[family]
    keys = {key for case in cases for part in case["parts"] for key in part}
    kinds = {"video" if key == "clip" else key for key in keys} - {"text", "fps", "rate", "file"}
    assert kinds == set(checkpoint.marks)
    assert ("clip" in keys) == ("video" in checkpoint.marks and checkpoint.chooses)
    for case in cases:
        ids, positions = prompts.prepared(engine, case["parts"])
        assert ids == prompts.spread(case["ids"]), case["parts"]
        assert np.array_equal(positions, prompts.unpacked_positions(case["positions"])), case["parts"]


@pytest.mark.parametrize("family", [f for f in FAMILIES if "audio" in prompts.CHECKPOINTS[f].marks])
def test_a_sound_without_samples_is_refused(family, tmp_path):
    with pytest.raises(onnuri.Error, match="expected sound"):
        prompts.prepared(engine_of(family, tmp_path), [{"audio": 0}, {"text": "what?"}])


@pytest.mark.parametrize("family, step", [("qwen2_5_omni", 25), ("qwen3_omni", 13)])
def test_files_count_as_sampled_at_the_wanted_rate(family, step, tmp_path):
    """40 frames in 15.21 s give 30 frames at 1.97 a second; the reference numbers them as 2 a second."""
    video = {"type": "video", "video": str(GOLDEN / "videos" / "uneven.mp4")}
    layout = engine_of(family, tmp_path).prepare([{"role": "user", "content": [video]}])
    (span,) = layout["spans"]
    grids, rows, columns = span["grid"]
    assert grids == 15
    times = layout["positions"][0, span["first_token"]:span["first_token"] + span["num_tokens"]].reshape(grids, rows * columns)
    assert (np.diff(times, axis=0) == step).all()
