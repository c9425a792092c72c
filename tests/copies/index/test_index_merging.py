"""Parts of several processes, put together: the files of the index that one process makes, to the byte."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pictures import QUICK, fill, picture

from memdetect.copies.index import build_index, open_index
from memdetect.copies.index.manifest import read_manifest
from memdetect.copies.index.merging import merge_parts
from memdetect.errors import MemdetectError
from memdetect.inputs.ranks import Rank


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Forty pictures, wide ones and one with transparency among them, and one file that is none."""
    folder = fill(tmp_path_factory.mktemp("ranks") / "images", range(36))
    fill(folder, range(50, 53), (96, 64))
    see_through = picture(60).convert("RGBA")
    see_through.putalpha(Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))))
    see_through.save(folder / "0060.png")
    (folder / "0005b.png").write_bytes(b"not a picture")
    return folder


def parts_of(images: Path, tiny, world: int, options=QUICK, folder: str = "") -> list[Path]:
    home = images.parent / folder
    return [
        build_index(
            [images], tiny, home / f"{world}.{rank}.index", replace(options, rank=Rank(rank, world, "--rank"))
        ).folder
        for rank in range(world)
    ]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("factory", [None, "IVF4,SQ8"])
def test_parts_make_the_bytes_of_one_build(images, tiny, tmp_path_factory, world, factory):
    options = replace(QUICK, as_trained="64,random", factory=factory)
    name = f"{world}{factory or ''}".replace(",", "")
    whole = build_index([images], tiny, images.parent / f"whole{name}", options).folder
    parts = parts_of(images, tiny, world, options, f"parts{name}")
    made = merge_parts(parts[::-1], tiny, images.parent / f"merged{name}", replace(QUICK, factory=factory)).folder
    assert [file.name for file in sorted(made.iterdir())] == [file.name for file in sorted(whole.iterdir())]
    for file in whole.iterdir():
        assert (made / file.name).read_bytes() == file.read_bytes(), file.name
    assert read_manifest(made).skipped == {"no image": 1}


def test_parts_elsewhere_find_the_same(images, tiny, tmp_path):
    whole = build_index([images], tiny, images.parent / "again", QUICK)
    made = merge_parts(parts_of(images, tiny, 4), tiny, tmp_path / "far.index", QUICK)
    queries = tiny.embed([picture(k) for k in (3, 7, 70)])
    for ours, theirs in zip(made.nearest(queries, 5), whole.nearest(queries, 5), strict=True):
        assert [(m.row, m.similarity, m.p, m.similar) for m in ours] == [
            (m.row, m.similarity, m.p, m.similar) for m in theirs
        ]
        assert [Path(m.path).resolve() for m in ours] == [Path(m.path).resolve() for m in theirs]


def test_a_part_is_not_searched(images, tiny, tmp_path):
    part = build_index([images], tiny, tmp_path / "p", replace(QUICK, rank=Rank(1, 2, "RANK")))
    assert part.manifest.threshold.similarity is None
    with pytest.raises(MemdetectError, match="part 1 of 2 of an index; put them together with memdetect index merge"):
        open_index(tmp_path / "p", tiny)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([0, 1], "of 3 parts 1 are missing: 2"),
        ([0, 1, 2, 1], "are the same part, 1"),
        ([0, 1, 2, "whole"], "is a whole index and no part"),
        ([0, 1, 2, "other"], "differ in the list of their images or in --world"),
    ],
)
def test_parts_that_do_not_make_up_a_list_are_refused(images, tiny, tmp_path_factory, chosen, said):
    home = tmp_path_factory.mktemp("refused")
    own = fill(home / "images", range(7))
    held = dict(enumerate(parts_of(own, tiny, 3)))
    held["whole"] = build_index([own], tiny, home / "whole", QUICK).folder
    fill(home / "others", range(8))
    held["other"] = build_index([home / "others"], tiny, home / "o", replace(QUICK, rank=Rank(2, 3, ""))).folder
    with pytest.raises(MemdetectError) as caught:
        merge_parts([held[name] for name in chosen], tiny, home / "merged", QUICK)
    assert said in str(caught.value)
    assert not (home / "merged").exists()


@pytest.mark.parametrize("options", [{"append": True}, {"held_out": ("x",)}])
def test_a_part_takes_no_append_and_no_held_out_images(images, tiny, tmp_path, options):
    with pytest.raises(MemdetectError, match="a part of an index takes no"):
        build_index([images], tiny, tmp_path / "p", replace(QUICK, rank=Rank(0, 2, ""), **options))
