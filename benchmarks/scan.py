"""What a scan costs over bare sampling, what looking its images up adds, and whether memory grows with the prompts."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from startup import compare, compare_by

from memdetect import load, scan
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import build_index
from memdetect.detectors import find
from memdetect.detectors.bank import bank_file, read_bank
from memdetect.detectors.choice import with_bank
from memdetect.detectors.spikiness import SPIKINESS
from memdetect.probing import Probe, Sampler, probe_prompts
from memdetect.probing.needs import EARLY
from memdetect.scanning import Lookup, Sampling
from memdetect.scanning.scoring import scores_in

BAR = 1.05
FIRST_BAR, SCORING_BAR = 1.10, 0.01
FIRST_STEPS = ("specificity", "agreement", "sharpness", "noise-gap", "dcs", "trajectory")
LOOKUP_BAR = 1.03
PROMPTS = Path(__file__).parents[1] / "sample_prompts" / "clean-calibration.jsonl"
SCENES = 700


def write_prompts(path: Path, count: int) -> list[tuple[str, str]]:
    """A prompt file of `count` different clean captions; returns (id, prompt) of its rows."""
    captions = dict.fromkeys(json.loads(line)["prompt"] for line in PROMPTS.read_text(encoding="utf-8").splitlines())
    if count > len(captions):
        raise SystemExit(f"{PROMPTS.name} has {len(captions)} different prompts, not {count}")
    rows = [(f"p{i:05d}", text) for i, text in enumerate(islice(captions, count))]
    path.write_text("".join(json.dumps({"id": i, "prompt": p}) + "\n" for i, p in rows), encoding="utf-8")
    return rows


def options(given: argparse.Namespace) -> Sampling:
    """The scan's settings; None = the model's card decides."""
    return Sampling(steps=given.steps, num_seeds=given.num_seeds, batch_size=given.batch)


def sample(model: Any, rows: Sequence[tuple[str, str]], sampler: Sampler, batch: int) -> list[Image.Image]:
    """The same images as the scan's, in the same batches, by the bare pipeline."""
    jobs = [(prompt, seed) for name, prompt in rows for seed in sampler.seeds(name)]
    size = max(1, batch // sampler.num_seeds) * sampler.num_seeds
    images: list[Image.Image] = []
    for chunk in (jobs[i : i + size] for i in range(0, len(jobs), size)):
        for part in (chunk[i : i + batch] for i in range(0, len(chunk), batch)):
            images += sample_jobs(model, part, sampler)
    return images


def sample_jobs(model: Any, part: Sequence[tuple[str, int]], sampler: Sampler) -> list[Image.Image]:
    """One batch of (prompt, seed) by the bare pipeline."""
    return model.pipe(
        prompt=[prompt for prompt, _ in part],
        generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in part],
        num_inference_steps=sampler.steps,
        guidance_scale=sampler.guidance_scale,
        output_type="pil",
    ).images


def overhead(given: argparse.Namespace, folder: Path) -> bool:
    """`scan` over the bare pipeline: same prompts, seeds, steps and batches."""
    model = load(given.model)
    sampler = Sampler.of(model, steps=given.steps, num_seeds=given.num_seeds)
    rows, out = write_prompts(folder / "prompts.jsonl", given.prompts), folder / "run"

    def whole_scan() -> None:
        shutil.rmtree(out, ignore_errors=True)
        scan(model, files=[folder / "prompts.jsonl"], out=out, sampling=options(given))

    def bare() -> list[Image.Image]:
        return sample(model, rows, sampler, given.batch)

    whole_scan()
    kept = sorted((out / "images").glob("*/*.png"))
    pairs = zip(kept, bare(), strict=True)
    worst = max(float(np.abs(np.asarray(Image.open(a), np.int16) - np.asarray(b, np.int16)).mean()) for a, b in pairs)
    if worst > 1:
        raise SystemExit(f"the two do not make the same images: they differ by {worst:.1f} grey levels")

    print(f"{model.name} on {model.device}, {model.dtype}: {given.prompts} prompts, {sampler.num_seeds} images each,")
    print(f"{sampler.steps} steps, batch {given.batch}")
    ratio = compare(whole_scan, bare, given.rounds)
    print(ratio.report("scan over the bare pipeline", BAR))
    return ratio.median <= BAR


class _Enough(BaseException):
    """Ends a bare run once it has made the passes that the detectors need."""


def first_steps(given: argparse.Namespace) -> bool:
    """Detectors of the first steps over the bare passes that they need, in processor time; and the share of scoring.

    Beside it, how many prompts can be measured so for what one with its images and spikiness costs.
    """
    model = load(given.model)
    sampler = Sampler.of(model, steps=given.steps, num_seeds=given.num_seeds, batch_size=given.batch)
    bank = read_bank(bank_file(model.folder / "calibration.json"))
    detectors = with_bank([d for d in find(FIRST_STEPS) if bank or not d.banked], bank)
    probe = Probe.at(model, detectors=detectors, call=sampler.call)
    captions = [json.loads(line)["prompt"] for line in PROMPTS.read_text("utf-8").splitlines()[: given.prompts]]
    rows = [(f"p{i:05d}", text) for i, text in enumerate(captions)]
    spent = [0.0, 0.0]

    def probed(at: Probe = probe, *, images: bool = False) -> Any:
        size, begun = max(1, given.batch // sampler.num_seeds), time.process_time()
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            trace = probe_prompts(
                model, [p for _, p in some], ids=[i for i, _ in some], sampler=sampler, probe=at, images=images
            )
            if not images:
                scoring = time.process_time()
                scores_in(trace, detectors)
                spent[1] += time.process_time() - scoring
        spent[0] += 0 if images else time.process_time() - begun
        return trace

    steps = next(i + 1 for i, sigma in enumerate(probed().run_sigmas) if sigma <= EARLY)
    ratio = compare(
        probed, lambda: bare_passes(model, rows, sampler, given.batch, steps), given.rounds, time.process_time
    )
    print(ratio.report(f"{len(detectors)} detectors of the first {steps} steps over the bare passes", FIRST_BAR))
    whole = Probe.at(model, detectors=(*detectors, SPIKINESS), call=sampler.call)
    full = compare(lambda: probed(whole, images=True), probed, given.rounds, time.process_time)
    print(f"a whole run with spikiness costs {full.median:.2f} times the first steps: 2,400 cost what")
    print(f"{2400 * full.median:,.0f} first steps do")
    share = spent[1] / spent[0]
    print(f"scoring: {share:.4f} of the time (bar {SCORING_BAR}: {'met' if share <= SCORING_BAR else 'missed'})")
    return ratio.median <= FIRST_BAR and share <= SCORING_BAR


def bare_passes(model: Any, rows: Sequence[tuple[str, str]], sampler: Sampler, batch: int, steps: int) -> None:
    """The first steps of the bare pipeline's own run, in the same batches."""
    calls = [0]

    def enough(*_: Any) -> None:
        calls[0] += 1
        if calls[0] % steps == 0:
            raise _Enough

    handle = model.denoiser.register_forward_hook(enough)
    try:
        jobs = [(prompt, seed) for name, prompt in rows for seed in sampler.seeds(name)]
        for start in range(0, len(jobs), batch):
            with suppress(_Enough):
                sample_jobs(model, jobs[start : start + batch], sampler)
    finally:
        handle.remove()


def paint_scenes(folder: Path) -> Path:
    """Fresh scenes of the bundled world in a new folder, whose pictures are fetched (extra `lab`)."""
    from memdetect.lab.world.recipe import find_world
    from memdetect.lab.world.scenes import paint

    world, stock = find_world()
    folder.mkdir()
    for k, scene in enumerate(islice(world.stream(), SCENES)):
        Image.fromarray(paint(scene, stock.pictures)).save(folder / f"{k:04d}.png")
    return folder


def lookup(given: argparse.Namespace, folder: Path) -> bool:
    """A scan that looks every image up in an index over the same scan without, in time and in processor time.

    What opening and verifying the index costs is within the scan's time. Images are looked up while others are made:
    the bar is for the time that passes, and counts only where another processor is idle.
    """
    embedder = load_embedder(given.embedder, folder=given.embedder_folder)
    build_index([given.images or paint_scenes(folder / "images")], embedder, folder / "train.index")
    if given.embedder_folder:
        shutil.copytree(given.embedder_folder / "embedder", folder / "embedder")
    model = load(given.model)
    write_prompts(folder / "prompts.jsonl", given.prompts)
    plain = options(given)

    def run(name: str, chosen: Lookup) -> None:
        shutil.rmtree(folder / name, ignore_errors=True)
        scan(model, files=[folder / "prompts.jsonl"], out=folder / name, sampling=plain, lookup=chosen)

    searched, alone = Lookup(index=folder / "train.index"), Lookup(search=False)
    run("searched", searched)
    what = f"scan with an index ({given.embedder}) over the same without"
    clocks = (time.process_time, time.perf_counter)
    busy, passed = compare_by(clocks, lambda: run("searched", searched), lambda: run("alone", alone), given.rounds)
    print(busy.report(f"{what}, processor time"))
    print(passed.report(what, LOOKUP_BAR))
    return passed.median <= LOOKUP_BAR


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def scan_alone(given: argparse.Namespace, folder: Path) -> None:
    """Scan and print the peak memory; the body of a process of its own."""
    write_prompts(folder / "prompts.jsonl", given.prompts)
    scan(given.model, files=[folder / "prompts.jsonl"], out=folder / "run", sampling=options(given))
    print(peak_memory())


def memory(given: argparse.Namespace) -> None:
    """Print the peak memory of scans of N and 4 N prompts, each in a process of its own, taken in turn."""
    peaks: dict[int, list[float]] = {given.prompts: [], 4 * given.prompts: []}
    for _ in range(given.memory_rounds):
        for count, found in peaks.items():
            command = [sys.executable, __file__, "--alone", "--model", given.model, "--prompts", str(count)]
            command += ["--steps", str(given.memory_steps), "--batch", str(given.batch)]
            command += ["--num-seeds", str(given.num_seeds)] if given.num_seeds else []
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(float(done.stdout.split()[-1]))
    few, many = (statistics.median(found) for found in peaks.values())
    spread = ", ".join(f"{count}: {min(found):.1f} to {max(found):.1f}" for count, found in peaks.items())
    added = f"{many - few:+.1f} MiB for {3 * given.prompts} more prompts"
    print(f"peak memory of {4 * given.prompts} over {given.prompts} prompts: {many / few:.3f} ({added}; MiB {spread})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison or all; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["overhead", "first", "lookup", "memory"], help="one comparison")
    parser.add_argument("--model", default="emoji-scenes", help="bundled name or folder")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--steps", type=int, help="default: the card's")
    parser.add_argument("--num-seeds", type=int, help="default: the card's")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=Path, help=f"folder to index for `lookup`; default: {SCENES} fresh scenes")
    parser.add_argument("--embedder", default="pdq", help="what the index of the comparison `lookup` is made with")
    parser.add_argument("--embedder-folder", type=Path, help="folder that holds embedder/, for `--embedder scenes`")
    parser.add_argument("--memory-rounds", type=int, default=3)
    parser.add_argument("--memory-steps", type=int, default=2, help="sampling steps where only memory is of interest")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if given.alone:
            scan_alone(given, Path(folder))
            return 0
        met = given.only not in (None, "overhead") or overhead(given, Path(folder))
    if given.only in (None, "first"):
        met = first_steps(given) and met
    if given.only in (None, "lookup"):
        with tempfile.TemporaryDirectory() as folder:
            met = lookup(given, Path(folder)) and met
    if given.only in (None, "memory"):
        memory(given)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
