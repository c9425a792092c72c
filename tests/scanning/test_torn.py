"""A calibration and a scan over what crashes and bad disks leave: they end, and say what was left out."""

from pathlib import Path
from typing import Any

import pytest
from flat_options import calibrate, scan, settings
from PIL import Image

import memdetect
from memdetect.errors import Exit, MemdetectError
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Watch
from memdetect.scanning.measure import digest_of

OPTIONS = settings(steps=1, num_seeds=1, batch_size=2, shard_size=2, save_images=True)
PROMPTS = [f"a {colour} {thing}" for colour in ("red", "blue", "odd") for thing in ("cat", "dog", "photo")]


@pytest.fixture
def clean(tmp_path: Path) -> list[Path]:
    (path := tmp_path / "clean.txt").write_text("".join(f"{p}\n" for p in PROMPTS), encoding="utf-8")
    return [path]


@pytest.mark.parametrize(
    "tail", [b'{"time": "2', b"{}\n", b'{"event": "shard"}\n', b'{"event": "shard", "items": "x"}']
)
def test_a_calibration_with_a_torn_journal_is_finished(
    tail: bytes, clean: list[Path], pipe: Any, tmp_path: Path
) -> None:
    out, notes = tmp_path / "c.json", list[str]()
    made = calibrate(clean, pipe, out, OPTIONS)
    out.unlink()
    with RunFolder(tmp_path / "c.run").journal.own.open("ab") as file:
        file.write(tail)
    again = calibrate(clean, pipe, out, OPTIONS, watch=Watch(progress=lambda _d, _p, note: notes.append(note)))
    assert made is not None
    assert again is not None
    assert again.scores == made.scores
    cut = b"}" not in tail
    assert ("".join(notes) == f"{tmp_path / 'c.run' / 'journal'}: left out 1 line that a crash cut off") == cut


def test_an_image_is_written_in_the_place_of_a_link_not_through_it(
    clean: list[Path], pipe: Any, tmp_path: Path
) -> None:
    (theirs := tmp_path / "theirs.png").write_bytes(b"keep")
    whole = scan(clean, pipe, tmp_path / "run", OPTIONS)
    (shard := tmp_path / "run" / "shards" / "0000000000.jsonl").unlink()
    (image := tmp_path / "run" / whole.results[0].files[0]).unlink()
    image.symlink_to(theirs)
    scan(clean, pipe, tmp_path / "run", OPTIONS)
    assert shard.is_file()
    assert theirs.read_bytes() == b"keep"
    assert not image.is_symlink()
    assert digest_of(image)


def test_a_run_in_python_is_not_written_among_the_pictures_that_it_reads(pipe: Any, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (9, 0, 99)).save(tmp_path / "0.png")
    with pytest.raises(MemdetectError, match="which is searched for images"):
        memdetect.scan(pipe, images=[tmp_path], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_that_cannot_be_read_are_not_counted_as_measured(pipe: Any, tmp_path: Path) -> None:
    (folder := tmp_path / "set").mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 99)).save(folder / f"{i}.png")
    (folder / "0.png").write_bytes(b"no image")
    found = scan([folder], pipe, tmp_path / "run", OPTIONS).verdict
    assert (found.measured, found.usable) == (4, "3 of 4 items measured (1 could not be read)")
    assert "3 of 4 items measured (1 could not be read): " in found.claim
    assert found.scan_exit == Exit.OK
