"""Two hundred runs, each damaged in some way: none is green."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import calibration, header, match, row, write_run

from memdetect.calibration import Calibration
from memdetect.errors import Exit, MemdetectError
from memdetect.policy import Policy
from memdetect.records import Header, Measurement
from memdetect.verdict import judge, read_runs

INDEX = {"name": "train", "digest": "d", "rows": 500, "coverage": 0.97}


def sound(rng: random.Random) -> tuple[Header, list[Measurement], Calibration]:
    """A clean run that passes: 30 to 60 prompts against 400 clean ones, all searched in an index."""
    numbers = np.random.default_rng(rng.randrange(10**6))
    made = calibration(numbers.normal(5, 1, 400).tolist())
    values = numbers.normal(5, 0.9, rng.randint(30, 60)).clip(3, 7)
    rows = [row(i, float(x), matches=[match(False)]) for i, x in enumerate(values)]
    return header(len(rows), made, index=INDEX), rows, made


def edit_shard(folder: Path, rng: random.Random, change: Callable[[list[str]], list[str]]) -> None:
    shard = rng.choice(sorted((folder / "shards").iterdir()))
    shard.write_text("".join(change(shard.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")


def missing_rows(folder: Path, rng: random.Random) -> None:
    edit_shard(folder, rng, lambda lines: lines[1:])


def missing_shard(folder: Path, rng: random.Random) -> None:
    rng.choice(sorted((folder / "shards").iterdir())).unlink()


def truncated_shard(folder: Path, rng: random.Random) -> None:
    shard = rng.choice(sorted((folder / "shards").iterdir()))
    data = shard.read_bytes()
    shard.write_bytes(data[: rng.randrange(len(data) - 1)])


def row_twice(folder: Path, rng: random.Random) -> None:
    edit_shard(folder, rng, lambda lines: [*lines[1:], lines[1]] if len(lines) > 1 else [])


def nan_scores(folder: Path, rng: random.Random) -> None:
    def change(lines: list[str]) -> list[str]:
        found = json.loads(lines[0])
        found["scores"]["spikiness"]["cells"]["up"]["50"][1] = rng.choice([None, float("nan"), float("inf")])
        found["status"] = rng.choice(["ok", "nonfinite"])
        return [json.dumps(found) + "\n", *lines[1:]]

    edit_shard(folder, rng, change)


def scores(folder: Path, change: Callable[[float], float]) -> None:
    for shard in (folder / "shards").iterdir():
        lines = []
        for line in shard.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            cells = found["scores"]["spikiness"]["cells"]["up"]
            cells["50"] = [change(value) for value in cells["50"]]
            lines.append(json.dumps(found) + "\n")
        shard.write_text("".join(lines), encoding="utf-8")


def constant_scores(folder: Path, rng: random.Random) -> None:
    value = rng.uniform(3, 7)
    scores(folder, lambda _: value)


def flipped_sign(folder: Path, rng: random.Random) -> None:
    scores(folder, lambda value: -value)


def edit_header(folder: Path, **changes: Any) -> None:
    path = folder / "run.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    plan = {**held["plan"], **changes.pop("plan", {})}
    path.write_text(json.dumps({**held, **changes, "plan": plan}), encoding="utf-8")


def foreign_calibration(folder: Path, rng: random.Random) -> None:
    key, value = rng.choice([("model", "another"), ("steps", 50), ("layers", ["mid"]), ("timesteps", [7])])
    edit_header(folder, plan={key: value})


def no_calibration(folder: Path, rng: random.Random) -> None:
    (folder / "calibration.json").unlink()


def tiny_calibration(folder: Path, rng: random.Random) -> None:
    path = folder / "calibration.json"
    held, few = json.loads(path.read_text(encoding="utf-8")), rng.randint(1, 18)
    held["items"] = held["items"][:few]
    held["scores"]["spikiness"]["up"]["50"] = held["scores"]["spikiness"]["up"]["50"][:few]
    path.write_text(json.dumps(held), encoding="utf-8")


def empty_index(folder: Path, rng: random.Random) -> None:
    edit_header(folder, index={**INDEX, **rng.choice([{"rows": 0}, {"coverage": 0.0}])})


def nothing_searched(folder: Path, rng: random.Random) -> None:
    def change(lines: list[str]) -> list[str]:
        return [json.dumps({**json.loads(lines[0]), "matches": []}) + "\n", *lines[1:]]

    edit_shard(folder, rng, change)


def damaged_header(folder: Path, rng: random.Random) -> None:
    data = (folder / "run.json").read_bytes()
    (folder / "run.json").write_bytes(data[: rng.randrange(len(data) - 2)])


def damaged_calibration(folder: Path, rng: random.Random) -> None:
    data = (folder / "calibration.json").read_bytes()
    (folder / "calibration.json").write_bytes(data[: rng.randrange(len(data) - 2)])


SABOTAGE = [
    missing_rows,
    missing_shard,
    truncated_shard,
    row_twice,
    nan_scores,
    constant_scores,
    flipped_sign,
    foreign_calibration,
    no_calibration,
    tiny_calibration,
    empty_index,
    nothing_searched,
    damaged_header,
    damaged_calibration,
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Twelve sound runs; what a test damages, it damages in a copy."""
    folder = tmp_path_factory.mktemp("sound")
    return [(write_run(folder / str(i), *sound(random.Random(i))), str(i)) for i in range(12)]


def code(folder: Path, policy: Policy | None = None) -> Exit:
    try:
        found = read_runs([folder])
    except MemdetectError as problem:
        return problem.exit if "\n" not in str(problem) else Exit.ERROR
    _, verdict = judge(found.header, found.rows, found.calibration, policy, altered=found.altered)
    assert verdict.verdict == "pass" or verdict.reasons
    return verdict.exit


def test_what_is_not_damaged_passes(runs):
    """Otherwise the test below would prove nothing."""
    assert [code(folder) for folder, _ in runs] == [Exit.OK] * len(runs)


@pytest.mark.parametrize("number", range(200))
def test_no_damaged_run_is_green(number, runs, tmp_path):
    rng = random.Random(number)
    folder = shutil.copytree(runs[number % len(runs)][0], tmp_path / "run")
    damage = SABOTAGE[number % len(SABOTAGE)]
    damage(folder, rng)
    found = code(folder)
    usage = (Exit.USAGE,) if damage in (damaged_header, damaged_calibration) else ()
    assert found in (Exit.INCONCLUSIVE, *usage), damage.__name__
