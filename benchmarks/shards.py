"""What the protocol of shards costs over measuring a shard, and how much faster two processes are than one.

todo: how long it takes to find what is left to do among very many shards.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from time import process_time
from typing import Any

from scan import write_prompts
from startup import compare

from memdetect import load
from memdetect.inputs.prompts import read
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement
from memdetect.runs.sharding import Sharding
from memdetect.scanning import Options, Sampling, Sharing, header_of, prepare
from memdetect.scanning.loop import opened_with
from memdetect.scanning.measure import Indexed, Sampled
from memdetect.scanning.worker import Opened, Worker

BAR, SPEED_BAR, TODO_BAR = 0.01, 1.7, 1.0


def protocol(given: argparse.Namespace, folder: Path) -> bool:
    """Claim, journal, sync and link of a shard whose rows are ready, over measuring that shard on the model."""
    model = load(given.model)
    write_prompts(folder / "prompts.jsonl", given.items)
    requests = read([folder / "prompts.jsonl"])
    sampling = Sampling(steps=given.steps, num_seeds=given.num_seeds, batch_size=given.batch)
    options = Options(sampling=sampling, sharing=Sharing(shard_size=given.items))
    bench = prepare(model, options)
    run = RunFolder(folder / "run")
    opened = opened_with(bench, requests.items, run, run.open(header_of(bench, requests)))
    shard: list[Indexed] = list(enumerate(requests.items))
    rows: list[Measurement] = []

    def measured() -> None:
        rows[:] = opened.step(shard, run.pictures(0)).finish()

    measured()
    numbers = count()

    def kept() -> None:
        """Each time in a folder of its own, opened beforehand: a shard is written once."""
        outcome = workers[next(numbers)].run(0)
        assert outcome.state == "made"

    def ready(_shard: list[Indexed], _images: Path) -> Sampled:
        return Sampled(lambda: rows, {})

    workers: list[Worker] = []
    for k in range(given.rounds + 2):
        home = RunFolder(folder / f"kept-{k}")
        workers.append(Worker(Opened(requests.items, ready, home, home.open(header_of(bench, requests)))))
    ratio = compare(kept, measured, given.rounds)
    print(f"{model.name}: a shard of {given.items} prompts, {bench.sampler.num_seeds} images each")
    print(ratio.report("the protocol over measuring the shard", BAR))
    return ratio.median <= BAR


def workers(given: argparse.Namespace, folder: Path) -> bool:
    """`scan --workers 1` over `--workers 2`, of one thread each; start and close are within both."""
    write_prompts(folder / "prompts.jsonl", given.prompts)

    def run(number: int) -> None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        command = [sys.executable, "-m", "memdetect", "scan", str(folder / "prompts.jsonl"), "--model", given.model]
        command += [
            "--out",
            str(folder / "run"),
            "--workers",
            str(number),
            "--no-index",
            "--batch-size",
            str(given.batch),
        ]
        command += ["--steps", str(given.steps)] if given.steps else []
        command += ["--num-seeds", str(given.num_seeds)] if given.num_seeds else []
        environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 3):
            raise SystemExit(done.stderr)

    ratio = compare(lambda: run(1), lambda: run(2), given.rounds)
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    met = ratio.median >= SPEED_BAR
    print(f"{ratio.report('one process over two')}; at least {SPEED_BAR}: {'met' if met else 'missed'}")
    print(f"load {load_average:.1f} on {os.cpu_count()} cores: the bar counts where two are idle")
    return met


def todo(given: argparse.Namespace, folder: Path) -> bool:
    """Seconds to find what is left among shards of which every second one is there, in processor time."""
    run = RunFolder(folder / "run")
    (run.path / "shards").mkdir(parents=True)
    for number in range(0, given.shards, 2):
        run.shard(number).touch()
    spent: list[float] = []
    for _ in range(given.rounds):
        begun = process_time()
        left = run.todo(Sharding(given.shards, 1))
        spent.append(process_time() - begun)
        assert left == list(range(1, given.shards, 2))
    print(f"finding what is left of {given.shards} shards takes {max(spent):.3f} s at most; bar {TODO_BAR:g}")
    return max(spent) <= TODO_BAR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison or all; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["protocol", "workers", "todo"], help="one comparison")
    parser.add_argument("--model", default="emoji-scenes", help="bundled name or folder")
    parser.add_argument("--items", type=int, default=64, help="prompts of the shard")
    parser.add_argument("--prompts", type=int, default=512, help="prompts that processes share")
    parser.add_argument("--steps", type=int, help="default: the card's")
    parser.add_argument("--num-seeds", type=int, help="default: the card's")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=100_000, help="of the comparison `todo`")
    given = parser.parse_args(arguments)
    met = True
    for name, compared in (("protocol", protocol), ("workers", workers), ("todo", todo)):
        if given.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                met = compared(given, Path(folder)) and met
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
