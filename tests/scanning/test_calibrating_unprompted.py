"""Calibrating models of classes and without a condition: what is ranked among what, and what a gate may say of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flat_options import calibrate, scan, settings
from tiny_adapters import tiny_adapter

from memdetect.cli import run
from memdetect.inputs.labels import label_requests, unconditional_requests
from memdetect.inputs.wording import text_key
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.runs.policy import Policy

FAST = ["--steps", "1", "--device", "cpu"]
OPTIONS = settings(steps=1, num_seeds=1, save_images=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny adapter's pipeline."""
    made: dict[str, str] = {}

    def folder(name: str) -> str:
        if name not in made:
            path = tmp_path_factory.mktemp(name)
            tiny_adapter(name, path / "tokenizer").save_pretrained(path / "model", safe_serialization=True)
            made[name] = str(path / "model")
        return made[name]

    return folder


def kept(path: Path) -> Calibration:
    made = read_calibration(path)
    assert made is not None
    return made


def test_labels_are_ranked_among_other_labels(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["-m", saved("dit"), *FAST, "--num-seeds", "2"]
    clean = ",".join(map(str, range(100, 139)))
    assert run(["calibrate", "--labels", clean, *common, "--out", "c.json"]) == 0
    made = kept(Path("c.json"))
    assert [item.prompt for item in made.items] == [str(i) for i in range(100, 139)]
    assert len({item.text for item in made.items}) == 39
    assert made.conditioned is True
    assert run(["scan", "--labels", "7,207,138", *common, "--calibration", "c.json", "--out", "run"]) == 0
    found = scan(label_requests("7,207,138"), saved("dit"), "run", settings(**changes(calibration=Path("c.json"))))
    ranked = {row.prompt: row for row in found.results}
    assert found.verdict.calibrated == 39
    assert ranked["138"].reason == "the prompt, or one of its family, is among the clean ones"
    for label in ("7", "207"):
        p = ranked[label].p["combined"]
        assert p is not None
        assert p * 40 == pytest.approx(round(p * 40))
    assert run(["gate", "run"]) in (0, 1, 3)
    assert "assumes clean calibration prompts, not checked" in capsys.readouterr().out + found.verdict.claim


def changes(**more: Any) -> dict[str, Any]:
    return {"steps": 1, "num_seeds": 2, **more}


def test_images_without_a_condition_are_ranked_among_others_of_the_model(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["-m", saved("ddpm"), *FAST]
    assert run(["calibrate", "--unconditional", "39", *common, "--out", "c.json"]) == 0
    made = kept(Path("c.json"))
    assert len(made.items) == 39
    assert made.conditioned is False
    assert {len(row) for cells in made.scores["spikiness"].values() for rows in cells.values() for row in rows} == {1}
    assert run(["scan", "--unconditional", "12", *common, "--calibration", "c.json", "--out", "run"]) == 0
    found = scan(
        unconditional_requests(12), saved("ddpm"), "run", settings(**changes(num_seeds=1, calibration=Path("c.json")))
    )
    assert found.verdict.calibrated == 39
    assert not {row.id for row in found.results} & {item.id for item in made.items}
    p = [row.p["combined"] for row in found.results]
    assert None not in p
    clean = {tuple(row) for row in made.scores["spikiness"]["up_blocks.0.resnets.0"]["50"]}
    assert not clean & {tuple(row.scores["spikiness"].cells["up_blocks.0.resnets.0"]["50"]) for row in found.results}
    capsys.readouterr()
    assert run(["gate", "run", "--fail-on", "suspicious"]) in (1, 3)
    assert (
        "the reference scores are of the model's own images without a condition, not searched for copies"
        in found.verdict.claim
    )


def test_a_gate_never_passes_on_the_models_own_images_unless_copies_were_removed(saved, tmp_path):
    """With 39 of them and two to judge a prompt calibration would pass: nothing is found and nothing is undecided."""
    policy = Policy(fail_on="suspicious")

    def judged(name: str, matcher: Any) -> Any:
        calibrate(unconditional_requests(39, "clean"), saved("ddpm"), tmp_path / name, OPTIONS, matcher=matcher)
        options = settings(**changes(num_seeds=1, calibration=tmp_path / name, policy=policy))
        return scan(unconditional_requests(2), saved("ddpm"), tmp_path / f"{name}.scan", options).verdict

    rules = {rule.name: rule for rule in judged("unchecked.json", None).rules}
    assert rules["calibration"].outcome == "inconclusive"
    assert "what it repeats is among them; calibrate with --index" in rules["calibration"].reason
    searched = judged("checked.json", lambda images: [False for _ in images])
    assert {rule.name: rule.outcome for rule in searched.rules}["calibration"] == "pass"
    assert "own images without a condition, checked: the 10 strongest of 39 were searched for copies" in searched.claim


def test_prompts_and_images_without_a_condition_are_not_ranked_among_each_other(saved, tmp_path):
    label, image = "are of prompts or labels, not of", "are of images without a condition, not of"
    calibrate(label_requests("0,1,2,3"), saved("dit"), tmp_path / "labels.json", OPTIONS)
    calibrate(unconditional_requests(4, "clean"), saved("dit"), tmp_path / "images.json", OPTIONS)
    for name, requests, said in (
        ("labels", unconditional_requests(2), f"{label} images without a condition"),
        ("images", label_requests("7,8"), f"{image} prompts or labels"),
    ):
        options = settings(**changes(num_seeds=1, calibration=tmp_path / f"{name}.json"))
        found = scan(requests, saved("dit"), tmp_path / name, options)
        assert {row.reason for row in found.results} == {f"the clean scores {said}"}


def test_inputs_of_a_calibration_exclude_each_other_and_one_is_needed(saved, capsys):
    common = ["-m", saved("ddpm"), *FAST]
    assert run(["calibrate", "--labels", "1", "--unconditional", "2", *common]) == 2
    assert "--labels and --unconditional exclude each other" in capsys.readouterr().err
    assert run(["calibrate", *common]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["calibrate", "--labels", "1", *common]) == 2
    assert "the DDPMPipeline takes no condition: use --unconditional" in capsys.readouterr().err


def test_numbers_of_classes_are_texts_of_their_own():
    assert text_key("207") != text_key("208")
    assert text_key("a cat 207") == text_key("A cat  208")
