"""Close a run from its shards alone, or join runs that machines without a common disk made of one plan. No torch."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from memdetect.errors import Exit, MemdetectError
from memdetect.files import read_regular, sync_folder, write_atomic, write_new
from memdetect.judging.reading import read_runs
from memdetect.judging.run import Judged, policy_file
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.policy import Chosen, with_ignored

OF_A_MACHINE = ("attempts", "parts", ".lock", "results.jsonl", "pairs.png")  # not copied to another folder


def close(run: Path, waiting: Callable[[], bool] = lambda: True, policy: Chosen | None = None) -> Judged:
    """Judge a run of which every shard is there, and write its results.jsonl.

    The results are written row by row, as they are read. waiting: asked while another process opens or closes the run.
    policy: as a scan of the same options has it, None = that of the run's header, from the file that its scans named,
    with the suppressions that are in force in the working folder.
    Raises MemdetectError: inconclusive with the number of shards that are missing, error for one that is damaged.
    """
    folder = RunFolder(run)
    header = folder.header()
    if left := folder.todo(header.sharding):
        raise MemdetectError(missing(run, header, left), Exit.INCONCLUSIVE)
    found = read_runs([run])
    if found.damaged:
        raise MemdetectError(found.damaged[0], Exit.ERROR)
    beside = Beside(altered=found.altered, recall=found.recall)
    chosen = policy or Chosen(with_ignored(found.policies[0], Path.cwd()), "", policy_file(folder))
    results, verdict = judge_with(found.header, found.rows, found.calibration, chosen.policy, beside)
    verdict = replace(verdict, policy_file=chosen.file)
    with folder.locked(waiting):
        folder.write_results(results)
    return Judged(found, results, verdict)


def missing(run: Path, header: Header, left: Sequence[int]) -> str:
    """The line about shards that are not there."""
    count = header.sharding.count
    return (
        f"{len(left)} of {count} shards are missing in {run}, the first is {left[0]}; measure them by the same "
        "command, or merge it with the runs that hold them"
    )


def joined(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Put the shards of runs of one plan together, into the first or into a new folder; returns where they are.

    Of a shard that several hold, that of the first counts. Journals come before images, images before rows. Raises
    MemdetectError (usage) for runs of different plans, policies, clean scores or devices, on processors of different
    numbers of threads, and for a folder that is there.
    """
    headers = [RunFolder(run).header() for run in runs]
    for run, header in zip(runs[1:], headers[1:], strict=True):
        for key, one, other in _facts(headers[0], header):
            if one != other:
                raise MemdetectError(f"{runs[0]} and {run} differ in {key}; only runs of one plan are joined")
    if out is not None:
        if out.exists():
            raise MemdetectError(f"{out} is there already; choose another --out")
        shutil.copytree(runs[0], out, symlinks=True, ignore=shutil.ignore_patterns(*OF_A_MACHINE, ".*.tmp"))
    home = RunFolder(out or runs[0])
    for run in runs[1:]:
        _take(RunFolder(run), home, headers[0])
    return home.path


def _facts(one: Header, other: Header) -> Iterator[tuple[str, str, str]]:
    yield "their plan", one.plan.digest, other.plan.digest
    yield "their policy", one.policy_digest, other.policy_digest
    yield "their clean scores", one.calibration, other.calibration
    chosen = [header.screen.model_dump_json() if header.screen else "" for header in (one, other)]
    yield "what their screen chose", chosen[0], chosen[1]
    if one.device and other.device:
        yield f"their device, {one.device} and {other.device}", one.device, other.device
        if one.device == "cpu" and one.threads and other.threads:
            yield f"their number of threads, {one.threads} and {other.threads}", str(one.threads), str(other.threads)


def _take(source: RunFolder, home: RunFolder, header: Header) -> None:
    """Copy what the home of a run lacks."""
    for path in source.journal.files():
        _take_journal(path, home.journal.folder)
    sync_folder(home.journal.folder)
    lacking = set(home.todo(header.sharding))
    for number in sorted(lacking - set(source.todo(header.sharding))):
        pictures = source.pictures(number)
        for path in sorted(pictures.iterdir()) if pictures.is_dir() else ():
            if not path.name.startswith("."):
                home.pictures(number).mkdir(parents=True, exist_ok=True)
                write_atomic(home.pictures(number) / path.name, read_regular(path))
        write_new(home.shard(number), read_regular(source.shard(number)))


def _take_journal(path: Path, folder: Path) -> None:
    """Copy a journal: in the place of its own beginning, or beside one that a process wrote of another run."""
    own, found = folder / path.name, read_regular(path)
    held = read_regular(own) if own.exists() else b""
    if not found.startswith(held):
        if held.startswith(found):
            return
        own = folder / f"{path.stem}-{hashlib.sha256(found).hexdigest()[:8]}.jsonl"
    write_atomic(own, found)
