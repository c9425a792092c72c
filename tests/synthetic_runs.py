"""Runs and calibrations made of given scores, with every digest as a scan would write it."""

import json
import shutil
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from memdetect.copies.match import Match
from memdetect.files import write_atomic
from memdetect.inputs.wording import text_key
from memdetect.judging.calibration import Calibration, Item, Known, Part
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan, inputs_digest
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Score

PLAN: dict[str, Any] = {
    "inputs": "abc",
    "model": "abc",
    "adapter": "StableDiffusionPipeline",
    "dtype": "fp32",
    "scheduler": "DDIMScheduler:abc",
    "size": [64, 64],
    "noise": "own for each item",
    "call": {},
    "steps": 25,
    "guidance_scale": 3.0,
    "num_seeds": 2,
    "seed": 0,
    "detectors": ["spikiness"],
    "combine": ["spikiness"],
    "strata": "",
    "layers": ["up"],
    "timesteps": [50],
}
# An index as a scan's header holds it: searched whole, and shown to find planted copies.
INDEX: dict[str, Any] = {
    "name": "train.index",
    "digest": "d" * 64,
    "rows": 500,
    "pictures": 500,
    "coverage": 0.97,
    "stated_by": "--training-set",
    "embedder": "pdq",
    "top_k": 3,
    "similarity": 0.8,
    "level": 0.001,
    "null_queries": 999,
    "part_limit": 0.3,
    "recall": 1.0,
    "planted": 200,
}
LETTERS = "abcdefghij"


def plan_of(**changes: Any) -> Plan:
    """The plan above, changed, as a run.json would be read."""
    made = {**PLAN, **changes}
    places = [[layer, str(t)] for layer in made["layers"] for t in made["timesteps"]]
    readings = {name: {"places": places} for name in made["detectors"]}
    return Plan.model_validate_json(json.dumps({"readings": readings, **made}))


def words(i: int, kind: str = "scanned") -> str:
    """A prompt unlike all others: digits would not tell families apart."""
    return f"{kind} {''.join(LETTERS[int(digit)] for digit in str(i))}"


def calibration(
    scores: Sequence[float] | dict[str, Sequence[float]], tuning: int = 0, strata: Sequence[str] = (), **changes: Any
) -> Calibration:
    """Clean prompts with these scores for every seed, by detector; the first `tuning` of them given for tuning."""
    table = scores if isinstance(scores, dict) else {"spikiness": scores}
    count = len(next(iter(table.values())))
    items = tuple(_item(i, _part(i, tuning), strata[i] if strata else "") for i in range(count))
    values = {
        "settings": plan_of().settings,
        "parts": "given" if tuning else "drawn",
        "strata": "kind" if strata else "",
        "items": items,
        "scores": {name: {"up": {"50": [[float(x)] * 2 for x in own]}} for name, own in table.items()},
    }
    return Calibration(**{**values, **changes})


@cache
def _item(i: int, part: Part, stratum: str) -> Item:
    prompt = words(i, "clean")
    key = text_key(prompt)
    return Item(id=f"clean-{i}", family=key, text=key, prompt=prompt, part=part, stratum=stratum)


def _part(i: int, tuning: int) -> Part:
    return "tuning" if i < tuning else "calibration"


def row(i: int, scores: float | dict[str, float | None] | None, **changes: Any) -> Measurement:
    """A measured prompt with this score for every seed, by detector."""
    table = scores if isinstance(scores, dict) else {"spikiness": scores}
    found = {name: Score(score=x, cells={"up": {"50": [x, x]}}) for name, x in table.items()}
    status = "ok" if all(x is not None for x in table.values()) else "nonfinite"
    values = {"index": i, "id": f"i{i}", "prompt": words(i), "source": "p.txt", "scores": found, "status": status}
    return Measurement(**{**values, **changes})


def match(copy: bool = True, seed: int = 0) -> Match:
    """A training image near one of the images."""
    return Match(seed=seed, rank=1, key="train-7", similarity=0.97 if copy else 0.4, copy_found=copy)


def part(key: str = "train-7", seed: int = 0, **changes: Any) -> Match:
    """A training image of which a mirrored part comes back in one of the images."""
    facts = {"agreed": 0.31, "p_agreed": 0.001, "affine": (-1, 0, 1, 0, 1, 0), "region": (0.1, 0.2, 0.6, 0.8)}
    near = Match(seed=seed, rank=1, key=key, similarity=0.6, tile=0.4, ssim=0.3, partial_found=True)
    return near.model_copy(update={**facts, **changes})


def searched(rows: Iterable[Measurement]) -> list[Measurement]:
    """The rows with a far training image recorded for each image that has none: all of them were looked up."""
    done: list[Measurement] = []
    for held in rows:
        count = 1 if held.image is not None else PLAN["num_seeds"]
        near = {found.seed for found in held.matches}
        far = [match(False, k) for k in range(count) if k not in near]
        done.append(held.model_copy(update={"matches": [*held.matches, *far]}))
    return done


def of_base(count: int) -> dict[str, Any]:
    """Fields of a calibration of a base that drew the prompts of a run of so many rows; its plan is `ON_BASE`."""
    offsets = {"spikiness": {f"i{i}": 0.0 for i in range(count)}}
    return {"base": "base", "provenance": {"base": "b" * 64, "inputs": PLAN["inputs"]}, "offsets": offsets}


ON_BASE = {"base": "b" * 64}


def known(scores: Sequence[float], kind: str = "scene", **changes: Any) -> dict[str, Any]:
    """Fields of a calibration with memorized prompts of a kind, with these scores for every seed."""
    items = tuple(
        Known(id=f"known-{kind}-{i}", family=text_key(words(i, kind)), text=text_key(words(i, kind)), kind=kind)
        for i in range(len(scores))
    )
    table = {"spikiness": {"up": {"50": [[float(x)] * 2 for x in scores]}}}
    return {"known": items, "known_scores": table, **changes}


def header(planned: int, clean: Calibration | None = None, policy: Policy | None = None, **changes: Any) -> Header:
    """A header as a scan writes it before the first image; changes to the plan under `plan`."""
    plan = plan_of(**changes.pop("plan", {}))
    policy = policy or Policy()
    values = {
        "memdetect": "0",
        "created": "",
        "model": "tiny",
        "versions": {},
        "plan": plan,
        "planned": planned,
        "sigmas": {"50": 0.25},
        "policy": policy.model_dump(mode="json"),
        "policy_digest": policy.digest,
        "plan_digest": plan.digest,
        "calibration": clean.cut(plan).digest if clean else "",
    }
    return Header(**{**values, **changes})


def write_run(
    folder: Path, head: Header, rows: Iterable[Measurement], clean: Calibration | None, shard: int = 8
) -> Path:
    """A run on disk, as a scan leaves it, without results: sealed, with a journal, and the digest of its inputs."""
    run, listed = RunFolder(folder), list(rows)
    shutil.rmtree(folder / "shards", ignore_errors=True)  # of another run that the folder held: the first writer wins
    run.open(_planned(head, listed))
    for i in range(0, len(listed), shard):
        run.write_shard(i // shard, listed[i : i + shard], seconds=1.0)
    if clean:
        write_atomic(folder / "calibration.json", clean.cut(head.plan).model_dump_json() + "\n")
    return folder


def _planned(head: Header, rows: Sequence[Measurement]) -> Header:
    """The header with the digest of these inputs in its plan, where they are all that was planned."""
    if len(rows) != head.planned or head.plan_digest != head.plan.digest:
        return head
    inputs = inputs_digest((row.id, row.prompt, row.sha256 or None) for row in rows)
    plan = head.plan.model_copy(update={"inputs": inputs})
    return head.model_copy(update={"plan": plan, "plan_digest": plan.digest})
