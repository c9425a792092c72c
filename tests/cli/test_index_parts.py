"""`memdetect index build --rank`, `index merge` and `index add`: what is printed, and the exit codes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdetect.cli import run
from memdetect.copies.embedders import load_embedder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in `train`."""
    base = tmp_path_factory.mktemp("parts")
    (base / "train").mkdir()
    for seed in range(12):
        cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((64, 64), 0).save(base / "train" / f"{seed:02d}.png")
    return base


def test_two_ranks_are_merged(place, capsys, monkeypatch):
    built = ["index", "build", str(place / "train"), "--embedder", "pixels", "--out"]
    assert run([*built, str(place / "p0"), "--rank", "0", "--world", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{place / 'p0'}\n"
    assert "part 0 of 2, by --rank; put all parts together with memdetect index merge" in err
    assert "6 images, Flat" in err
    assert "part 0 of 2: no threshold before they are merged" in err
    assert run(["index", "merge", str(place / "p0"), "--out", str(place / "m")]) == 2
    assert "of 2 parts 1 are missing: 1" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run([*built, str(place / "p1")]) == 0
    assert "part 1 of 2, by RANK" in capsys.readouterr().err
    monkeypatch.delenv("RANK")
    merged = ["index", "merge", str(place / "p1"), str(place / "p0"), "--out", str(place / "m")]
    assert run([*merged, "--threshold-level", "0.1"]) == 0
    assert "12 images, Flat" in capsys.readouterr().err
    assert run(["index", "verify", str(place / "m")]) == 0
    assert run(["match", str(place / "train" / "03.png"), "--index", str(place / "p0")]) == 2
    assert "is part 0 of 2 of an index" in capsys.readouterr().err
    assert run(["match", str(place / "train" / "03.png"), "--index", str(place / "m")]) == 0
    assert "1 copy" in capsys.readouterr().out


def test_embeddings_are_added(place, tmp_path, capsys):
    embedder = load_embedder("pixels")
    np.save(tmp_path / "a.npy", embedder.embed([Image.open(file) for file in sorted((place / "train").iterdir())]))
    added = ["index", "add", str(tmp_path / "a.npy"), "--out", str(tmp_path / "i"), "--threshold-level", "0.2"]
    assert run([*added, "--embedder", "pdq-tiles"]) == 2
    assert "makes codes of bits, not vectors" in capsys.readouterr().err
    assert run([*added, "--embedder", "pixels"]) == 0
    err = capsys.readouterr().err
    assert "noted: 12 embeddings taken as they are said to be, without a picture" in err
    assert "Of 12 of its 12 rows it has the embedding alone: no copy of these can be told" in err
    assert run(["match", str(place / "train" / "03.png"), "--index", str(tmp_path / "i")]) == 3
    out = capsys.readouterr().out
    assert "0 copy, 0 partial-copy, 0 similar, 0 clear, 1 inconclusive" in out
    np.save(tmp_path / "b.npy", np.load(tmp_path / "a.npy")[::-1])
    more = ["index", "add", str(tmp_path / "b.npy"), "--out", str(tmp_path / "i"), "--embedder", "pixels", "--append"]
    assert run(more) == 0
    assert "12 images in 24 rows" in capsys.readouterr().err
