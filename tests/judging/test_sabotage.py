"""Runs of the bundled model, each damaged in some way: none is green but the sound one and what somebody asked for."""

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from recorded_runs import MODEL, clean_scores, recorded, scene
from sabotages import SABOTAGES, Sabotage, each_row, file_of, shards, untouched

from memdetect.cli import run
from memdetect.errors import Exit
from memdetect.files import write_atomic
from memdetect.runs.policy import Policy

MODEL_DIGEST = "407fadfefce7"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound runs, and variants of them; what a test damages, it damages in a copy."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("clean", "memorizing"):
        scene(name).write(folder / name)
        scene(name, index=False).write(folder / f"{name}-scores")
        scene(name, calibrated=False).write(folder / f"{name}-index")
        scene(name, index=False, calibrated=False).write(folder / f"{name}-bare")
        scene(name, Policy(fail_on="copy")).write(folder / f"{name}-copy")
        scene(name, Policy(fail_on="none")).write(folder / f"{name}-none")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No policy file is found, and none of this repository's."""
    monkeypatch.chdir(tmp_path)


def gate(*arguments: object) -> int:
    return run(["gate", "--format", "json", *map(str, arguments)])


def test_the_recorded_scenes_are_of_the_shipped_weights() -> None:
    """Other weights need other records: see recorded_runs.recorded for the command."""
    assert clean_scores().settings.model.startswith(MODEL_DIGEST)
    copies = [row.id for row in recorded("memorizing") if any(match.copy_found for match in row.matches)]
    assert len(copies) == 20
    assert not [row.id for row in recorded("clean") if any(match.copy_found for match in row.matches)]
    keys = {json.loads(line)["key"] for line in (MODEL / "train.index" / "rows.jsonl").read_text().splitlines()}
    assert {match.key for row in recorded("memorizing") for match in row.matches} <= keys


def test_only_the_sound_clean_run_passes(scenes: Path) -> None:
    """Otherwise the tests below would prove nothing."""
    assert gate(scenes / "clean") == Exit.OK
    assert gate(scenes / "clean-copy") == Exit.OK
    assert gate(scenes / "memorizing") == gate(scenes / "memorizing-copy") == Exit.FAILED
    assert gate(scenes / "memorizing-index") == Exit.FAILED
    assert gate(scenes / "clean-scores") == Exit.OK  # the score is known to notice scenes
    for name in ("clean-index", "clean-bare", "memorizing-bare"):
        assert gate(scenes / name) == Exit.INCONCLUSIVE, name
    assert gate(scenes / "memorizing-scores") in (Exit.FAILED, Exit.INCONCLUSIVE)


def test_there_are_many_sabotages_of_every_kind() -> None:
    assert len(SABOTAGES) >= 250
    assert len({(one.scene, one.name, one.options) for one in SABOTAGES}) == len(SABOTAGES)
    assert {0} not in [one.expected for one in SABOTAGES]
    assert not any(0 in one.expected for one in SABOTAGES)


def test_no_sabotaged_run_is_green(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One loop over all of them, for they are cases of one rule; each damage has to change the run."""
    wrong, sound = list[str](), {name: contents(scenes / name) for name in ("clean", "memorizing")}
    for number, sabotage in enumerate(SABOTAGES):
        folder = shutil.copytree(scenes / sabotage.scene, tmp_path / f"{number}")
        sabotage.damage(folder)
        idle = sabotage.damage is not untouched and contents(folder) == sound[sabotage.scene]
        found = gate(folder, *sabotage.options)
        said = capsys.readouterr().err
        if idle or found not in sabotage.expected or "internal error" in said:
            wrong.append(
                f"{sabotage.scene}: {sabotage.name}: exit {found}, expected {sorted(sabotage.expected)}: {said}"
            )
        shutil.rmtree(folder)
    assert not wrong, "\n".join(wrong)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Runs, policies, clean scores and indexes that are mixed


def test_runs_that_are_mixed_are_never_green(scenes: Path) -> None:
    assert gate(scenes / "clean", scenes / "memorizing") == Exit.FAILED
    assert gate(scenes / "memorizing", scenes / "clean") == Exit.FAILED
    assert gate(scenes / "clean", scenes / "clean") == Exit.INCONCLUSIVE
    for other in ("clean-none", "clean-copy", "memorizing-none"):
        assert gate(scenes / "clean", scenes / other) == gate(scenes / other, scenes / "clean") == Exit.USAGE
    assert gate(scenes / "clean", scenes / "clean-scores") == Exit.USAGE
    assert gate(scenes / "memorizing-none") == Exit.OK, "a wish"
    assert gate(scenes / "memorizing-none", scenes / "clean-none") == Exit.INCONCLUSIVE, "15 items stand in both"


def exchange(name: str) -> Callable[[Path, Path], None]:
    def change(scenes: Path, folder: Path) -> None:
        shutil.copyfile(file_of(scenes / "clean", name), file_of(folder, name))

    return change


@pytest.mark.parametrize("name", ["run.json", "calibration.json", "journal"])
def test_files_of_another_run_are_seen(name: str, scenes: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scenes / "memorizing", tmp_path / "run")
    exchange(name)(scenes, folder)
    each_row(lambda row: row.update(matches=[{**m, "copy_found": False} for m in row["matches"]]), folder)
    assert gate(folder) in (Exit.FAILED, Exit.INCONCLUSIVE)
    assert gate(folder, "--fail-on", "copy") == Exit.INCONCLUSIVE


def test_shards_of_another_run_are_seen(scenes: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scenes / "memorizing", tmp_path / "run")
    for own, other in zip(shards(folder), shards(scenes / "clean"), strict=True):
        own.write_bytes(other.read_bytes())
    assert gate(folder) == Exit.INCONCLUSIVE


def test_clean_scores_that_hold_memorized_prompts_or_others_are_not_green(scenes: Path, tmp_path: Path) -> None:
    made = clean_scores()
    few = made.model_copy(
        update={
            "items": made.items[:10],
            "scores": {"specificity": {"run": {"all": [[0.9, 0.9]] * 10}}},
        }
    )
    other = made.model_copy(update={"settings": made.settings.model_copy(update={"steps": 50})})
    own = made.model_copy(
        update={
            "items": tuple(
                i.model_copy(update={"id": r.id}) for i, r in zip(made.items, recorded("clean"), strict=False)
            )
        }
    )
    own = own.model_copy(
        update={"scores": {"specificity": {"run": {"all": [[0.8, 0.8 + i / 1000] for i in range(60)]}}}}
    )
    wordless = made.model_copy(update={"items": tuple(i.model_copy(update={"prompt": ""}) for i in made.items[:-1])})
    wordless = wordless.model_copy(
        update={"scores": {"specificity": {"run": {"all": made.scores["specificity"]["run"]["all"][:-1]}}}}
    )
    for number, held in enumerate((few, other, own, wordless)):
        path = tmp_path / f"{number}.json"
        write_atomic(path, held.model_dump_json())
        assert gate(scenes / "clean", "--calibration", path) == Exit.INCONCLUSIVE, number
    (tmp_path / "empty.json").write_text("{}", encoding="utf-8")
    assert gate(scenes / "clean", "--calibration", tmp_path / "empty.json") == Exit.USAGE
    assert gate(scenes / "clean", "--calibration", tmp_path / "none.json") == Exit.USAGE


# Greens that somebody asked for: docs/reference/verdicts.md lists them


def entry(row_id: str, **changes: str) -> str:
    values = {
        "id": row_id,
        "reason": "licensed",
        "owner": "ada",
        "outcome": "copy",
        "model": "emoji-scenes",
        **changes,
    }
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value)
    return f"[[ignore]]\n{lines}expires = {date.today() + timedelta(days=30)}\n"


def findings(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    gate(folder)
    return [row["id"] for row in json.loads(capsys.readouterr().out)["findings"] if row["outcome"] != "similar"]


def test_wishes_that_are_spelled_out_pass_and_every_report_says_so(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def note(*arguments: object) -> str:
        capsys.readouterr()
        assert gate(*arguments) == Exit.OK
        return json.dumps(json.loads(capsys.readouterr().out)["verdict"]["notes"])

    assert "waives fail-on" in note(scenes / "memorizing", "--fail-on", "none")
    assert "waives min-coverage: how much of the training" in note(scenes / "clean", "--min-coverage", "0")
    assert "waives min-sensitivity" in note(scenes / "clean-scores", "--min-sensitivity", "0")
    assert gate(scenes / "memorizing-scores", "--min-sensitivity", "0") == Exit.FAILED
    answered = "".join(entry(name) for name in findings(scenes / "memorizing", capsys))
    (tmp_path / ".memdetectignore.toml").write_text(answered, encoding="utf-8")
    assert "20 findings are set aside" in note(scenes / "memorizing")


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "suspicious"},
        {"outcome": "similar"},
        {"model": "another-model"},
        {"model": "", "run": "0" * 16},
        {"outcome": "", "copy-of": "another-image"},
    ],
)
def test_suppressions_of_something_else_pass_nothing(
    changes: dict[str, str], scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered = "".join(entry(name, **changes) for name in findings(scenes / "memorizing", capsys))
    (tmp_path / ".memdetectignore.toml").write_text(answered, encoding="utf-8")
    assert gate(scenes / "memorizing") == Exit.FAILED


@pytest.mark.parametrize("owner", ["", " ", "\u200b", "\u2060\ufeff", "..."])
def test_nobody_answers_for_nothing(owner: str, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / ".memdetectignore.toml").write_text(entry("pool-061", owner=owner or " "), encoding="utf-8")
    assert gate(scenes / "memorizing") == Exit.USAGE


def test_every_sabotage_has_its_own_words() -> None:
    assert all(isinstance(one, Sabotage) and one.name and one.expected for one in SABOTAGES)
