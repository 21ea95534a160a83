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
    kinds = {kind for case in cases for part in case["parts"] for kind in part} - {"text", "fps"}
    assert kinds == set(prompts.CHECKPOINTS[family].marks)
    for case in cases:
        ids, positions = prompts.prepared(engine, case["parts"])
        assert ids == prompts.spread(case["ids"]), case["parts"]
        assert np.array_equal(positions, prompts.unpacked_positions(case["positions"])), case["parts"]


@pytest.mark.parametrize("family", [f for f in FAMILIES if "audio" in prompts.CHECKPOINTS[f].marks])
def test_a_sound_without_samples_is_refused(family, tmp_path):
    with pytest.raises(onnuri.Error, match="expected sound"):
        prompts.prepared(engine_of(family, tmp_path), [{"audio": 0}, {"text": "what?"}])
