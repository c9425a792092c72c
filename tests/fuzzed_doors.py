"""Every file that memdetect reads, damaged many times over; run alone, for it limits its own memory and time.

python tests/fuzzed_doors.py run|index|model COUNT SEED    prints how the cases ended, and those that ended wrongly
"""

import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error", TQDM_DISABLE="1")

import damage

from memdetect.cli import run

MEMORY = 3 * 2**30  # bytes of addresses beyond those that the process has when it begins
SECONDS = 20  # that a case may compute
WAITING = 150  # seconds in all: a busy machine is no failure
Damage = Callable[[bytes, random.Random], bytes]


class Late(BaseException):
    """A case took longer than it may."""


@dataclass
class Door:
    """A file and the commands that read it. after: mends seals around the damaged bytes, so that they are read."""

    name: str
    file: Path
    harm: Damage
    commands: Sequence[Sequence[str]]
    after: Callable[[bytes], bytes] = lambda data: data
    restored: Sequence[Path] = ()


@dataclass
class Outcome:
    """How cases ended, by exit code, and what was wrong with those that ended wrongly."""

    codes: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])


def limited() -> None:
    """Bound the memory of this process."""
    with contextlib.suppress(FileNotFoundError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _late(*_: Any) -> None:
    raise Late


def called(command: Sequence[str]) -> tuple[str, str]:
    """Exit code, or what came instead, and stderr of a command line in this process."""
    said, out = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _late)
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = str(run(list(command)))
    except Late:
        code = f"no end within {SECONDS} s of computing"
    except BaseException as problem:
        code = f"{type(problem).__name__}: {problem}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return code, said.getvalue()


def faults(code: str, said: str) -> str:
    """What is wrong with an end: another code than 0 to 3, or 2 without its one line."""
    lines = [line for line in said.splitlines() if line.startswith("memdetect: ")]
    if code not in ("0", "1", "2", "3"):
        return f"exit {code}: {lines[-1:]}"
    if "Traceback" in said or (code == "2" and len(lines) != 1):
        return f"exit {code} with {len(lines)} lines: {said[-300:]}"
    return ""


def fuzzed(doors: Iterator[Door], count: int, seed: int, only: Sequence[str] = ()) -> dict[str, Outcome]:
    """Damage each door so many times and run its commands in turn."""
    found: dict[str, Outcome] = {}
    for door in doors:
        if only and door.name not in only:
            continue
        outcome = found.setdefault(door.name, Outcome())
        held = {path: path.read_bytes() for path in (door.file, *door.restored)}
        for number in range(count):
            rng = random.Random(f"{door.name} {seed} {number}")
            door.file.write_bytes(door.after(door.harm(held[door.file], rng)))
            command = door.commands[number % len(door.commands)]
            code, said = called(command)
            outcome.codes[code] += 1
            if fault := faults(code, said):
                outcome.wrong.append(f"{door.name} {seed} {number}: {command[0]}: {fault}")
        for path, data in held.items():
            path.write_bytes(data)
    return found


def run_doors(home: Path) -> Iterator[Door]:
    """A run folder, clean scores, policy and suppressions."""
    import numpy as np
    from synthetic_runs import INDEX, calibration, header, row, searched, write_run

    from memdetect.inputs.options import Judging
    from memdetect.judging.run import judge_folders
    from memdetect.runs.folder import RunFolder
    from memdetect.runs.policy import Policy

    clean = calibration(np.random.default_rng(0).normal(size=120).tolist(), tuning=20)
    values = [9.0, 9.0, *np.random.default_rng(1).normal(size=8).tolist()]
    rows = searched(row(i, value, meta={"family": f"f{i}", "n": i}, notes=["x"]) for i, value in enumerate(values))
    facts = {"index": INDEX, "sigmas": {"50": 0.1}, "opening": {"revision": "x"}}
    folder = write_run(home / "run", header(len(rows), clean, Policy(), **facts), rows, clean, shard=4)
    RunFolder(folder).write_results(list(judge_folders([folder], Judging()).results))
    (home / "clean.json").write_text(clean.model_dump_json(), encoding="utf-8")
    (home / "memdetect.toml").write_text(POLICY, encoding="utf-8")
    (home / ".memdetectignore.toml").write_text(IGNORES, encoding="utf-8")
    gate, explain = ["gate", str(folder)], ["explain", str(folder), "i0"]
    forms = [gate, explain, [*gate, "--format", "json"], [*gate, "--format", "md"], [*gate, "--redact"]]
    yield Door("run.json", folder / "run.json", damage.damaged_json, forms)
    yield Door("run.json, sealed", folder / "run.json", damage.damaged_json, forms, _sealed_header)
    yield Door("calibration.json", folder / "calibration.json", damage.damaged_json, forms)
    given = [[*gate, "--calibration", str(home / "clean.json")]]
    yield Door("--calibration", home / "clean.json", damage.damaged_json, given)
    yield Door("shards", folder / "shards/0000000001.jsonl", damage.damaged_lines, forms)
    yield Door("results.jsonl", folder / "results.jsonl", damage.damaged_lines, [explain])
    yield Door("journal", RunFolder(folder).journal.own, damage.damaged_lines, [gate])
    yield Door("memdetect.toml", home / "memdetect.toml", damage.damaged_toml, [gate])
    yield Door("suppressions", home / ".memdetectignore.toml", damage.damaged_toml, [gate])


POLICY = """[policy]
fdr = 0.1
fail-on = "suspicious"
max-rate = 0.2
min-coverage = 0.5
max-undetectable = 0.2
delta = 0.1
level = 0.05
confidence = 0.9
min-recall = 0.5
"""
IGNORES = """[[ignore]]
id = "i0"
outcome = "suspicious"
model = "tiny"
reason = "because"
owner = "me"
expires = 2099-01-01
[[ignore]]
id = "i1"
copy-of = "train-7"
model = "tiny"
reason = "because"
owner = "me"
expires = 2099-01-01
"""


def _sealed_header(data: bytes) -> bytes:
    """The header with its seal and the plan's digest worked out anew, where it still is a header."""
    from memdetect.runs.header import Header

    try:
        made = Header.model_validate_json(json.dumps({**json.loads(data), "seal": ""}))
    except (ValueError, TypeError, RecursionError):
        return data
    return made.model_copy(update={"plan_digest": made.plan.digest}).sealed().model_dump_json(indent=1).encode() + b"\n"


def index_doors(home: Path) -> Iterator[Door]:
    """An index folder; where its manifest is not what is damaged, it is made to fit the damage."""
    import numpy as np
    from PIL import Image

    from memdetect.copies.index import part, recall_check

    part.MOST, recall_check.EACH = 10, 2
    random_ = np.random.default_rng(0)
    (home / "pictures").mkdir()
    for i in range(6):
        pixels = random_.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(home / f"pictures/{i}.png")
    index, one = home / "train.index", str(home / "pictures/0.png")
    built = called(["index", "build", str(home / "pictures"), "--out", str(index), "--embedder", "pdq"])
    assert built[0] == "0", built
    info, verify, match = (
        ["index", "info", str(index)],
        ["index", "verify", str(index)],
        ["match", one, "-i", str(index)],
    )
    manifest = index / "manifest.json"
    whole = manifest.read_bytes()
    yield Door("manifest.json", manifest, damage.damaged_json, [info, verify, match])
    yield Door("manifest.json, sealed", manifest, damage.damaged_json, [info, verify, match], _sealed_manifest)
    for name, harm in (
        ("rows.jsonl", damage.damaged_lines),
        ("nulls.json", damage.damaged_json),
        ("vectors.f16", damage.broken),
    ):

        def fitted(data: bytes, name: str = name) -> bytes:
            held = json.loads(whole)
            held["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest.write_bytes(_sealed_manifest(json.dumps(held).encode()))
            return data

        yield Door(name, index / name, harm, [match], fitted, [manifest])


def _sealed_manifest(data: bytes) -> bytes:
    from memdetect.copies.index.manifest import Manifest

    try:
        made = Manifest.model_validate_json(json.dumps({**json.loads(data), "digest": ""}))
    except (ValueError, TypeError, RecursionError):
        return data
    return made.sealed().text().encode()


CARD = """name = "a"
steps = 2
guidance_scale = 2.5
num_seeds = 2
layers = ["paper"]
timesteps = [100]
combine = ["spikiness"]
dtype = "fp32"
default = "x"
embedder = "pixels"
repo = ""
mirrors = []
"""


def model_doors(home: Path) -> Iterator[Door]:
    """A model's folder: card, index, settings of each part, headers of weights."""
    from tiny_stable import tiny_stable_diffusion

    model, prompts = home / "model", home / "prompts.txt"
    tiny_stable_diffusion(home / "tokenizer").save_pretrained(model)
    (model / "card.toml").write_text(CARD, encoding="utf-8")
    prompts.write_text("a cat\n", encoding="utf-8")
    planned = ["scan", str(prompts), "--model", str(model), "--dry-run"]
    shutil.rmtree(home / "out", ignore_errors=True)
    scan = ["scan", str(prompts), "--model", str(model), "--out", str(home / "out"), "--no-save-images"]

    def afresh(data: bytes) -> bytes:
        shutil.rmtree(home / "out", ignore_errors=True)
        return data

    both = [planned, scan]
    yield Door("card.toml", model / "card.toml", damage.damaged_toml, both, afresh)
    yield Door("model_index.json", model / "model_index.json", damage.damaged_json, both, afresh)
    for part in ("unet/config", "vae/config", "text_encoder/config", "tokenizer/tokenizer_config"):
        yield Door(part, model / f"{part}.json", damage.damaged_json, [scan], afresh)
    yield Door("scheduler", model / "scheduler/scheduler_config.json", damage.damaged_json, both, afresh)
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        yield Door(part, model / f"{part}.safetensors", damage.damaged_safetensors, [scan], afresh)


DOORS = {"run": run_doors, "index": index_doors, "model": model_doors}


def main(kind: str, count: int, seed: int, *only: str) -> dict[str, Outcome]:
    """Fuzz the doors of a kind in a folder of its own."""
    warnings.simplefilter("ignore")
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        doors = DOORS[kind](Path(folder))
        first = next(doors)
        limited()
        found = fuzzed(_chained(first, doors), count, seed, only)
        os.chdir(before)
    return found


def _chained(first: Door, rest: Iterator[Door]) -> Iterator[Door]:
    yield first
    yield from rest


if __name__ == "__main__":
    begun = time.monotonic()
    kind, count, seed, *only = sys.argv[1:]
    made = main(kind, int(count), int(seed), *only)
    told = {name: {"codes": dict(own.codes), "wrong": own.wrong} for name, own in made.items()}
    print(json.dumps({"doors": told, "seconds": round(time.monotonic() - begun, 1)}))
