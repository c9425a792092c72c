"""Shards handed to workers in other processes, in rounds, until all are there or nothing more comes of it.

What an engine says of its workers counts for nothing: a shard was measured when its file is there.
"""

import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from memdetect.errors import Exit, MemdetectError
from memdetect.files import process
from memdetect.scanning.loop import Watch
from memdetect.scanning.worker import ENVIRONMENT, Job, Opened, Worker

POLL = 0.2  # seconds between two questions whether to stop
SILENT = 50  # of these without news, after which it is asked whether anybody can be at it
PATIENCE = 6  # answers in a row that nobody can, before it is given up: a machine may be started anew


@dataclass(frozen=True, slots=True)
class News:
    """What a worker says of a shard: an `Outcome` without its error, and the process that was at it."""

    number: int
    state: str
    reason: str = ""
    process: str = ""


Hand = Callable[[Sequence[int]], Generator[News | None]]  # numbers -> news as it comes, None while there is none


class Taker:
    """A worker in a process of an engine's; it opens the run when it is given its first shard."""

    def __init__(self, job: Job, folder: str) -> None:
        self._job, self._folder = job, folder
        self._worker: Worker | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """What became of the shards with the numbers `item`: a column for each field of `News`."""
        found = [self._run(int(number)) for number in batch["item"]]
        return {key: [row[key] for row in found] for key in found[0]}

    def _run(self, number: int) -> dict[str, Any]:
        row = {"number": number, "process": process()}
        try:
            if self._worker is None:
                os.chdir(self._folder)  # paths are as the scan was told them
                self._worker = Worker(self._job)
            outcome = self._worker.run(number)
        except ENVIRONMENT as problem:
            return {**row, "state": "failed", "reason": str(problem)}
        except Exception as problem:  # what nobody foresaw: the attempt stays, and counts like a death
            return {**row, "state": "failed", "reason": repr(problem)}
        return {**row, "state": outcome.state, "reason": outcome.reason}


def as_it_comes(
    rows: Callable[[], Iterable[Mapping[str, Any]]], room: Callable[[], int] = lambda: 1
) -> Generator[News | None]:
    """News of rows that come when they come; None where none came for a while. An error is the last of the news.

    room: asked now and then for how many workers there is; an engine may wait for ever for machines that are gone.
    """
    come: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()

    def listen() -> None:
        try:
            for row in rows():
                come.put(row)
        except Exception as problem:  # of an engine that gave up
            said = " ".join(str(problem).split())
            come.put({"number": -1, "state": "failed", "reason": f"{type(problem).__name__}: {said:.200}"})
        finally:
            come.put(None)

    threading.Thread(target=listen, daemon=True).start()
    silent = lacking = 0
    while lacking < PATIENCE:
        try:
            row = come.get(timeout=POLL)
        except Empty:
            silent += 1
            yield None
            if silent % SILENT == 0:
                lacking = 0 if room() else lacking + 1
            continue
        if row is None:
            return
        silent = lacking = 0
        yield News(**row)
    yield News(-1, "failed", "no machine of the cluster has room for a worker any more")


@dataclass(slots=True)
class Rounds:
    """A run of which other processes measure the shards.

    Each round hands over what is not there yet. There is another as long as the last one made a shard, or left traces
    of workers that died at one: such a shard is cut up, until the item that kills is a row that says so.
    """

    opened: Opened
    watch: Watch
    _seen: set[str] = field(default_factory=set[str])
    _dead: set[str] = field(default_factory=set[str])

    def go(self, hand: Hand) -> bool:
        """Go through the run; False when it was stopped before the last shard.

        Raises MemdetectError (inconclusive) with the count of the shards that are missing, and what was said last of
        one of them.
        """
        worker = Worker(self.opened)
        reason, before = "", None
        while (left := worker.todo()) and (now := (len(left), *_traces(worker))) != before:
            before, reason = now, self._round(worker, hand, left)
            if reason is None:
                return False
        if left:
            said = f"{len(left)} of {worker.sharding.count} shards are missing{': ' if reason else ''}{reason}"
            raise MemdetectError(f"{said}; run the same command again", Exit.INCONCLUSIVE)
        self.watch.progress(self.opened.header.planned, self.opened.header.planned, "")
        worker.tidy()
        self.opened.folder.note("finished", done=self.opened.header.planned)
        return True

    def _round(self, worker: Worker, hand: Hand, left: Sequence[int]) -> str | None:
        """Hand over what is left; the last reason of a failure, None when it was stopped."""
        spans = {number: len(worker.sharding.span(number)) for number in left}
        reason = ""
        with closing(hand(left)) as found:
            for news in found:
                if self.watch.stop():
                    self._dead = _dead(worker)
                    return None
                if news is None:
                    continue
                self._seen.add(news.process)
                reason = news.reason or reason
                if news.state != "failed":
                    spans.pop(news.number, None)
                done = self.opened.header.planned - sum(spans.values())
                if spans:
                    self.watch.progress(done, self.opened.header.planned, "")
        return reason

    def stopped(self) -> None:
        """Forget who was at a shard as the run was stopped: nobody of them died of it. Called once all are gone."""
        worker = Worker(self.opened)
        held = {attempt.name for attempt in worker.attempts.held()}
        mine = {name for name in held if name.partition(".")[2] in self._seen}
        worker.attempts.forget((mine | _dead(worker)) - self._dead)
        self.opened.folder.note("interrupted")


def _dead(worker: Worker) -> set[str]:
    return {attempt.name for attempt in worker.attempts.held() if attempt.state != "alive"}


def _traces(worker: Worker) -> tuple[set[str], int]:
    """Who died at a shard, and how many parts of shards there are."""
    return _dead(worker), sum(1 for _ in (worker.folder.path / "parts").glob("*.jsonl"))
