"""What a screen keeps, measured: of labelled prompts, or of what a full scan found beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from memdetect import __version__
from memdetect.errors import MemdetectError
from memdetect.inputs.wording import family_key, kind_of
from memdetect.judging.integrity import unaltered
from memdetect.judging.rows import Reader
from memdetect.judging.run import read_run
from memdetect.judging.screen_recall import Found, Recall, asked_of
from memdetect.judging.screened import screen_rows
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.policy import failing
from memdetect.runs.records import Measurement
from memdetect.runs.screen import FOLDER


def measured_recall(folder: Path, wanted: Mapping[str, str], about: str, full: Header | None = None) -> Recall:
    """What the screen of a run keeps of the prompts that it should keep.

    wanted: id -> prompt of those. full: the header of the full scan that found them; None = the run's own settings.
    Raises MemdetectError for a run that was not screened, for no prompts, and for one that the run does not hold.
    """
    header = RunFolder(folder).header()
    screen = header.screen
    if screen is None:
        raise MemdetectError(f"{folder} was not screened; give a folder that scan --screen made")
    if not wanted:
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
        found=tuple(_found(rows.values(), made.plan, chosen)),
    )


def _of_another(header: Header, full: Header) -> str:
    """In which setting a full scan differs from that of a screened run."""
    if different := full.plan.settings.difference(header.plan.settings):
        name, theirs, ours = different
        return f"{name} ({theirs!r:.60}, the screened one {ours!r:.60})"
    theirs, ours = full.plan.num_seeds, header.plan.num_seeds
    return "" if theirs == ours else f"number of images a prompt ({theirs}, the screened one {ours})"


def _found(rows: Iterable[Measurement], plan: Plan, chosen: set[int]) -> Iterator[Found]:
    reader = Reader(plan)
    for row in sorted(rows, key=lambda row: row.index):
        scores = {name: reader.score(name, row.scores.get(name)) for name in plan.detectors}
        family = family_key(row.meta, row.prompt)
        yield Found(family=family, kind=kind_of(row.meta), scores=scores, kept=row.index in chosen)


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


def findings_of(folder: Path) -> tuple[Header, dict[str, str]]:
    """The header of a full scan, and id -> prompt of what it finds by its own policy.

    Raises MemdetectError for a run that was screened itself, or is not complete.
    """
    run = read_run(folder)
    if run.header.screen:
        raise MemdetectError(f"{folder} was screened itself; give a scan of the same prompts without --screen")
    if run.interrupted:
        raise MemdetectError(
            f"{folder} is not complete; run the same scan again to resume, or join it by memdetect merge with the runs "
            "that hold the rest"
        )
    fails = _outcomes(run.header)
    return run.header, {row.id: row.prompt or "" for row in run.results if row.outcome in fails}


def _outcomes(header: Header) -> Sequence[str]:
    """The outcomes that a run's policy fails on; where it fails on none, all that are findings but what is similar."""
    asked = str(header.policy.get("fail_on", "suspicious"))
    return failing("suspicious" if asked == "none" else asked)
