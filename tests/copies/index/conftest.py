"""Folders of small pictures, and an index of them."""

from pathlib import Path

import pytest
from small_pictures import QUICK, Tiny, fill

from memdetect.copies.index import Index, build_index


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures in a folder `images`."""
    return fill(tmp_path_factory.mktemp("set") / "images", range(60))


@pytest.fixture(scope="session")
def index(pictures: Path, tiny: Tiny) -> Index:
    """An index beside the folder of pictures."""
    return build_index([pictures], tiny, pictures.parent / "train.index", QUICK)
