"""The worker that measures shards of one run by their numbers: on one machine, as a rank, or as somebody's actor.

It opens model and index once. A local loop, ranks and engines hand it numbers, and ask for nothing else.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from memdetect.errors import MemdetectError
from memdetect.files import clear_leftovers
from memdetect.inputs.prompts import Request
from memdetect.runs.attempts import Attempts
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement
from memdetect.runs.sharding import Rank, numbered
from memdetect.scanning.measure import Indexed, Sampled, unmeasured

DEATHS = 3  # of a shard before it is cut up, and of a single item before it is given up
ENVIRONMENT = (MemdetectError, OSError)  # no fault of an item: the worker goes on living

Step = Callable[[list[Indexed], Path], Sampled]


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that is open, with everything that its shards are measured with.

    items: all of the run. step: takes some of them through the network; their images go into the folder that it is
    given. lost: the row of an item that cannot be measured, with the reason.
    """

    items: Sequence[Request]
    step: Step
    folder: RunFolder
    header: Header
    lost: Callable[[Indexed, str], Measurement] = unmeasured

    def opened(self) -> "Opened":
        """The run itself: what is open already need not be opened."""
        return self


@runtime_checkable
class Job(Protocol):
    """What a worker is made of; one that is to be sent to another process has to pickle."""

    def opened(self) -> Opened:
        """Open model and index, and the run."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a shard: `made` by this worker, `had` by another, or `failed`, with the reason and the error."""

    number: int
    state: Literal["made", "had", "failed"]
    reason: str = ""
    problem: Exception | None = None
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Worker:
    """Measures shards of a run. One at a time goes through the network; the one before is looked up meanwhile.

    A shard is measured from its beginning, whatever somebody has left of it. Before it, an attempt is noted, and
    removed after it, also where it fails; the attempt of a process that is killed stays. After `DEATHS` of a shard it
    is cut in halves, and what killed again into halves of its own; a single item that killed `DEATHS` workers becomes
    a row that says so.
    """

    def __init__(self, job: Job, rank: Rank | None = None) -> None:
        self._run, self._rank = job.opened(), rank or Rank()
        self.folder, self.sharding = self._run.folder, self._run.header.sharding
        self.attempts = Attempts(self.folder.path / "attempts")
        self._seen = {attempt.name for attempt in self.attempts.held() if attempt.state == "unknown"}
        self._last = time.monotonic()

    def todo(self) -> list[int]:
        """The numbers of the shards that nobody has measured yet."""
        return self.folder.todo(self.sharding)

    def taken(self, number: int) -> bool:
        """Whether a shard is there, or somebody who is not known to be dead is at it."""
        if self.folder.holds(number):
            return True
        return any(a.state != "dead" and _shard_of(a.key) == numbered(number) for a in self.attempts.held())

    def run(self, number: int) -> Outcome:
        """Measure a shard and write it, unless it is there. Raises what is no fault of the settings or the machine."""
        return next(iter([*self.through([number])]))

    def through(self, numbers: Iterable[int]) -> Iterator[Outcome]:
        """Measure shards, and look each up while the next goes through the network; a number is asked for when due.

        Outcomes come in the order of the numbers, one shard late.
        """
        thread = ThreadPoolExecutor(1, "memdetect-keeper")
        waiting: deque[tuple[int, Future[Outcome]]] = deque()
        try:
            for number in numbers:
                waiting.append((number, self._begun(number, thread)))
                while len(waiting) > 1:
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            thread.shutdown(cancel_futures=True)
            for number, _ in waiting:
                self.attempts.end(numbered(number))

    def _begun(self, number: int, thread: ThreadPoolExecutor) -> Future[Outcome]:
        """A shard that went through the network, or needs not to; its future is what is left of it."""
        key = numbered(number)
        if self.folder.holds(number):
            return _done(Outcome(number, "had"))
        try:
            if died := self._died(number, key):
                clear_leftovers(self.folder.pictures(number))
            if died >= DEATHS:
                return _done(self._in_parts(number))
            with self._attempt(key, stays=True):
                shard = self._run.step(self._items(self.sharding.span(number)), self.folder.pictures(number))
        except ENVIRONMENT as problem:
            return _done(_failed(number, problem))
        return thread.submit(self._kept, number, shard)

    def _kept(self, number: int, shard: Sampled) -> Outcome:
        try:
            with self._attempt(numbered(number)):
                return self._written(number, shard.finish(), shard.notes)
        except ENVIRONMENT as problem:
            return _failed(number, problem)

    def _written(self, number: int, rows: Sequence[Measurement], notes: Mapping[str, Any]) -> Outcome:
        now = time.monotonic()
        made = self.folder.write_shard(number, rows, seconds=now - self._last, **notes)
        self._last = now
        self._forget(number)
        return Outcome(number, "made" if made else "had", notes=notes)

    def _in_parts(self, number: int) -> Outcome:
        """A shard that killed its workers, in halves."""
        span = self.sharding.span(number)
        halves = _halves(span) if len(span) > 1 else [span]
        parts = [row for half in halves for row in self._part(number, half)]
        return self._written(number, parts, {"in_parts": True})

    def _part(self, number: int, span: range) -> list[Measurement]:
        """The rows of some items of a shard; what is measured is kept, so that the next death costs none of it."""
        key = f"{numbered(number)}_{span.start}-{span.stop}"
        path = self.folder.part(key)
        if path.exists():
            return list(self.folder.rows_of(path))
        deaths = self._died(number, key)
        if deaths and len(span) > 1:
            return [row for half in _halves(span) for row in self._part(number, half)]
        items = self._items(span)
        if deaths >= DEATHS:
            rows = [self._run.lost(items[0], f"{deaths} processes died while they measured this item alone")]
        else:
            with self._attempt(key):
                rows = self._run.step(items, self.folder.pictures(number)).finish()
        self.folder.write_part(key, rows)
        return rows

    def tidy(self) -> None:
        """Remove what dead workers left of a run of which every shard is there."""
        held = self.attempts.held()
        for key in {_shard_of(attempt.key) for attempt in held}:
            clear_leftovers(self.folder.pictures(int(key)))
            self.folder.forget_parts(key)
        self.attempts.forget([attempt.name for attempt in held])

    def _items(self, span: range) -> list[Indexed]:
        return [(index, self._run.items[index]) for index in span]

    @contextmanager
    def _attempt(self, key: str, *, stays: bool = False) -> Generator[None]:
        """Note who is at it. stays: it goes on after the body. What an item may have caused leaves it, as a death does.

        So an error that nobody foresaw counts as one.
        """
        self.attempts.begin(key)
        try:
            yield
        except ENVIRONMENT:
            self.attempts.end(key)
            raise
        except Exception:
            raise
        except BaseException:
            self.attempts.end(key)
            raise
        if not stays:
            self.attempts.end(key)

    def _died(self, number: int, key: str) -> int:
        """How many workers died at it.

        One of this machine is dead when its process is gone. Of another machine it counts when it was at it already as
        this worker opened the run, and nothing else is left that this worker would measure.
        """
        held = [attempt for attempt in self.attempts.held() if attempt.key == key]
        dead = sum(attempt.state == "dead" for attempt in held)
        gone = sum(attempt.name in self._seen for attempt in held)
        return dead + gone if gone and self._nothing_else(number) else dead

    def _nothing_else(self, number: int) -> bool:
        busy = {_shard_of(attempt.key) for attempt in self.attempts.held(own=True)}
        return all(k == number or numbered(k) in busy for k in self.todo() if self._rank.takes(k))

    def _forget(self, number: int) -> None:
        """Remove what others left of a shard that is there now."""
        key = numbered(number)
        names = [attempt.name for attempt in self.attempts.held() if _shard_of(attempt.key) == key]
        if names:
            self.attempts.forget(names)
            self.folder.forget_parts(key)


def _shard_of(key: str) -> str:
    return key.partition("_")[0]


def _halves(span: range) -> list[range]:
    middle = (span.start + span.stop) // 2
    return [range(span.start, middle), range(middle, span.stop)]


def _failed(number: int, problem: Exception) -> Outcome:
    return Outcome(number, "failed", str(problem), problem)


def _done(outcome: Outcome) -> Future[Outcome]:
    future = Future[Outcome]()
    future.set_result(outcome)
    return future
