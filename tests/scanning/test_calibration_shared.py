"""A calibration that several processes share is that of one; it is made once, by whoever sees nothing left."""

import json
from pathlib import Path
from typing import Any

import pytest
from flat_options import calibrate, changed, requests_of, settings
from toy_runs import bytes_of

from memdetect.errors import MemdetectError
from memdetect.judging.merging import joined
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Watch, calibrating, own_bank

OPTIONS = settings(steps=1, num_seeds=2, batch_size=8, shard_size=4, save_images=False)
CLEAN = [f"a {colour} {thing}" for colour in ("red", "blue", "odd") for thing in ("cat", "dog", "photo", "of", "and")]
OF_ONE_RUN = ("created", "seconds_per_image")  # when, and how fast


@pytest.fixture
def clean(tmp_path: Path) -> list[Path]:
    (tmp_path / "clean.txt").write_text("".join(f"{p}\n" for p in CLEAN), encoding="utf-8")
    return [tmp_path / "clean.txt"]


def known(folder: Path) -> Any:
    rows = [{"prompt": f"memorized {chr(97 + k)}", "kind": "scene"} for k in range(6)]
    path = folder / "known.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return requests_of([path])


def said(out: Path) -> dict[str, Any]:
    """The calibration without what differs between any two runs."""
    found = json.loads(out.read_bytes())
    return {**found, "about": "", "provenance": {k: v for k, v in found["provenance"].items() if k not in OF_ONE_RUN}}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ranks_make_the_calibration_of_one_process(
    order: tuple[int, int], clean: list[Path], pipe: Any, tmp_path: Path
) -> None:
    """Of clean and of memorized prompts; a rank that leaves the rest makes none."""
    options = changed(OPTIONS, memorized=known(tmp_path))
    assert calibrate(clean, pipe, tmp_path / "one" / "c.json", options) is not None
    out = tmp_path / "two" / "c.json"
    first, second = (changed(options, rank=rank, world=2, steal=False) for rank in order)
    assert calibrate(clean, pipe, out, first) is None
    runs = [RunFolder(out.parent / name) for name in ("c.run", "c.memorized.run")]
    left = [run.todo(run.header().sharding) for run in runs]
    assert left == [[k for k in range(4) if k % 2 != order[0]], [k for k in range(2) if k % 2 != order[0]]]
    assert not out.exists()
    assert calibrate(clean, pipe, out, second) is not None
    assert said(out) == said(tmp_path / "one" / "c.json")
    for run in runs:
        assert bytes_of(run.path) == bytes_of(tmp_path / "one" / run.path.name)


def test_runs_of_machines_without_a_common_disk_are_joined(clean: list[Path], pipe: Any, tmp_path: Path) -> None:
    assert calibrate(clean, pipe, tmp_path / "one.json", OPTIONS) is not None
    for rank in (0, 1):
        assert (
            calibrate(clean, pipe, tmp_path / f"{rank}.json", changed(OPTIONS, rank=rank, world=2, steal=False)) is None
        )
    joined([tmp_path / "0.run", tmp_path / "1.run"], tmp_path / "c.run")
    seen: list[int] = []
    watch = Watch(progress=lambda done, *_: seen.append(done))
    assert calibrate(clean, pipe, tmp_path / "c.json", OPTIONS, watch=watch) is not None
    assert set(seen) == {len(CLEAN)}, "nothing is measured again"
    assert said(tmp_path / "c.json") == said(tmp_path / "one.json")


def test_of_two_that_end_crosswise_the_last_makes_it(
    clean: list[Path], pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ended the clean prompts first, and the memorized ones last: the other's clean share came in between."""
    usual, asked = calibrating._measured, list[str]()

    def measured(requests: Any, bench: Any, folder: RunFolder, watch: Watch) -> Any:
        asked.append(folder.path.name)
        found = usual(requests, bench, folder, watch)
        return None if len(asked) == 1 else found

    monkeypatch.setattr(calibrating, "_measured", measured)
    assert calibrate(clean, pipe, tmp_path / "c.json", changed(OPTIONS, memorized=known(tmp_path))) is not None
    assert asked == ["c.run", "c.memorized.run", "c.run"]


def test_it_is_made_once(clean: list[Path], pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes later reads it; it is made again where it is gone, another, or rests on something else."""
    out, times = tmp_path / "c.json", list[int]()
    usual = calibrating._made
    monkeypatch.setattr(calibrating, "_made", lambda *given: times.append(1) or usual(*given))
    made = calibrate(clean, pipe, out, OPTIONS)
    whole = out.read_bytes()
    assert calibrate(clean, pipe, out, OPTIONS) == made
    assert (out.read_bytes(), len(times)) == (whole, 1)
    out.write_bytes(whole.replace(b'"about":"', b'"about":"x', 1))
    assert calibrate(clean, pipe, out, OPTIONS).about == made.about
    out.unlink()
    assert calibrate(clean, pipe, out, OPTIONS) == made
    assert len(times) == 3
    calibrate(clean, pipe, out, changed(OPTIONS, memorized=known(tmp_path)))
    assert len(times) == 4


def test_one_process_makes_the_bank_and_the_others_wait(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_bank, "_made", lambda *_: pytest.fail("a second bank was begun"))
    rows = [{"prompt": "a" * (k + 1), "part": "tuning" if k < 20 else "calibration"} for k in range(40)]
    (tmp_path / "clean.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = changed(OPTIONS, detectors=("specificity",))
    with RunFolder(tmp_path / "c.run").locked(), pytest.raises(KeyboardInterrupt):
        calibrate([tmp_path / "clean.jsonl"], pipe, tmp_path / "c.json", options, watch=Watch(stop=lambda: True))


def test_it_is_not_handed_to_ray(clean: list[Path], pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(MemdetectError, match="not handed to Ray; share it by --workers, or by --rank and --world"):
        calibrate(clean, pipe, tmp_path / "c.json", changed(OPTIONS, ray="local"))
    assert not (tmp_path / "c.run").exists()
