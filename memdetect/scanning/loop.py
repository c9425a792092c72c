"""The one sampling loop: items that are not done yet, shard by shard, into a run folder."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memdetect.inputs.prompts import Request
from memdetect.runs.folder import RunFolder
from memdetect.scanning.measure import Indexed, measure
from memdetect.scanning.prepare import Bench


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: `progress` is told (done, planned, note), `stop` is asked before every batch."""

    progress: Callable[[int, int, str], None] = lambda _done, _planned, _note: None
    stop: Callable[[], bool] = lambda: False


def sample_all(items: Sequence[Request], bench: Bench, folder: RunFolder, watch: Watch) -> bool:
    """Measure every item that the folder does not hold; False when it was stopped before the last one."""
    folder.note("start", device=bench.model.device, batch_size=bench.sampler.batch_size)
    done = folder.done()
    watch.progress(len(done), len(items), folder.torn())
    for shard in _shards(items, done, bench):
        if watch.stop():
            folder.note("interrupted", done=len(done))
            return False
        begun = time.monotonic()
        rows, notes = measure(shard, bench, folder.path / "images")
        folder.write_shard(rows, seconds=time.monotonic() - begun, **notes)
        done.update(row.id for row in rows)
        watch.progress(len(done), len(items), _say(notes))
    folder.note("finished", done=len(done))
    return True


def _shards(items: Sequence[Request], done: set[str], bench: Bench) -> Iterator[list[Indexed]]:
    """Items not done yet, in unbroken runs of one kind that fill about one batch of images.

    Unbroken, so that the shards in the order of their first items hold all items in the order of the plan.
    """
    size = max(1, bench.sampler.batch_size // bench.sampler.num_seeds)
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
