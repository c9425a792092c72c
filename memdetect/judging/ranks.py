"""The reference scores of a run: those of clean prompts by stratum, and the rank of a scanned prompt among them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from memdetect.errors import MemdetectError
from memdetect.inputs.wording import family_key, text_key, worded
from memdetect.judging.calibration import Calibration
from memdetect.judging.rows import Row
from memdetect.judging.statistics.combine import MOST, Tail, combined, fit_tail, of_seeds
from memdetect.judging.statistics.conformal import rank, simes_levels
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement

SMALLEST_STRATUM, SMALLEST_KIND = 200, 100  # clean prompts of one of several
SMALLEST_TUNING = 60  # tuning prompts, below which all are of one kind
UNUSABLE: Mapping[str, str] = {
    "unreadable": "the input could not be read as a whole",
    "nonfinite": "the network gave values that are not finite",
    "lost": "it could not be measured",
    "screened": "it was only screened",
}


class Rank(NamedTuple):
    """Where an item stands among n clean prompts, 1 = above all of them."""

    rank: int
    n: int


@dataclass(frozen=True, slots=True)
class Unranked:
    """Why an item has no rank, or why nothing can be ranked, in one line."""

    reason: str


Ranked = Rank | Unranked


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """Clean scores of a plan, ready to be ranked among: a sample of the null distribution.

    by_stratum: ascending combined scores of each stratum or kind (one, "", without them). own: detector, stratum ->
    ascending scores of its own there, None where there are none; for description. deciding: the detectors that decide.
    tails: their tails, {} for a single one, whose own scores are ranked. known: text keys and families of the clean
    prompts; memorized: of prompts known to be memorized. conditioned: whether clean scores are of prompts or labels;
    not, if they are of images without a condition, None if that is not known. checked: whether they were searched for
    copies. novelties: of the clean prompts of each kind, ascending, {} where no kinds were found. present: the strata
    that a run's rows are ranked in, () = it is not known.
    """

    plan: Plan
    deciding: tuple[str, ...]
    tails: Mapping[str, Tail]
    by_stratum: Mapping[str, Sequence[float]]
    own: Callable[[str, str], Sequence[float] | None]
    known: frozenset[str]
    memorized: frozenset[str]
    strata: str
    conditioned: bool | None = None
    checked: bool = False
    novelties: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    present: frozenset[str] = frozenset()

    def holds(self, row: Row) -> bool:
        """Whether a row, or one of its family, is among the clean prompts: it cannot be ranked among itself."""
        return _is_in(row, self.known)

    def recalls(self, row: Row) -> bool:
        """Whether a row, or one of its family, is known to be memorized by the model."""
        return bool(self.memorized) and _is_in(row, self.memorized)

    @property
    def n(self) -> int:
        """Clean prompts of the smallest stratum that a run is ranked in."""
        return min(len(own) for name, own in self.by_stratum.items() if name in (self.present or self.by_stratum))

    def of_rows(self, rows: Sequence[Row]) -> "ReferenceScores":
        """The same for a run with these rows; strata too small to rank in are not counted."""
        sizes = {name: len(own) for name, own in self.by_stratum.items()}
        found = {s for row in rows if not _few(row, self, sizes.get(s := self.stratum(row), 0))}
        return replace(self, present=frozenset(found))

    def stratum(self, row: Row | Measurement) -> str:
        """The stratum that a row belongs to: the value of a column, else its kind, else the only one."""
        if self.strata:
            return str(row.meta.get(self.strata, ""))
        return row.kind if self.novelties else ""

    def new(self, row: Row) -> float | None:
        """p-value of a row's text being of its kind, by its novelty among those of the clean prompts; None unasked."""
        clean = self.novelties.get(row.kind)
        if row.novelty is None or not clean:
            return None
        return rank(clean, row.novelty) / (len(clean) + 1)

    def score(self, scores: Sequence[float | None]) -> float | None:
        """The score of an item that decides, of those of the detectors that decide: None when one of them is."""
        if not self.tails:
            return scores[0]
        whole = {name: value for name, value in zip(self.deciding, scores, strict=True) if value is not None}
        return combined(self.tails, whole, self.plan.by) if len(whole) == len(self.deciding) else None

    def own_p(self, name: str, score: float | None, stratum: str) -> float | None:
        """A detector's p-value of its own, within a stratum: a description, no decision rests on it."""
        own = self.own(name, stratum)
        return None if own is None or score is None else rank(own, score) / (len(own) + 1)


def _few(row: Row, reference: ReferenceScores, held: int) -> str:
    """Why a row's stratum is too small to be ranked in; "" where it is not, or is the only one."""
    if reference.strata:
        if not reference.stratum(row):
            return f"it has no value in column {reference.strata!r}, which p-values stay within"
        too_few = held < SMALLEST_STRATUM
        return (
            f"stratum {reference.stratum(row)!r} has {held} clean prompts, expected {SMALLEST_STRATUM}"
            if too_few
            else ""
        )
    if reference.novelties and row.prompt and not worded(row.prompt):
        return "it has no words, and the clean prompts have"
    if reference.novelties and not row.kind:
        return "its kind was not told by these clean prompts; scan again with them"
    if held and (len(reference.by_stratum) == 1 or held >= SMALLEST_KIND):
        return ""
    return f"its kind has {held} clean prompts, expected {SMALLEST_KIND}; calibrate with more prompts like it"


def _is_in(row: Row, keys: frozenset[str]) -> bool:
    """By what a row says or by its family; ids are the callers' own, and may be the same by chance."""
    return text_key(row.prompt or "") in keys or family_key(row.meta, row.prompt) in keys


def less_base(score: float | None, name: str, item: str, calibration: Calibration | None) -> float | None:
    """A score less what the base gives the same prompt, None where it was not asked; without a base as it is."""
    if calibration is None or not calibration.base:
        return score
    mean = calibration.offsets.get(name, {}).get(item)
    return None if score is None or mean is None else score - mean


def reference_scores(plan: Plan, calibration: Calibration | None) -> ReferenceScores | Unranked:
    """The reference scores of a plan, or why there are none."""
    if calibration is None:
        return Unranked("there are no clean scores for this model; run `memdetect calibrate`")
    if different := calibration.difference(plan):
        cure = "scan again with --base, into another --out" if calibration.other_base(plan) else "calibrate again"
        return Unranked(f"the clean scores were made with another {different}; {cure}")
    deciding = plan.deciding
    if len(deciding) > MOST:
        return Unranked(f"{len(deciding)} detectors decide, at most {MOST} can; name fewer")
    scores = {name: found for name in deciding if (found := _of_prompts(calibration, name, plan)) is not None}
    try:
        return _reference(plan, calibration, scores)
    except MemdetectError as problem:
        return Unranked(str(problem))


def _of_prompts(calibration: Calibration, name: str, plan: Plan) -> list[float] | None:
    """A detector's score of each clean prompt; None when it was not kept."""
    places = plan.places(name)
    rows = calibration.seeds(name, places)
    return None if rows is None else [of_seeds(row, places.seeds) for row in rows]


def _reference(plan: Plan, calibration: Calibration, scores: Mapping[str, list[float]]) -> ReferenceScores:
    items, deciding = calibration.items, plan.deciding
    first = scores[deciding[0]]
    asked = [i for i, item in enumerate(items) if item.stratum or not calibration.kinds]  # the others have no words
    tuning = [i for i in asked if items[i].part == "tuning"]
    ranked = [i for i in asked if items[i].part == "calibration"]
    if len(deciding) == 1 and calibration.parts == "drawn" and not plan.bank and len(calibration.kinds) < 2:
        ranked = asked  # nothing rests on the tuning split
    if not ranked:
        raise MemdetectError(f"{len(items)} clean prompts leave none for the calibration split; calibrate with more")
    tails = {m: fit_tail(m, [scores[m][i] for i in tuning]) for m in deciding} if len(deciding) > 1 else {}
    values = {i: combined(tails, {m: scores[m][i] for m in deciding}, plan.by) if tails else first[i] for i in ranked}
    places = {key: [i for i in ranked if items[i].stratum == key] for key in {items[i].stratum for i in ranked}}
    held = cache(lambda name: scores.get(name) or _of_prompts(calibration, name, plan))
    for name in deciding:
        if len({scores[name][i] for i in ranked}) == 1 < len(ranked):
            raise MemdetectError(f"detector {name!r} is constant on the calibration prompts; leave it out")
    return ReferenceScores(
        plan=plan,
        deciding=deciding,
        tails=tails,
        by_stratum={key: sorted(values[i] for i in own) for key, own in places.items()},
        own=cache(lambda name, stratum: _own(held(name), places.get(stratum))),
        known=frozenset(key for i in items for key in (i.text, i.family) if key) - {text_key("")},
        memorized=frozenset(key for i in calibration.known for key in (i.text, i.family)) - {text_key("")},
        strata=calibration.strata,
        conditioned=calibration.conditioned,
        checked=bool(calibration.checked),
        novelties=_novelties(calibration, ranked),
    )


def _novelties(calibration: Calibration, ranked: Sequence[int]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for item in [calibration.items[i] for i in ranked] if calibration.kinds else ():
        found.setdefault(item.stratum, []).append(item.novelty or 0.0)
    return {kind: sorted(values) for kind, values in found.items()}


def _own(scores: Sequence[float] | None, places: Sequence[int] | None) -> Sequence[float] | None:
    return None if scores is None or places is None else sorted(scores[i] for i in places)


def _of_another_kind(row: Row, reference: ReferenceScores) -> str:
    """Why a row and the clean ones are not of one population, as far as that shows; "" where nothing says so."""
    if row.prompt is None:
        return "the clean scores are of generated images, not of given ones"
    if reference.conditioned is None or reference.conditioned == bool(row.prompt):
        return ""
    kinds = ("prompts or labels", "images without a condition")
    clean, scanned = kinds if reference.conditioned else kinds[::-1]
    return f"the clean scores are of {clean}, not of {scanned}"


def p_values(ranks: Sequence[Ranked], delta: float | None) -> list[float | None]:
    """Rank / (n + 1), or with `delta` what is valid given the clean scores but for that chance; None without a rank."""
    if delta is None:
        return [r.rank / (r.n + 1) if isinstance(r, Rank) else None for r in ranks]
    sizes = {r.n for r in ranks if isinstance(r, Rank)}
    levels = {n: simes_levels(n, delta) if n > 1 else [1.0, 1.0] for n in sizes}
    return [levels[r.n][r.rank - 1] if isinstance(r, Rank) else None for r in ranks]


def rank_of(row: Row, score: float | None, reference: ReferenceScores | Unranked, *, unlike: bool = False) -> Ranked:
    """The rank of a row by the score that decides, among the clean prompts of its stratum; or why it has none.

    unlike: whether its text is like that of no clean prompt.
    """
    if row.status in UNUSABLE:
        return Unranked(UNUSABLE[row.status])
    if isinstance(reference, Unranked):
        return reference
    if apart := _of_another_kind(row, reference):
        return Unranked(apart)
    if reference.holds(row):
        return Unranked("the prompt, or one of its family, is among the clean ones")
    if unlike:
        return Unranked("there are no clean prompts of its kind; calibrate with prompts like it")
    clean = reference.by_stratum.get(reference.stratum(row))
    if few := _few(row, reference, len(clean or ())):
        return Unranked(few)
    assert clean is not None
    if score is None:
        return Unranked(f"{' or '.join(reference.deciding)} has no score for every layer, timestep and seed")
    return Rank(rank(clean, score), len(clean))
