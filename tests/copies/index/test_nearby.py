"""Ten training pictures are candidates, however many rows and equal files each of them has."""

from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image
from small_pictures import QUICK, Tiny, fill, picture, texture

from memdetect.copies.agreement import lay
from memdetect.copies.align import Asking, Prepared
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import as_queries, build_index, nearby, recall_check
from memdetect.copies.index.nearby import DEPTH, EACH
from memdetect.copies.index.recall_check import GEOMETRY, cropped, damaged
from memdetect.copies.matching import decide, evidence

SIDE = 128


@dataclass(frozen=True)
class Left(Tiny):
    """Sees the left half of a picture alone, so that variants of the right half are equally near."""

    def embed(self, images, /):
        return super().embed([image.crop((0, 0, image.width // 2, image.height)) for image in images])


class Chance(Tiny):
    """Vectors that say nothing: what is found is found by pixels, among ten pictures of chance."""

    def embed(self, images, /):
        vectors = [np.random.default_rng(crc32(image.tobytes())).standard_normal(192) for image in images]
        return np.stack([vector / np.linalg.norm(vector) for vector in vectors]).astype(np.float32)


def variant(seed: int, right: int) -> Image.Image:
    """The left half of one picture and the right half of another."""
    both = texture(seed, SIDE)
    both.paste(texture(right, SIDE).crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
    return both


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture twelve times, its variant `z` once behind them, and twelve others."""
    folder = tmp_path_factory.mktemp("crowded") / "images"
    folder.mkdir()
    for k in range(12):
        variant(1, 2).save(folder / f"a{k:02d}.png")
        texture(20 + k, SIDE).save(folder / f"b{k:02d}.png")
    texture(1, SIDE).save(folder / "z.png")
    return folder


def test_an_original_behind_many_equal_files_of_its_sibling_is_found(crowded, tmp_path):
    index = build_index([crowded], embedder := Left(), tmp_path / "i", replace(QUICK, level=0.2, planted=0))
    found = evidence([damaged(texture(1, SIDE))], index, embedder, 3)
    assert {Path(match.key).name for match in found if match.copy_found} == {"z.png"}
    assert decide(found, index)[0] == "copy"
    assert [match.rank for match in found] == sorted({match.rank for match in found})
    (near,) = index.pictures_near([as_queries([texture(1, SIDE)], embedder)], DEPTH)
    files = [index.row(match.row).sha256 for match in near]
    assert len(set(files)) == DEPTH
    assert max(map(files.count, files)) == EACH == files.count(files[0])


def test_where_each_picture_has_one_row_the_nearest_rows_are_the_candidates(index, tiny):
    images = [picture(seed) for seed in (3, 100, 200)]
    asked = as_queries(images, tiny)
    near = index.pictures_near([asked[:1], asked[1:]], 7)
    assert near[0] == index.nearest(asked[:1], 7)[0]
    both = sorted((-m.similarity, m.row) for own in index.nearest(asked[1:], 60) for m in own)
    rows = list(dict.fromkeys(row for _, row in both))[:7]
    assert [match.row for match in near[1]] == rows
    assert index.pictures_near([asked[:0]], 7) == [[]]


def test_an_index_is_asked_so_deep_and_no_deeper(crowded, tmp_path, monkeypatch):
    index = build_index([crowded], embedder := Left(), tmp_path / "i", replace(QUICK, planted=0))
    asked = [as_queries([texture(1, SIDE)], embedder)]
    depths: list[int] = []
    search = type(index.searcher).search
    monkeypatch.setattr(type(index.searcher), "search", lambda s, q, k: depths.append(k) or search(s, q, k))
    index.pictures_near(asked, 1)
    assert depths.pop() == 1
    assert len({m.key[:1] for m in index.pictures_near(asked, 30)[0]}) <= 3  # fewer pictures than asked for
    assert depths == [30]
    depths.clear()
    monkeypatch.setattr(nearby, "DEEPEST", 8)
    assert len(index.pictures_near(asked, 3)[0]) == EACH
    assert depths == [3, 12]


def test_rows_of_one_picture_share_what_is_refined():
    """Three equal rows explain more than the fourth picture, and leave it its placing."""
    image = texture(5, SIDE)
    image.paste(texture(6, SIDE).crop((0, 0, SIDE * 2 // 5, SIDE)), (0, 0))
    asking = Asking(image)
    most, less = (Prepared.of(texture(seed, SIDE), asking.sizes) for seed in (5, 6))
    others = [most, most, most, less]
    assert lay(asking, others, [False] * 4)[3] is None
    found = lay(asking, others, [False] * 4, ["most"] * 3 + ["less"])
    assert found[0] == found[2]
    assert 0.25 < found[3].agreed < 0.45 < found[0].agreed


@pytest.mark.parametrize("held", [False, True], ids=["leave-one-out", "held-out"])
def test_the_limit_of_a_part_rests_on_ten_strangers_however_many_rows_a_picture_has(tmp_path, tiny, held):
    """A picture of 3 to 2 has 18 rows: the sixteen nearest are all its own, and ten of the next one's."""
    folder = fill(tmp_path / "images", range(13), (96, 64))
    given = [fill(tmp_path / "held", range(50, 62), (96, 64))] * held
    options = replace(QUICK, as_trained="64,random", planted=0, held_out=given)
    made = build_index([folder], tiny, tmp_path / "i", options).manifest
    assert (made.count, made.pictures) == (13 * 18, 13)
    own = made.agreement
    assert own.queries >= 6
    assert own.queries * DEPTH <= own.pairs <= own.queries * DEPTH * EACH


def test_equal_files_leave_ten_strangers_for_the_limit_of_a_part(crowded, tmp_path):
    made = build_index([crowded], load_embedder("pixels"), tmp_path / "i", replace(QUICK, planted=0)).manifest
    assert made.agreement.queries >= 6
    assert made.agreement.pairs >= made.agreement.queries * DEPTH


def test_planted_copies_are_called_what_looking_them_up_calls_them(tmp_path):
    """Crops of a picture lie in the index too, and explain a cropped copy of it better than the picture itself."""
    folder, embedder = tmp_path / "images", Chance()
    folder.mkdir()
    for k in range(2):
        texture(k, SIDE).save(folder / f"{k}.png")
        for n in range(4):
            crop = cropped(texture(k, SIDE))
            crop.paste(texture(50 + n, 16), (24 * n, 80))
            crop.save(folder / f"crop-{k}{n}.png")
    index = build_index([folder], embedder, tmp_path / "i", replace(QUICK, planted=10))
    for kind in ("shifted", "cropped"):
        copies = [(k, GEOMETRY[kind](Image.open(index.row(k).file(index.folder)))) for k in range(recall_check.EACH)]
        called = [any(m.row == k and m.copy_found for m in evidence([copy], index, embedder, 10)) for k, copy in copies]
        found = index.manifest.geometry[kind]
        assert (found.images, found.copies) == (len(called), sum(called) / len(called)), kind
    assert called != [True] * len(called)
