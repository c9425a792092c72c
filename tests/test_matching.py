"""Evidence: embedder and pixels have to agree, and what is not there is said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from small_pictures import QUICK, fill, picture

from memdetect.embedders import load_embedder
from memdetect.errors import MemdetectError
from memdetect.index import build_index
from memdetect.matching import GONE, Evidence, open_evidence


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("evidence")
    build_index([fill(root / "images", range(60))], load_embedder("pixels"), root / "train.index", QUICK)
    return root / "train.index"


@pytest.fixture(scope="module")
def evidence(folder) -> Evidence:
    return open_evidence(folder, top_k=2, total=240)


def test_a_damaged_copy_is_found_and_a_stranger_is_not(evidence):
    damaged = picture(7).filter(ImageFilter.GaussianBlur(1))
    copy, stranger = evidence.of([damaged, picture(1000)])
    assert (copy[0].key, copy[0].rank, copy[0].copy_found) == ("../images/0007.png", 1, True)
    assert copy[0].tile < 0.2
    assert copy[0].ssim > 0.7
    assert not any(match.copy_found for match in stranger)
    assert [m.seed for m in [*copy, *stranger]] == [0, 0, 1, 1]


def test_similar_vectors_without_agreeing_pixels_are_no_copy(evidence):
    """A thumbnail sees the coarse blocks alone: noise of a high frequency moves the pixels and not the vector."""
    rng = np.random.default_rng(0)
    checker = np.indices((64, 64)).sum(axis=0)[..., None] % 2 * 2 - 1
    shown = np.asarray(picture(7)).astype(int)
    noisy = np.clip(shown + 110 * checker * rng.integers(1, 2, (64, 64, 3)), 0, 255).astype(np.uint8)
    (near,) = evidence.of([Image.fromarray(noisy)])
    assert near[0].key == "../images/0007.png"
    assert near[0].similar
    assert not near[0].copy_found


def test_pixels_of_a_dissimilar_second_are_not_measured(evidence):
    (near,) = evidence.of([picture(3)])
    assert near[0].tile == pytest.approx(0, abs=1e-3)
    assert near[1].tile is None
    assert near[1].note == ""


def test_coverage_is_the_share_of_the_training_set(evidence, folder):
    assert evidence.coverage == 60 / 240
    assert open_evidence(folder).coverage is None
    assert open_evidence(folder, total=30).coverage == 1.0


def test_a_training_image_that_is_gone_is_said(tmp_path):
    images = fill(tmp_path / "images", range(40))
    build_index([images], load_embedder("pixels"), tmp_path / "train.index", QUICK)
    evidence = open_evidence(tmp_path / "train.index")
    (images / "0005.png").unlink()
    ((match, *_),) = evidence.of([picture(5)])
    assert (match.note, match.copy_found, match.tile) == (GONE, False, None)
    assert match.similar


def test_another_embedder_than_the_index_was_made_with_is_refused(folder):
    with pytest.raises(MemdetectError, match="made with the embedder 'pixels', not 'pdq'"):
        open_evidence(folder, embedder="pdq")
