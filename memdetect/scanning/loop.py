"""The one sampling loop: items that are not done yet, shard by shard, into a run folder.

While a shard goes through the network, the images of the one before are looked up and kept by a second thread.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from memdetect.inputs.prompts import Request
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement
from memdetect.scanning.measure import Indexed, Sampled, sampled
from memdetect.scanning.prepare import Bench

Kept = tuple[list[Measurement], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: `progress` is told (done, planned, note), `stop` is asked before every batch."""

    progress: Callable[[int, int, str], None] = lambda _done, _planned, _note: None
    stop: Callable[[], bool] = lambda: False


def sample_all(items: Sequence[Request], bench: Bench, folder: RunFolder, watch: Watch) -> bool:
    """Measure every item that the folder does not hold; False when it was stopped before the last one.

    What went through the network is kept, also when it was stopped.
    """
    folder.note("start", device=bench.model.device, batch_size=bench.sampler.batch_size)
    size = max(1, bench.sampler.batch_size // bench.sampler.num_seeds)
    return go_through(items, lambda shard: sampled(shard, bench, folder.path / "images"), size, folder, watch)


def go_through(
    items: Sequence[Request], step: Callable[[list[Indexed]], Sampled], size: int, folder: RunFolder, watch: Watch
) -> bool:
    """Take what the folder does not hold through `step`, at most `size` items at a time, and keep what it gives.

    False when it was stopped before the last one.
    """
    done = folder.done()
    watch.progress(len(done), len(items), folder.torn())
    stopped = False

    def tell(written: Iterable[Kept]) -> None:
        for rows, notes in written:
            done.update(row.id for row in rows)
            watch.progress(len(done), len(items), _say(notes))

    with _Keeper(folder) as keeper:
        for shard in _shards(items, done, size):
            if stopped := watch.stop():
                break
            keeper.take(step(shard))
            tell(keeper.written(waiting=1))
        tell(keeper.written(waiting=0))
    folder.note("interrupted" if stopped else "finished", done=len(done))
    return not stopped


class _Keeper:
    """Finishes shards in a thread of its own, one after the other, and writes them into the run folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.last = folder, time.monotonic()
        self.thread = ThreadPoolExecutor(1, "memdetect-keeper")
        self.pending: deque[Future[Kept]] = deque()

    def __enter__(self) -> "_Keeper":
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(cancel_futures=True)

    def take(self, shard: Sampled) -> None:
        """Have a shard finished and written; `seconds` of the journal are those since the shard before."""
        self.pending.append(self.thread.submit(self._keep, shard))

    def written(self, waiting: int) -> Iterator[Kept]:
        """The rows and notes of shards that are written, until at most so many are waited for."""
        while len(self.pending) > waiting:
            yield self.pending.popleft().result()

    def _keep(self, shard: Sampled) -> Kept:
        rows = shard.finish()
        now = time.monotonic()
        self.folder.write_shard(rows, seconds=now - self.last, **shard.notes)
        self.last = now
        return rows, shard.notes


def _shards(items: Sequence[Request], done: set[str], size: int) -> Iterator[list[Indexed]]:
    """Items not done yet, in unbroken runs of one kind, of at most `size` items.

    Unbroken, so that the shards in the order of their first items hold all items in the order of the plan.
    """
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
