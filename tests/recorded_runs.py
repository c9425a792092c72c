"""Runs made of what the bundled model really did: measurements recorded once, written to disk as a scan leaves them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from memdetect.files import write_atomic
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.index_facts import found_by
from memdetect.runs.plan import RUN, Plan, Reading, inputs_digest
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement

MODEL = Path(__file__).parents[1] / "models" / "emoji-scenes"
SCENES = Path(__file__).parent / "judging" / "scenes"
SHARD = 8


@dataclass(frozen=True)
class Scene:
    """A run before it is written. rows: of 60 prompts, two images each, looked up in the bundled index."""

    header: Header
    rows: tuple[Measurement, ...]
    calibration: Calibration | None

    def write(self, folder: Path) -> Path:
        """The run on disk: header, shards, journal, clean scores."""
        run = RunFolder(folder)
        run.open(self.header)
        for i in range(0, len(self.rows), SHARD):
            run.write_shard(i // SHARD, self.rows[i : i + SHARD], seconds=1.0)
        if self.calibration:
            write_atomic(folder / "calibration.json", self.calibration.model_dump_json() + "\n")
        return folder


@cache
def recorded(name: str) -> tuple[Measurement, ...]:
    """Measurements of a scene: `memorizing` of sample_prompts/release.jsonl, `clean` of 60 lines of clean-test.jsonl.

    Made with `memdetect scan FILE --model emoji-scenes --no-save-images`: the lines of its shards, paths cut.
    """
    lines = (SCENES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [Measurement.model_validate_json(line) for line in lines]
    return tuple(row.model_copy(update={"scores": {"specificity": row.scores["specificity"]}}) for row in rows)


@cache
def clean_scores() -> Calibration:
    """Those of the bundled model by specificity: 1,400 scenes, so that one memorized prompt among 60 can be found."""
    found = read_calibration(MODEL / "calibration.json")
    assert found is not None
    kept = [i for i, item in enumerate(found.items) if item.part == "calibration" and item.stratum == "0"][:1400]
    cells = {
        layer: {t: [rows[i] for i in kept] for t, rows in times.items()}
        for layer, times in found.scores["specificity"].items()
    }
    return found.model_copy(
        update={
            "items": tuple(found.items[i] for i in kept),
            "scores": {"specificity": cells},
            "known_scores": {"specificity": found.known_scores["specificity"]},
        }
    )


def index_of_model() -> dict[str, Any]:
    """What a header says of the bundled index."""
    manifest = json.loads((MODEL / "train.index" / "manifest.json").read_bytes())
    limit = manifest["threshold"]
    return {
        "name": "train.index",
        "digest": manifest["digest"],
        "rows": manifest["count"],
        "embedder": manifest["embedder"]["name"],
        "top_k": 3,
        "similarity": limit["similarity"],
        "level": limit["level"],
        "null_queries": limit["queries"],
        "part_limit": manifest["agreement"]["agreed"],
        **found_by(manifest),
    }


def scene(name: str, policy: Policy | None = None, *, index: bool = True, calibrated: bool = True) -> Scene:
    """A recorded run as a scan with this policy would have kept it, with or without the index and the clean scores."""
    policy, rows = policy or Policy(), recorded(name)
    if not index:
        rows = tuple(row.model_copy(update={"matches": []}) for row in rows)
    made = clean_scores()
    facts = index_of_model() if index else {}
    plan = Plan(
        **dict(made.settings),
        inputs=inputs_digest((row.id, row.prompt, None) for row in rows),
        num_seeds=len(rows[0].seeds),
        seed=0,
        detectors=("specificity",),
        readings={"specificity": Reading(places=(RUN,), seeds="prompt")},
        combine=("specificity",),
        bank=made.bank["digest"],
        index=facts.get("digest", ""),
        top_k=facts.get("top_k"),
    )
    kept = made.cut(plan) if calibrated else None
    header = Header(
        memdetect="0.1.0",
        created="2026-11-29T12:00:00Z",
        model="emoji-scenes",
        versions={},
        plan=plan,
        planned=len(rows),
        index=facts,
        policy=policy.model_dump(mode="json"),
        policy_digest=policy.digest,
        plan_digest=plan.digest,
        calibration=kept.digest if kept else "",
        wording={"auroc": 0.5, "low": 0.45, "scanned": 60, "clean": 2000, "calibration": kept.digest} if kept else {},
    )
    return Scene(header, rows, kept)
