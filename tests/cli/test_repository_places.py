"""Where a finding stands in the repository: its prompt file, wherever the command runs, else the policy's file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import calibration, header, row, write_run

from memdetect.cli import run

CLEAN = calibration(np.random.default_rng(0).normal(size=999).tolist())
PLACED = [("prompts/a.txt", 7), ("absolute.txt", 3)]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a folder `models`, prompt files, and a run in it with six findings."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    root = tmp_path / "repo"
    for folder in (root / ".git", root / "models", root / "prompts"):
        folder.mkdir(parents=True)
    for file in (root / "prompts" / "a.txt", root / "absolute.txt", tmp_path / "outside.txt"):
        file.write_text("a\n")
    sources = ["../prompts/a.txt", str(root / "absolute.txt"), "../../outside.txt", "gone.txt", "-", "x" * 5000]
    rows = [row(i, 9.0 - i, source=source, line=7 - 4 * i if i < 2 else 9) for i, source in enumerate(sources)]
    rows += [row(i, -1.0 - i) for i in range(6, 9)]
    write_run(root / "models" / "run", header(9, CLEAN), rows, CLEAN)
    monkeypatch.chdir(root / "models")
    return root


def places(*options: str) -> list[tuple[str, int]]:
    run(["gate", "run", "-o", "x.sarif", *options])
    found: Any = json.loads(Path("x.sarif").read_text())["runs"][0]["results"]
    physical = [result["locations"][0]["physicalLocation"] for result in found if result["ruleId"] == "suspicious"]
    return [(own["artifactLocation"]["uri"], own["region"]["startLine"]) for own in physical]


def test_a_prompt_file_is_named_from_the_root_of_the_repository(repository: Path) -> None:
    assert places() == [*PLACED, *[("memdetect.toml", 1)] * 4]


def test_what_is_no_file_of_the_repository_stands_at_the_policy(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("[tool.memdetect.policy]\nfdr = 0.05\n")
    assert places() == [*PLACED, *[("pyproject.toml", 1)] * 4]
    (repository / "models" / "own.toml").write_text("[policy]\nfdr = 0.05\n")
    assert places("--policy", "own.toml") == [*PLACED, *[("models/own.toml", 1)] * 4]


def test_a_policy_outside_of_the_repository_is_no_place(repository: Path) -> None:
    (repository.parent / "own.toml").write_text("[policy]\nfdr = 0.05\n")
    assert places("--policy", "../../own.toml") == [*PLACED, *[("memdetect.toml", 1)] * 4]


def test_redaction_names_no_file_of_the_readers_own(repository: Path) -> None:
    (repository / "models" / "own.toml").write_text("[policy]\nfdr = 0.05\n")
    assert places("--policy", "own.toml", "--redact") == [("memdetect.toml", 1)] * 6
    text = Path("x.sarif").read_text()
    assert not [word for word in ("own.toml", "a.txt", "scanned b") if word in text]
