"""What judging a run comes to: the records that every output and the exit code read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from memdetect.errors import Exit
from memdetect.judging.sensitivity import Sensitivity
from memdetect.judging.statistics.rates import Rate
from memdetect.judging.statistics.shift import Bulk
from memdetect.runs.records import FINDINGS, Outcome
from memdetect.runs.review import Ruling

Decision = Literal["pass", "fail", "inconclusive"]
OUTCOMES: Sequence[Outcome] = (*FINDINGS, "inconclusive", "clear")
EXITS: Mapping[Decision, Exit] = {"pass": Exit.OK, "fail": Exit.FAILED, "inconclusive": Exit.INCONCLUSIVE}


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a gate asks: what was observed, its limit, and what is wrong or missing ("" = nothing)."""

    name: str
    outcome: Decision
    reason: str = ""
    observed: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """Whether the scanned prompts are like the clean ones: by their text (None = not compared), and in the bulk of p.

    below: all of them score below every clean prompt. dead: which detector gives most of them the same score. missing:
    why the texts should have been compared but could not be; few: why there is nothing to compare.
    """

    auroc: float | None = None
    low: float | None = None
    text: bool = False
    bulk: tuple[Bulk, ...] = ()
    below: bool = False
    dead: str = ""
    missing: str = ""
    few: str = ""

    @property
    def warning(self) -> bool:
        """Distribution-shift warning: p-values promise nothing then; only copies, whole or in part, can fail."""
        return self.text or self.below or bool(self.dead) or any(check.shifted for check in self.bulk)


@dataclass(frozen=True, slots=True)
class KeptOf:
    """Families of one kind that a screen should keep, and how many it keeps.

    low: lower 95 % bound of that share (Clopper-Pearson, one-sided); interval: the two-sided one; in [0, 1].
    """

    kind: str
    families: int
    kept: int
    low: float
    interval: tuple[float, float]

    @property
    def phrase(self) -> str:
        """The share in words."""
        kind = f" of kind {self.kind}" if self.kind else ""
        return f"{self.kept} of {self.families} families of findings{kind}, at least {self.low:.0%}"


@dataclass(frozen=True, slots=True)
class Screened:
    """What a screen left out: prompts chosen to be sampled in full, and those left, of which nothing more was measured.

    by: of what and how prompts were chosen, in words. known: what the screen keeps, of each kind that was left and is
    known. reason: why prompts that were left cannot be passed, "" = they can. limit: the policy's.
    """

    chosen: int
    left: int
    by: str
    known: tuple[KeptOf, ...]
    reason: str
    limit: float

    @property
    def keeps(self) -> str:
        """What the screen keeps, in words."""
        kept = ", ".join(one.phrase for one in self.known)
        return f"the screen keeps {kept}" if kept else "what the screen misses is not stated"


@dataclass(frozen=True, slots=True)
class Tally:
    """Items and images by what a reader is told of them.

    unreadable, nonfinite, truncated: items. images: of the items that could be used; copied: those that are copies;
    partial: those that repeat a part of a training image, and are copies of none; similar: those near a training image
    by the embedder whose pixels differ. lost: items that killed whoever measured them.
    """

    unreadable: int = 0
    nonfinite: int = 0
    truncated: int = 0
    images: int = 0
    copied: int = 0
    partial: int = 0
    similar: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a run and what it rests on.

    planned, measured, unusable: items in the plan, in the records, and those that could not be read or were not finite.
    counts: items by outcome. suppressed: findings set aside by the policy. calibrated: clean prompts that p-values rest
    on; missing: why there are none. needed: clean prompts with which one detection could be decided. detections: the
    minimum number of detections h. rules: what the gate asked; the verdict is the worst of them. claim: what may be
    said of the run, in one sentence. notes: what its reader should know. fixed: whether policy and calibration were
    named in the run's header before its first image. basis: what the verdict rests on, in its first words. sensitivity:
    of the deciding score, for each kind of prompt scanned of which memorized ones are known. memorized: upper bound of
    the share of memorized prompt families, if those are flagged as often as the known ones; None where that is not
    known. tally: what a reader is told of all items and images. decided: how many items people decided what of.
    calibration: digest of the clean scores. policy_file: that the policy was read from, as seen from the root of its
    repository; "" = there is none. screened: what a screen left out, None = all prompts were sampled in full.
    """

    planned: int
    measured: int
    counts: Mapping[Outcome, int]
    calibrated: int
    missing: str
    unusable: int = 0
    suppressed: int = 0
    detections: int = 0
    needed: int = 0
    fdr: float = 0.05
    rate: Rate | None = None
    shift: Shift = Shift()
    rules: tuple[Rule, ...] = ()
    policy: Mapping[str, Any] | None = None
    policy_digest: str = ""
    fixed: bool = False
    basis: str = ""
    sensitivity: tuple[Sensitivity, ...] = ()
    memorized: float | None = None
    tally: Tally = Tally()
    decided: Mapping[Ruling, int] = field(default_factory=dict[Ruling, int])
    claim: str = ""
    notes: tuple[str, ...] = ()
    calibration: str = ""
    policy_file: str = ""
    screened: Screened | None = None

    @property
    def complete(self) -> bool:
        """Whether every planned item was measured."""
        return self.measured == self.planned

    @property
    def left(self) -> int:
        """How many items were only screened."""
        return self.screened.left if self.screened else 0

    @property
    def sampled(self) -> int:
        """How many items were measured in full, or could not be used."""
        return self.measured - self.left

    @property
    def usable(self) -> str:
        """Of how many items there are values, in words; those that could not be read, or gave none, are named."""
        lost = {
            "could not be read": self.tally.unreadable,
            "gave no finite values": self.tally.nonfinite,
            "could not be measured": self.tally.lost,
        }
        said = "; ".join(f"{count} {what}" for what, count in lost.items() if count)
        more = f", {self.left} screened only" if self.left else ""
        return f"{self.sampled - self.unusable} of {self.planned} items measured{f' ({said})' if said else ''}{more}"

    @property
    def verdict(self) -> Decision:
        """The worst of the rules: fail, then inconclusive, then pass; without rules inconclusive."""
        found: Sequence[Decision] = [rule.outcome for rule in self.rules]
        if "fail" in found:
            return "fail"
        return "inconclusive" if "inconclusive" in found or not found else "pass"

    @property
    def exit(self) -> Exit:
        """Exit code of a gate: 0 pass, 1 fail, 3 inconclusive."""
        return EXITS[self.verdict]

    @property
    def scan_exit(self) -> Exit:
        """Exit code of a scan that does not judge: inconclusive when nothing could be used, else ok."""
        return Exit.OK if self.sampled > self.unusable else Exit.INCONCLUSIVE

    @property
    def reasons(self) -> list[str]:
        """One line for each rule that is not met, failures first."""
        order = [rule for decision in ("fail", "inconclusive") for rule in self.rules if rule.outcome == decision]
        return [f"{rule.name}: {rule.reason}" for rule in order]
