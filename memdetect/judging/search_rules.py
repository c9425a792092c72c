"""What a gate asks of the search for training images: what could not be searched or compared is never passed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import floor
from typing import Any

from memdetect.copies.alignment_words import aligned_words
from memdetect.copies.match import Match, nearest_similar, picture_of, uncopied
from memdetect.judging.columns import Filtered
from memdetect.judging.outcome import Rule
from memdetect.judging.results import Judged
from memdetect.judging.rows import Row
from memdetect.judging.statistics.beta import incomplete_beta
from memdetect.runs.header import Header
from memdetect.runs.index_facts import BLIND
from memdetect.runs.plan import Plan
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, Measurement
from memdetect.runs.review import unlike

Seen = Row | Measurement
NO_THRESHOLD = "the index has no threshold, so that nothing can be called a copy; build it with --held-out images"
ONE_COLOUR = "its images have a single colour"
CONFIDENCE = 0.95
PLANTED = 50  # planted copies that show what an index finds; of a smaller one all its pictures
COUNTED = 0.9  # share of these that has to be there: some cannot be opened any more
LOOSE = 0.01  # level above which a threshold that images exceed says nothing


def no_threshold(index: Mapping[str, Any]) -> bool:
    """Whether an index was searched by which nothing can be called a copy."""
    return bool(index) and index.get("similarity") is None


def useless(index: Mapping[str, Any], policy: Policy) -> str:
    """Why an index cannot be relied on to find a copy; "" where it can."""
    if not index.get("rows") or index.get("coverage") == 0:
        return "the index covers no training image; build it again"
    if no_threshold(index):
        return NO_THRESHOLD
    recall, planted = index.get("recall"), index.get("planted")
    if not policy.min_recall:
        return ""
    cure = "build it with --held-out images or another embedder"
    if (index.get("tightened_share") or 1) < 1:
        cure = "take copies out of the --held-out images, or leave out --trust-held-out"
    least = min(PLANTED, index.get("pictures", index["rows"]))
    if recall is not None and planted and planted < COUNTED * least:
        return f"{planted} planted copies cannot show what the index finds, expected {least}; build it with --planted"
    if recall is None or not planted:
        return f"whether the index finds a copy at all is not known: none was planted; {cure}"
    if recall < policy.min_recall:
        said = f"the index calls {recall:.0%} of {planted} planted copies of its own images copies"
        return f"{said}, expected at least {policy.min_recall:.0%}; {cure}"
    return ""


def not_compared(row: Seen) -> Match | None:
    """The nearest training image by the embedder whose pixels could not be compared: there may be a copy, or a part."""
    unseen = [match for match in row.matches if match.unseen]
    return max(unseen, key=lambda match: (match.similar, match.similarity), default=None)


def parts(row: Seen) -> list[Match]:
    """The training images that images repeat a part of, of images that are copies of none; the largest part first."""
    copies = {match.seed for match in row.matches if match.copy_found}
    found = [match for match in row.matches if match.partial_found and match.seed not in copies]
    return sorted(found, key=lambda match: -(match.agreed or 0.0))


def alike(row: Seen) -> list[Match]:
    """The most similar training image of each image that is similar to one, with other pixels, and repeats none."""
    return nearest_similar(row.matches) if row.matches else []


def copy_reason(match: Match) -> str:
    """That an image is a copy of a training image, and how the two were aligned."""
    return _aligned(f"image {match.seed} is a copy of {match.key}", match)


def part_reason(match: Match) -> str:
    """That an image repeats a part of a training image, how much of it, and how the two were aligned."""
    share = "an unknown share" if match.agreed is None else f"{match.agreed:.0%}"
    return _aligned(f"image {match.seed} repeats a part of {match.key}: {share} of its area agrees", match)


def _aligned(said: str, match: Match) -> str:
    how = aligned_words(match.affine)
    return f"{said}, {how}" if how else said


def images_of(row: Seen, plan: Plan) -> int:
    """How many images an item has: one that was given, else one for each seed of the plan."""
    return 1 if row.image is not None else plan.num_seeds


def in_one_colour(row: Seen, plan: Plan) -> bool:
    """Whether every image of an item has a single colour, which shows nothing."""
    return bool(row.one_colour) and len(set(row.one_colour)) >= images_of(row, plan)


def unsearched(row: Seen, plan: Plan) -> int | None:
    """The first image of an item of which no training image is recorded: it was not looked up. None: all were."""
    searched = {match.seed for match in row.matches}
    return next((k for k in range(images_of(row, plan)) if k not in searched), None)


def most_similar(images: int, level: float) -> int:
    """How many of so many clean images may be similar: the smallest k with P(Binomial(images, level) <= k) >= 95 %."""
    k = 0
    while k < images and 1 - incomplete_beta(level, k + 1, images - k) < CONFIDENCE:
        k += 1
    return k


def index_rules(header: Header, items: Sequence[Judged], policy: Policy) -> Iterator[Rule]:
    """Rules about what was searched and compared, and how well; without an index only where one is due.

    A copy that fails anyway may have images that were not searched or compared; one that somebody answers for may not.
    """
    yield from _one_colour(header, items, policy)
    index: dict[str, Any] = header.index
    if not index:
        if policy.fail_on in COPIES or policy.min_coverage is not None:
            yield Rule("index", "inconclusive", "no training images were searched; scan with an index")
        return
    if reason := useless(index, policy):
        yield Rule("index", "inconclusive", reason)
        return
    usable = Filtered(items, lambda item: item.row.status == "ok")
    asked = Filtered(items, lambda item: item.counted != "copy" or not item.fails(policy))
    missed = sum(item.row.status == "ok" and unsearched(item.row, header.plan) is not None for item in asked)
    if missed:
        reason = f"{len(usable) - missed} of {len(usable)} items were searched for in the index with all their images"
        cure = "the notes of the others say why; scan anew, or with an index of another embedder"
        yield Rule("index", "inconclusive", f"{reason}; {cure}", missed, 0)
    unseen = sum(not_compared(item.row) is not None for item in asked)
    if unseen:
        reason = f"{unseen} items are similar to a training image that was not there to be compared by its pixels"
        yield Rule("index", "inconclusive", f"{reason}; put it back where the index expects it and scan anew", unseen)
    yield _similar(header, usable)
    yield from _parts(index, policy)
    yield from _left_out(index, policy)
    yield from _coverage(index, policy)


def _similar(header: Header, usable: Iterable[Judged]) -> Rule:
    """Images that are similar but no copies: no more than the threshold's level lets through.

    What people say is similar, or no copy, is none of them: they looked at it.
    """
    level = header.index.get("level")
    if not isinstance(level, float) or not 0 < level < 1:
        return Rule("similar", "inconclusive", "the header says no level of the index's threshold; scan anew")
    images = sum(images_of(item.row, header.plan) for item in usable)
    found = sum(_unseen_alike(item) for item in usable if not item.suppressed)
    most = most_similar(images, level) if level <= LOOSE else 0
    if found <= most:
        return Rule("similar", "pass", "", found, most)
    reason = f"{found} of {images} images are similar to a training image though their pixels differ, at most {most}"
    return Rule("similar", "inconclusive", f"{reason} may be so at a level of {level:.2g}; look at them", found, most)


def _unseen_alike(item: Judged) -> int:
    """How many images of an item are similar to a training image that nobody compared them with."""
    matches, decisions = item.row.matches, item.row.decisions
    if not matches or not decisions:
        return len(alike(item.row))
    seen = unlike(decisions, matches)
    return sum(
        picture_of(near.key) not in seen for near in nearest_similar(uncopied(matches) if item.beneath else matches)
    )


def _parts(index: Mapping[str, Any], policy: Policy) -> Iterator[Rule]:
    """Whether the index can find a part of a training image, where parts fail."""
    if "partial-copy" not in policy.failing:
        return
    limit = index.get("part_limit")
    if limit is None:
        yield Rule("parts", "inconclusive", "the header does not say what counts as a part of an image; scan anew")
    elif limit >= BLIND:
        reason = f"more than {limit:.0%} of a training image would have to agree, so that no part of one is found"
        cure = "build the index with other --held-out images, or judge whole copies alone"
        yield Rule("parts", "inconclusive", f"{reason}; {cure}", limit, BLIND)


def _one_colour(header: Header, items: Sequence[Judged], policy: Policy) -> Iterator[Rule]:
    """Images of a single colour show nothing of what the model does."""
    plain = sum(len(item.row.one_colour) for item in items)
    images = sum(images_of(item.row, header.plan) for item in items if item.row.status == "ok")
    limit = policy.max_one_colour
    if plain:
        share = plain / max(images, 1)
        said = f"{plain} of {images} images have a single colour; check the decoder and the number format"
        many = share > limit
        yield Rule("one-colour", "inconclusive" if many else "pass", said if many else "", share, limit)


def _left_out(index: Mapping[str, Any], policy: Policy) -> Iterator[Rule]:
    """Training images that are there and could not be taken in: nothing was compared with them."""
    if (count := index.get("left_out")) and policy.min_coverage is None:
        reason = f"{count} training images could not be taken into the index, so that copies of them are not found"
        cure = "mend them (index info has the reasons) and build it again, or say which min-coverage is enough"
        yield Rule("left-out", "inconclusive", f"{reason}; {cure}", count, 0)


def _coverage(index: Mapping[str, Any], policy: Policy) -> Iterator[Rule]:
    limit, coverage = policy.min_coverage or None, index.get("coverage")
    if limit is not None and (coverage is None or coverage < limit):
        held = "an unknown share" if coverage is None else f"{floor(coverage * 10_000 + 1e-6) / 10_000:.2%}"
        reason = f"the index covers {held} of the training set, expected at least {limit:.2%}"
        yield Rule("min-coverage", "inconclusive", reason, coverage, limit)
    elif limit is not None:
        yield Rule("min-coverage", "pass", "", coverage, limit)
