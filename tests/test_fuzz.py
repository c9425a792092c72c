"""Damaged files end in one line and the exit code of bad input, within their time and memory; never in a fault."""

import json
from pathlib import Path

import damage
import pytest
from ready import Ready

PROGRAM = """
import runpy, sys
sys.path[:0] = [{root!r}, {tests!r}]
sys.argv = ["fuzzed_doors.py", *sys.argv[1:]]
runpy.run_path({program!r}, run_name="__main__")
"""
TESTS = Path(__file__).parent
EXPECTED = {"run": 9, "index": 5, "model": 10}  # doors


@pytest.mark.parametrize(("kind", "count"), [("run", 60), ("index", 25), ("model", 5)])
def test_every_door_holds(kind: str, count: int, ready: Ready, tmp_path: Path) -> None:
    program = PROGRAM.format(root=str(TESTS.parent), tests=str(TESTS), program=str(TESTS / "fuzzed_doors.py"))
    told = json.loads(ready.run(program, kind, str(count), "1", folder=tmp_path).splitlines()[-1])
    assert not [line for door in told["doors"].values() for line in door["wrong"]]
    assert len(told["doors"]) == EXPECTED[kind]
    for name, door in told["doors"].items():
        assert sum(door["codes"].values()) == count, name
        assert {"2", "3"} & set(door["codes"]), f"{name}: no damage was noticed at all"


def test_damage_is_the_same_for_the_same_seed_and_damages() -> None:
    import random

    data = b'{"a": [1, 2, {"b": null}], "c": "x"}'
    made = [damage.damaged_json(data, random.Random(f"x {i}")) for i in range(200)]
    assert made == [damage.damaged_json(data, random.Random(f"x {i}")) for i in range(200)]
    assert sum(each != data for each in made) > 190
    assert len(set(made)) > 100
