"""A run on disk as Python has it, and the verdict on one or several; what `memdetect gate` does, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.inputs.options import File, Judging
from memdetect.judging.outcome import Verdict
from memdetect.judging.reading import Runs, read_runs
from memdetect.judging.reviewing import with_decisions
from memdetect.judging.verdict import Beside
from memdetect.judging.verdict import judge_with as judge_records
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.journal import POLICY_NOTED
from memdetect.runs.mirror import fetched
from memdetect.runs.policy import Policy, read_policy, with_ignored
from memdetect.runs.records import Result
from memdetect.runs.review import read_reviews

MOST_HELD = 10_000  # results that a run in memory has itself, some 10,000 bytes each


@dataclass(frozen=True, slots=True)
class Run:
    """A scan on disk: its folder, header, results and verdict. interrupted: not complete, resumable by the same call.

    results: a record for each item, with `outcome`, `reason`, `score` (what was ranked), `p`, `matches`, `prompt` or
    `image`, and `files`, the images made, within the folder.
    """

    folder: Path
    header: Header
    results: Sequence[Result]
    verdict: Verdict
    interrupted: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """The results as flat rows, for a table: a column for each detector, and the nearest training image."""
        return [_row(row) for row in self.results]


def _row(row: Result) -> dict[str, Any]:
    best = max(row.matches, key=lambda match: (match.copy_found, match.partial_found, match.similarity), default=None)
    return {
        "id": row.id,
        "prompt": row.prompt,
        "image": row.image,
        "outcome": row.outcome,
        "reason": row.reason,
        "score": row.score,
        "p": row.p.get("combined"),
        **{name: score.score for name, score in row.scores.items()},
        "match": best.key if best else None,
        "match_path": best.path if best else None,
        "similarity": best.similarity if best else None,
        "copy": bool(best and best.copy_found),
        "partial_copy": bool(best and best.partial_found and not best.copy_found),
        "agreed": best.agreed if best else None,
    }


def held(results: Sequence[Result]) -> Sequence[Result]:
    """The results themselves, where they are few; of more each is read again from the run when it is asked for."""
    return list(results) if len(results) <= MOST_HELD else results


@dataclass(frozen=True, slots=True)
class Judged:
    """Runs judged as one: what was read, the results, and the verdict by the policy in force."""

    found: Runs
    results: Sequence[Result]
    verdict: Verdict


def judge_folders(folders: Sequence[Path], judging: Judging) -> Judged:
    """Judge runs as one, by the policy of the options, of files around the working folder, or of the runs themselves.

    Raises MemdetectError for what is no run, for runs that differ, for a policy or decisions that cannot be read, and
    for decisions about other pixels.
    """
    given = (Path(file) if file else None for file in (judging.calibration, judging.screen_recall))
    found = read_runs(folders, *given)
    chosen = policy_of(judging, found.policies)
    reviews = read_reviews([Path(file) for file in judging.review])
    results, verdict = judge_records(
        found.header,
        with_decisions(found.rows, reviews, found.homes) if reviews else found.rows,
        found.calibration,
        chosen.policy,
        Beside(altered=found.altered, recall=found.recall),
    )
    notes = (f"judged by {chosen.source}", *verdict.notes)
    return Judged(found, results, replace(verdict, notes=notes, policy_file=chosen.file))


def policy_of(judging: Judging, held: Sequence[Policy] = ()) -> Any:
    """The policy chosen among options, files around the working folder, and those that runs were planned with."""
    return read_policy(judging.limits, Path.cwd(), Path(judging.policy) if judging.policy else None, held)


def judge(runs: Run | File | Sequence[Run | File], *, judging: Judging | None = None) -> Verdict:
    """The verdict on a run, or on several as one, as `memdetect gate` gives it.

    runs: what `scan` or `read_run` returned, or folders. judging: limits, a file of a policy, other clean scores.
    The verdict has `verdict` (pass, fail or inconclusive), `reasons`, `counts` and `claim`. Raises MemdetectError.
    """
    given = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    folders = [fetched(Path(_folder(run))) for run in given]
    if not folders:
        raise MemdetectError("no run is given; name a folder that scan made")
    return judge_folders(folders, judging or Judging()).verdict


def _folder(run: Any) -> Any:
    if isinstance(run, Run):
        return run.folder
    if isinstance(run, str | Path):
        return run
    raise MemdetectError(f"a {type(run).__name__} is no run; give what scan returned, or its folder")


def read_run(folder: File) -> Run:
    """The run in a folder as `scan` returned it, judged by the policy that it was planned with.

    Suppressions are those in force in the working folder.
    """
    home = fetched(Path(folder))
    found = read_runs([home])
    policy = with_ignored(found.policies[0], Path.cwd())
    results, verdict = judge_records(
        found.header, found.rows, found.calibration, policy, Beside(altered=found.altered, recall=found.recall)
    )
    verdict = replace(verdict, policy_file=policy_file(RunFolder(home)))
    return Run(home, found.header, held(results), verdict, interrupted=not verdict.complete)


def policy_file(folder: RunFolder) -> str:
    """The file of the policy that a run was planned with, as its scans noted it; "" = none, or not one and the same."""
    found = {str(event.get("file")) for event in folder.events() if event.get("event") == POLICY_NOTED}
    named = found.pop() if len(found) == 1 else ""
    parts = PurePosixPath(named).parts
    return "" if ".." in parts or PurePosixPath(named).is_absolute() else named
