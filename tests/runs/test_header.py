"""A header that judging cannot use is one line that names the key, never an internal error and never taken as it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import calibration, header, match, row, write_run

from memdetect.cli import run
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Result

MADE = calibration(np.random.default_rng(0).normal(size=999).tolist())
INDEX = {"name": "t", "digest": "d", "rows": 9, "coverage": 0.9, "similarity": 0.8, "embedder": "e", "level": 0.01}
INDEX |= {"null_queries": 400, "part_limit": 0.3, "recall": 0.95, "planted": 200}
GONE = object()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 20 prompts with an index."""
    values = np.random.default_rng(1).normal(size=20).clip(-2, 2)
    rows = [row(i, float(x), matches=[match(False), match(False, 1)]) for i, x in enumerate(values)]
    path = write_run(tmp_path_factory.mktemp("sound") / "run", header(20, MADE, index=INDEX), rows, MADE)
    RunFolder(path).write_results([Result(**dict(r), outcome="clear") for r in rows])
    return path


@pytest.fixture
def folder(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be damaged."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(sound, tmp_path / "run")


def put(folder: Path, place: str, value: Any) -> None:
    path = folder / "run.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    table, _, key = place.rpartition(".")
    within = held[table] if table else held
    within.pop(key, None)
    if value is not GONE:
        within[key] = value
    path.write_text(json.dumps(held), encoding="utf-8")


FAULTS = [
    *(
        ("index.coverage", value)
        for value in (-1, 5.0, 1.0001, "0.5", "all", True, [0.5], {}, float("nan"), float("inf"))
    ),
    *((f"index.{key}", value) for key in ("recall", "part_limit") for value in (-0.1, 1.1, "most")),
    ("index.planted", {"crop": {"recall": 2.0}}),
    *(("index.rows", value) for value in (-1, 2.5, "9", None, GONE)),
    *(("index.similarity", value) for value in (-1.5, 1.5, "0.8")),
    *(("index.level", value) for value in (0, 1, -1, "x", None, GONE)),
    *(("index.null_queries", value) for value in (-1, "many", GONE)),
    *(("index.digest", value) for value in (3, GONE)),
    ("index.embedder", GONE),
    ("index.top_k", 0),
    *(("plan.layers", value) for value in ([], "up", [1], None, GONE)),
    *(("plan.timesteps", value) for value in ([], ["50"], [5.5], 50, GONE)),
    *(("plan.detectors", value) for value in ([], "spikiness", [None], GONE)),
    *(("plan.combine", value) for value in ("spikiness", [1], ["other"])),
    *(("plan.readings", value) for value in ({}, {"other": {"places": [["up", "50"]]}}, [], GONE)),
    ("plan.readings", {"spikiness": {"places": []}}),
    ("plan.readings", {"spikiness": {"places": [["up", 50]]}}),
    ("plan.readings", {"spikiness": {"places": [["up", "50"]], "seeds": "median"}}),
    *(("plan.num_seeds", value) for value in (0, -1, "two", 2.5, True, GONE)),
    *(("plan.steps", value) for value in ("many", 0, None, GONE)),
    *(("plan.guidance_scale", value) for value in ("strong", None, float("nan"), GONE)),
    *(("plan.seed", value) for value in ("first", GONE)),
    *(("plan.dtype", value) for value in (16, GONE)),
    *(("plan.inputs", value) for value in (7, GONE)),
    *(("plan.model", value) for value in (7, GONE)),
    ("plan.strata", 3),
    ("plan.call", []),
    *(("planned", value) for value in (-1, "20", 2.5, GONE)),
    *(("sigmas", value) for value in ({"50": "low"}, {"50": float("inf")}, [1])),
    *(("wording", value) for value in ({"low": 7}, {"low": "x"}, {"auroc": -1}, {"word": 1})),
    ("dropped", {"blank": "some"}),
    *(("opening", value) for value in ({"loras": 3}, {"revision": 1.5}, ["x"])),
    *(("schema_version", value) for value in (5, 7, "6")),
    *((f"plan.{key}", value) for key in ("adapter", "scheduler", "noise") for value in (None, GONE)),
    *(("plan.size", value) for value in ([64], "64", ["a", 64], GONE)),
    ("plan.top_k", 0),
    ("plan.colour", 1),
    ("plan", []),
    ("index", 3),
    ("policy", []),
    ("model", None),
    ("colour", 1),
]


@pytest.mark.parametrize(("place", "value"), FAULTS, ids=[f"{p}={v!r:.12}" for p, v in FAULTS])
def test_a_header_that_is_wrong_is_one_line_that_names_the_key(
    place: str, value: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(folder, place, value)
    for command in (["gate", "run"], ["explain", "run", "i3"]):
        assert run(command) == 2, command
        said = capsys.readouterr().err
        assert said.count("\n") == 1, command
        assert "run.json does not parse: " in said, command
        assert place.rpartition(".")[2].split("=")[0] in said or place == "index.planted", command
        assert "internal error" not in said, command


@pytest.mark.parametrize("policy", [{"fdr": "small"}, {"fdr": 1e-300}, {"confidence": 1e-9}, {"ignore": [{"id": "a"}]}])
def test_a_policy_in_a_header_that_is_wrong_is_named(
    policy: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(folder, "policy", policy)
    assert run(["gate", "run"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"run.json: policy: {next(iter(policy))}" in said


def test_a_run_json_that_is_no_file_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    assert run(["gate", "run"]) == 2
    assert "run.json cannot be read (Is a directory)" in capsys.readouterr().err


def test_a_header_that_is_right_is_read(folder: Path) -> None:
    assert run(["gate", "run"]) == 0
    assert run(["explain", "run", "i3"]) == 0
    found = RunFolder(folder).header()
    assert found == found.sealed()
