"""Which policy a gate judges by, and what it sets aside: the place where it runs decides, and every report says so."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, match, part, row, searched, write_run

from memdetect.cli import run
from memdetect.judging.comparing import compare
from memdetect.judging.merging import close
from memdetect.judging.run import judge, read_run
from memdetect.runs.policy import Ignore, Policy

MADE = calibration(np.random.default_rng(0).normal(size=999).tolist())
ENTRY = {"id": "i0", "outcome": "copy", "model": "tiny", "reason": "licensed", "owner": "ada"}


def made(folder: Path, detections: int = 3, policy: Policy | None = None, first: int = 0, **changes: Any) -> str:
    """A run whose first prompts are far above all clean ones."""
    values = np.random.default_rng(first + 1).normal(size=40).clip(-2, 2)
    values[:detections] = 9.0
    rows = [row(first + i, float(x)) for i, x in enumerate(values)]
    return str(write_run(folder, header(40, MADE, policy, **{"index": INDEX, **changes}), searched(rows), MADE))


def copied(folder: Path, policy: Policy | None = None) -> str:
    """A run whose first item is a copy of train-7."""
    values = np.random.default_rng(1).normal(size=40).clip(-2, 2)
    rows = [row(i, float(x), matches=[match(i == 0)]) for i, x in enumerate(values)]
    return str(write_run(folder, header(40, MADE, policy, index=INDEX), searched(rows), MADE))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of clean prompts alone, to be left as it is."""
    return made(tmp_path_factory.mktemp("quiet") / "run", 0)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository of its own."""
    (tmp_path / "work" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def ignore(place: Path, **entry: Any) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**ENTRY, **entry}.items() if value is not None]
    text = "\n".join(["[[ignore]]", *lines, "expires = 2999-01-01", ""])
    (place / "work" / ".memdetectignore.toml").write_text(text, encoding="utf-8")


def verdict(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = run(["gate", *arguments, "--format", "json"])
    found = json.loads(capsys.readouterr().out)["verdict"]
    assert found["exit"] == code
    return found


@pytest.mark.parametrize("text", ["[policy]\nfail-on = 'suspicious'\n", "[policy]\n"])
def test_a_file_that_says_what_the_defaults_say_decides(text: str, elsewhere: Path, capsys: Any) -> None:
    folder = made(elsewhere / "run", policy=Policy(fail_on="none"))
    assert run(["gate", folder]) == 0
    (elsewhere / "work" / "memdetect.toml").write_text(text, encoding="utf-8")
    found = verdict(capsys, folder)
    assert (found["exit"], found["policy"]["fail_on"]) == (1, "suspicious")
    assert "judged by 'memdetect.toml'" in found["notes"]
    assert verdict(capsys, folder, "--fail-on", "none")["exit"] == 0


def test_a_file_decides_wholly(elsewhere: Path, capsys: Any) -> None:
    """What the run was planned with does not fill what the file leaves out."""
    folder = made(elsewhere / "run", 0, Policy(max_undetectable=0.9, min_recall=0.1))
    (elsewhere / "work" / "memdetect.toml").write_text("[policy]\nfdr = 0.1\n", encoding="utf-8")
    held = verdict(capsys, folder)["policy"]
    assert (held["fdr"], held["max_undetectable"], held["min_recall"]) == (0.1, None, 0.9)


def test_two_runs_of_two_policies_are_refused_in_either_order(elsewhere: Path, capsys: Any) -> None:
    a = made(elsewhere / "a", policy=Policy(fail_on="none"))
    b = made(elsewhere / "b", 0, Policy(fail_on="suspicious"), first=100)
    said = []
    for order in ([a, b], [b, a]):
        assert run(["gate", *order]) == 2
        said.append(capsys.readouterr().err)
        assert run(["gate", *order, "--fdr", "0.1"]) == 2
        assert run(["gate", *order, "--fail-on", "suspicious"]) == 1
        assert run(["gate", *order, "--fail-on", "none"]) == 0
        capsys.readouterr()
    assert said[0] == said[1]
    assert 'different policies: fail-on is "none" and "suspicious"; say which holds' in said[0]
    (elsewhere / "work" / "memdetect.toml").write_text("[policy]\n", encoding="utf-8")
    assert run(["gate", a, b]) == run(["gate", b, a]) == 1


@pytest.mark.parametrize("file", [None, ""])
def test_a_suppression_that_was_removed_here_does_not_live_on_in_the_run(
    file: str | None, elsewhere: Path, capsys: Any
) -> None:
    held = Ignore(**ENTRY, expires=date(2999, 1, 1))
    folder = copied(elsewhere / "run", Policy(ignore=(held,)))
    if file is not None:
        (elsewhere / "work" / ".memdetectignore.toml").write_text(file, encoding="utf-8")
    assert verdict(capsys, folder)["exit"] == 1
    ignore(elsewhere)
    found = verdict(capsys, folder)
    assert (found["exit"], found["suppressed"]) == (0, 1)


def _merged(folder: str) -> Any:
    return close(Path(folder)).verdict


def _read(folder: str) -> Any:
    return read_run(folder).verdict


def _compared(folder: str) -> Any:
    return compare(Path(folder), Path(folder)).new.verdict


@pytest.mark.parametrize("judged", [_merged, _read, _compared, judge])
def test_a_removed_suppression_lives_on_in_no_reader_of_a_run(judged: Any, elsewhere: Path) -> None:
    """What the run keeps is a record; what is there now counts, as it does for a gate."""
    held = Ignore(**ENTRY, expires=date(2999, 1, 1))
    folder = copied(elsewhere / "run", Policy(ignore=(held,)))
    found = judged(folder)
    assert (found.verdict, found.suppressed, found.policy["ignore"]) == ("fail", 0, [])
    ignore(elsewhere)
    found = judged(folder)
    assert (found.verdict, found.suppressed) == ("pass", 1)


@pytest.mark.parametrize(
    ("entry", "code", "said"),
    [
        ({}, 0, "1 findings are set aside by the policy"),
        (
            {"outcome": "suspicious"},
            1,
            "the suppression of i0 answers for suspicious at most, and not for what was found",
        ),
        ({"outcome": None, "copy-of": "train-7"}, 0, "1 findings are set aside by the policy"),
        (
            {"outcome": None, "copy-of": "train-8"},
            1,
            "of i0 answers for copies of train-8 alone, and not",
        ),
        ({"model": "other"}, 1, "the suppression of i0 was given for model other, and does not apply"),
        ({"model": None, "run": "0" * 8}, 1, "the suppression of i0 was given for run 00000000, and does not apply"),
        ({"id": "i00"}, 1, "the suppression of i00 (ada) matches no finding; remove it"),
    ],
)
def test_an_entry_answers_for_what_it_names(entry: Any, code: int, said: str, elsewhere: Path, capsys: Any) -> None:
    folder = copied(elsewhere / "run")
    ignore(elsewhere, **entry)
    found = verdict(capsys, folder)
    assert found["exit"] == code
    assert [note for note in found["notes"] if said in note]


def test_nobody_answers_by_a_name_that_cannot_be_seen(elsewhere: Path, capsys: Any) -> None:
    folder = copied(elsewhere / "run")
    ignore(elsewhere, owner="\u200b")
    assert run(["gate", folder]) == 2
    assert "owner: holds no letter or digit that can be seen" in capsys.readouterr().err


OPTIONS = ("--max-rate", "--fdr", "--level", "--confidence", "--max-undetectable", "--delta", "--max-one-colour")
OPTIONS += ("--min-coverage", "--min-sensitivity", "--min-recall", "--min-screen-recall")


@pytest.mark.parametrize("option", OPTIONS)
def test_strange_numbers_are_usage_errors_of_one_line(option: str, quiet: str, capsys: Any) -> None:
    for value in ("nan", "inf", "-inf", "-1", "2", "1e400", "word", ""):
        assert run(["gate", quiet, f"{option}={value}"]) == 2, value
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), value
        assert "internal error" not in err, value


@pytest.mark.parametrize(
    ("option", "value"), [("--confidence", "1e-9"), ("--fdr", "1e-300"), ("--max-undetectable", "1")]
)
def test_a_limit_that_lets_everything_pass_is_refused(option: str, value: str, quiet: str, capsys: Any) -> None:
    assert run(["gate", quiet, "--max-rate", "0.001", option, value]) == 2
    assert f"options: {option[2:]}: Input should be" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["min_sensitivity", "min_recall", "max_one_colour"])
def test_every_key_of_a_policy_is_an_option(key: str, quiet: str, capsys: Any) -> None:
    option = f"--{key.replace('_', '-')}"
    found = verdict(capsys, quiet, option, "0.25")
    assert found["policy"][key] == 0.25
    assert f"judged by the policy fixed in the run under {option}" in found["notes"]
    assert {f"--{name.replace('_', '-')}" for name in Policy.model_fields} - {"--ignore", "--fail-on"} == set(OPTIONS)


def test_a_part_of_a_training_image_is_asked_for_and_answered_for(elsewhere: Path, capsys: Any) -> None:
    values = np.random.default_rng(1).normal(size=40).clip(-2, 2)
    rows = [row(i, float(x), matches=[part()] if i == 0 else []) for i, x in enumerate(values)]
    folder = str(write_run(elsewhere / "run", header(40, MADE, index=INDEX), searched(rows), MADE))
    codes = {name: run(["gate", folder, "--fail-on", name]) for name in ("copy", "partial-copy", "suspicious", "none")}
    assert codes == {"copy": 0, "partial-copy": 1, "suspicious": 1, "none": 0}
    (elsewhere / "work" / "memdetect.toml").write_text("[policy]\nfail-on = 'partial-copy'\n", encoding="utf-8")
    found = verdict(capsys, folder)
    assert (found["exit"], found["counts"]["partial-copy"]) == (1, 1)
    assert found["reasons"] == ["findings: 1 partial-copy among 40"]
    for entry, code in (
        ({"outcome": "suspicious"}, 1),
        ({"outcome": "partial-copy"}, 0),
        ({"outcome": "copy"}, 0),
        ({"outcome": None, "copy_of": "train-8"}, 1),
        ({"outcome": None, "copy_of": "train-7"}, 0),
    ):
        ignore(elsewhere, **{key.replace("_", "-"): value for key, value in entry.items()})
        held = verdict(capsys, folder)
        assert (entry, held["exit"], held["suppressed"]) == (entry, code, 1 - code)
