"""A thinker whose files do not say how pictures are cut: it loads, hears, and names the key when it is shown
one; keys of config.json that its eyes need are named when it is loaded."""

import json
import pathlib

import numpy as np
import pytest

import onnuri
from test_hearing_chat import sound

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
PICTURE = np.zeros((60, 90, 3), np.uint8)
FAMILIES = {"qwen2_5_omni": "hearing/qwen2_5_omni", "qwen3_omni": "grid/qwen3_omni"}


def copied(family, folder):
    for file in (GOLDEN / FAMILIES[family]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def load(folder):
    return onnuri.Engine(folder, compute_dtype="float32", num_threads=1, context_size=512)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("without", ["patch_size", "the file"])
def test_pictures_without_their_geometry(family, without, tmp_path):
    folder = copied(family, tmp_path)
    file = folder / "preprocessor_config.json"
    if without == "the file":
        file.unlink(missing_ok=True)
        key = "preprocessor_config.json"
    else:
        config = json.loads(file.read_text()) if file.exists() else {}
        config.pop("patch_size", None)
        file.write_text(json.dumps(config))
        key = "patch_size"
    engine = load(folder)
    heard = engine.encode_audio(sound(0.5, 1))
    for call in (lambda: engine.encode_image(PICTURE), lambda: engine.logits([1, 2, 3], images=[PICTURE]),
                 lambda: engine.logits([1, 2, 3], videos=[np.stack([PICTURE] * 2)]),
                 lambda: engine.prepare([{"role": "user", "content": [{"type": "image", "image": PICTURE}]}])):
        with pytest.raises(onnuri.Error, match=key) as caught:
            call()
        assert caught.value.code == "unsupported"
    assert np.array_equal(engine.encode_audio(sound(0.5, 1)), heard)


@pytest.mark.parametrize("key", ["merge_size", "image_mean", "image_std"])
def test_other_keys_of_the_processor(key, tmp_path):
    file = copied("qwen3_omni", tmp_path) / "preprocessor_config.json"
    config = json.loads(file.read_text())
    config.pop(key)
    file.write_text(json.dumps(config))
    with pytest.raises(onnuri.Error, match=key) as caught:
        load(tmp_path)
    assert caught.value.code == "corrupt_data"


def vision_of(config):
    return config.get("thinker_config", config)["vision_config"]


KEYS = ["depth", "hidden_size", "intermediate_size", "num_heads", "num_position_embeddings", "out_hidden_size"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_the_eyes_need(key, tmp_path):
    file = copied("qwen3_omni", tmp_path) / "config.json"
    config = json.loads(file.read_text())
    vision_of(config).pop(key)
    file.write_text(json.dumps(config))
    with pytest.raises(onnuri.Error, match=key) as caught:
        load(tmp_path)
    assert caught.value.code == "corrupt_data"
