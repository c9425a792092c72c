"""A run whose items are told apart by their number alone: all of the protocol of shards, and no model."""

import os
import random
import signal
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdetect.inputs.prompts import Request
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan, Reading, inputs_digest
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Score
from memdetect.runs.sharding import Rank, numbered
from memdetect.scanning import measure
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.measure import Indexed, Sampled
from memdetect.scanning.worker import Opened

ITEMS, SIZE = 41, 4
LONG = 120  # seconds after which a process that should have ended is a hang


def requests(items: int = ITEMS) -> tuple[Request, ...]:
    return tuple(Request(f"i{k}", f"prompt {k}", None, "p.txt", k + 1, {}) for k in range(items))


def plan_of(items: int = ITEMS, size: int = SIZE) -> Plan:
    """A plan of such items."""
    return Plan(
        **{"model": "m", "adapter": "StableDiffusionPipeline", "dtype": "fp32", "scheduler": "s", "steps": 1},
        **{"guidance_scale": 1.0, "size": (8, 8), "noise": "n", "num_seeds": 1, "seed": 0},
        inputs=inputs_digest((item.id, item.prompt, None) for item in requests(items)),
        detectors=("spikiness",),
        readings={"spikiness": Reading(places=(("up", "50"),))},
        layers=("up",),
        timesteps=(50,),
        shard_size=size,
    )


def header_of(items: int = ITEMS, size: int = SIZE) -> Header:
    plan = plan_of(items, size)
    facts: dict[str, Any] = {"memdetect": "0", "created": "then", "model": "toy", "versions": {}}
    facts |= {"policy": Policy().model_dump(mode="json"), "policy_digest": Policy().digest}
    return Header(**facts, plan=plan, planned=items, plan_digest=plan.digest)


@dataclass(frozen=True)
class ToyJob:
    """A run in a folder, opened by a worker of its own; `poison`: the item that kills, `slow`: seconds of a shard."""

    out: Path
    items: int = ITEMS
    size: int = SIZE
    poison: int = -1
    slow: float = 0.0

    def opened(self) -> Opened:
        folder = RunFolder(self.out)
        header = folder.open(header_of(self.items, self.size))
        return Opened(requests(self.items), self.step, folder, header)

    def step(self, shard: list[Indexed], images: Path) -> Sampled:
        """A score that has bits of the whole shard in its last places, as a batch's has."""
        time.sleep(self.slow)
        if any(index == self.poison for index, _ in shard):
            os.kill(os.getpid(), signal.SIGKILL)
        noise = sum(index for index, _ in shard) * 1e-9

        def finish() -> list[Measurement]:
            images.mkdir(parents=True, exist_ok=True)
            return [_row(index, request, noise, images) for index, request in shard]

        return Sampled(finish, {"halved": []})


def _row(index: int, request: Request, noise: float, images: Path) -> Measurement:
    name = f"{numbered(index)}-0.png"
    with measure.written(images / name) as temporary:
        temporary.write_bytes(f"picture {index}".encode())
    value = 1.0 + random.Random(index).random() + noise
    scores = {"spikiness": Score(score=value, cells={"up": {"50": [value]}})}
    files = [f"images/{images.name}/{name}"]
    facts: dict[str, Any] = {"id": request.id, "prompt": request.prompt, "source": "p.txt", "line": request.line}
    return Measurement(index=index, seeds=[index], scores=scores, files=files, **facts)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All that is promised to be the same: shards, images and results."""
    kept = sorted(path for part in ("shards", "images") for path in (folder / part).glob("**/*") if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    results = folder / "results.jsonl"
    return found | ({"results.jsonl": results.read_bytes()} if results.exists() else {})


def die_at(point: str) -> None:
    """Have this process kill itself at a named point of the second shard that it writes."""
    from memdetect import files
    from memdetect.runs import folder

    places: dict[str, tuple[Any, str, bool]] = {
        "images": (folder, "write_new", True),  # all images are there, of the row file nothing
        "temporary": (files, "_put", False),
        "link": (os, "link", True),
        "linked": (os, "link", False),
    }
    if not point:
        return
    module, name, before = places[point]
    usual, count = getattr(module, name), [0]

    def fatal(*given: Any) -> Any:
        count[0] += "/shards/" in str(given[0])
        if before and count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        made = usual(*given)
        if count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    setattr(module, name, fatal)


@dataclass(frozen=True)
class Child:
    """A process that takes part in a run; forked, since none of it needs a network."""

    pid: int

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> int:
        """Its code, or minus the signal that ended it. A hang is a failure."""
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        self.kill()
        raise AssertionError("hangs")


def toy(folder: Path, **facts: Any) -> Child:
    """A process that takes part in the run of a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which it does not use
        pid = os.fork()
    if pid:
        return Child(pid)
    code = 4
    try:
        code = main(folder, facts)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main(out: Path, given: dict[str, Any]) -> int:
    """Take part in a run."""
    die_at(given.pop("die", ""))
    if hours := given.pop("clock", 0):
        usual = time.time
        time.time = lambda: usual() + 3600 * hours
    rank = Rank(given.pop("rank", 0), given.pop("world", 1))
    go_through(ToyJob(out, **given).opened(), Watch(), rank)
    return 0
