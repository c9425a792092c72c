"""scan(): the whole flow, from prompts and a model to a run folder with results."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdetect.adapters import Model, load
from memdetect.calibration import Calibration, read_calibration
from memdetect.errors import Exit, MemdetectError
from memdetect.prompts import Request, Requests, read
from memdetect.records import Header, Result, RunFolder
from memdetect.scanning.measure import Indexed, measure
from memdetect.scanning.plan import Bench, Options, plan, prepare
from memdetect.verdict import Verdict, judge


@dataclass(frozen=True, slots=True)
class Run:
    """A scan on disk: its folder, header, results and verdict. interrupted: stopped early, resumable."""

    folder: Path
    header: Header
    results: list[Result]
    verdict: Verdict
    interrupted: bool = False


def scan(
    inputs: Requests | Sequence[str | Path],
    model: Any,
    out: Path | str,
    options: Options | None = None,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _planned, _note: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Examine prompts and images with a model and keep everything in the run folder `out`.

    inputs: what `prompts.read` takes or gives. model: bundled name, folder, hub id, live pipeline, or a loaded Model.
    The same call again continues where it stopped; `stop` is asked before every batch. Raises MemdetectError.
    """
    options = options or Options()
    requests = inputs if isinstance(inputs, Requests) else read(inputs)
    bench = prepare(load(model), options)
    header = plan(bench, requests)
    calibration = calibration_of(bench.model)
    folder = RunFolder(Path(out))
    with folder.locked():
        header = folder.open(header)
        folder.note("start", device=bench.model.device, batch_size=options.batch_size)
        done = folder.done()
        progress(len(done), len(requests.items), "")
        for shard in _shards(requests.items, done, bench):
            if stop():
                folder.note("interrupted", done=len(done))
                return _close(folder, header, calibration, interrupted=True)
            begun = time.monotonic()
            rows, notes = measure(shard, bench, folder.path / "images")
            folder.write_shard(rows)
            done.update(row.id for row in rows)
            folder.note("shard", first=rows[0].index, items=len(rows), seconds=time.monotonic() - begun, **notes)
            progress(len(done), len(requests.items), _say(notes))
        folder.note("finished", done=len(done))
        return _close(folder, header, calibration)


def _shards(items: Sequence[Request], done: set[str], bench: Bench) -> Iterator[list[Indexed]]:
    """Items not done yet, in unbroken runs of one kind that fill about one batch of images.

    Unbroken, so that the shards in the order of their first items hold all items in the order of the plan.
    """
    size = max(1, bench.options.batch_size // bench.sampler.num_seeds)
    shard: list[Indexed] = []
    for index, request in enumerate(items):
        if request.id in done:
            continue
        if shard and (len(shard) == size or not _follows(shard[-1], index, request)):
            yield shard
            shard = []
        shard.append((index, request))
    if shard:
        yield shard


def _follows(last: Indexed, index: int, request: Request) -> bool:
    return index == last[0] + 1 and (request.image is None) == (last[1].image is None)


def _say(notes: Mapping[str, Any]) -> str:
    halved = notes.get("halved")
    return f"out of memory: batch halved {halved}" if halved else ""


def calibration_of(model: Model) -> Calibration | None:
    """The clean scores shipped beside a model's card."""
    return read_calibration(model.folder / "calibration.json") if model.folder else None


def _close(folder: RunFolder, header: Header, calibration: Calibration | None, *, interrupted: bool = False) -> Run:
    results, verdict = judge(header, folder.measurements(), calibration)
    if not interrupted:
        if verdict.measured != header.planned:
            raise MemdetectError(
                f"{folder.path} holds {verdict.measured} of {header.planned} items; run the same command again",
                Exit.ERROR,
            )
        folder.write_results(results)
    return Run(folder.path, header, results, verdict, interrupted)
