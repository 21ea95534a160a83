"""LLaVA-OneVision cuts the only picture of a conversation into tiles; of several each is one view."""

import numpy as np
import pytest

import onnuri
from test_vision_chat import END_ID, IMAGE_ID, START_ID, TEMPLATE, equip, picture

SPECIAL = {"<|image|>": IMAGE_ID, "<|video|>": 151, "<|start|>": START_ID, "<|end|>": END_ID}


@pytest.fixture
def engine(tmp_path):
    return onnuri.Engine(equip("llava_onevision", tmp_path, SPECIAL, TEMPLATE), compute_dtype="float32",
                         context_size=1024, num_threads=1)


def ask(*images):
    return [{"role": "user", "content": [{"type": "image", "image": i} for i in images]}]


def test_the_number_of_pictures_decides(engine):
    first, second = picture(120, 200, 1), picture(181, 96, 2)
    alone = engine.prepare(ask(first))
    assert [s["num_tokens"] for s in alone["spans"]] == [engine.encode_image(first).shape[0]]
    assert alone["spans"][0]["num_tokens"] > 17
    both = engine.prepare(ask(first, second))
    assert [s["num_tokens"] for s in both["spans"]] == [17, 17]
    later = ask(first) + [{"role": "assistant", "content": "yes"}] + ask(second)
    assert [s["num_tokens"] for s in engine.prepare(later)["spans"]] == [17, 17]


def test_one_picture_is_kept_apart_from_itself_among_others(engine):
    first, second = picture(120, 200, 1), picture(181, 96, 2)

    def passes(*images):
        usage = engine.generate(messages=ask(*images), max_new_tokens=1, ignore_eos=True).usage
        return usage.encoder_passes, usage.encoder_reused

    assert passes(first) == (1, 0)
    assert passes(first, second) == (2, 0)  # not the tiles that are there already
    assert passes(second, first) == (0, 2)
    assert passes(first) == (0, 1)


def test_borders_of_thin_pictures_are_the_mean_colour(engine):
    """Ids as of two single views; a thin picture equals the square that it is the middle of."""
    thin = picture(6, 180, 3)
    square = np.zeros((180, 180, 3), np.uint8)
    square[:] = [int(m * 255) for m in (0.48145466, 0.4578275, 0.40821073)]
    square[87:93] = thin
    other = picture(50, 50, 4)
    ids = [1] + [IMAGE_ID] * 17 + [5] + [IMAGE_ID] * 17 + [9]
    for image, whole in ((thin, square), (thin.transpose(1, 0, 2).copy(), square.transpose(1, 0, 2).copy())):
        assert np.array_equal(engine.logits(ids, images=[image, other]), engine.logits(ids, images=[whole, other]))
    with pytest.raises(onnuri.Error):
        engine.logits(ids, images=[thin])
