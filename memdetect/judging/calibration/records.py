"""Scores of clean prompts on this very model and settings: what a new score is ranked among."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from memdetect.errors import MemdetectError
from memdetect.files import read_regular
from memdetect.inputs.wording import text_key
from memdetect.runs.plan import Places, Plan, Settings

Part = Literal["tuning", "calibration"]
Cells = dict[str, dict[str, list[list[float]]]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)


class Item(_Strict):
    """A clean prompt. family, text: keys of `inputs.wording`; prompt: "" = not kept; part: its split.

    stratum: what its p-values stay within: the value of a column, or the kind that was found from its text, "" where
    kinds were found and it has no words, so that nothing is ranked among it. novelty: how unlike the nearest tuning
    prompts of its kind it is, in [0, 1]; None where kinds were not looked for.
    """

    id: str
    family: str
    text: str = ""
    prompt: str = ""
    part: Part = "calibration"
    stratum: str = ""
    novelty: float | None = None


class Kind(_Strict):
    """A kind of prompts, found from the text of the clean ones: a prompt that stands for it, and how many there are."""

    name: str
    example: str
    tuning: int
    clean: int


class Known(_Strict):
    """A prompt known to be memorized by this very model: on these the sensitivity of a score is measured.

    family, text: keys of `inputs.wording`; kind: of prompt, as `wording.kind_of` reads it.
    """

    id: str
    family: str
    text: str
    kind: Annotated[str, Field(min_length=1)]
    stratum: str = ""


class Removed(_Strict):
    """A prompt taken out, for a training image was found in its images."""

    id: str
    prompt: str
    images: list[str]


class Calibration(_Strict):
    """Clean scores, kept by cell: they give reference scores for any choice of detectors, layers, timesteps and seeds.

    settings: what a scan has to share with it; seeds, layers and timesteps are chosen among those kept. provenance:
    versions, prompt set, pace. parts: whether the splits were given, so that choices may have been made on the tuning
    split, or drawn. strata: the column that p-values stay within. checked: how the prompts were searched for copies, ""
    = not at all, or not so that one would have been found. scores: detector -> layer -> timestep -> one list of
    per-seed scores for each item. kinds: of prompts, where they were found from the text. bank: digest and size of the
    bank of clean prompts that some detectors compare with, which lies beside the file. known, known_scores: the same of
    prompts that this model is known to have memorized.

    base: the network whose scores of the scan's own prompts these are (see scanning.base_scores), "" = clean prompts
    of the scanned one; provenance names its digest, and that of these prompts. offsets: detector -> id of a scanned
    prompt -> the base's mean score of it, taken off first.
    """

    schema_version: Literal[5] = 5
    about: str = ""
    settings: Settings
    provenance: dict[str, Any] = {}
    parts: Literal["given", "drawn"] = "drawn"
    strata: str = ""
    checked: str = ""
    removed: tuple[Removed, ...] = ()
    kinds: tuple[Kind, ...] = ()
    bank: dict[str, Any] = {}
    base: str = ""
    offsets: dict[str, dict[str, float]] = {}
    items: tuple[Item, ...]
    scores: dict[str, Cells]
    known: tuple[Known, ...] = ()
    known_scores: dict[str, Cells] = {}

    @model_validator(mode="after")
    def _complete(self) -> "Calibration":
        for table, count in ((self.scores, len(self.items)), (self.known_scores, len(self.known))):
            for detector, layers in table.items():
                for layer, cells in layers.items():
                    for timestep, rows in cells.items():
                        if len(rows) != count or not all(rows):
                            raise ValueError(
                                f"{detector}, {layer}, t={timestep}: {sum(map(bool, rows))} prompts have scores, "
                                f"expected {count}"
                            )
        return self

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex, of the calibration as JSON, without the prompts' own words; worked out once."""
        return hashlib.sha256(self._wordless().model_dump_json().encode()).hexdigest()

    @cached_property
    def cuts(self) -> "dict[tuple[Any, ...], Calibration | None]":
        """Cuts that were made, by what they keep: a run asks for its own again and again. None: it is one itself."""
        return {}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Calibration":
        """A copy, with a digest and cuts of its own."""
        made = super().model_copy(update=update, deep=deep)
        for name in ("digest", "cuts"):
            vars(made).pop(name, None)
        return made

    def _wordless(self) -> "Calibration":
        if not any(item.prompt for item in self.items):
            return self
        items = tuple(i.model_copy(update={"prompt": ""}) for i in self.items)
        kinds = tuple(kind.model_copy(update={"example": ""}) for kind in self.kinds)
        return self.model_copy(update={"items": items, "kinds": kinds})

    @property
    def conditioned(self) -> bool | None:
        """Whether the clean scores are of prompts or labels; not, if of images without a condition. None: not known."""
        kept = {item.text for item in self.items} - {""}
        return kept != {text_key("")} if kept else None

    def difference(self, plan: Plan) -> str | None:
        """The first setting in which a scan differs from the calibration, as `key (theirs, ours)`, or None.

        Beyond equal settings, the scan's detectors that decide, its layers, timesteps and seeds have to be kept here,
        and what a base drew has to be these very prompts.
        """
        if other := self.other_base(plan):
            return other
        if found := self.settings.difference(plan):
            name, ours, theirs = found
            return f"{name} (calibrated {ours!r}, scanned {theirs!r})"
        if plan.bank not in ("", self.bank.get("digest", "")):
            return f"bank (calibrated {self.bank.get('digest', '')[:12] or 'none'!r}, scanned {plan.bank[:12]!r})"
        if plan.strata != self.strata:
            return f"strata (calibrated {self.strata!r}, scanned {plan.strata!r})"
        for name in plan.deciding:
            if different := self._uncovered(name, plan.places(name)):
                return different
        return None

    def other_base(self, plan: Plan) -> str:
        """In what the base, or the prompts that it drew, are not those of a scan, as `key (theirs, ours)`; else ""."""
        held = {"base": str(self.provenance.get("base", "")), "list of prompts": str(self.provenance.get("inputs", ""))}
        if not self.base:
            held = {"base": ""}
        for key, ours, theirs in zip(held, held.values(), (plan.base, plan.inputs), strict=False):
            if ours != theirs:
                return f"{key} (calibrated {ours[:12] or 'none'!r}, scanned {theirs[:12] or 'none'!r})"
        return ""

    def _uncovered(self, name: str, places: Places) -> str | None:
        if name not in self.scores:
            return f"detector (calibrated {', '.join(self.scores) or 'none'}, scanned {name})"
        table = self.scores[name]
        for layer, t in places.cells:
            if layer not in table:
                return f"layer (calibrated {', '.join(table)}, scanned {layer})"
            if t not in table[layer]:
                return f"timestep (calibrated {', '.join(table[layer])}, scanned {t})"
            kept = min(map(len, table[layer][t]), default=places.num_seeds)
            if kept < places.num_seeds or (kept != places.num_seeds and places.seeds == "prompt"):
                return f"num_seeds (calibrated {kept}, scanned {places.num_seeds})"
        return None

    def seeds(self, name: str, places: Places) -> list[list[float]] | None:
        """For each item, a detector's score of each of the scan's seeds; None when it was not kept, or nowhere read."""
        if self._uncovered(name, places):
            return None
        return _seeds(self.scores[name], places, len(self.items))

    def known_seeds(self, name: str, places: Places) -> list[list[float]] | None:
        """The same for each known memorized prompt; None when a cell or a seed was not kept."""
        try:
            found = _seeds(self.known_scores[name], places, len(self.known))
        except KeyError:
            return None
        return found if all(len(own) == places.num_seeds for own in found) else None

    def cut(self, plan: Plan) -> "Calibration":
        """What a run of this plan needs, without the prompts' own words: it goes with the run, for judging it later."""
        key = tuple((name, plan.readings[name].places, _seeds_kept(plan, name)) for name in plan.detectors)
        if key not in self.cuts:
            self.cuts[key] = None if self._is_cut(plan) else self._cut(plan)
        return self.cuts[key] or self

    def _cut(self, plan: Plan) -> "Calibration":
        def kept(held: Mapping[str, Cells]) -> dict[str, Cells]:
            found: dict[str, Cells] = {}
            for name, table in held.items():
                for layer, t in plan.readings[name].places if name in plan.detectors else ():
                    if t in table.get(layer, {}):
                        rows = [row[: _seeds_kept(plan, name)] for row in table[layer][t]]
                        found.setdefault(name, {}).setdefault(layer, {})[t] = rows
            return found

        changed = {"scores": kept(self.scores), "known_scores": kept(self.known_scores), "removed": ()}
        return self._wordless().model_copy(update=changed)

    def _is_cut(self, plan: Plan) -> bool:
        """Whether nothing is here but what the plan needs."""
        tables = [*self.scores.items(), *self.known_scores.items()]
        cells = [
            (name, (layer, t), rows)
            for name, table in tables
            for layer, own in table.items()
            for t, rows in own.items()
        ]
        return (
            not self.removed
            and not any(item.prompt for item in self.items)
            and all(name in plan.detectors and place in plan.readings[name].places for name, place, _ in cells)
            and all(_whole(rows, _seeds_kept(plan, name)) for name, _, rows in cells)
        )


def _whole(rows: Sequence[Sequence[float]], most: int | None) -> bool:
    return most is None or all(len(row) <= most for row in rows)


def _seeds_kept(plan: Plan, name: str) -> int | None:
    """How many seeds of a detector a cut keeps, None = all: scores of seeds compared with each other depend on them."""
    return None if plan.readings[name].seeds == "prompt" else plan.num_seeds


def _seeds(table: Cells, places: Places, count: int) -> list[list[float]]:
    cells = [table[layer][t] for layer, t in places.cells]
    return [seed_means(own, places.num_seeds) for own in zip(*(cell[:count] for cell in cells), strict=True)]


def seed_means(cells: Sequence[Sequence[float]], seeds: int) -> list[float]:
    """Mean over cells, in their order, of each of the first seeds."""
    over = len(cells)
    return [sum(values) / over for values in zip(*[cell[:seeds] for cell in cells], strict=True)]


def read_calibration(path: Path, named: str = "") -> Calibration | None:
    """The calibration in a file, None when there is no such file; MemdetectError for one that does not parse.

    named: the digest that it should have; where the file's own text has it, it is not worked out again.
    """
    if not path.exists():
        return None
    try:
        text = read_regular(path)
    except OSError as problem:
        raise MemdetectError(f"{path} cannot be read ({problem.strerror}); give a file that calibrate made") from None
    try:
        made = Calibration.model_validate_json(text)
        if hashlib.sha256(text.rstrip(b"\n")).hexdigest() == named:
            vars(made)["digest"] = named
        return made
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MemdetectError(f"{path} is no calibration: {where or 'file'}: {first['msg']}; make it again") from None
