"""How long `memdetect gate` takes on 10,000 records, over the start of a Typer program that reads the same file.

memory: processor time over that of parsing the records, and what each of them adds to the most memory.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from startup import compare

from memdetect.files import write_atomic
from memdetect.inputs.wording import text_key
from memdetect.judging.calibration import Calibration, Item
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan, Reading, inputs_digest
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Score

BAR = 3.0
READER = """\
from pathlib import Path

import typer

app = typer.Typer()


@app.command()
def read(folder: Path) -> None:
    for shard in sorted(folder.glob("shards/*.jsonl")):
        for line in shard.read_bytes().splitlines():
            pass


if __name__ == "__main__":
    app()
"""
LAYERS = ("up_blocks.0.resnets.0", "up_blocks.0.resnets.1", "up_blocks.0.resnets.2")
NAMES = ("spikiness", "spikiness-l4")
PLAN = Plan(
    inputs="",
    model="abc",
    adapter="StableDiffusionPipeline",
    dtype="fp32",
    scheduler="DDIMScheduler:abc",
    steps=25,
    guidance_scale=3.0,
    size=(64, 64),
    noise="own for each item",
    num_seeds=4,
    seed=0,
    detectors=NAMES,
    readings={name: Reading(places=tuple((layer, "400") for layer in LAYERS)) for name in NAMES},
    combine=("spikiness",),
    layers=LAYERS,
    timesteps=(400,),
)


def cells(rng: random.Random) -> dict[str, dict[str, list[float]]]:
    """Scores of four seeds at three layers."""
    return {layer: {"400": [rng.gauss(0.25, 0.02) for _ in range(4)]} for layer in LAYERS}


def make_run(folder: Path, records: int, clean: int, shard: int = 64) -> None:
    """Write a finished run of clean prompts, with two detectors, and its calibration."""
    rng = random.Random(0)
    words = [hashlib.sha256(str(i).encode()).hexdigest().translate(str.maketrans("0123456789", "ghijklmnop")) for i in
             range(records + clean)]  # fmt: skip
    kept = [{name: cells(rng) for name in PLAN.detectors} for _ in range(clean)]
    calibration = Calibration(
        settings=PLAN.settings,
        items=tuple(Item(id=w, family=text_key(w), text=text_key(w)) for w in words[records:]),
        scores={
            name: {layer: {"400": [row[name][layer]["400"] for row in kept]} for layer in LAYERS}
            for name in PLAN.detectors
        },
    )
    prompts = [(word[:16], f"a picture of {word[:40]}") for word in words[:records]]
    plan = PLAN.model_copy(update={"inputs": inputs_digest((name, prompt, None) for name, prompt in prompts)})
    header = Header(
        memdetect="0",
        created="",
        model="synthetic",
        versions={},
        plan=plan,
        planned=records,
        sigmas={"400": 1.0},
        policy=Policy().model_dump(mode="json"),
        policy_digest=Policy().digest,
        plan_digest=plan.digest,
        calibration=calibration.cut(PLAN).digest,
    )
    run = RunFolder(folder)
    run.open(header)
    rows: list[Measurement] = []
    for i, (name, prompt) in enumerate(prompts):
        scores = {name: Score(score=0.25, cells=cells(rng)) for name in PLAN.detectors}
        rows.append(Measurement(index=i, id=name, prompt=prompt, source="p", scores=scores))
        if len(rows) == shard or i + 1 == records:
            run.write_shard(i // shard, rows)
            rows = []
    write_atomic(folder / "calibration.json", calibration.cut(PLAN).model_dump_json() + "\n")


PARSER = """\
import json, sys
from pathlib import Path
for shard in sorted(Path(sys.argv[1]).glob("shards/*.jsonl")):
    for line in shard.read_bytes().splitlines():
        json.loads(line)
"""
MEASURED = """
import resource, sys, time
top = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time(), top // (1024 if sys.platform == "darwin" else 1))
"""
GATE = """\
import contextlib, io, sys
from memdetect.cli import run
with contextlib.redirect_stdout(io.StringIO()):
    run(["gate", sys.argv[1]])
"""
LARGEST = 400  # bytes of most memory that a record may add


def taken(program: str, folder: Path) -> tuple[float, int]:
    """Seconds of processor time and most memory in kilobytes of a program on a run, in a process of its own."""
    command = [sys.executable, "-c", program + MEASURED, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, top = done.stdout.split()[-2:]
    return float(seconds), int(top)


def memory(folder: Path, records: int, clean: int) -> float:
    """Print what a gate on `records` takes beside parsing them; bytes that each record adds to its memory.

    By the difference to a fifth of them.
    """
    tops = []
    for count in (records // 5, records):
        run = folder / str(count)
        subprocess.run([sys.executable, __file__, "--make", str(run), "--records", str(count), "--clean", str(clean)])
        (seconds, top), (parsed, _) = taken(GATE, run), taken(PARSER, run)
        tops.append(top)
        print(
            f"gate on {count} records: {seconds:.1f} s of processor time, {seconds / parsed:.1f} times parsing; "
            f"most memory {top / 1024:.0f} MB"
        )
    each = 1024 * (tops[1] - tops[0]) / (records - records // 5)
    print(f"a record adds {each:.0f} bytes to the most memory, at most {LARGEST}")
    return each


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the two; 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--clean", type=int, default=2_400)
    parser.add_argument("--only", choices=("time", "memory"), default="time")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.make:
        make_run(given.make, given.records, given.clean)
        return 0
    if given.only == "memory":
        with tempfile.TemporaryDirectory() as folder:
            return int(memory(Path(folder), given.records, given.clean) > LARGEST)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "reader.py").write_text(READER, encoding="utf-8")
        make_run(path / "run", given.records, given.clean)

        def call(*command: str) -> None:
            done = subprocess.run([sys.executable, *command], env=env, cwd=folder, check=False, capture_output=True)
            if done.returncode not in (0, 1, 3):
                raise SystemExit(done.stderr.decode())

        ratio = compare(lambda: call("-m", "memdetect", "gate", "run"), lambda: call("reader.py", "run"), given.rounds)
    print(ratio.report(f"gate on {given.records} records over a Typer program that reads them", BAR))
    return int(ratio.median > BAR)


if __name__ == "__main__":
    sys.exit(main())
