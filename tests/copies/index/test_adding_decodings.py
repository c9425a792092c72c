"""Embeddings of files that trainers decode in several ways: each row is of the decoding that its vector is of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.index.adding import OTHERWISE, add_embeddings
from memdetect.copies.matching import look_up_files
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_ways

COUNT = 12
TURNED = Image.Exif()
TURNED[0x112] = 6


def clear(seed: int) -> Image.Image:
    """A picture of which a half is transparent, with colours stored under it."""
    image = picture(seed).convert("RGBA")
    image.paste((9, 200, 9, 0), (0, 0, 32, 64))
    return image


def saved(folder: Path, special: int) -> list[Path]:
    """Ordinary pictures; at `special` a turned one, and after it a transparent one."""
    paths = [fill(folder, [seed]) / f"{seed:04d}.png" for seed in range(COUNT)]
    picture(special).save(paths[special], exif=TURNED)
    clear(special + 1).save(paths[special + 1])
    return paths


def listed(folder: Path, paths: list[Path], vectors: np.ndarray) -> Path:
    np.save(folder / "a.npy", vectors)
    (folder / "a.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder / "a.npy"


def as_trainers(paths: list[Path]) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in paths]


@pytest.mark.parametrize("special", [0, 8])
def test_a_row_is_of_the_decoding_that_its_vector_is_of(tmp_path, tiny, special):
    """Whether the file is among those that are embedded again, or a later one."""
    paths = saved(tmp_path / "images", special)
    source = listed(tmp_path, paths, tiny.embed(as_trainers(paths)))
    index = add_embeddings([source], tiny, tmp_path / "i", QUICK)
    decoded = [row.decoded for row in index.rows]
    assert decoded == ["white"] * special + ["white,unturned", "plain"] + ["white"] * (COUNT - special - 2)
    assert index.row(special).width == 64
    assert OTHERWISE not in index.manifest.noted
    out = []
    for path, image in zip(paths, as_trainers(paths), strict=True):
        out.append(tmp_path / f"out-{path.name}")
        image.save(out[-1])
    looked = list(look_up_files(out, index, tiny))
    assert [each.outcome for each in looked] == ["copy"] * COUNT
    assert [each.matches[0].row for each in looked] == list(range(COUNT))


def test_vectors_of_upright_pictures_on_white_stay_the_usual_way(tmp_path, tiny):
    paths = saved(tmp_path / "images", 0)
    vectors = tiny.embed([open_ways(path)[0].image for path in paths])
    index = add_embeddings([listed(tmp_path, paths, vectors)], tiny, tmp_path / "i", QUICK)
    assert {row.decoded for row in index.rows} == {"white"}


def test_a_vector_of_no_known_decoding_is_noted_or_refused(tmp_path, tiny):
    """Noted of a later file; of those that are embedded again it is taken for that of another embedder."""
    paths = saved(tmp_path / "images", 8)
    vectors = tiny.embed(as_trainers(paths))
    vectors[9] = tiny.embed([picture(500)])[0]
    index = add_embeddings([listed(tmp_path, paths, vectors)], tiny, tmp_path / "i", QUICK)
    assert index.manifest.noted[OTHERWISE] == 1
    clear(1).save(paths[1])
    vectors[1] = vectors[9]
    with pytest.raises(MemdetectError, match=r"0001.png' is at a cosine of .* or more in one way of decoding the file"):
        add_embeddings([listed(tmp_path, paths, vectors)], tiny, tmp_path / "j", QUICK)


def test_only_files_of_several_decodings_cost_an_embedding(tmp_path, tiny):
    class Counting(Tiny):
        def embed(self, images, /):
            seen.append(len(images))
            return super().embed(images)

    seen: list[int] = []
    paths = saved(tmp_path / "images", 8)
    source = listed(tmp_path, paths, tiny.embed(as_trainers(paths)))
    ways = sum(len(found) for path in paths if len(found := open_ways(path)) > 1)
    add_embeddings([source], Counting(), tmp_path / "i", replace(QUICK, planted=0, null_queries=0))
    assert sum(seen) == ways + 4
