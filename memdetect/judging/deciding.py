"""The outcome of one item: the worst that holds."""

from dataclasses import dataclass

from memdetect.judging.outcome import Screened
from memdetect.judging.ranks import Rank, Ranked, ReferenceScores, Unranked
from memdetect.judging.rows import Row
from memdetect.judging.screened import SCREENED
from memdetect.judging.search_rules import (
    NO_THRESHOLD,
    ONE_COLOUR,
    alike,
    copy_reason,
    in_one_colour,
    not_compared,
    part_reason,
    parts,
    unsearched,
)
from memdetect.runs.plan import Plan
from memdetect.runs.records import Outcome


@dataclass(frozen=True, slots=True)
class Bar:
    """What BH needs at this size: smallest p, minimum number of detections, and clean prompts needed for a single one.

    plan, planned: of the run. searched: whether an index was searched; blind: whether that cannot tell a copy. scored:
    whether the policy asks for scores; fails: whether a suspicious one fails. reference: what they are ranked among.
    screened: what a screen left out.
    """

    n: int
    detections: int
    needed: int
    plan: Plan
    planned: int
    searched: bool
    blind: bool
    scored: bool
    fails: bool
    reference: ReferenceScores | Unranked
    screened: Screened | None = None


def outcome_of(row: Row, ranked: Ranked, p: float | None, rejected: bool, bar: Bar) -> tuple[Outcome, str]:
    """The worst that holds; `clear` only where everything that was asked could be searched, compared and ranked."""
    if row.status == "screened":
        return _recalled(row, bar) or _left(bar)
    copied = next((match for match in row.matches if match.copy_found), None) if row.matches else None
    if copied is not None:
        return "copy", copy_reason(copied)
    if row.matches and (repeated := parts(row)):
        return "partial-copy", part_reason(repeated[0])
    if row.status != "ok":
        why = ranked.reason if isinstance(ranked, Unranked) else ""
        return "inconclusive", f"{why}: {row.notes[-1]}" if row.notes else why
    return _scored(row, ranked, p if rejected else None, bar)


def _scored(row: Row, ranked: Ranked, p: float | None, bar: Bar) -> tuple[Outcome, str]:
    """What images and score say of an item that repeats no training image; p: None where it is not rejected.

    What is not known of it goes before a score that fails nothing, and is hidden by no image that is similar.
    """
    near = _searched(row, bar)
    unknown = near if near is not None and near[0] == "inconclusive" else _recalled(row, bar)
    if p is not None and isinstance(ranked, Rank) and (bar.fails or unknown is None):
        seen = " and ".join(dict.fromkeys(s for name in bar.plan.deciding if (s := bar.plan.readings[name].seen)))
        return "suspicious", f"{seen}{': ' if seen else ''}p = {p:.2g} among {ranked.n} clean prompts"
    return unknown or near or _ranked(ranked, bar)


def _recalled(row: Row, bar: Bar) -> tuple[Outcome, str] | None:
    """Of a prompt that is known to be memorized, whatever its score; None of others, and where scores are not asked."""
    asked = bar.scored or not bar.searched
    if asked and isinstance(bar.reference, ReferenceScores) and bar.reference.recalls(row):
        return "inconclusive", "the prompt, or one of its family, is known to be memorized by this model"
    return None


def _left(bar: Bar) -> tuple[Outcome, str]:
    """Of a prompt that was only screened: clear only where what the screen keeps is stated, and is enough."""
    screened = bar.screened
    if screened is None or screened.reason:
        return "inconclusive", f"{SCREENED}: {screened.keeps if screened else 'the run names no screen'}"
    return "clear", f"{SCREENED}: below the cut of {screened.by}; {screened.keeps}"


def _searched(row: Row, bar: Bar) -> tuple[Outcome, str] | None:
    """What the training images near an item say where it repeats none of them; None where they say nothing."""
    if in_one_colour(row, bar.plan):
        return "inconclusive", ONE_COLOUR
    if not bar.searched:
        return None
    if (unseen := not_compared(row)) is not None:
        may, near = ("be a copy", "similar") if unseen.similar else ("repeat a part of one", "near")
        return "inconclusive", f"image {unseen.seed} may {may}: {unseen.note}; it is {near} to {unseen.key}"
    if bar.blind:
        return "inconclusive", NO_THRESHOLD
    if (missed := unsearched(row, bar.plan)) is not None:
        return "inconclusive", f"image {missed} was not searched for in the index"
    near = alike(row)
    return ("similar", f"image {near[0].seed} is similar to {near[0].key}, but the pixels differ") if near else None


def _ranked(ranked: Ranked, bar: Bar) -> tuple[Outcome, str]:
    """What the score says where the training images say nothing; under a policy on copies it is not asked."""
    if bar.searched and not bar.scored:
        return "clear", "no copy was found; scores were not judged"
    if isinstance(ranked, Unranked):
        return "inconclusive", ranked.reason
    if ranked.rank == 1:
        return "inconclusive", (
            f"above all {ranked.n} clean prompts, but {bar.detections} such prompts or {bar.needed} clean ones "
            "are needed"
        )
    return "clear", ""
