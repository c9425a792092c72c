"""The bench of evidence: sources, pictures, a run on generated pictures, the shares; nothing is fetched."""

import json
import re
import subprocess
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from memdetect.copies.match import Looked, Match
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Indexing, Lookup
from memdetect.lab.evidence import counted, judged, pictures, run, sources
from memdetect.lab.evidence.damages import DAMAGES
from memdetect.lab.evidence.judged import Asked, Row, row_of
from memdetect.lab.evidence.pictures import Picture, family, prepare, read_listing
from memdetect.lab.evidence.queries import Query, make_bench, series

SMALL = (
    sources.Source(
        "photos", "tuning", "CC0", (sources.Part("photograph", "/nature/"), sources.Part("art", tiles=True))
    ),
    sources.Source("drawings", "test", "CC0", (sources.Part("clip art"),)),
)


def blocks(seed, size=(280, 260)):
    """Coarse colours under fine ones: no two alike."""
    rng = np.random.default_rng(seed)
    coarse, fine = (Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)) for n in (5, 24))
    return Image.blend(*(each.resize(size, Image.Resampling.BICUBIC) for each in (coarse, fine)), 0.35)


def package(folder, name, files):
    """A .deb of pictures, made by dpkg-deb."""
    root = folder / f".{name}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: n <n@n>\nDescription: pictures\n"
    )
    for path, image in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / path)
    subprocess.run(["dpkg-deb", "-b", root, folder / f"{name}_1_all.deb"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two packages: a few pictures of each, a large wallpaper, and what is to be left out."""
    debs, folder = tmp_path_factory.mktemp("debs"), tmp_path_factory.mktemp("bench")
    photos = {f"usr/share/nature/p{k}.png": blocks(k) for k in range(8)}
    photos |= {f"usr/share/art/a{k}.png": blocks(100 + k) for k in range(8)}
    photos["usr/share/art/wall/1024x768.png"] = blocks(200, (1024, 768))
    photos["usr/share/art/wall/2048x1280.jpg"] = blocks(200, (2048, 1280))
    photos["usr/share/art/again.png"] = blocks(3, (264, 240))  # p3 anew
    photos["usr/share/art/mirrored.png"] = blocks(4, (264, 240)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photos["usr/share/art/small.png"] = blocks(5, (128, 128))
    photos["usr/share/art/flat.png"] = Image.new("RGB", (300, 300), "grey")
    stripes = np.tile(np.repeat(np.arange(8, dtype=np.uint8) * 30, 40)[:, None, None], (1, 320, 3))
    photos["usr/share/art/stripes.png"] = Image.fromarray(stripes)
    photos["usr/share/art/banner.png"] = blocks(6, (900, 200))
    package(debs, "photos", photos)
    package(debs, "drawings", {f"usr/share/d{k}.png": blocks(300 + k) for k in range(6)} | {"usr/p.png": blocks(2)})
    return folder, prepare(debs, folder, SMALL)


def test_each_picture_counts_once_and_is_of_one_split(bench):
    folder, found = bench
    wholes = [p for p in found if not p.tile_of]
    counts = Counter((p.package, p.kind) for p in wholes)
    assert counts[("photos", "art")] == 8 + 1
    assert counts[("photos", "photograph")] + counts[("drawings", "clip art")] == 8 + 6  # one of them is in both
    assert {p.package for p in found if p.split == "tuning"} == {"photos"}
    assert {p.package for p in found if p.split == "test"} == {"drawings"}
    assert read_listing(folder) == found
    assert max(max(p.open(folder).size) for p in found) == pictures.MOST


def test_tiles_of_a_large_wallpaper_do_not_overlap(bench):
    found = bench[1]
    tiles = [p for p in found if p.tile_of]
    assert 5 < len(tiles) <= 8 < pictures.TILES
    assert {(p.width, p.height) for p in tiles} == {(512, 512)}
    assert len({re.search(r"tile-\d+-\d+", p.key)[0] for p in tiles}) == len(tiles)
    assert {p.tile_of for p in tiles} == {p.key for p in found if "2048x1280" in p.key and not p.tile_of}


def test_the_packages_of_the_two_splits_are_disjoint_and_of_like_kinds():
    names = [source.package for source in sources.SOURCES]
    assert len(names) == len(set(names))
    kinds = [{p.kind for s in sources.SOURCES if s.split == split for p in s.parts} for split in sources.SPLITS]
    assert {"photograph", "art", "clip art", "texture"} <= kinds[0] & kinds[1]
    assert all(source.licence for source in sources.SOURCES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/Autumn/contents/images/1280x1024.jpg", "a/Autumn/contents/images/2560x1600.png"),
        ("a/adwaita-d.webp", "a/adwaita-l.webp"),
        ("a/Kay/contents/images/5120x2880.png", "a/Kay/contents/images_dark/5120x2880.png"),
    ],
)
def test_files_of_one_wallpaper_are_of_one_name(one, other):
    assert family(one) == family(other)


def test_files_of_two_wallpapers_are_not():
    assert family("a/wave-lines.png") != family("a/wave-dots.png")
    assert family("a/darkness.png") != family("a/ness.png")


def test_no_tile_of_a_wallpaper_that_is_held_is_asked_for(bench):
    for seed in range(8):
        made = make_bench(bench[1], "tuning", seed)
        held, others = {p.key for p in made.held}, {p.key for p, _ in made.others}
        assert not held & others
        assert not {p.tile_of for p, _ in made.others if p.tile_of} & held
        assert {kind for p, kind in made.others if p.tile_of in {h.tile_of for h in made.held if h.tile_of}} <= {
            "tile beside"
        }


def test_others_of_a_numbered_series_are_a_kind_of_their_own(bench):
    made = make_bench(bench[1], "tuning", 0)
    kinds = {p.key: kind for p, kind in made.others if not p.tile_of}
    assert {kind for key, kind in kinds.items() if re.search(r"/[pa]\d-", key)} == {"series beside"}
    held = {series(p) for p in made.held}
    assert all((kind == "series beside") == (series(p) in held) for p, kind in made.others if not p.tile_of)


def test_a_bench_is_the_same_for_a_seed_and_even_over_kinds(bench):
    made = make_bench(bench[1], "tuning", 3)
    queries = list(made.queries(4, 3, ["mirrored", "blurred 2 px"]))
    assert queries == list(make_bench(bench[1], "tuning", 3).queries(4, 3, ["mirrored", "blurred 2 px"]))
    copies = [q for q in queries if q.damage == "mirrored"]
    assert len(copies) == 4
    assert set(Counter(q.kind for q in copies)) == {"photograph", "art"}
    assert len(queries) == 8 + 3 * len(made.others)
    changed = [q for q in queries if q.changed]
    assert Counter(q.picture.key for q in changed) == {p.key: 2 for p, _ in made.others}
    assert not any(q.damage for q in changed)
    assert not {DAMAGES[q.changed].group for q in changed} & {"replaced", "frame", "regenerated"}
    one = next(q for q in changed if q.changed != "resized")
    assert one.image(bench[0], 256, 3).tobytes() != replace(one, other=None).image(bench[0], 256, 3).tobytes()
    assert max(copies[0].image(bench[0], 512, 3).size) == 512


def test_a_run_finds_copies_and_leaves_a_line_of_each_query(bench, tmp_path):
    asked = Asked(bench[0], Indexing(embedder="pdq", planted=4), Lookup(top_k=5), 256, 0)
    wanted = run.Wanted("tuning", 3, ("only resized", "45 % other, centre"), negatives=4)
    tables = list(run.evaluate(asked, wanted, tmp_path / "out", lambda *_: None))
    rows = [Row.model_validate_json(line) for line in (tmp_path / "out" / judged.RESULTS).open()]
    found = {each.name: each for each in counted.copies(rows)}
    assert found["only resized"].found.count == found["only resized"].found.n == 3
    assert found["only resized"].wrong.count == 0
    assert found["over all"].found.n == 6
    assert len(tables) == 2
    assert counted.others(rows)[-1].named.n == len(rows) - 6 == 4
    missed = {row.group for row in rows if row.right is False}
    assert {f"missed-{group}.png" for group in missed} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert {json.loads(line)["key"] for line in (tmp_path / "out" / judged.HELD).open()}
    other = make_bench(bench[1], "tuning", 1)
    with pytest.raises(MemdetectError, match="holds other pictures"):
        judged.build(asked, other, tmp_path / "out", lambda *_: None)


def looked(outcome, *matches):
    return Looked(image="x", outcome=outcome, matches=list(matches))


def test_right_is_what_the_finding_names(bench):
    picture = bench[1][0]
    own, other = (Match(rank=k, key=key, similarity=0.9) for k, key in ((2, picture.key), (1, "another")))
    said = own.model_copy(update={"copy_found": True})
    query = Query(picture, picture.kind, "mirrored", bench[1][1])
    assert row_of(query, looked("copy", other, said)).right is True
    assert row_of(query, looked("copy", other.model_copy(update={"copy_found": True}), own)).right is False
    assert row_of(query, looked("similar", other, own)).right is False
    assert row_of(query, looked("clear")).found == ""
    assert row_of(Query(picture, "art"), looked("similar", other)).right is None


def row(damage, outcome, right=None):
    group = "mirror" if damage else "no copy"
    return Row(picture="p", package="x", kind="art", damage=damage, group=group, outcome=outcome, right=right)


def test_shares_have_exact_intervals():
    rows = [row("mirrored", "copy", True)] * 8 + [row("mirrored", "partial-copy", True), row("mirrored", "copy", False)]
    rows += [row("", "clear")] * 18 + [row("", "copy"), row("", "something new")]
    mirrored = counted.copies(rows)[0]
    assert (mirrored.copy.count, mirrored.found.count, mirrored.wrong.count) == (8, 9, 1)
    assert str(mirrored.copy) == "0.800 [0.444, 0.975]"  # Clopper-Pearson of 8 of 10
    assert str(counted.Share(0, 10)) == "0.000 [0.000, 0.308]"  # 1 - 0.025 ** (1 / 10)
    strangers = counted.others(rows)[-1]
    assert (strangers.named.count, strangers.unclear.count, strangers.named.n) == (1, 2, 20)
    assert strangers.outcomes["something new"] == 1
    names = [[str(column.header) for column in table.columns] for table in counted.tables(rows, 0.001)]
    assert all("something new" in own for own in names)


def test_problems_are_one_line(tmp_path, bench, monkeypatch):
    with pytest.raises(MemdetectError, match=r"holds no pictures.jsonl; run memdetect lab evidence fetch") as problem:
        read_listing(tmp_path)
    assert "\n" not in str(problem.value)
    with pytest.raises(MemdetectError, match="no package with pictures"):
        prepare(tmp_path, tmp_path / "folder", SMALL)
    with pytest.raises(MemdetectError, match="are too few"):
        make_bench([p for p in bench[1] if p.split == "tuning"], "test", 0)
    wanted = run.Wanted("tuning", damages=("melted",))
    with pytest.raises(MemdetectError, match="no damage named 'melted'"):
        list(run.evaluate(Asked(bench[0], Indexing(), Lookup()), wanted, tmp_path / "x", lambda *_: None))
    (tmp_path / "photos_1_all.deb").write_bytes(b"no archive")
    with pytest.raises(MemdetectError, match=r"could not unpack photos_1_all\.deb") as problem:
        prepare(tmp_path, tmp_path / "folder", SMALL)
    assert "\n" not in str(problem.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MemdetectError, match="apt-get, which is not on the PATH") as problem:
        sources.fetch(tmp_path / "empty", SMALL, print)
    assert "\n" not in str(problem.value)


def test_a_package_that_is_not_found_is_named(tmp_path, monkeypatch):
    program = tmp_path / "apt-get"
    program.write_text("#!/bin/sh\necho 'E: Unable to locate package photos' >&2\nexit 100\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MemdetectError, match="could not fetch photos: E: Unable to locate package photos"):
        sources.fetch(tmp_path / "folder", SMALL, print)


def test_a_picture_is_a_line_of_json(bench):
    assert Picture.model_validate_json(bench[1][0].model_dump_json()) == bench[1][0]
