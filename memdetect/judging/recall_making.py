"""What a screen keeps, measured: of labelled prompts, or of what a full scan found beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from memdetect import __version__
from memdetect.errors import MemdetectError
from memdetect.inputs.wording import family_key, kind_of
from memdetect.judging.integrity import unaltered
from memdetect.judging.outcome import Verdict
from memdetect.judging.reading import read_runs
from memdetect.judging.rows import Reader
from memdetect.judging.screen_recall import Found, Recall, asked_of
from memdetect.judging.screened import screen_rows
from memdetect.judging.search_rules import useless
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.policy import Policy
from memdetect.runs.records import FINDINGS, Measurement, Outcome
from memdetect.runs.screen import FOLDER


@dataclass(frozen=True, slots=True)
class Known:
    """Prompts that a screen should keep, and how that is known.

    wanted: id -> prompt. outcomes: id -> what the full scan found of it, {} = they are said to be memorized. about: how
    it is known, in words. finds: the outcomes that could be found. full: the header of the full scan, None = no scan.
    """

    wanted: Mapping[str, str]
    about: str
    finds: Sequence[Outcome] = FINDINGS[:3]
    outcomes: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    full: Header | None = None

    @property
    def undecided(self) -> int:
        """How many prompts the full scan could not decide."""
        return sum(outcome == "inconclusive" for outcome in self.outcomes.values())


def measured_recall(folder: Path, known: Known) -> Recall:
    """What the screen of a run keeps of the prompts that it should keep.

    Raises MemdetectError for a run that was not screened, for no prompts, and for one that the run does not hold.
    """
    wanted, about, full = known.wanted, known.about, known.full
    header = RunFolder(folder).header()
    screen = header.screen
    if screen is None:
        raise MemdetectError(f"{folder} was not screened; give a folder that scan --screen made")
    if len(wanted) == known.undecided:
        raise MemdetectError(f"no prompt is {about}, so that nothing can be measured; give a run that holds some")
    home = RunFolder(folder / FOLDER)
    made = home.header()
    unaltered(home)
    chosen = set(screen.positions)
    rows = {row.id: row for row in screen_rows(folder) if row.id in wanted}
    if lost := next((name for name, prompt in wanted.items() if name not in rows or rows[name].prompt != prompt), ""):
        raise MemdetectError(
            f"{lost}, which is {about}, is no prompt of {folder}; screen a list that holds all of them"
        )
    if full and (different := _of_another(header, full)):
        raise MemdetectError(f"the two runs are of another {different}; scan with the same model and settings")
    asked = asked_of(header, made)
    return Recall(
        memdetect=__version__,
        about=about,
        share=screen.share,
        p=screen.p,
        detectors=screen.detectors,
        screen=asked.screen or made.plan.settings,
        screen_seeds=screen.num_seeds,
        full=asked.full,
        full_seeds=asked.full_seeds,
        cutoffs=screen.cutoffs,
        calibration=screen.calibration,
        finds=tuple(known.finds),
        deciding=full.plan.deciding if full and "suspicious" in known.finds else (),
        found=tuple(_found(rows.values(), made.plan, chosen, known.outcomes)),
    )


def _of_another(header: Header, full: Header) -> str:
    """In which setting a full scan differs from that of a screened run."""
    if different := full.plan.settings.difference(header.plan.settings):
        name, theirs, ours = different
        return f"{name} ({theirs!r:.60}, the screened one {ours!r:.60})"
    theirs, ours = full.plan.num_seeds, header.plan.num_seeds
    return "" if theirs == ours else f"number of images a prompt ({theirs}, the screened one {ours})"


def _found(
    rows: Iterable[Measurement], plan: Plan, chosen: set[int], outcomes: Mapping[str, Outcome]
) -> Iterator[Found]:
    reader = Reader(plan)
    for row in sorted(rows, key=lambda row: row.index):
        scores = {name: reader.score(name, row.scores.get(name)) for name in plan.detectors}
        yield Found(
            family=family_key(row.meta, row.prompt),
            kind=kind_of(row.meta),
            scores=scores,
            kept=row.index in chosen,
            outcome=outcomes.get(row.id, ""),
        )


def labelled(folder: Path, groups: Sequence[str]) -> dict[str, str]:
    """The prompts, by id, of a screened run that are of these groups, by their column `group`.

    Raises MemdetectError for a group that no prompt is of.
    """
    found: dict[str, str] = {}
    seen = set[str]()
    for row in screen_rows(folder):
        group = str(row.meta.get("group", ""))
        seen.add(group)
        if group in groups:
            found[row.id] = row.prompt or ""
    if lost := next((group for group in groups if group not in seen), ""):
        have = ", ".join(sorted(seen - {""})) or "none"
        raise MemdetectError(f"no prompt of {folder} is of group {lost!r}; it has: {have}")
    return found


def findings_of(folder: Path) -> Known:
    """What a full scan finds by its own policy, and what it could not decide.

    Where it could not find what is suspicious, for lack of clean scores say, it is judged for copies alone. Raises
    MemdetectError for a run that was screened itself, is not complete or was altered, or can find nothing.
    """
    found = read_runs([folder])
    if found.header.screen:
        raise MemdetectError(f"{folder} was screened itself; give a scan of the same prompts without --screen")
    why = ""
    for fail_on in _asked(found.policies[0]):
        policy = found.policies[0].model_copy(update={"fail_on": fail_on})
        beside = Beside(altered=found.altered)
        results, verdict = judge_with(found.header, found.rows, found.calibration, policy, beside)
        if not verdict.complete:
            raise MemdetectError(f"{folder} is not complete; run the same scan again to resume")
        if broken := next((rule.reason for rule in verdict.rules if rule.name == "integrity"), ""):
            raise MemdetectError(f"{folder}: {broken}")
        blind = _blind(found.header, verdict, policy)
        why = why or blind.get(fail_on, "")
        if fail_on not in blind:
            finds: list[Outcome] = [name for name in policy.failing if name not in blind]
            told = {row.id: row for row in results if row.outcome in (*policy.failing, "inconclusive")}
            prompts = {name: row.prompt or "" for name, row in told.items()}
            outcomes: dict[str, Outcome] = {name: row.outcome for name, row in told.items()}
            return Known(prompts, f"found by {folder}, or not decided", finds, outcomes, found.header)
    raise MemdetectError(f"{folder} could find nothing that a screen should keep: {why}; give a scan that can")


def _asked(policy: Policy) -> Sequence[Literal["copy", "partial-copy", "suspicious"]]:
    """What a run's policy fails on, the weakest first; where it fails on none, as by default."""
    kinds: Sequence[Literal["copy", "partial-copy", "suspicious"]] = ("suspicious", "partial-copy", "copy")
    return kinds if policy.fail_on == "none" else kinds[kinds.index(policy.fail_on) :]


def _blind(header: Header, verdict: Verdict, policy: Policy) -> dict[str, str]:
    """The outcomes that a full scan could not find, each with the reason."""
    said = {rule.name: rule.reason for rule in verdict.rules if rule.outcome == "inconclusive"}
    index = useless(header.index, policy) if header.index else "no training images were searched"
    reasons = {
        "copy": index,
        "partial-copy": index or said.get("parts", ""),
        "suspicious": said.get("calibration", "") or said.get("shift", ""),
    }
    return {name: reason for name, reason in reasons.items() if reason}
