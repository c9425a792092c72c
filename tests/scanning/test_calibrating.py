"""calibrate(): one loop with scan, one prompt a family, and strongest prompts that are searched for copies."""

from pathlib import Path
from typing import Any

import pytest
from flat_options import calibrate, changed, scan, settings
from PIL import Image
from synthetic_runs import match, part

from memdetect.copies.match import Match
from memdetect.copies.matching import Evidence
from memdetect.errors import MemdetectError
from memdetect.judging.calibration import read_calibration
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Watch
from memdetect.scanning.calibrating import LEAST, _Search

OPTIONS = settings(steps=1, num_seeds=2, batch_size=8, shard_size=4, save_images=False)
PROMPTS = [f"a {colour} {thing}" for colour in ("red", "blue", "odd") for thing in ("cat", "dog", "photo", "of", "and")]


@pytest.fixture
def clean(tmp_path: Path) -> list[Path]:
    path = tmp_path / "clean.txt"
    path.write_text("".join(f"{p}\n" for p in [*PROMPTS, "a RED cat", "A red  cat"]), encoding="utf-8")
    return [path]


def test_a_calibration_judges_a_scan_of_the_same_model(clean: list[Path], pipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    made = calibrate(clean, pipe, out, OPTIONS)
    assert made is not None
    assert read_calibration(out) == made
    assert len(made.items) == len(PROMPTS)
    assert (made.checked, made.parts) == ("", "drawn")
    assert made.provenance["seconds_per_image"] > 0
    assert made.settings == RunFolder(tmp_path / "calibration.run").header().plan.settings
    again = scan(clean, pipe, tmp_path / "run", changed(OPTIONS, calibration=out))
    assert again.verdict.calibrated == len(PROMPTS)
    assert {row.reason for row in again.results} == {"the prompt, or one of its family, is among the clean ones"}
    held = RunFolder(tmp_path / "run").header()
    assert held.calibration == made.cut(held.plan).digest
    other = scan(clean, pipe, tmp_path / "other", changed(OPTIONS, calibration=out, steps=2))
    assert "steps (calibrated 1, scanned 2)" in other.verdict.missing


def test_a_stopped_calibration_is_resumed(clean: list[Path], pipe: Any, tmp_path: Path) -> None:
    out, asked = tmp_path / "c.json", iter([False, True])
    assert calibrate(clean, pipe, out, OPTIONS, watch=Watch(stop=lambda: next(asked))) is None
    assert not out.exists()
    seen: list[int] = []
    made = calibrate(clean, pipe, out, OPTIONS, watch=Watch(progress=lambda done, _planned, _note: seen.append(done)))
    assert made is not None
    assert seen[0] == 4
    assert made.scores == getattr(calibrate(clean, pipe, tmp_path / "whole.json", OPTIONS), "scores", None)


def test_copies_among_the_strongest_are_removed_and_listed(clean: list[Path], pipe: Any, tmp_path: Path) -> None:
    """Design 25, its first half: whoever moves up is searched as well, and nothing is removed by its score alone."""
    plain = calibrate(clean, pipe, tmp_path / "plain.json", OPTIONS)
    assert plain is not None
    cells = plain.scores["agreement"]["run"]["all"]
    bad = sorted(range(len(cells)), key=lambda i: cells[i])[-3:]
    wanted, searched = {plain.items[i].id for i in bad}, list[str]()
    run = RunFolder(tmp_path / "c.run")

    def matcher(images: list[Path]) -> list[bool]:
        assert all(path.is_file() for path in images)
        index = int(images[0].name.partition("-")[0])
        own = next(row for row in run.measurements() if row.index == index)
        searched.append(own.id)
        return [own.id in wanted, False]

    made = calibrate(clean, pipe, tmp_path / "c.json", OPTIONS, matcher=matcher)
    assert made is not None
    found = {entry.id for entry in made.removed}
    assert found == wanted
    assert not found & {item.id for item in made.items}
    assert len(made.items) == len(PROMPTS) - len(found)
    order = sorted(range(len(cells)), key=lambda i: cells[i], reverse=True)
    assert {plain.items[i].id for i in order[: LEAST + 3]} <= set(searched)  # by what decides, and those that moved up
    assert len(searched) == len(set(searched))
    how = "searched for copies by the given function"
    assert made.checked == f"the {len(searched)} strongest of 15 were {how}, {len(found)} removed"


def test_what_cannot_be_a_calibration_is_refused_before_the_first_image(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "clean.jsonl"
    path.write_text('{"prompt": "a", "part": "test"}\n', encoding="utf-8")
    with pytest.raises(MemdetectError, match="of part 'test'"):
        calibrate([path], pipe, tmp_path / "c.json", OPTIONS)
    path.write_text('{"prompt": "a", "part": "tuning"}\n{"prompt": "b", "part": "tuning"}\n', encoding="utf-8")
    with pytest.raises(MemdetectError, match="all 2 clean prompts are of part tuning and leave none"):
        calibrate([path], pipe, tmp_path / "c.json", OPTIONS)
    assert not (tmp_path / "c.run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"combine": ("noise",)}, "no detector named 'noise'"),
        (
            {"detectors": ("spikiness",), "combine": ("spikiness-l4",)},
            "'spikiness-l4' is to decide but is not",
        ),
        ({"calibration": Path("nowhere.json")}, "there is no calibration 'nowhere.json'"),
    ],
)
def test_what_cannot_decide_is_refused(
    changes: dict[str, Any], said: str, clean: list[Path], pipe: Any, tmp_path: Path
) -> None:
    with pytest.raises(MemdetectError, match=said):
        scan(clean, pipe, tmp_path / "run", changed(OPTIONS, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("found", "copied", "missed"),
    [(match(), True, 0), (part(), True, 0), (match(False), False, 0), (None, False, 1)],
)
def test_a_part_of_a_training_image_is_no_clean_image(
    found: Match | None, copied: bool, missed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evidence, "of", lambda _self, _images: [found] if found else [])
    path = tmp_path / "image.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    search = _Search(object.__new__(Evidence), {})
    assert (search.copies([path]), search.missed) == (copied, missed)
