"""calibrate() with its defaults makes a bank of tuning prompts, and a scan uses it; a run ends where all is known."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_options import calibrate, changed, requests_of, scan, settings
from tiny_stable import WORDS

from memdetect.adapters import load
from memdetect.detectors.bank import bank_file, read_bank, write_bank
from memdetect.errors import MemdetectError
from memdetect.inputs.wording import family_key
from memdetect.judging.calibration import Calibration, making, read_calibration
from memdetect.judging.calibration.banked import removed_in_bank
from memdetect.judging.statistics.combine import of_seeds
from memdetect.probing import Sampler
from memdetect.probing.needs import AT_EARLY
from memdetect.probing.running import run_sigmas
from memdetect.probing.sampling import run_arguments
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement
from memdetect.scanning import Watch, own_bank
from memdetect.scanning.calibrating import LEAST
from memdetect.scanning.own_bank import EACH, made_bank

OPTIONS = settings(steps=1, num_seeds=2, batch_size=64, save_images=False)
TEXTS = [f"{one} {two} {three}" for one in WORDS[:5] for two in WORDS[3:6] for three in WORDS[5:]]
USUAL = ["specificity", "agreement", "spikiness"]


def clean(folder: Path, tuning: int, rest: int, texts: list[str] | None = None) -> list[Path]:
    """Prompts in two splits."""
    own = texts or [f"a clean {text}" for text in TEXTS]
    parts = ["tuning"] * tuning + ["calibration"] * rest
    rows = [{"prompt": text, "part": part} for text, part in zip(own, parts, strict=False)]
    path = folder / "clean.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [path]


@pytest.fixture
def twenty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """20 prompts for tuning and as many for calibration, which are made to be enough for a bank."""
    monkeypatch.setattr(own_bank, "EACH", 20)
    return clean(tmp_path, 20, 20)


def after(batches: int) -> Callable[[], bool]:
    """A `stop` that lets that many batches through."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= batches


def test_a_calibration_with_the_defaults_has_a_bank_and_a_scan_compares_with_it(
    twenty: list[Path], pipe: Any, tmp_path: Path
) -> None:
    out = tmp_path / "c.json"
    made = calibrate(twenty, pipe, out, OPTIONS)
    bank = read_bank(tmp_path / "c.bank.safetensors")
    assert bank is not None
    assert bank.facts == {"digest": bank.digest, "prompts": 20, "numbers": 256}
    assert made.bank == {**bank.facts, "removed": []}
    assert list(made.scores) == USUAL
    assert sorted(bank.families) == sorted(item.family for item in made.items if item.part == "tuning")
    (tmp_path / "p.txt").write_text("a red dog\na blue cat and a dog\nblue\n", encoding="utf-8")
    run = scan([tmp_path / "p.txt"], pipe, tmp_path / "run", changed(OPTIONS, calibration=out))
    plan = run.header.plan
    assert (list(plan.detectors), plan.deciding, plan.bank) == (USUAL, ("specificity",), bank.digest)
    assert (run.verdict.missing, run.verdict.calibrated) == ("", 20)
    assert all(row.p["combined"] == row.p["specificity"] is not None for row in run.results)
    assert {row.outcome for row in run.results} <= {"clear", "inconclusive"}
    alone = scan([tmp_path / "p.txt"], pipe, tmp_path / "alone", changed(OPTIONS, calibration=out, num_seeds=1))
    assert (alone.header.plan.detectors, alone.header.plan.bank) == (("spikiness",), "")
    assert alone.verdict.missing == ""  # the first of the kept seeds


def test_with_fewer_prompts_agreement_decides(pipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    made = calibrate(clean(tmp_path, 12, 12), pipe, out, OPTIONS)
    assert (list(made.scores), made.bank, bank_file(out).exists()) == (USUAL[1:], {}, False)
    (tmp_path / "p.txt").write_text("a red dog\nblue\n", encoding="utf-8")
    run = scan([tmp_path / "p.txt"], pipe, tmp_path / "run", changed(OPTIONS, calibration=out))
    assert (run.header.plan.deciding, run.header.plan.bank) == (("agreement",), "")
    assert (run.verdict.missing, run.verdict.calibrated) == ("", 12)
    assert all(row.p["combined"] is not None for row in run.results)


def test_a_bank_goes_with_a_search_for_copies_and_with_memorized_prompts(
    twenty: list[Path], pipe: Any, tmp_path: Path
) -> None:
    path = tmp_path / "known.jsonl"
    path.write_text('{"prompt": "a red dog", "kind": "scene"}\n', encoding="utf-8")
    options = replace(OPTIONS, memorized=requests_of([path]))
    made = calibrate(twenty, pipe, tmp_path / "c.json", options, matcher=lambda images: [False] * len(images))
    assert made.checked.endswith("of 40 were searched for copies by the given function, 0 removed")
    assert (len(made.known), list(made.known_scores), made.bank["prompts"]) == (1, USUAL, 20)


@pytest.mark.parametrize(("tuning", "rest"), [(EACH, EACH), (EACH - 1, EACH + 5), (EACH + 5, EACH - 1)])
def test_a_bank_is_made_unasked_of_150_prompts_a_split(tuning: int, rest: int, pipe: Any, tmp_path: Path) -> None:
    texts = [f"{text} {word}" for text in TEXTS for word in WORDS]
    requests = requests_of(clean(tmp_path, tuning, rest, texts))
    assert len(requests.items) == tuning + rest
    found = made_bank(requests, load(pipe), OPTIONS, tmp_path / "c.json", Watch(stop=lambda: True))
    assert found == (None, min(tuning, rest) < EACH)  # stopped before its first batch, or none to make


def test_a_calibration_that_stops_in_the_bank_or_after_it_is_resumed(
    twenty: list[Path], pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, slow = tmp_path / "c.json", changed(OPTIONS, batch_size=20)
    assert calibrate(twenty, pipe, out, slow, watch=Watch(stop=after(1))) is None
    assert not bank_file(out).exists()
    assert not list(RunFolder(tmp_path / "c.run").measurements())
    assert calibrate(twenty, pipe, out, slow, watch=Watch(stop=after(3))) is None  # two for the bank, one of the run
    assert bank_file(out).exists()
    assert not out.exists()
    assert len(list(RunFolder(tmp_path / "c.run").measurements())) == 10
    whole = calibrate(twenty, pipe, tmp_path / "whole.json", slow)
    monkeypatch.setattr(own_bank, "bank_of", None)  # it is there
    made = calibrate(twenty, pipe, out, slow)
    assert (made.scores, made.bank) == (whole.scores, whole.bank)


@pytest.mark.parametrize("fault", ["is not there", "is another", "is no bank of clean prompts"])
def test_a_bank_that_is_not_the_calibrations_own_is_refused_in_one_line(
    fault: str, twenty: list[Path], pipe: Any, tmp_path: Path
) -> None:
    out = tmp_path / "c.json"
    calibrate(twenty, pipe, out, OPTIONS)
    held = read_bank(bank_file(out))
    assert held is not None
    if fault == "is not there":
        bank_file(out).unlink()
    elif fault == "is another":
        write_bank(bank_file(out), replace(held, pictures=held.pictures.flip(0)))
    else:
        bank_file(out).write_bytes(b"no safetensors")
    (tmp_path / "p.txt").write_text("a red dog\n", encoding="utf-8")
    with pytest.raises(MemdetectError, match=f"c.bank.safetensors,? {fault}") as raised:
        scan([tmp_path / "p.txt"], pipe, tmp_path / "run", changed(OPTIONS, calibration=out))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("other", ["steps", "prompts", "scheduler"])
def test_a_bank_of_other_settings_is_made_anew(
    other: str, twenty: list[Path], pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where no run goes with it: else the bank would be gone before the run is refused."""
    out = tmp_path / "c.json"
    made = calibrate(twenty, pipe, out, OPTIONS)
    options = changed(OPTIONS, steps=2) if other == "steps" else OPTIONS
    if other == "prompts":
        clean(tmp_path, 20, 20, [f"another {text}" for text in TEXTS])
    if other == "scheduler":
        monkeypatch.setattr(pipe, "scheduler", type(pipe.scheduler).from_config(pipe.scheduler.config, beta_end=0.03))
    named = {"steps": "steps", "prompts": "inputs", "scheduler": "model"}[other]
    with pytest.raises(MemdetectError, match=f"c.run holds a run with another plan: {named} was"):
        calibrate(twenty, pipe, out, options)
    kept = read_bank(bank_file(out))
    assert kept is not None
    assert kept.digest == made.bank["digest"]
    shutil.rmtree(tmp_path / "c.run")
    again = calibrate(twenty, pipe, out, options)
    found = read_bank(bank_file(out))
    assert found is not None
    assert again.bank["digest"] == found.digest != made.bank["digest"]


# Copies among the strongest


def test_the_strongest_of_each_stratum_and_detector_are_searched_and_what_is_a_copy_is_gone_for_all(
    pipe: Any, tmp_path: Path
) -> None:
    """By what each detector gives, not only by what decides: scores of all are kept and may decide one day."""
    path = tmp_path / "clean.jsonl"
    rows = [{"prompt": text, "kind": "early" if i % 2 else "late"} for i, text in enumerate(TEXTS[:36])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = changed(OPTIONS, strata="kind", detectors=("agreement", "spikiness"))
    plain = calibrate([path], pipe, tmp_path / "plain.json", options)
    decided = strongest(plain, "late", "agreement")[:LEAST]
    first = next(item for item in strongest(plain, "late", "spikiness")[:LEAST] if item not in decided)
    run, searched = RunFolder(tmp_path / "c.run"), list[str]()

    def matcher(images: list[Path]) -> list[bool]:
        index = int(images[0].name.partition("-")[0])
        searched.append(next(row.id for row in run.measurements() if row.index == index))
        return [searched[-1] == first, False]

    made = calibrate([path], pipe, tmp_path / "c.json", options, matcher=matcher)
    assert [entry.id for entry in made.removed] == [first]
    assert len(made.items) == 35
    assert first not in {item.id for item in made.items}
    for name, table in made.scores.items():
        left = [seeds for item, seeds in zip(plain.items, cells_of(plain, name), strict=True) if item.id != first]
        assert cells_of(made, name) == left
        assert {len(rows) for times in table.values() for rows in times.values()} == {35}
    wanted = {
        item
        for held in (plain, made)  # who moves up is searched in turn
        for stratum in ("early", "late")
        for name in ("agreement", "spikiness")
        for item in strongest(held, stratum, name)[:LEAST]
    }
    assert set(searched) == wanted
    assert len(searched) == len(wanted)


def cells_of(made: Calibration, name: str) -> list[list[list[float]]]:
    """Of each item the seeds at each place."""
    places = [rows for times in made.scores[name].values() for rows in times.values()]
    return [list(own) for own in zip(*places, strict=True)]


def strongest(made: Calibration, stratum: str, name: str) -> list[str]:
    """Ids of a stratum, the highest score of a detector first."""
    rule = "prompt" if name == "agreement" else "quartile"
    means = [[sum(seeds) / len(own) for seeds in zip(*own, strict=True)] for own in cells_of(made, name)]
    scores = {item.id: of_seeds(own, rule) for item, own in zip(made.items, means, strict=True)}
    return sorted((i.id for i in made.items if i.stratum == stratum), key=lambda key: scores[key], reverse=True)


def test_prompts_of_the_bank_that_are_copies_are_named(twenty: list[Path], pipe: Any, tmp_path: Path) -> None:
    """The bank is made before anything is searched: the copies in it are said, by id, and kept with the scores."""
    run, out = RunFolder(tmp_path / "c.run"), tmp_path / "c.json"

    def matcher(images: list[Path]) -> list[bool]:
        index = int(images[0].name.partition("-")[0])
        return [next(row.meta["part"] for row in run.measurements() if row.index == index) == "tuning"]

    made = calibrate(twenty, pipe, out, OPTIONS, matcher=matcher)
    bank = read_bank(bank_file(out))
    assert bank is not None
    assert made.removed
    own = {row.id: family_key(row.meta, row.prompt) for row in run.measurements()}
    assert {own[entry.id] for entry in made.removed} <= set(bank.families)
    assert made.bank == {**bank.facts, "removed": [entry.id for entry in made.removed]}
    assert removed_in_bank(read_calibration(out)) == made.bank["removed"]


def test_no_prompt_of_the_bank_is_ranked_among_when_others_are_removed(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are drawn once. Mutant: anew of those that are left, so that the last of the bank's are ranked."""

    def half(families: list[str]) -> dict[str, str]:
        order = sorted(set(families))
        return {key: "tuning" if 2 * i < len(order) else "calibration" for i, key in enumerate(order)}

    monkeypatch.setattr(making, "draw_parts", half)
    monkeypatch.setattr(own_bank, "EACH", 20)
    path, out = tmp_path / "clean.txt", tmp_path / "c.json"
    path.write_text("\n".join(f"a clean {text}" for text in TEXTS[:40]), encoding="utf-8")
    run = RunFolder(tmp_path / "c.run")

    def matcher(images: list[Path]) -> list[bool]:
        bank = read_bank(bank_file(out))
        index = int(images[0].name.partition("-")[0])
        own = next(family_key(row.meta, row.prompt) for row in run.measurements() if row.index == index)
        return [bank is not None and own not in bank.families]

    made = calibrate([path], pipe, out, OPTIONS, matcher=matcher)
    bank = read_bank(bank_file(out))
    assert bank is not None
    assert (len(made.removed) > 3, len(bank.families)) == (True, 20)
    assert {item.family for item in made.items if item.part == "tuning"} == set(bank.families)


# A run whose end nobody needs


def test_a_run_of_first_steps_ends_early_and_its_rows_are_whole(pipe: Any, tmp_path: Path) -> None:
    """Mutant: the run goes on to its end, which costs all its steps."""
    (tmp_path / "p.txt").write_text("a cat\na red dog\n", encoding="utf-8")
    options = changed(OPTIONS, steps=20, detectors=("agreement",), search=False)
    model, calls = load(pipe), list[int]()
    sampler = Sampler.of(model, steps=20, num_seeds=2)
    early = AT_EARLY.steps(run_sigmas(model, run_arguments(model, sampler, [""], [0])))[-1] + 1
    handle = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    try:
        ended = scan([tmp_path / "p.txt"], pipe, tmp_path / "ended", options)
        assert (len(calls), early < 20) == (early, True)
        calls.clear()
        whole = scan([tmp_path / "p.txt"], pipe, tmp_path / "whole", changed(options, save_images=True))
        assert len(calls) == 20
    finally:
        handle.remove()
    assert [measured(row) for row in ended.results] == [measured(row) for row in whole.results]
    assert not list((tmp_path / "ended" / "images").iterdir())
    assert all(len(row.files) == 2 for row in whole.results)
    for row in ended.results:
        assert (row.status, row.notes, row.files, row.matches, row.one_colour) == ("ok", [], [], [], [])
        assert len(row.seeds) == 2
        assert list(row.scores) == ["agreement"]
        assert row.score is not None
    assert ended.verdict.measured == 2
    assert torch.isfinite(torch.tensor([row.score or 0.0 for row in ended.results])).all()


def measured(row: Measurement) -> dict[str, Any]:
    """All but the images."""
    return row.model_dump(include={"index", "id", "prompt", "seeds", "scores", "status", "notes"})


def test_a_scan_of_other_settings_does_not_compare_with_the_bank(twenty: list[Path], pipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    calibrate(twenty, pipe, out, OPTIONS)
    (tmp_path / "p.txt").write_text("a red dog\n", encoding="utf-8")
    other = changed(OPTIONS, calibration=out, guidance_scale=3.5)
    run = scan([tmp_path / "p.txt"], pipe, tmp_path / "run", other)
    assert (run.header.plan.deciding, run.header.plan.bank) == (("agreement",), "")
    assert "another guidance_scale" in run.verdict.missing
    said = "'specificity' compares with a bank that was made with another guidance_scale"
    with pytest.raises(MemdetectError, match=said):
        scan([tmp_path / "p.txt"], pipe, tmp_path / "asked", changed(other, detectors=("specificity",)))
    assert not (tmp_path / "asked").exists()


def test_what_cannot_be_measured_is_refused_before_a_bank_is_sampled(
    twenty: list[Path], pipe: Any, tmp_path: Path
) -> None:
    with pytest.raises(MemdetectError, match="no layer named 'nonsense'"):
        calibrate(twenty, pipe, tmp_path / "c.json", changed(OPTIONS, layers=("nonsense",)))
    assert not (tmp_path / "c.bank.safetensors").exists()


def test_a_column_that_no_prompt_has_is_refused_before_the_first_image(
    twenty: list[Path], pipe: Any, tmp_path: Path
) -> None:
    said = "no prompt has a value in column 'tpyo' to stratify by; the columns are: part"
    with pytest.raises(MemdetectError, match=said):
        calibrate(twenty, pipe, tmp_path / "c.json", changed(OPTIONS, strata="tpyo", detectors=("spikiness",)))
    (tmp_path / "p.txt").write_text("a red dog\n", encoding="utf-8")
    with pytest.raises(MemdetectError, match="the columns are: none"):
        scan([tmp_path / "p.txt"], pipe, tmp_path / "run", changed(OPTIONS, strata="tpyo"))
    assert not (tmp_path / "run").exists()
