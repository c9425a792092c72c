"""The one sampling loop: shards that are not there yet, one after the other, whoever else is at the run."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.sharding import Rank
from memdetect.scanning.measure import Indexed, Sampled, sampled
from memdetect.scanning.prepare import Bench
from memdetect.scanning.worker import Opened, Worker


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: `progress` is told (done, planned, note), `stop` is asked before every shard."""

    progress: Callable[[int, int, str], None] = lambda _done, _planned, _note: None
    stop: Callable[[], bool] = lambda: False

    def waits(self) -> bool:
        """Whether to go on waiting for another process; a stop ends it as a Ctrl-C does."""
        if self.stop():
            raise KeyboardInterrupt
        return True


def sample_all(items: Sequence[Request], bench: Bench, folder: RunFolder, header: Header, watch: Watch) -> bool:
    """Measure every shard that the folder does not hold; False when it was stopped before the last one.

    The options of the bench say which shards are taken first. What went through the network is kept, also when it was
    stopped. Raises MemdetectError for another class of device than the run was begun on.
    """
    device, size = bench.model.device, bench.sampler.batch_size
    with as_begun(header, device):
        folder.note("start", device=device, batch_size=size, threads=torch.get_num_threads())
        return go_through(opened_with(bench, items, folder, header), watch, Rank(*bench.options.sharing.place))


def opened_with(bench: Bench, items: Sequence[Request], folder: RunFolder, header: Header) -> Opened:
    """An open run whose shards go through the network of a bench."""

    def step(shard: list[Indexed], images: Path) -> Sampled:
        return sampled(shard, bench, images)

    return Opened(items, step, folder, header)


@contextmanager
def as_begun(header: Header, device: str) -> Generator[None]:
    """Compute as the run was begun: on its class of device and, on processors, with its number of threads.

    The last bits of a score depend on both.
    """
    before = torch.get_num_threads()
    compute_as_begun(header, device)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def compute_as_begun(header: Header, device: str) -> None:
    """Have this process compute as the run was begun, from now on. Raises MemdetectError for another device."""
    kind = device.partition(":")[0]
    if header.device and kind != header.device:
        raise MemdetectError(
            f"the run was begun on {header.device}, and this process has {kind}; give --device, or choose another --out"
        )
    if header.threads and header.threads != torch.get_num_threads():
        torch.set_num_threads(header.threads)


def go_through(opened: Opened, watch: Watch, rank: Rank | None = None) -> bool:
    """Have one worker measure what the run lacks, and keep it; False when it was stopped before the last shard.

    When it returns True every shard is there; a rank that does not steal returns False when others are not. Raises the
    error of a shard that failed.
    """
    rank = rank or Rank()
    worker, folder = Worker(opened, rank), opened.folder
    left = set(worker.todo())
    planned = worker.sharding.items
    done = planned - sum(len(worker.sharding.span(k)) for k in left)
    watch.progress(done, planned, folder.journal.torn())
    stopped = False

    def numbers() -> Iterator[int]:
        nonlocal stopped
        for number in in_order(worker, rank):
            if stopped := watch.stop():
                return
            yield number

    for outcome in worker.through(numbers()):
        if outcome.problem:
            raise outcome.problem
        if outcome.number in left:
            left.discard(outcome.number)
            done += len(worker.sharding.span(outcome.number))
        watch.progress(done, planned, _say(outcome.notes))
    whole = not stopped and not worker.todo()
    if whole:
        worker.tidy()
    folder.note("finished" if whole else "interrupted", done=planned if whole else done)
    return whole


def in_order(worker: Worker, rank: Rank) -> Iterator[int]:
    """The shards that are left, as a rank takes them, until none is left.

    First every world-th from its own number on; then, if it steals, what others have left, from the end. One that
    somebody is at comes last, and is measured twice if nothing else is left: whoever is at it may be dead. One that
    does not steal does so with its own share alone.
    """
    given = set[int]()

    def free(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            if number not in given and not worker.taken(number):
                given.add(number)
                yield number

    yield from free(k for k in worker.todo() if rank.owns(k))
    while left := [k for k in worker.todo() if k not in given and rank.takes(k)]:
        before = len(given)
        yield from free(reversed(left))
        if len(given) == before:
            number = left[-1 - rank.rank % len(left)]
            given.add(number)
            yield number


def _say(notes: Mapping[str, Any]) -> str:
    halved = notes.get("halved")
    return f"out of memory: batch halved {halved}" if halved else ""
