"""Shards handed to a pool of Ray Data's actors, each of which opens the model once. Nothing else knows Ray."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from memdetect.errors import Exit, MemdetectError
from memdetect.scanning.loop import Watch
from memdetect.scanning.rounds import News, Rounds, Taker, as_it_comes
from memdetect.scanning.worker import Job, Opened

LOCAL = "local"  # as an address: a cluster of this machine, for the length of the scan
BLOCKS = 4096  # of numbers, at most: Ray keeps account of each


def through_ray(opened: Opened, job: Job, watch: Watch, address: str, actors: int | None = None) -> bool:
    """Have actors of a Ray cluster measure what a run lacks; False when it was stopped before the last shard.

    job: what each actor opens the run with. address: `local`, `auto`, or that of a cluster. Each actor takes a GPU, or
    as many processors as the run has threads; actors: how many at most, None = as many as there is room for. Raises
    MemdetectError as `Rounds.go` does, without Ray, and for a cluster that does not answer or has no room.
    """
    rounds = Rounds(opened, watch)
    name, amount = ("GPU", 1) if opened.header.device == "cuda" else ("CPU", opened.header.threads or 1)
    with _cluster(address) as ray:
        if not (room := _room(ray, name, amount)):
            raise MemdetectError(
                f"no machine of the Ray cluster has {amount} {name}, which each worker of this run takes; add one to it"
            )
        pool = ray.data.ActorPoolStrategy(size=min(actors or room, room), max_tasks_in_flight_per_actor=1)
        # Of other numbers of restarts and retries Ray hangs at a shard that kills its workers, or gives up all others.
        made = {"compute": pool, "batch_size": 1, "max_restarts": -1, "max_task_retries": 2}
        made[f"num_{name.lower()}s"] = amount

        def hand(numbers: Sequence[int]) -> Generator[News | None]:
            ray.data.DataContext.get_current().max_errored_blocks = len(numbers)  # what is missing is counted here
            given = ray.data.from_items(list(numbers), override_num_blocks=min(len(numbers), BLOCKS))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of the way to give restarts and retries
                answers = given.map_batches(Taker, fn_constructor_args=(job, str(Path.cwd())), **made)
            return as_it_comes(answers.iter_rows, lambda: _room(ray, name, amount))

        done = rounds.go(hand)
    if not done:
        rounds.stopped()
    return done


def _room(ray: Any, name: str, amount: int) -> int:
    """How many actors the machines of the cluster have room for that are alive."""
    return sum(int(node["Resources"].get(name, 0) // amount) for node in ray.nodes() if node["Alive"])


@contextmanager
def _cluster(address: str) -> Generator[Any]:
    """Ray, connected to a cluster; to one of this process's own, if so asked, which ends with the body."""
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else who still listens to a cluster that has ended starts another
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise MemdetectError("--ray needs Ray Data, which is not installed; pip install memdetect[ray]") from None
    try:
        _connect(ray, address)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    own = {"include_dashboard": False} if address == LOCAL else {}
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        with chdir(Path(sys.executable).parent) if own else nullcontext():  # actors import from where Ray was started
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except Exception as problem:  # a bare one where a node is not up in time
        said = " ".join(str(problem).split())
        raise MemdetectError(
            f"no Ray cluster at {address!r}: {said:.160}{'' if own else '; check the address'}", Exit.ERROR
        ) from None
    finally:
        for number, handler in handlers.items():  # which Ray sets to its own
            signal.signal(number, handler)
