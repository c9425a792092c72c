"""Scores of clean prompts on this very model and settings: what a new score is ranked among."""

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import ceil
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from memdetect.errors import MemdetectError
from memdetect.records import Header, Measurement
from memdetect.wording import Worded, family_key, one_a_family, text_key

Part = Literal["A", "B"]
Cells = dict[str, dict[str, list[list[float]]]]
# What a scan has to share with the clean scores; seeds, layers and timesteps are chosen among those kept.
SHARED = ("model", "family", "dtype", "scheduler", "steps", "guidance_scale", "size", "noise", "call")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Item(_Strict):
    """A clean prompt. family, text: keys of `memdetect.wording`; prompt: "" = not kept; part: A for choices, B null."""

    id: str
    family: str
    text: str = ""
    prompt: str = ""
    part: Part = "B"
    stratum: str = ""


class Removed(_Strict):
    """A prompt taken out, for a training image was found in its images."""

    id: str
    prompt: str
    images: list[str]


class Calibration(_Strict):
    """Clean scores, kept by cell so that any choice of detectors, layers, timesteps and seeds has its null.

    settings: what a scan has to share with it (model digest, steps, guidance, ...). provenance: versions, prompt set,
    pace. parts: whether A and B were given, so that choices may have been made on A, or drawn. strata: the column that
    p-values stay within. checked: how the prompts were searched for copies, "" = not at all. scores: detector ->
    layer -> timestep -> one list of per-seed scores for each item.

    base: the network whose drawings of the scan's own prompts are the null (see scanning.paired), "" = clean prompts
    of the scanned one. offsets: detector -> id of a scanned prompt -> the base's mean score of it, taken off first.
    """

    schema_version: Literal[2] = 2
    about: str = ""
    settings: dict[str, Any]
    provenance: dict[str, Any] = {}
    parts: Literal["given", "drawn"] = "drawn"
    strata: str = ""
    checked: str = ""
    removed: tuple[Removed, ...] = ()
    base: str = ""
    offsets: dict[str, dict[str, float]] = {}
    items: tuple[Item, ...]
    scores: dict[str, Cells]

    @model_validator(mode="before")
    @classmethod
    def _first_version(cls, data: Any) -> Any:
        """Version 1 counted its prompts and knew nothing of them."""
        if not isinstance(data, dict) or not isinstance(data.get("prompts"), int) or "items" in data:
            return data
        rest = {key: value for key, value in data.items() if key not in ("prompts", "schema_version")}
        keys = [f"{i:07d}" for i in range(data["prompts"])]
        parts = draw_parts(keys)
        return {**rest, "items": [{"id": key, "family": key, "part": parts[key]} for key in keys]}

    @model_validator(mode="after")
    def _complete(self) -> "Calibration":
        for detector, layers in self.scores.items():
            for layer, cells in layers.items():
                for timestep, rows in cells.items():
                    if len(rows) != len(self.items) or not all(rows):
                        raise ValueError(
                            f"{detector}, {layer}, t={timestep}: {sum(map(bool, rows))} prompts have scores, "
                            f"expected {len(self.items)}"
                        )
        return self

    @property
    def digest(self) -> str:
        """The sha256, in hex, of the calibration as JSON, without the prompts' own words."""
        return hashlib.sha256(self._wordless().model_dump_json().encode()).hexdigest()

    def _wordless(self) -> "Calibration":
        if not any(item.prompt for item in self.items):
            return self
        return self.model_copy(update={"items": tuple(i.model_copy(update={"prompt": ""}) for i in self.items)})

    @property
    def conditioned(self) -> bool | None:
        """Whether the clean scores are of prompts or labels; not, if of images without a condition. None: not known."""
        kept = {item.text for item in self.items} - {""}
        return kept != {text_key("")} if kept else None

    def difference(self, plan: Mapping[str, Any]) -> str | None:
        """The first setting in which a scan differs from the calibration, as `key (theirs, ours)`, or None.

        Beyond equal settings, the scan's detectors that decide, its layers, timesteps and seeds have to be kept here.
        """
        for key, value in self.settings.items():
            if plan.get(key) != value:
                return f"{key} (calibrated {value!r}, scanned {plan.get(key)!r})"
        if plan.get("strata", "") != self.strata:
            return f"strata (calibrated {self.strata!r}, scanned {plan.get('strata', '')!r})"
        for name in members_of(plan):
            if different := self._uncovered(name, plan):
                return different
        return None

    def _uncovered(self, name: str, plan: Mapping[str, Any]) -> str | None:
        if name not in self.scores:
            return f"detector (calibrated {', '.join(self.scores) or 'none'}, scanned {name})"
        table = self.scores[name]
        for layer in plan["layers"]:
            if layer not in table:
                return f"layer (calibrated {', '.join(table)}, scanned {layer})"
            for t in map(str, plan["timesteps"]):
                if t not in table[layer]:
                    return f"timestep (calibrated {', '.join(table[layer])}, scanned {t})"
                kept = min(map(len, table[layer][t]), default=plan["num_seeds"])
                if kept < plan["num_seeds"]:
                    return f"num_seeds (calibrated {kept}, scanned {plan['num_seeds']})"
        return None

    def seeds(self, name: str, plan: Mapping[str, Any]) -> list[list[float]] | None:
        """For each item, a detector's score of each of the scan's seeds; None when it was not kept."""
        if self._uncovered(name, plan) or not plan["layers"] or not plan["timesteps"]:
            return None
        cells = [self.scores[name][layer][str(t)] for layer in plan["layers"] for t in plan["timesteps"]]
        return [seed_means([cell[i] for cell in cells], plan["num_seeds"]) for i in range(len(self.items))]

    def cut(self, plan: Mapping[str, Any]) -> "Calibration":
        """What a run of this plan needs, without the prompts' own words: it goes with the run, for judging it later."""
        layers, times = set(plan["layers"]), {str(t) for t in plan["timesteps"]}
        scores = {
            name: {
                layer: {t: [row[: plan["num_seeds"]] for row in rows] for t, rows in cells.items() if t in times}
                for layer, cells in table.items()
                if layer in layers
            }
            for name, table in self.scores.items()
            if name in plan["detectors"]
        }
        return self._wordless().model_copy(update={"scores": scores, "removed": ()})


def members_of(plan: Mapping[str, Any]) -> list[str]:
    """The detectors whose combination decides: those that the plan names, else its first one."""
    return list(plan.get("members") or plan["detectors"][:1])


def seed_means(cells: Sequence[Sequence[float]], seeds: int) -> list[float]:
    """Mean over cells, in their order, of each of the first seeds."""
    return [sum(values) / len(cells) for values in zip(*(cell[:seeds] for cell in cells), strict=True)]


def draw_parts(families: Sequence[str]) -> dict[str, Part]:
    """Part of each family: the first max(150, a fifth) by the sha256 of the family's key are A, the rest B."""
    order = sorted(set(families), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    first = max(150, ceil(len(order) / 5))
    return {key: "A" if i < first else "B" for i, key in enumerate(order)}


def calibration_of_run(header: Header, rows: Sequence[Measurement], layers: Sequence[str] = ("*",)) -> Calibration:
    """The scores of a run of clean prompts as a calibration, one prompt a family, cut to layers that match a glob.

    Raises MemdetectError for a part other than A and B, for parts of which some are missing, for an item without a
    prompt, and for one whose scores are not finite.
    """
    plan, kept = header.plan, one_a_family(rows)
    parts, given = parts_of(kept)
    items = [
        Item(
            id=row.id,
            family=family_key(row.meta, row.prompt),
            text=text_key(row.prompt or ""),
            prompt=row.prompt or "",
            part=part,
            stratum=str(row.meta.get(plan.get("strata") or "", "")),
        )
        for row, part in zip(kept, parts, strict=True)
    ]
    chosen = [name for name in plan["layers"] if any(fnmatchcase(name, glob) for glob in layers)]
    times = [str(t) for t in plan["timesteps"]]
    scores = {
        name: {layer: {t: [_finite(row, name, layer, t) for row in kept] for t in times} for layer in chosen}
        for name in plan["detectors"]
    }
    return Calibration(
        settings={key: plan[key] for key in SHARED if key in plan},
        provenance={
            "prompts": plan.get("inputs", ""),
            "versions": header.versions,
            "memdetect": header.memdetect,
            "sigmas": header.sigmas,
        },
        parts="given" if given else "drawn",
        strata=plan.get("strata", ""),
        items=tuple(items),
        scores=scores,
    )


def parts_of(rows: Sequence[Worded]) -> tuple[list[Part], bool]:
    """Part of each row: of its column `part`, or drawn by family where no row has one; and whether they were given."""
    columns = [row.meta.get("part") for row in rows]
    if not any(columns):
        keys = [family_key(row.meta, row.prompt) for row in rows]
        drawn = draw_parts(keys)
        return [drawn[key] for key in keys], False
    wrong = next((part for part in columns if part not in ("A", "B")), "")
    if wrong != "":
        raise MemdetectError(
            f"a clean prompt is of part {wrong!r}, expected A or B for each, or for none; leave it out"
        )
    return ["A" if part == "A" else "B" for part in columns], True


def _finite(row: Measurement, detector: str, layer: str, timestep: str) -> list[float]:
    values = row.scores[detector].cells[layer][timestep] if row.scores else [None]
    numbers = [value for value in values if value is not None]
    if len(numbers) != len(values) or row.prompt is None:
        raise MemdetectError(f"clean prompt {row.id} has a score that is not finite; leave it out")
    return numbers


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file, None when there is no such file; MemdetectError for one that does not parse."""
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MemdetectError(f"{path} is no calibration: {where or 'file'}: {first['msg']}; make it again") from None
