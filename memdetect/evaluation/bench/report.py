"""A finished bench as plain data: what was compared, what was chosen, what was found, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from memdetect.errors import Exit, MemdetectError
from memdetect.evaluation.bench.asked import SPLITS, Comparison, Labelled
from memdetect.evaluation.bench.choosing import LEVELS, Chosen, cells_of, choose
from memdetect.evaluation.bench.costs import Cost
from memdetect.evaluation.bench.reporting import FDR, Against, Row, ordered, rows_of
from memdetect.evaluation.bench.resampling import share_interval
from memdetect.evaluation.bench.running import Measured
from memdetect.evaluation.text_control import Captions, Told

SCHEMA = 1
SHUFFLES = 40  # of the labels, for what the text alone tells
FEWEST = 10  # families a side, below which the text is not asked
DOSE_LEVEL = LEVELS[-1]


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen variant of each detector, the best first, and why others are missing."""

    chosen: tuple[Chosen, ...]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dose:
    """Share of the prompts shown so often that a detector flags at 5 % of the clean ones, with its 95 % interval."""

    exposures: float
    prompts: int
    share: float
    low: float
    high: float


def selection_of(measured: Measured, labels: Labelled) -> Selection:
    """Choose a variant of each detector on the tuning split. MemdetectError where none has scores enough."""
    missing, found = dict(measured.prepared.missing), list[Chosen]()
    for name, cells in cells_of(measured.rows, measured.prepared.variants).items():
        best = choose(cells, labels)
        if best is None:
            missing[name] = f"detector {name!r} has too few finite scores; see the notes of the run's items"
        else:
            found.append(best)
    if not found:
        raise MemdetectError("no detector has finite scores enough; see the notes of the run's items", Exit.ERROR)
    return Selection(tuple(ordered(found)), missing)


def document_of(measured: Measured, labels: Labelled, selected: Selection, costs: Mapping[str, Cost]) -> dict[str, Any]:
    """All of it as plain data, as `bench.json` holds it."""
    plan, rows = measured.header.plan, rows_of(selected.chosen, labels)
    return {
        "schema_version": SCHEMA,
        "memdetect": measured.header.memdetect,
        "created": measured.header.created,
        "versions": measured.header.versions,
        "model": measured.header.model,
        "plan_digest": plan.digest,
        "settings": {
            "steps": plan.steps,
            "guidance_scale": plan.guidance_scale,
            "num_seeds": plan.num_seeds,
            "seed": plan.seed,
            "dtype": plan.dtype,
            "device": str(measured.prepared.bench.model.device),
        },
        "asked": asdict(labels.asked),
        "counts": counts_of(labels),
        "fdr": FDR,
        "tried": sum(each.tried for each in selected.chosen),
        "best": selected.chosen[0].detector,
        "detectors": [_detector(each, costs[each.detector], plan.num_seeds) for each in selected.chosen],
        "comparisons": [_comparison(each, rows, labels) for each in labels.asked.compared],
        "dose": {each.detector: [asdict(point) for point in dose_of(each, labels)] for each in selected.chosen},
        "dose_against": "clean prompts" if labels.asked.clean else "controls",
        "missing": dict(selected.missing),
    }


def counts_of(labels: Labelled) -> dict[str, Any]:
    """Prompts and families of each group in each split, and how many families stand in two of them."""
    counts: dict[str, Any] = {}
    for group in dict.fromkeys(labels.groups[name] for name in sorted(labels.groups)):
        ids = {split: labels.ids([group], split) for split in SPLITS}
        counts[group] = {
            split: {"prompts": len(own), "families": len({labels.families[i] for i in own})}
            for split, own in ids.items()
            if own
        }
    sides = [{labels.families[i] for i, own in labels.splits.items() if own == split} for split in SPLITS]
    shared = (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
    return {"groups": counts, "families_in_two_splits": len(shared)}


def _detector(chosen: Chosen, cost: Cost, seeds: int) -> dict[str, Any]:
    """What was chosen, by what, and what it costs. passes: for a prompt, of all its seeds."""
    place = asdict(chosen.cell.place)
    passes = {"passes_more": cost.more * seeds, "passes_alone": cost.alone * seeds}
    return {
        "detector": chosen.detector,
        "chosen": str(chosen),
        "place": place,
        "turned": chosen.turned,
        "tuning": chosen.tuning,
        "tried": chosen.tried,
        **passes,
        "slower": cost.slower,
        "screen": cost.screen,
    }


def _comparison(comparison: Comparison, rows: Sequence[Row], labels: Labelled) -> dict[str, Any]:
    clean = labels.asked.clean
    told = {
        "control": text_of(labels, comparison.positive, (comparison.control,)) if comparison.control else None,
        "clean": text_of(labels, comparison.positive, clean) if clean else None,
    }
    return {
        "positive": comparison.positive,
        "control": comparison.control,
        "text": {name: asdict(found) if found else None for name, found in told.items()},
        "rows": [_row(row) for row in rows if row.comparison == comparison],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "detector": row.detector,
        "control": _against(row.control),
        "clean": _against(row.clean),
        "found": asdict(row.found) if row.found else None,
        "style": asdict(row.style) if row.style else None,
        "lost": row.lost,
    }


def _against(found: Against | None) -> dict[str, Any] | None:
    if found is None:
        return None
    area = {name: getattr(found.area, name) for name in ("auroc", "low", "high", "positives", "negatives")}
    tprs = [{**asdict(tpr), "share": tpr.share} for tpr in found.tprs]
    return {**area, "tpr": tprs, "behind": asdict(found.behind) if found.behind else None}


def text_of(labels: Labelled, positive: str, rivals: Sequence[str]) -> Told | None:
    """What the text alone tells of a group and others, in the tuning and the test split; None for too few families."""
    sides = [[i for split in ("tuning", "test") for i in labels.ids(own, split)] for own in ([positive], rivals)]
    if min(len({labels.families[i] for i in own}) for own in sides) < FEWEST:
        return None
    ids = [*sides[0], *sides[1]]
    own = np.array([True] * len(sides[0]) + [False] * len(sides[1]))
    return Captions([labels.texts[i] for i in ids], [labels.families[i] for i in ids], own).told(SHUFFLES)


def dose_of(chosen: Chosen, labels: Labelled) -> list[Dose]:
    """What a detector flags of the prompts of each number of exposures, few first; none where they are not known.

    The threshold is the smallest that flags at most 5 % of the clean prompts of the test split, or of the controls of
    the first comparison where none are clean.
    """
    asked = labels.asked
    groups = asked.dose or asked.pairs
    rivals = asked.clean or ((control,) if (control := asked.compared[0].control) else ())
    reference = sorted(labels.sample(chosen.scores, rivals, "test").scores, reverse=True)
    ids = [i for i in labels.ids(groups, "test") if i in labels.exposures and i in chosen.scores]
    if not reference:
        return []
    threshold = reference[min(int(DOSE_LEVEL * len(reference) + 1e-9), len(reference) - 1)]
    points: list[Dose] = []
    for exposures in sorted({labels.exposures[i] for i in ids}):
        own = [i for i in ids if labels.exposures[i] == exposures]
        hits = [float(chosen.scores[i] > threshold) for i in own]
        ends = share_interval(hits, [labels.families[i] for i in own])
        points.append(Dose(exposures, len(own), sum(hits) / len(hits), *ends))
    return points
