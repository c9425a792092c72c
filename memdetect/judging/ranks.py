"""The null of a run: clean prompts' scores by stratum, and the rank of a scanned prompt among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, cast

from memdetect.errors import MemdetectError
from memdetect.inputs.wording import family_key, text_key
from memdetect.judging.calibration import Calibration
from memdetect.judging.statistics.combine import MOST, Tail, combined, fit_tail, quartile
from memdetect.judging.statistics.conformal import rank, simes_levels
from memdetect.runs.plan import Places, Plan
from memdetect.runs.records import Measurement, Score

SMALLEST_STRATUM = 200

ItemScores = Mapping[str, float | None]


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
class Null:
    """Clean scores of a plan, ready to be ranked among.

    by_stratum: ascending combined scores of each stratum (one, "", without strata). own: detector -> ascending scores
    of its own, for description. tails: members' tails, {} for a single member, whose own scores are ranked.
    known: text keys and families of the clean prompts; memorized: of prompts known to be memorized. conditioned:
    whether clean scores are of prompts or labels; not, if they are of images without a condition, None if that is not
    known. checked: whether they were searched for copies.
    """

    plan: Plan
    members: tuple[str, ...]
    tails: Mapping[str, Tail]
    by_stratum: Mapping[str, Sequence[float]]
    own: Mapping[str, Sequence[float]]
    known: frozenset[str]
    memorized: frozenset[str]
    strata: str
    conditioned: bool | None = None
    checked: bool = False

    def holds(self, row: Measurement) -> bool:
        """Whether a row, or one of its family, is among the clean prompts: it cannot be ranked among itself."""
        return bool(self.known & _keys(row))

    def recalls(self, row: Measurement) -> bool:
        """Whether a row, or one of its family, is known to be memorized by the model."""
        return bool(self.memorized & _keys(row))

    @property
    def n(self) -> int:
        """Clean prompts of the smallest stratum."""
        return min(map(len, self.by_stratum.values()))

    def stratum(self, row: Measurement) -> str:
        """The stratum that a row belongs to."""
        return str(row.meta.get(self.strata, "")) if self.strata else ""

    def score(self, scores: ItemScores) -> float | None:
        """The combined score of an item: None when a member, a cell or a seed is missing or not finite."""
        if not self.tails:
            return scores[self.members[0]]
        whole = {name: value for name in self.members if (value := scores[name]) is not None}
        return combined(self.tails, whole) if len(whole) == len(self.members) else None

    def own_p(self, scores: ItemScores) -> dict[str, float | None]:
        """Each detector's p-value of its own: a description, no decision rests on it."""
        found: dict[str, float | None] = {}
        for name in self.plan.detectors:
            null, value = self.own.get(name), scores[name]
            found[name] = None if null is None or value is None else rank(null, value) / (len(null) + 1)
        return found


def _keys(row: Measurement) -> set[str]:
    """Keys of what a row says and of its family; ids are the callers' own, and may be the same by chance."""
    return {text_key(row.prompt or ""), family_key(row.meta, row.prompt)}


def scores_of(rows: Sequence[Measurement], plan: Plan) -> list[ItemScores]:
    """Each detector's score of each item: per seed the mean over layers and timesteps, then the quartile over seeds.

    None unless each seed of the plan has a finite value in each cell: never an aggregate of what survived.
    """
    where, seeds = plan.places.cells, plan.num_seeds
    names = list(dict.fromkeys([*plan.detectors, *plan.deciding]))
    return [{name: _item_score(row.scores.get(name), where, seeds) for name in names} for row in rows]


def _item_score(held: Score | None, where: Sequence[tuple[str, str]], seeds: int) -> float | None:
    if held is None:
        return None
    try:
        cells = cast("list[list[float]]", [held.cells[layer][t] for layer, t in where])
        sums = list(map(sum, zip(*cells, strict=True)))
    except (KeyError, TypeError, ValueError):  # no such cell; a value that is None; cells of unequal length
        return None
    # The quartile of sums over their number is that of the means, to the last bit: division keeps the order.
    return quartile(sums) / len(cells) if len(sums) == seeds and isfinite(sum(sums)) else None


def centred(
    rows: Sequence[Measurement], scores: Sequence[ItemScores], calibration: Calibration | None
) -> list[ItemScores]:
    """Scores less what the base gives the same prompt, None where it was not asked; without a base as they are."""
    if calibration is None or not calibration.base:
        return list(scores)
    return [_less(own, row.id, calibration.offsets) for row, own in zip(rows, scores, strict=True)]


def _less(scores: ItemScores, item: str, offsets: Mapping[str, Mapping[str, float]]) -> ItemScores:
    mean = {name: offsets.get(name, {}).get(item) for name in scores}
    return {name: None if s is None or (m := mean[name]) is None else s - m for name, s in scores.items()}


def make_null(plan: Plan, calibration: Calibration | None) -> Null | Unranked:
    """The null of a plan, or why there is none."""
    if calibration is None:
        return Unranked("there are no clean scores for this model; run `memdetect calibrate`")
    if different := calibration.difference(plan):
        return Unranked(f"the clean scores were made with another {different}; calibrate again")
    members = plan.deciding
    if len(members) > MOST:
        return Unranked(f"{len(members)} detectors decide, at most {MOST} can; name fewer")
    names = dict.fromkeys([*members, *plan.detectors])
    scores = {name: _quartiles(calibration, name, plan.places) for name in names}
    try:
        return _null(plan, calibration, {k: v for k, v in scores.items() if v is not None})
    except MemdetectError as problem:
        return Unranked(str(problem))


def _quartiles(calibration: Calibration, name: str, places: Places) -> list[float] | None:
    rows = calibration.seeds(name, places)
    return None if rows is None else [quartile(row) for row in rows]


def _null(plan: Plan, calibration: Calibration, scores: Mapping[str, list[float]]) -> Null:
    items, members = calibration.items, plan.deciding
    first = scores[members[0]]
    part_a = [i for i, item in enumerate(items) if item.part == "A"]
    part_b = [i for i, item in enumerate(items) if item.part == "B"]
    if len(members) == 1 and calibration.parts == "drawn":
        part_b = list(range(len(items)))  # nobody chose anything on part A, so that it need not be set apart
    if not part_b:
        raise MemdetectError(f"{len(items)} clean prompts leave none for part B; calibrate with more")
    tails = {m: fit_tail(m, [scores[m][i] for i in part_a]) for m in members} if len(members) > 1 else {}
    values = {i: combined(tails, {m: scores[m][i] for m in members}) if tails else first[i] for i in part_b}
    for name in members:
        if len({scores[name][i] for i in part_b}) == 1 < len(part_b):
            raise MemdetectError(f"detector {name!r} is constant on the calibration prompts; leave it out")
    strata = {key: sorted(values[i] for i in part_b if items[i].stratum == key) for key in {i.stratum for i in items}}
    return Null(
        plan=plan,
        members=members,
        tails=tails,
        by_stratum={key: null for key, null in strata.items() if null},
        own={name: sorted(found[i] for i in part_b) for name, found in scores.items()},
        known=frozenset(key for i in items for key in (i.text, i.family) if key) - {text_key("")},
        memorized=frozenset(key for i in calibration.known for key in (i.text, i.family)) - {text_key("")},
        strata=calibration.strata,
        conditioned=calibration.conditioned,
        checked=bool(calibration.checked),
    )


def _of_another_kind(row: Measurement, null: Null) -> str:
    """Why a row and the clean ones are not of one population, as far as that shows; "" where nothing says so."""
    if row.prompt is None:
        return "the clean scores are of generated images, not of given ones"
    if null.conditioned is None or null.conditioned == bool(row.prompt):
        return ""
    kinds = ("prompts or labels", "images without a condition")
    clean, scanned = kinds if null.conditioned else kinds[::-1]
    return f"the clean scores are of {clean}, not of {scanned}"


def p_values(ranks: Sequence[Ranked], delta: float | None) -> list[float | None]:
    """Rank / (n + 1), or with `delta` what is valid given the clean scores but for that chance; None without a rank."""
    if delta is None:
        return [r.rank / (r.n + 1) if isinstance(r, Rank) else None for r in ranks]
    sizes = {r.n for r in ranks if isinstance(r, Rank)}
    levels = {n: simes_levels(n, delta) if n > 1 else [1.0, 1.0] for n in sizes}
    return [levels[r.n][r.rank - 1] if isinstance(r, Rank) else None for r in ranks]


def rank_of(row: Measurement, scores: ItemScores, null: Null | Unranked) -> Ranked:
    """The rank of a row among the clean prompts of its stratum, or why it has none."""
    if row.status == "unreadable":
        return Unranked("the input could not be read as a whole")
    if row.status == "nonfinite":
        return Unranked("the network gave values that are not finite")
    if isinstance(null, Unranked):
        return null
    if apart := _of_another_kind(row, null):
        return Unranked(apart)
    if null.holds(row):
        return Unranked("the prompt, or one of its family, is among the clean ones")
    clean = null.by_stratum.get(null.stratum(row))
    if clean is None or (null.strata and len(clean) < SMALLEST_STRATUM):
        held = len(clean or ())
        return Unranked(f"stratum {null.stratum(row)!r} has {held} clean prompts, expected {SMALLEST_STRATUM}")
    score = null.score(scores)
    if score is None:
        return Unranked(f"{' or '.join(null.members)} has no score for every layer, timestep and seed")
    return Rank(rank(clean, score), len(clean))
