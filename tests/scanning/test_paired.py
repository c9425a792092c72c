"""A base's scores as the reference: known values, the arithmetic by hand, a whole scan, resuming, and every refusal."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from shutil import rmtree
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from flat_options import changed, scan, settings
from PIL import Image
from s3_server import serving
from tiny_stable import tiny_stable_diffusion

from memdetect.adapters import load
from memdetect.errors import MemdetectError
from memdetect.inputs.captions import captioned, prompts_of
from memdetect.inputs.given import prompt_requests
from memdetect.inputs.prompts import read
from memdetect.judging.calibration import read_calibration
from memdetect.judging.rounds_of_base import ranked_rounds
from memdetect.judging.statistics.combine import quartile
from memdetect.judging.statistics.conformal import rank
from memdetect.judging.statistics.multiple import detections_needed
from memdetect.render.explain import render_explanation
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Run, Watch, prepare
from memdetect.scanning.base_scores import base_calibration, rounds_for
from memdetect.scanning.earlier import Earlier

OPTIONS = settings(steps=1, num_seeds=2, batch_size=32, base_rounds=3, search=False)
PROMPTS = ["a red cat", "a blue dog", "a photo of a cat"]


@pytest.fixture
def prompts(tmp_path: Path) -> list[Path]:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"{p}\n" for p in PROMPTS), encoding="utf-8")
    return [path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("base"), seed=1)


def score(row: Any, name: str, first: int, count: int) -> float:
    """A round's score, written out: the mean over cells of each seed, then the quartile."""
    tables = [values for times in row.scores[name].cells.values() for values in times.values()]
    return quartile([fmean(cell[k] for cell in tables) for k in range(first, first + count)])


def test_p_values_are_ranks_among_the_rounds_of_the_base(
    prompts: list[Path], pipe: Any, base: Any, tmp_path: Path
) -> None:
    run = scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, base=base))
    drawn = list(RunFolder(tmp_path / "run" / "base").measurements())
    name = run.header.plan.detectors[0]
    rounds = {row.id: [score(row, name, 2 * k, 2) for k in range(3)] for row in drawn}
    reference = sorted(s - fmean(own[:k] + own[k + 1 :]) for own in rounds.values() for k, s in enumerate(own))
    assert run.verdict.calibrated == len(reference) == 9
    for row in run.results:
        own = score(row, name, 0, 2) - fmean(rounds[row.id])
        assert row.p["combined"] == pytest.approx(rank(reference, own) / 10)
    assert "the reference scores are of" in run.verdict.claim
    assert not run.verdict.shift.warning


def test_the_first_seeds_are_the_scans_own(prompts: list[Path], pipe: Any, base: Any, tmp_path: Path) -> None:
    run = scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, base=base))
    for own, drawn in zip(run.results, RunFolder(tmp_path / "run" / "base").measurements(), strict=True):
        assert drawn.seeds[:2] == own.seeds
        assert len(drawn.seeds) == 6


def test_a_base_that_is_the_same_in_all_but_name_gives_fair_reference_scores(tmp_path: Path, pipe: Any) -> None:
    """A model that differs from its base by one part in 10^7 must not stand out: no finding, p all over the place."""
    path = tmp_path / "p.txt"
    path.write_text("\n".join(f"a {c} {w}" for c in ("red", "blue", "photo", "of") for w in ("cat", "dog", "and")))
    twin = tiny_stable_diffusion(tmp_path / "twin")
    next(twin.unet.parameters()).data.mul_(1 + 1e-7)
    run = scan([path], pipe, tmp_path / "run", changed(OPTIONS, base=twin, base_rounds=4))
    found = [row.p["combined"] for row in run.results]
    assert len(found) == 12
    assert run.verdict.counts["suspicious"] == 0
    assert min(found) < 0.5 < max(found)


def test_a_raised_score_is_found(prompts: list[Path], pipe: Any, base: Any, tmp_path: Path) -> None:
    """Design: lift one prompt's scores above all rounds of the base; it alone gets the smallest p there is."""
    options = changed(OPTIONS, base_rounds=20, base=base)
    bench = prepare(load(pipe), options)
    reference = base_calibration(read(prompts), load(base), bench, Earlier(tmp_path, Watch()), 20)
    assert reference is not None
    assert len(reference.items) == 60
    name, lifted = bench.detectors[0].name, next(iter(reference.offsets[bench.detectors[0].name]))
    from memdetect.judging import judge
    from memdetect.scanning.planning import header_of

    rows = list(RunFolder(tmp_path / "base").measurements())
    scanned = [row.model_copy(update={"scores": {name: _cut(row, name, 10 * (row.id == lifted))}}) for row in rows]
    header = header_of(replace(bench, detectors=bench.detectors[:1]), read(prompts), reference)
    results, _ = judge(header, scanned, reference)
    p = {row.id: row.p["combined"] for row in results}
    assert p.pop(lifted) == pytest.approx(1 / 61)
    assert min(v for v in p.values() if v is not None) > 1 / 61


def _cut(row: Any, name: str, lift: float) -> Any:
    cells = {
        layer: {t: [v + lift for v in values[:2]] for t, values in times.items()}
        for layer, times in row.scores[name].cells.items()
    }
    return row.scores[name].model_copy(update={"cells": cells})


def test_an_interrupted_base_is_resumed(prompts: list[Path], pipe: Any, base: Any, tmp_path: Path) -> None:
    options, asked = changed(OPTIONS, base=base, batch_size=6, shard_size=1), iter([False, True])
    first = scan(prompts, pipe, tmp_path / "run", options, stop=lambda: next(asked))
    assert first.interrupted
    assert first.results == []
    again = scan(prompts, pipe, tmp_path / "run", options)
    whole = scan(prompts, pipe, tmp_path / "whole", options)
    assert [row.p for row in again.results] == [row.p for row in whole.results]


def test_the_run_is_judged_again_from_its_folder(prompts: list[Path], pipe: Any, base: Any, tmp_path: Path) -> None:
    run = scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, base=base))
    kept = read_calibration(tmp_path / "run" / "calibration.json")
    assert kept is not None
    assert kept.base
    from memdetect.judging import judge

    folder = RunFolder(tmp_path / "run")
    results, _ = judge(folder.header(), folder.measurements(), kept)
    assert [row.p for row in results] == [row.p for row in run.results]
    assert all(row.judged["combined"] is not None for row in results)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_rounds": 1}, "expected at least 2"),
        ({"calibration": Path("c.json")}, "exclude each other"),
    ],
)
def test_refusals(change: dict[str, Any], said: str, prompts: list[Path], pipe: Any, base: Any, tmp_path: Path) -> None:
    with pytest.raises(MemdetectError, match=said):
        scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, base=base, **change))


def test_a_base_that_is_the_model_or_of_another_kind_is_refused(prompts: list[Path], pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(MemdetectError, match="the scanned model itself"):
        scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, base=pipe))
    other = tiny_stable_diffusion(tmp_path / "v", prediction="v_prediction", seed=1)
    other.scheduler = type(other.scheduler).from_config(other.scheduler.config, beta_end=0.5)
    with pytest.raises(MemdetectError, match="another scheduler"):
        scan(prompts, pipe, tmp_path / "other", changed(OPTIONS, base=other))


def test_rounds_give_enough_reference_scores_within_bounds() -> None:
    assert [rounds_for(n) for n in (1, 5, 20, 30, 200, 10_000)] == [40, 40, 20, 20, 20, 20]
    assert [rounds_for(n, scored=False) for n in (1, 5, 20, 30, 200, 10_000)] == [40, 40, 10, 7, 4, 4]
    assert [rounds_for(n, deciding=2) for n in (1, 5, 20, 30, 200, 10_000)] == [80, 80, 40, 40, 40, 40]
    assert rounds_for(200, scored=False, deciding=2) == 4
    for prompts in (10, 11, 50, 1000):
        for deciding in (1, 2):
            ranked = ranked_rounds(rounds_for(prompts, deciding=deciding), deciding)
            assert detections_needed(prompts * ranked, prompts, 0.05) == 1


# Training pictures

WORDS = ("red", "blue", "photo")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("b.png", "a.png", "c.png")):
        pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_a_line_separator_within_a_caption_ends_no_row(pictures: Path) -> None:
    rows = [{"file_name": f"{name}.png", "text": f"a\u2028cat {name}"} for name in "abc"]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (pictures / "metadata.jsonl").write_text(text, encoding="utf-8")
    assert [caption for _, caption in captioned(pictures)] == [row["text"] for row in rows]


def test_captions_come_from_metadata_then_text_files_then_the_instance_prompt(pictures: Path) -> None:
    (pictures / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a red cat"}\n\n', encoding="utf-8")
    (pictures / "b.txt").write_text(" a blue  dog \n", encoding="utf-8")
    found = captioned(pictures, "a photo of sks")
    assert found == [
        (pictures / "a.png", "a red cat"),
        (pictures / "b.png", "a blue dog"),
        (pictures / "c.png", "a photo of sks"),
    ]
    assert [r.prompt for r in prompts_of(found).items] == ["a red cat", "a blue dog", "a photo of sks"]
    same = prompts_of([(path, "one") for path, _ in found])
    assert (len(same.items), same.repeated) == (1, 2)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, r"a.png' has no caption; write it into a.txt or metadata.jsonl, or give --instance-prompt"),
        ("nonsense\n", r"metadata.jsonl', line 1: broken JSON .*; correct it$"),
        ('{"file_name": "a.png"}\n', r"metadata.jsonl', line 1: expected an object"),
        ("[]\n", r"metadata.jsonl', line 1: an object or a string is expected"),
        (
            '{"file_name": "gone.png", "prompt": "x"}\n',
            r"metadata.jsonl', line 1: names .*gone.png', which is not there",
        ),
        (b"\xff", "cannot be read as UTF-8"),
    ],
)
def test_bad_captions_are_named(metadata: str | bytes | None, said: str, pictures: Path) -> None:
    if metadata is not None:
        (pictures / "metadata.jsonl").write_bytes(metadata if isinstance(metadata, bytes) else metadata.encode())
    with pytest.raises(MemdetectError, match=said):
        captioned(pictures)


def test_a_folder_that_is_none_and_one_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(MemdetectError, match="is no folder"):
        captioned(tmp_path / "none")
    with pytest.raises(MemdetectError, match="holds no pictures"):
        captioned(tmp_path)


def test_outputs_are_looked_up_among_the_training_pictures(
    pictures: Path, pipe: Any, base: Any, tmp_path: Path
) -> None:
    """An index of the folder is made once, its threshold rests on what the base drew, and every output is looked up."""
    (pictures / "metadata.jsonl").write_text(
        "".join(f'{{"file_name": "{n}.png", "text": "a {c} cat"}}\n' for n, c in zip("abc", WORDS, strict=True)),
        encoding="utf-8",
    )
    requests = prompts_of(captioned(pictures))
    options = changed(OPTIONS, base=base, train_images=pictures, search=True)
    run = scan(requests, pipe, tmp_path / "run", options)
    assert run.header.index["rows"] == 3
    assert run.header.index["given"] == str(tmp_path / "run" / "train.index")
    assert f"--index {tmp_path / 'run' / 'train.index'}" in render_explanation(run.header, run.results[0])
    assert run.header.index["null_queries"] == 18
    assert (run.header.index["coverage"], run.header.index["stated_by"]) == (1, "the folder itself")
    assert run.header.index["as_trained"] == f"{min(run.header.plan.size)},center"
    assert (run.header.index["pictures"], run.header.index["planted"]) == (3, 3)
    assert set(run.header.index["finds"]) == {"mirrored", "cropped", "shifted"}
    assert all(len(row.matches) > 0 for row in run.results)
    again = scan(requests, pipe, tmp_path / "run", options)
    assert [row.matches for row in again.results] == [row.matches for row in run.results]


def test_machines_without_a_common_disk_make_one_index(
    pictures: Path, pipe: Any, base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its threshold rests on was drawn by whoever was there, and may be gone from here."""
    options = changed(OPTIONS, base=base, train_images=pictures, search=True, shard_size=1, base_rounds=2, num_seeds=1)
    requests = prompt_requests([f"a {colour} cat" for colour in WORDS])

    processes = count(4711)

    def on(name: str, **watch: Any) -> Run:
        process = f"{name}.17-{next(processes)}"
        monkeypatch.setenv("MEMDETECT_CACHE_DIR", str(tmp_path / name))
        for module in ("files", "runs.journal", "runs.attempts"):
            monkeypatch.setattr(f"memdetect.{module}.process", lambda: process)
        return scan(requests, pipe, "s3://bucket/run", options, **watch)

    with serving() as account:
        for name, value in account.env.items():
            monkeypatch.setenv(name, value)
        asked = iter([False])
        assert on("a", stop=lambda: next(asked, True)).interrupted
        assert [name for name in account.buckets["bucket"] if "base/images" in name], "a part of what the base draws"
        made = [on("b"), on("a"), on("c")]
        rmtree(tmp_path / "b")
        made.append(on("b"))
    assert len({run.header.index["digest"] for run in made}) == 1
    assert made[0].header.index["null_queries"] == len(WORDS) * 2
    assert [len(run.results) for run in made] == [len(WORDS)] * 4
