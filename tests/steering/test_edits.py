"""Measures of an edit on pictures of which everything is known."""

import numpy as np
import pytest
import torch

from memdetect.copies.embedders import load_embedder
from memdetect.errors import MemdetectError
from memdetect.steering.edits import along, border, kept, resemblance, subject, to_ground

RED, BLUE = (200, 0, 0), (0, 0, 200)


def scene(ground, square=(0, 200, 0), side=32):
    image = np.full((side, side, 3), ground, np.uint8)
    image[10:20, 10:20] = square
    return image


def test_the_border_is_the_ground_whatever_stands_in_the_middle():
    image = scene(RED)
    assert border(image).tolist() == list(RED)
    image[0, :5] = 255  # something that touches the edge
    assert border(image).tolist() == list(RED)


def test_success_is_the_share_of_the_way():
    success = to_ground(RED)
    assert success(scene(BLUE), scene(BLUE)) == 0
    assert success(scene(BLUE), scene(RED)) == 1
    assert success(scene(BLUE), scene((100, 0, 100))) == pytest.approx(0.5)
    assert success(scene((100, 0, 100)), scene(BLUE)) == pytest.approx(-1)
    assert success(scene(RED), scene(BLUE)) is None
    assert success(scene((180, 10, 10)), scene(BLUE)) is None


def test_the_subject_is_kept_while_only_the_ground_changes():
    before = scene(BLUE)
    assert subject(before).sum() == 64  # ten by ten without its edge
    assert kept(before, before) == 1
    assert kept(before, scene(RED)) == 1
    assert kept(before, scene(BLUE, square=(0, 0, 0))) == pytest.approx(1 - 200 / (3**0.5 * 255))
    assert kept(np.full((32, 32, 3), 7, np.uint8), before) is None


def test_along_embedded_references():
    embedder = load_embedder("pixels")
    first, second = (embedder.embed([_picture(c)])[0] for c in (RED, BLUE))
    axis = torch.from_numpy((second - first) / np.linalg.norm(second - first))
    success = along(embedder, axis)
    assert success(scene(RED), scene(RED)) == 0
    assert success(scene(RED), scene(BLUE)) == pytest.approx(float(np.linalg.norm(second - first)), rel=1e-4)
    assert success(scene(BLUE), scene(RED)) == pytest.approx(-float(np.linalg.norm(second - first)), rel=1e-4)
    with pytest.raises(MemdetectError, match="has 2 dimensions, pixels has 3072"):
        along(embedder, torch.ones(2))
    assert resemblance(None, scene(RED), scene(RED)) is None
    assert resemblance(embedder, scene(RED), scene(RED)) == pytest.approx(1)


def _picture(colour):
    from PIL import Image

    return Image.fromarray(scene(colour))
