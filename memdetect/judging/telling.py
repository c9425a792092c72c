"""From clean prompts to their kinds, and from these to the kinds of scanned ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.inputs.wording import text_key, worded
from memdetect.judging.calibration import Calibration, Item, Kind
from memdetect.judging.columns import Codes, Numbers
from memdetect.judging.kinds import Kinds, Told, central, find_kinds
from memdetect.judging.ranks import SMALLEST_TUNING
from memdetect.judging.rows import Rows
from memdetect.judging.statistics.combine import of_seeds
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement


def with_kinds(made: Calibration, plan: Plan) -> Calibration:
    """The calibration with the kind of each prompt, found on the tuning split, and how new it is among its kind.

    Unchanged where a column says what p-values stay within, and where the tuning split has fewer than 60 with words.
    Prompts without words are of no kind. A tuning prompt's own novelty is among the other tuning prompts.
    """
    tuning = [i for i, item in enumerate(made.items) if item.part == "tuning" and worded(item.prompt)]
    if made.strata or made.base or len(tuning) < SMALLEST_TUNING:
        return made
    texts = [made.items[i].prompt for i in tuning]
    scores = {name: own for name in plan.deciding if (own := _scores(made, name, plan)) is not None}
    named = find_kinds(texts, {name: [own[i] for i in tuning] for name, own in scores.items()})
    told = told_of(made, Kinds(texts, named), dict(zip(tuning, named, strict=True)))
    items = _told_items(made, told)
    return made.model_copy(update={"items": items, "kinds": _kinds(items, central(texts, named))})


def of_kinds(made: Calibration, every: Calibration) -> Calibration:
    """A calibration of some of the prompts of another, with the kinds that were found there.

    Kinds and novelties are told anew by the tuning prompts that are left, as a scan tells them.
    """
    if not every.kinds:
        return made
    held = {item.id: item.stratum for item in every.items}
    named = {i: held[item.id] for i, item in enumerate(made.items) if item.part == "tuning" and held[item.id]}
    kinds = Kinds([made.items[i].prompt for i in named], list(named.values()))
    items = _told_items(made, told_of(made, kinds, named))
    return made.model_copy(update={"items": items, "kinds": _kinds(items, {k.name: k.example for k in every.kinds})})


def _told_items(made: Calibration, told: Sequence[Told | None]) -> tuple[Item, ...]:
    return tuple(
        item.model_copy(update={"stratum": found.kind, "novelty": round(found.novelty, 6)}) if found else item
        for item, found in zip(made.items, told, strict=True)
    )


def known_of_kinds(made: Calibration, rows: Sequence[Measurement]) -> Calibration:
    """The calibration with the kind of each prompt that is known to be memorized; rows: their run, with their words."""
    kinds = kinds_in(made)
    if kinds is None:
        return made
    texts = {row.id: row.prompt or "" for row in rows}
    told = _tell(kinds, [texts[item.id] for item in made.known])
    pairs = zip(made.known, told, strict=True)
    known = tuple(k.model_copy(update={"stratum": t.kind if t else ""}) for k, t in pairs)
    return made.model_copy(update={"known": known})


def told_of(made: Calibration, kinds: Kinds, named: Mapping[int, str]) -> list[Told | None]:
    """What is told of each clean prompt, None of one without words; named: kinds of tuning prompts, which they keep."""
    rest = iter(_tell(kinds, [item.prompt for i, item in enumerate(made.items) if i not in named]))
    own = iter(kinds.among_others())
    return [next(own) if i in named else next(rest) for i in range(len(made.items))]


def _tell(kinds: Kinds, prompts: Sequence[str]) -> list[Told | None]:
    """What is told of each prompt; None of one without words."""
    found = iter(kinds.tell([prompt for prompt in prompts if worded(prompt)]))
    return [next(found) if worded(prompt) else None for prompt in prompts]


def _kinds(items: Sequence[Item], examples: Mapping[str, str]) -> tuple[Kind, ...]:
    counts = Counter((item.stratum, item.part) for item in items)
    return tuple(
        Kind(name=name, example=text, tuning=counts[name, "tuning"], clean=counts[name, "calibration"])
        for name, text in examples.items()
    )


def _scores(made: Calibration, name: str, plan: Plan) -> list[float] | None:
    rows = made.seeds(name, plan.places(name))
    return None if rows is None else [of_seeds(row, plan.places(name).seeds) for row in rows]


def kinds_in(made: Calibration | None) -> Kinds | None:
    """What tells the kinds of a calibration; None where it has none, or was kept without its prompts' words."""
    if made is None or not made.kinds:
        return None
    tuning = [item for item in made.items if item.part == "tuning" and item.stratum]
    if not tuning or not all(item.prompt for item in tuning):
        return None
    if other := next((item for item in tuning if item.text and text_key(item.prompt) != item.text), None):
        raise MemdetectError(f"the words of clean prompt {other.id} are not those of its key; calibrate again")
    return _kinds_of(tuple(item.prompt for item in tuning), tuple(item.stratum for item in tuning))


@lru_cache(maxsize=1)
def _kinds_of(texts: tuple[str, ...], kinds: tuple[str, ...]) -> Kinds:
    """Made once for the same tuning prompts: a scan asks for its wording, and for the kind of each prompt."""
    return Kinds(texts, kinds)


def told_fields(prompts: Sequence[str], kinds: Kinds | None) -> list[dict[str, Any]]:
    """Fields `kind` and `novelty` of the record of each prompt; {} for one without words, and where no kinds are."""
    if kinds is None:
        return [{} for _ in prompts]
    named = _tell(kinds, prompts)
    return [{"kind": one.kind, "novelty": round(one.novelty, 6)} if one else {} for one in named]


def retold(rows: Rows, made: Calibration) -> Rows:
    """Rows with the kinds that these clean prompts tell, in place of those of others; none where that cannot be.

    Raises ImportError without scikit-learn.
    """
    told = told_fields([row.prompt or "" for row in rows], kinds_in(made))
    kinds, novelties = Codes(one.get("kind", "") for one in told), Numbers(one.get("novelty") for one in told)
    return rows.changed(kinds=kinds, novelties=novelties)
