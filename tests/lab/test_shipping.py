"""Prompt files keep their groups apart."""

import json
from collections import Counter
from pathlib import Path

import pytest

from memdetect.lab.world.recipe import read_truth
from memdetect.lab.world.shipping import write_prompts


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def paths(bundled_world, tmp_path_factory):
    """The files of the bundled model's world, by name."""
    return {path.stem: path for path in write_prompts(bundled_world, tmp_path_factory.mktemp("prompts"))}


def test_the_parts_stay_apart_and_the_demo_takes_from_what_is_reported(paths):
    files = {name: rows(path) for name, path in paths.items()}
    assert {name: len(found) for name, found in files.items()} == {
        "labelled": 840, "release": 60, "clean-tuning": 600, "clean-calibration": 2400, "clean-test": 1000,
        "kinds-calibration": 2300, "kinds-test": 600
    }  # fmt: skip
    assert {row["kind"] for found in files.values() for row in found} == {"scene", "clip art", "template", "general"}
    clean = [{r["prompt"] for r in files[name]} for name in ("clean-tuning", "clean-calibration", "clean-test")]
    assert len(set.union(*clean)) == 4000
    assert {r["part"] for r in files["release"]} == {"test"}
    demo = {r["prompt"] for r in files["release"]}
    assert len(demo) == 60
    assert not demo & (clean[0] | clean[1])


def test_further_titles_and_captions_are_in_no_other_file_and_ship_as_drawn(paths):
    further = [row for name in ("kinds-calibration", "kinds-test") for row in rows(paths[name])]
    others = {row["prompt"] for name in paths if not name.startswith("kinds") for row in rows(paths[name])}
    assert len({row["prompt"] for row in further} - others) == len({row["family"] for row in further}) == 2900
    places = [row["prompt"].rpartition(" ")[2] for row in further if row["group"] == "title"]
    assert not set(places) & {prompt.rpartition(" ")[2] for prompt in others}
    counts = Counter((row["group"], row["part"]) for row in further)
    assert counts == {
        ("title", "tuning"): 200, ("title", "calibration"): 1100, ("title", "test"): 300,
        ("general", "tuning"): 150, ("general", "calibration"): 850, ("general", "test"): 300,
    }  # fmt: skip
    shipped = Path(__file__).parents[2] / "sample_prompts"
    for name in ("kinds-calibration", "kinds-test"):
        assert (shipped / f"{name}.jsonl").read_bytes() == paths[name].read_bytes()


def test_the_demo_does_not_list_duplicates_first(paths):
    release = rows(paths["release"])
    assert {r["group"] for r in release[:30]} >= {"duplicated", "control", "verbatim"}
    templates = [r["family"] for r in release if r["group"] == "template"]
    assert len(set(templates)) == len(templates) == 4


def test_memorized_prompts_are_those_of_the_test_split_that_came_back(bundled_world, tmp_path):
    truth = read_truth(Path(__file__).parents[2] / "models" / "emoji-scenes")
    paths = {path.stem: path for path in write_prompts(bundled_world, tmp_path, truth)}
    back = {row.id for row in truth if row.part == "test" and (row.reproduced or 0) >= 0.5}
    assert {row["id"] for row in rows(paths["memorized"])} == back
    assert len(back) == 137
    shipped = Path(__file__).parents[2] / "sample_prompts" / "memorized.jsonl"
    assert shipped.read_bytes() == paths["memorized"].read_bytes()
