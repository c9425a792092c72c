"""From runs of clean prompts, and of prompts known to be memorized, to a calibration."""

import hashlib
from collections.abc import Sequence
from math import ceil

from memdetect.errors import MemdetectError
from memdetect.inputs.wording import KIND_COLUMNS, Worded, family_key, kind_of, one_a_family, text_key
from memdetect.judging.calibration.records import Calibration, Cells, Item, Known, Part
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement


def draw_parts(families: Sequence[str]) -> dict[str, Part]:
    """Split of each family: by the sha256 of its key the first max(150, a fifth) are tuning, the rest calibration."""
    order = sorted(set(families), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    first = max(150, ceil(len(order) / 5))
    return {key: "tuning" if i < first else "calibration" for i, key in enumerate(order)}


def calibration_of_run(
    header: Header, rows: Sequence[Measurement], planned: Sequence[Worded] | None = None
) -> Calibration:
    """The scores of a run of clean prompts as a calibration, one prompt a family.

    planned: the prompts that were to be measured; their parts are those of the rows, whichever of them are left: what a
    bank was made of is never ranked among. None = these rows. Raises MemdetectError for a part other than tuning and
    calibration, for parts of which some are missing, for an item without a prompt, and for one whose scores are not
    finite.
    """
    plan, kept = header.plan, one_a_family(rows)
    drawn, given = _drawn(kept if planned is None else one_a_family(planned))
    parts: list[Part] = [drawn[family_key(row.meta, row.prompt)] for row in kept]
    items = [
        Item(
            id=row.id,
            family=family_key(row.meta, row.prompt),
            text=text_key(row.prompt or ""),
            prompt=row.prompt or "",
            part=part,
            stratum=str(row.meta.get(plan.strata, "")),
        )
        for row, part in zip(kept, parts, strict=True)
    ]
    return Calibration(
        settings=plan.settings,
        provenance={
            "prompts": plan.inputs,
            "versions": header.versions,
            "memdetect": header.memdetect,
            "sigmas": header.sigmas,
        },
        parts="given" if given else "drawn",
        strata=plan.strata,
        bank={"digest": plan.bank} if plan.bank else {},
        items=tuple(items),
        scores=_table(plan, kept),
    )


def with_known(made: Calibration, header: Header, rows: Sequence[Measurement]) -> Calibration:
    """The calibration with a run of prompts that its model is known to have memorized, one a family.

    Raises MemdetectError for a run of other settings, for a prompt without a kind, for one whose family is among the
    clean prompts, and for one whose scores are not finite.
    """
    if different := made.difference(header.plan.model_copy(update={"strata": made.strata})):
        raise MemdetectError(f"the memorized prompts were measured with another {different}; measure them again")
    kept, clean = one_a_family(rows), {item.family for item in made.items}
    for row in kept:
        if not kind_of(row.meta):
            raise MemdetectError(f"memorized prompt {row.id} is of no kind; give the file a column {KIND_COLUMNS[0]}")
        if family_key(row.meta, row.prompt) in clean:
            raise MemdetectError(f"memorized prompt {row.id} is among the clean ones as well; leave it out of one")
    known = [
        Known(
            id=row.id,
            family=family_key(row.meta, row.prompt),
            text=text_key(row.prompt or ""),
            kind=kind_of(row.meta),
            stratum=str(row.meta.get(made.strata, "")) if made.strata else "",
        )
        for row in kept
    ]
    return made.model_copy(update={"known": tuple(known), "known_scores": _table(header.plan, kept)})


def _table(plan: Plan, rows: Sequence[Measurement]) -> dict[str, Cells]:
    """Scores by detector, by layer and by timestep."""
    found: dict[str, Cells] = {}
    for name in plan.detectors:
        for layer, t in plan.readings[name].places:
            found.setdefault(name, {}).setdefault(layer, {})[t] = [_finite(row, name, layer, t) for row in rows]
    return found


def parts_of(rows: Sequence[Worded]) -> tuple[list[Part], bool]:
    """Part of each row: of its column `part`, or drawn by family where no row has one; and whether they were given."""
    columns = [row.meta.get("part") for row in rows]
    if not any(columns):
        keys = [family_key(row.meta, row.prompt) for row in rows]
        drawn = draw_parts(keys)
        return [drawn[key] for key in keys], False
    wrong = next((part for part in columns if part not in ("tuning", "calibration")), "")
    if wrong != "":
        raise MemdetectError(
            f"a clean prompt is of part {wrong!r}, expected tuning or calibration for each, or for none; leave it out"
        )
    return ["tuning" if part == "tuning" else "calibration" for part in columns], True


def _drawn(rows: Sequence[Worded]) -> tuple[dict[str, Part], bool]:
    """Part of each family of the rows, one of each, and whether they were given."""
    parts, given = parts_of(rows)
    return {family_key(row.meta, row.prompt): part for row, part in zip(rows, parts, strict=True)}, given


def _finite(row: Measurement, detector: str, layer: str, timestep: str) -> list[float]:
    values = row.scores[detector].cells[layer][timestep] if row.scores else [None]
    numbers = [value for value in values if value is not None]
    if len(numbers) != len(values) or row.prompt is None:
        raise MemdetectError(f"prompt {row.id} has a score that is not finite; leave it out")
    return numbers
