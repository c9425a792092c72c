"""Run a function over rows in batches; a batch that does not fit in memory is halved, and only that one."""

import gc
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from memdetect.errors import Exit, MemdetectError

T = TypeVar("T")
_NO_MEMORY = ("can't allocate memory", "out of memory", "DefaultCPUAllocator")


@dataclass(slots=True)
class Batching:
    """How many rows go through the network at once; `halved` keeps (size that failed, size that took its place)."""

    size: int
    halved: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def __post_init__(self) -> None:
        if self.size < 1:
            raise MemdetectError(f"batch size is {self.size}, expected at least 1")

    def run(self, rows: int, work: Callable[[slice], T]) -> Iterator[T]:
        """Yield `work(slice)` for consecutive slices of `rows`; out of memory at a single row is a MemdetectError."""
        start = 0
        while start < rows:
            size = min(self.size, rows - start)
            while (done := self._attempt(work, slice(start, start + size))) is None:
                if size == 1:
                    raise MemdetectError("out of memory at batch size 1; use a smaller image or dtype", Exit.ERROR)
                self.halved.append((size, size // 2))
                size //= 2
            yield done[0]
            start += size

    @staticmethod
    def _attempt(work: Callable[[slice], T], rows: slice) -> tuple[T] | None:
        try:
            return (work(rows),)
        except (torch.OutOfMemoryError, RuntimeError) as problem:
            if not (isinstance(problem, torch.OutOfMemoryError) or any(s in str(problem) for s in _NO_MEMORY)):
                raise
        # The handler is left first: its traceback holds the tensors that have to go.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def seed_of(run_seed: int, item: str, k: int, purpose: str = "image") -> int:
    """Seed of the k-th draw for an item: 63 bits of sha256, so that it depends on nothing else in the run."""
    digest = hashlib.sha256(f"{run_seed}|{item}|{k}|{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
