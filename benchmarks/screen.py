"""A screen over a full scan: passes, time and peak memory, and what it keeps of what a full scan finds.

    python benchmarks/screen.py --only cost
    python benchmarks/screen.py --only memory
    python benchmarks/screen.py --only recall --full runs/labelled --mixed mixed.jsonl

cost: the screen's own run over the full scan at `--steps`, of the same prompts on one machine, in turn; passes are
counted as the denoiser runs. memory: screens of N and 4 N prompts. recall: `--full` is a finished scan of labelled
prompts, `--mixed` a list that holds them among others; one screen measures all detectors, and each is asked what it
keeps.
"""

import argparse
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from scan import PROMPTS, peak_memory, write_prompts
from startup import compare

from memdetect.adapters import load
from memdetect.detectors import find
from memdetect.inputs.options import Lookup, Sampling, Screening
from memdetect.inputs.prompts import read
from memdetect.inputs.wording import family_key
from memdetect.judging.recall_making import findings_of
from memdetect.judging.screened import screen_rows, strongest
from memdetect.judging.statistics.beta import interval
from memdetect.runs.folder import RunFolder
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement
from memdetect.runs.screen import FOLDER
from memdetect.scanning import Options, Watch, prepare, run_scan
from memdetect.scanning.costs import Effort, levels_in
from memdetect.scanning.earlier import Earlier
from memdetect.scanning.screening import screened, screener_of

BAR = 0.1  # of a full scan of 50 steps
DETECTORS = ("sharpness", "agreement", "noise-gap", "dcs")
SHARES = (0.02, 0.05, 0.1, 0.2)


def options_of(given: argparse.Namespace, steps: int | None, detectors: Sequence[str], **more: Any) -> Options:
    """A scan that searches no index, screened by these detectors."""
    sampling = Sampling(steps=steps, batch_size=given.batch)
    screening = Screening(screen=given.share, screen_detectors=tuple(detectors))
    return Options(sampling=sampling, lookup=Lookup(search=False), screening=screening, save_images=False, **more)


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Rows that go through the denoiser in the body: passes of single images."""
    rows = [0]

    def count(_module: Any, args: Any, kwargs: Any) -> None:
        rows[0] += len(args[0] if args else kwargs.get("sample", kwargs.get("hidden_states")))

    handle = model.denoiser.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def screen_alone(model: Any, file: Path, out: Path, options: Options) -> None:
    """The screen's own run of the prompts in a file, and its choice."""
    requests, bench = read([file]), prepare(model, options)
    made = screener_of(bench, requests, None)
    assert made is not None
    screened(requests, made, Earlier(out, Watch()))


def cost(given: argparse.Namespace, folder: Path) -> bool:
    """The screen over a full scan at `--steps`, in passes and in processor time, for each detector."""
    model = load(given.model)
    write_prompts(folder / "prompts.jsonl", given.prompts)
    met = True
    for name in given.detectors:
        options = options_of(given, given.steps, [name])

        def screen(options: Options = options) -> None:
            shutil.rmtree(folder / "screen", ignore_errors=True)
            screen_alone(model, folder / "prompts.jsonl", folder / "screen", options)

        def full(options: Options = options) -> None:
            shutil.rmtree(folder / "full", ignore_errors=True)
            run_scan(read([folder / "prompts.jsonl"]), model, folder / "full", replace(options, screening=Screening()))

        passes: list[int] = []
        for work in (screen, full):
            with counted(model) as rows:
                work()
            passes.append(rows[0])
        ratio = compare(screen, full, given.rounds, time.process_time)
        print(f"{name}: {passes[0] // given.prompts} passes a prompt of {passes[1] // given.prompts}, ", end="")
        print(f"{passes[0] / passes[1]:.4f} (bar {BAR}: {'met' if passes[0] <= BAR * passes[1] else 'missed'})")
        print(ratio.report(f"{name}: screen over a full scan of {given.steps} steps, processor time", BAR))
        met = met and passes[0] <= BAR * passes[1] and ratio.median <= BAR
    return met


def recall(given: argparse.Namespace, folder: Path) -> None:
    """For each detector its passes, and the share of families of findings that it keeps, at several shares."""
    model, out = load(given.model), given.kept or folder / "run"
    known = findings_of(given.full)
    header, wanted = known.full, [name for name, outcome in known.outcomes.items() if outcome != "inconclusive"]
    assert header is not None
    options = options_of(given, None, given.detectors)
    screen_alone(model, given.mixed, out, options)
    plan = RunFolder(out / FOLDER).header().plan
    rows = {row.id: row for row in screen_rows(out) if row.id in wanted}
    if len(rows) < len(wanted):
        raise SystemExit(f"{given.mixed} lacks {len(wanted) - len(rows)} of the findings of {given.full}")
    families = {name: family_key(row.meta, row.prompt) for name, row in rows.items()}
    levels = levels_in(model.folder, plan.steps)
    whole = header.plan.num_seeds * 2 * header.plan.steps
    print(f"{len(wanted)} findings in {len(set(families.values()))} families, among {sum(1 for _ in screen_rows(out))}")
    for names in [*([name] for name in given.detectors), given.detectors[:2]]:
        effort = Effort(find(names), plan.steps, plan.guidance_scale, kept=False, levels=levels)
        print(f"{' + '.join(names)}: {effort.passes * plan.num_seeds} passes of {whole}")
        own = cut(plan, names)
        for share in SHARES:
            listed = set(strongest(screen_rows(out), own, share).positions)
            others = strongest((row for row in screen_rows(out) if row.id not in wanted), own, share).cutoffs
            above = {row.index for row in rows.values() if any(_score(row, n) >= cut for n, cut in others.items())}
            print(f"  share {share:g} of the list: {_kept(rows, families, listed)}; ", end="")
            print(f"cut where {share:g} of the other prompts lie above: {_kept(rows, families, above)}")


def _score(row: Measurement, name: str) -> float:
    """A prompt's score; what has none is chosen."""
    found = row.scores[name].score
    return math.inf if found is None else found


def _kept(rows: Mapping[str, Measurement], families: Mapping[str, str], chosen: Container[int]) -> str:
    """How many families are chosen with all their prompts, with the exact 95 % interval."""
    kept: dict[str, bool] = {}
    for name, row in rows.items():
        kept[families[name]] = kept.get(families[name], True) and row.index in chosen
    low, high = interval(sum(kept.values()), len(kept))
    return f"{sum(kept.values())} of {len(kept)} families [{low:.3f}, {high:.3f}]"


def cut(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan of some of its detectors."""
    readings = {name: plan.readings[name] for name in names}
    return plan.model_copy(update={"detectors": tuple(names), "readings": readings, "combine": ()})


def alone(given: argparse.Namespace, folder: Path) -> None:
    """Screen and print the peak memory; the body of a process of its own."""
    write_prompts(folder / "prompts.jsonl", given.prompts)
    screen_alone(load(given.model), folder / "prompts.jsonl", folder / "run", options_of(given, None, given.detectors))
    print(peak_memory())


def memory(given: argparse.Namespace) -> None:
    """Print the peak memory of screens of N and 4 N prompts, each in a process of its own."""
    largest: dict[int, list[float]] = {given.prompts: [], 4 * given.prompts: []}
    for _ in range(given.rounds):
        for count, found in largest.items():
            command = [sys.executable, __file__, "--alone", "--model", given.model, "--prompts", str(count)]
            command += ["--batch", str(given.batch), "--share", str(given.share), "--detector", given.detectors[0]]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(float(done.stdout.split()[-1]))
    few, many = (statistics.median(found) for found in largest.values())
    added = f"{(many - few) * 2**20 / (3 * given.prompts):.0f} bytes a prompt"
    print(f"peak memory of a screen of {4 * given.prompts} over {given.prompts} prompts: {many / few:.3f} ({added})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison or all; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["cost", "memory", "recall"], help="one comparison")
    parser.add_argument("--model", default="emoji-scenes", help="bundled name or folder")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--steps", type=int, default=50, help="of the full scan")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--detector", dest="detectors", action="append", help="repeatable; default: all four")
    parser.add_argument("--full", type=Path, help="folder of a finished scan of labelled prompts")
    parser.add_argument("--mixed", type=Path, default=PROMPTS, help="prompts that hold the labelled ones")
    parser.add_argument("--kept", type=Path, help="folder in which the screen is kept, to be used again")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.detectors = given.detectors or list(DETECTORS)
    met = True
    with tempfile.TemporaryDirectory() as folder:
        if given.alone:
            alone(given, Path(folder))
            return 0
        if given.only in (None, "cost"):
            met = cost(given, Path(folder))
        if given.only == "recall" or (given.only is None and given.full):
            recall(given, Path(folder))
    if given.only in (None, "memory"):
        memory(given)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
