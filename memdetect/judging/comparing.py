"""compare(): two runs of the same items on two models, or with two settings, and what changed between them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memdetect.copies.match import Match, picture_of
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Judging
from memdetect.inputs.wording import family_key
from memdetect.judging.families import flagged_families, flagging_ranks
from memdetect.judging.outcome import EXITS, Decision, Verdict
from memdetect.judging.reading import Runs, read_runs
from memdetect.judging.results import Judged, Results
from memdetect.judging.run import policy_of
from memdetect.judging.search_rules import parts
from memdetect.judging.statistics.paired import PairedShare, paired_share
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, FINDINGS, Outcome, Result

Change = Literal["new", "worse", "undecided", "gone", "better", "unchanged", "clear"]
CHANGES: Sequence[Change] = ("new", "worse", "undecided", "gone", "better", "unchanged", "clear")
FailOn = Literal["new", "worse", "none"]
FAILING: Mapping[FailOn, Sequence[Change]] = {"new": ("new",), "worse": ("new", "worse"), "none": ()}
# Of a plan, what has to be the same: what is asked of the model, and what a finding is. Settings may differ.
SHARED = ("inputs", "num_seeds", "seed", "noise", "deciding", "by", "strata", "index", "top_k")
FREE = ("model", "adapter", "dtype", "scheduler", "steps", "guidance_scale", "size", "call", "layers", "timesteps")
NONE: Sequence[Outcome] = FINDINGS[:3]  # what counts as a finding where the policy fails on none


@dataclass(frozen=True, slots=True)
class Pair:
    """An item in both runs, None where it was not measured, and what changed of it."""

    change: Change
    old: Result | None
    new: Result | None

    @property
    def item(self) -> Result:
        """The item as the later run has it, else as the earlier."""
        found = self.new or self.old
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs, judged by the policy that both are judged by."""

    header: Header
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from one run to another.

    pairs: the items that are not clear in both, the worst change first. counts: items by change. shares: of families
    that came back as copies, and of flagged ones, where both runs can tell. findings: the outcomes that count as one.
    failing: changes that fail, of findings that nobody answers for and that may count.
    """

    old: Side
    new: Side
    pairs: Sequence[Pair]
    counts: Mapping[Change, int]
    shares: Sequence[PairedShare]
    findings: Sequence[Outcome]
    fail_on: FailOn = "none"
    failing: int = 0

    @property
    def differs(self) -> list[tuple[str, Any, Any]]:
        """The settings in which the two runs differ, each with its value in the old and in the new one."""
        old, new = (side.header.plan for side in (self.old, self.new))
        names = [name for name in FREE if getattr(old, name) != getattr(new, name)]
        found = [(name, getattr(old, name), getattr(new, name)) for name in names]
        named = (self.old.header.model, self.new.header.model)
        return [("name", *named), *found] if named[0] != named[1] else found

    @property
    def unknown(self) -> list[str]:
        """What could not be measured, searched or compared in either run, a line each."""
        sides = (("OLD", self.old), ("NEW", self.new))
        return [
            f"{name}: {rule.name}: {rule.reason}"
            for name, side in sides
            for rule in side.verdict.rules
            if rule.outcome == "inconclusive"
        ]

    @property
    def verdict(self) -> Decision:
        """Fail where a change fails, inconclusive where anything is unknown, else pass."""
        return "fail" if self.failing else "inconclusive" if self.unknown else "pass"

    @property
    def exit(self) -> Exit:
        """Exit code: 0 pass, 1 fail, 3 inconclusive."""
        return EXITS[self.verdict]

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is not a pass, a line each, failures first."""
        said = " or ".join(FAILING[self.fail_on])
        many = "1 finding is" if self.failing == 1 else f"{self.failing} findings are"
        return [*([f"{many} {said}"] if self.failing else []), *self.unknown]


def compare(old: Path, new: Path, judging: Judging | None = None, fail_on: FailOn = "none") -> Comparison:
    """Compare two runs of the same items, item by item; both are judged by one policy.

    Raises MemdetectError that names what differs where one cannot be held against the other: items, seeds, detectors,
    index or policy; and for what is no run.
    """
    runs = [read_runs([folder]) for folder in (old, new)]
    _check(old, new, *runs)
    policies = [policy_of(judging or Judging(), run.policies).policy for run in runs]
    _refuse_policies(old, new, *policies)
    judged = [_judged(run, policies[0]) for run in runs]
    (before, was), (after, now) = judged
    sides = (Side(runs[0].header, was), Side(runs[1].header, now))
    findings = policies[0].failing or NONE
    changes, pairs = _pairs(before, after, findings)
    failing = [p for p in pairs if p.change in FAILING[fail_on] and p.new is not None and _counts(p.new, now)]
    shares = tuple(_shares(before, after, sides, policies[0]))
    counts: dict[Change, int] = {change: changes[change] for change in CHANGES}
    return Comparison(*sides, pairs, counts, shares, findings, fail_on, len(failing))


def _judged(run: Runs, policy: Policy) -> tuple[Results, Verdict]:
    results, verdict = judge_with(
        run.header, run.rows, run.calibration, policy, Beside(altered=run.altered, recall=run.recall)
    )
    assert isinstance(results, Results)
    return results, verdict


def _check(old: Path, new: Path, before: Runs, after: Runs) -> None:
    for key in SHARED:
        ours, theirs = getattr(before.header.plan, key), getattr(after.header.plan, key)
        if ours != theirs:
            cure = "scan again with the same" if key != "index" else "scan again and search both in one index:"
            raise MemdetectError(
                f"{old} and {new} do not compare: {key} is {ours!r:.60} and {theirs!r:.60}"
                f"{_first(before, after) if key == 'inputs' else ''}; {cure} {key}"
            )
    if bool(before.header.plan.base) != bool(after.header.plan.base):
        raise MemdetectError(
            f"{old} and {new} do not compare: one is ranked among what a base draws and the other among clean "
            "prompts; scan both in one way"
        )


def _first(before: Runs, after: Runs) -> str:
    """The first item in which the inputs of two runs differ, as far as they were measured."""
    ours, theirs = ({row.id: (row.prompt, row.sha256) for row in run.rows.rows} for run in (before, after))
    other = next((key for key in [*ours, *theirs] if ours.get(key) != theirs.get(key)), None)
    return "" if other is None else f" (first: item {other!r:.60})"


def _refuse_policies(old: Path, new: Path, ours: Policy, theirs: Policy) -> None:
    """Two runs planned with two policies, and no file that says which holds."""
    for key in Policy.model_fields:
        if (mine := getattr(ours, key)) != (other := getattr(theirs, key)):
            raise MemdetectError(
                f"{old} and {new} do not compare: {key} of their policies is {mine!r} and {other!r}; "
                "say which policy holds, with --policy FILE"
            )


def _pairs(before: Results, after: Results, findings: Sequence[Outcome]) -> tuple[Counter[Change], tuple[Pair, ...]]:
    """How many items changed how, and the items that are not clear in both, the worst first."""
    was = {item.row.id: i for i, item in enumerate(before.items)}
    now = {item.row.id: i for i, item in enumerate(after.items)}
    found: list[tuple[tuple[int, int, float, int], Pair]] = []
    counts: Counter[Change] = Counter()
    for order, name in enumerate({**was, **now}):
        i, j = was.get(name), now.get(name)
        old, new = None if i is None else before.items[i], None if j is None else after.items[j]
        change = change_of(old, new, findings)
        counts[change] += 1
        if change != "clear":
            held = Pair(change, None if i is None else before.plain(i), None if j is None else after.plain(j))
            found.append((_rank(change, new or old, order), held))
    return counts, tuple(pair for _, pair in sorted(found, key=lambda each: each[0]))


def _rank(change: Change, item: Judged | None, order: int) -> tuple[int, int, float, int]:
    """Where an item stands in a list: by its change, how bad it is, its score, and its place in the run."""
    bad = FINDINGS.index(item.outcome) if item and item.outcome in FINDINGS else len(FINDINGS)
    return CHANGES.index(change), bad, -(item.score or 0.0) if item else 0.0, order


def change_of(old: Judged | None, new: Judged | None, findings: Sequence[Outcome]) -> Change:
    """What changed of an item. None = not measured; an outcome that is not among the findings is clear.

    A finding that the old run did not have is new, also where that could not decide. So is a copy, whole or in part, of
    a training image that was not copied before, whatever else still is. What the new run could not decide is undecided,
    never gone.
    """
    known, found = old is not None and old.outcome in findings, new is not None and new.outcome in findings
    if found and old is not None and new is not None and known:
        return _worse(old, new, findings)
    if found:
        return "new"
    if new is None or new.outcome == "inconclusive":
        return "undecided"
    if known:
        return "gone"
    return "undecided" if old is None or old.outcome == "inconclusive" else "clear"


def _worse(old: Judged, new: Judged, findings: Sequence[Outcome]) -> Change:
    held = _copied(old.row.matches, findings)
    made = _copied([*(m for m in new.row.matches if m.copy_found), *parts(new.row)], findings)
    both = {old.outcome, new.outcome} <= {*COPIES}
    if both and made.keys() - held.keys():
        return "new"
    was, now = findings.index(old.outcome), findings.index(new.outcome)
    if now < was or (both and any(whole and not held[picture] for picture, whole in made.items())):
        return "worse"
    return "better" if now > was else "unchanged"


def _copied(near: Iterable[Match], findings: Sequence[Outcome]) -> dict[str, bool]:
    """The training pictures that are copied, as far as that is a finding, and whether as a whole.

    A picture stands in an index as it is shown, decoded in other ways and cropped: all of them are the same.
    """
    found: dict[str, bool] = {}
    for match in near:
        if match.copy_found or (match.partial_found and "partial-copy" in findings):
            picture = picture_of(match.key)
            found[picture] = found.get(picture, False) or match.copy_found
    return found


def _counts(row: Result, verdict: Verdict) -> bool:
    """Whether a finding may fail: nobody answers for it, and scores promise something where it is by score."""
    return not row.suppressed and not (row.outcome == "suspicious" and verdict.shift.warning)


def _shares(before: Results, after: Results, sides: tuple[Side, Side], policy: Policy) -> Iterator[PairedShare]:
    """The shares that both runs can tell: of copies where an index was searched, of flags where scores are ranked."""
    if all(side.header.index for side in sides):
        yield paired_share("copies", _copies(before), _copies(after), policy.confidence)
    rates = [side.verdict.rate for side in sides]
    if policy.asks_scores and all(rate is not None and rate.rank for rate in rates):
        levels = " and ".join(dict.fromkeys(f"{rate.level:.2g}" for rate in rates if rate))
        old, new = (flagged_families(run.items, flagging_ranks(run.reference, policy)) for run in (before, after))
        yield paired_share(f"copies or scores above level {levels}", old, new, policy.confidence)


def _copies(results: Results) -> dict[str, bool]:
    """Of each family of which all was decided, or that is a copy, whether it is one; each image is a family."""
    found: dict[str, bool] = {}
    for item in results.items:
        copied = item.outcome in COPIES
        key = item.row.id if item.row.image is not None else family_key(item.row.meta, item.row.prompt)
        found[key] = found.get(key, False) or copied
    for item in results.items:
        key = item.row.id if item.row.image is not None else family_key(item.row.meta, item.row.prompt)
        if item.outcome == "inconclusive" and not found.get(key, True):
            del found[key]
    return found
