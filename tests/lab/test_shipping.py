"""Prompt files keep their groups apart; clean scores are the run's own numbers, cut to the layers asked for."""

import json
from pathlib import Path

import pytest
from synthetic_runs import plan_of

from memdetect.errors import MemdetectError
from memdetect.judging.calibration import Calibration
from memdetect.lab.world.labelled import make_world
from memdetect.lab.world.pictures import NAMES
from memdetect.lab.world.recipe import read_truth
from memdetect.lab.world.shipping import add_memorized, clean_scores, write_prompts
from memdetect.lab.world.stock import load_clips
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement, Score

PLAN = {
    "inputs": "abc",
    "model": "digest",
    "family": "StableDiffusionPipeline",
    "dtype": "fp32",
    "scheduler": "DDIM",
    "steps": 3,
    "guidance_scale": 2.0,
    "size": [64, 64],
    "noise": "own for each item",
    "call": {},
    "num_seeds": 2,
    "seed": 0,
    "detectors": ["spikiness"],
    "layers": ["up.0", "up.1", "down.0"],
    "timesteps": [50],
}


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def world():
    return make_world(0, names=NAMES, clips=list(load_clips()))


def test_the_parts_stay_apart_and_the_demo_takes_from_what_is_reported(world, tmp_path):
    files = {path.stem: rows(path) for path in write_prompts(world, tmp_path)}
    assert {name: len(found) for name, found in files.items()} == {
        "labelled": 840, "release": 60, "clean-a": 600, "clean-b": 2400, "clean-report": 1000
    }  # fmt: skip
    assert {row["kind"] for found in files.values() for row in found} == {"scene", "clip art", "template"}
    clean = [{r["prompt"] for r in files[name]} for name in ("clean-a", "clean-b", "clean-report")]
    assert len(set.union(*clean)) == 4000
    assert {r["part"] for r in files["release"]} == {"reporting", "report"}
    demo = {r["prompt"] for r in files["release"]}
    assert len(demo) == 60
    assert not demo & (clean[0] | clean[1])


def test_the_demo_does_not_list_duplicates_first(world, tmp_path):
    release = rows(write_prompts(world, tmp_path)[1])
    assert {r["group"] for r in release[:30]} >= {"matched", "control", "verbatim"}
    templates = [r["family"] for r in release if r["group"] == "template"]
    assert len(set(templates)) == len(templates) == 4


def test_memorized_prompts_are_those_of_the_reporting_half_that_came_back(world, tmp_path):
    truth = read_truth(Path(__file__).parents[2] / "models" / "emoji-scenes")
    paths = {path.stem: path for path in write_prompts(world, tmp_path, truth)}
    back = {row.id for row in truth if row.part == "reporting" and (row.reproduced or 0) >= 0.5}
    assert {row["id"] for row in rows(paths["memorized"])} == back
    assert len(back) == 137
    shipped = Path(__file__).parents[2] / "sample_prompts" / "memorized.jsonl"
    assert shipped.read_bytes() == paths["memorized"].read_bytes()


def test_scores_of_memorized_prompts_go_with_the_clean_ones(tmp_path):
    made = clean_scores(run_of(tmp_path / "clean"), "two prompts", ["up.*"])
    known = RunFolder(tmp_path / "known")
    known.open(Header(memdetect="0", created="", model="m", versions={}, plan=plan_of(**PLAN), planned=1))
    cells = {layer: {"50": [0.9, 0.8]} for layer in PLAN["layers"]}
    score = {"spikiness": Score(score=1.0, cells=cells)}
    known.write_shard(
        [Measurement(index=0, id="k", prompt="k", source="s", seeds=[1, 2], scores=score, meta={"kind": "scene"})]
    )
    found = add_memorized(made, tmp_path / "known")
    assert found.known_scores == {"spikiness": {"up.0": {"50": [[0.9, 0.8]]}, "up.1": {"50": [[0.9, 0.8]]}}}
    assert found.known[0].kind == "scene"


def run_of(folder: Path, count: int = 2, value: float | None = 0.5) -> Path:
    run = RunFolder(folder)
    run.open(Header(memdetect="0", created="", model="m", versions={}, plan=plan_of(**PLAN), planned=2))
    for i in range(count):
        cells = {layer: {"50": [value, i + k / 10]} for k, layer in enumerate(PLAN["layers"])}
        scores = {"spikiness": Score(score=1.0, cells=cells)}
        run.write_shard([Measurement(index=i, id=str(i), prompt="ab"[i], source="s", seeds=[1, 2], scores=scores)])
    return folder


def test_clean_scores_are_those_of_the_run(tmp_path):
    made = clean_scores(run_of(tmp_path), "two prompts", ["up.*"])
    assert made.scores == {
        "spikiness": {"up.0": {"50": [[0.5, 0.0], [0.5, 1.0]]}, "up.1": {"50": [[0.5, 0.1], [0.5, 1.1]]}}
    }
    kept = {**PLAN, "layers": ["up.0", "up.1"]}
    assert made.difference(plan_of(**kept)) is None
    assert "steps" in (made.difference(plan_of(**{**kept, "steps": 4})) or "")
    assert Calibration.model_validate_json(made.model_dump_json()) == made


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(MemdetectError, match="1 of 2"):
        clean_scores(run_of(tmp_path, count=1), "x")


def test_a_score_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(MemdetectError, match="prompt 0"):
        clean_scores(run_of(tmp_path, value=None), "x")
