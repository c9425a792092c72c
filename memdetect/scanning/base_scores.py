"""Reference scores of a fine-tune: its base draws the same prompts. For LoRA and DreamBooth nothing else is clean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from statistics import fmean

from memdetect.adapters import Model
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Requests
from memdetect.judging.calibration import Calibration, Item, Part, seed_means
from memdetect.judging.integrity import unaltered
from memdetect.judging.statistics.combine import of_seeds
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement
from memdetect.scanning.earlier import Earlier
from memdetect.scanning.planning import settings_of
from memdetect.scanning.prepare import Bench, prepare

DRAWINGS = 200  # of all prompts together, within the bounds of ROUNDS
ROUNDS = (20, 40)  # with 20 rounds one memorized prompt among any number can be found at an FDR of 5 %
COPIES = (4, 40)  # where scores play no part, and the drawings count for look-ups alone
FOLDER = "base"  # of the run folder


def rounds_for(prompts: int, *, scored: bool = True, deciding: int = 1) -> int:
    """How often the base draws each of so many prompts; scored: whether the policy asks for scores.

    deciding: how many detectors decide; of several half the rounds tell how to combine them, and half are ranked among.
    """
    least, most = ROUNDS if scored else COPIES
    found = min(max(ceil(DRAWINGS / max(prompts, 1)), least), most)
    return 2 * found if scored and deciding > 1 else found


def part_of_round(number: int) -> Part:
    """The split of a round of the base, counted from 0: of several detectors the odd ones are ranked among."""
    return "calibration" if number % 2 else "tuning"


def base_calibration(
    requests: Requests, base: Model, bench: Bench, earlier: Earlier, rounds: int
) -> Calibration | None:
    """Draw the scan's prompts with its base, `rounds` times as many seeds, and keep its scores; None when stopped.

    A prompt's score on the scanned model is compared with the base's mean score of that prompt; the reference scores
    are each round of the base less the mean of its other rounds, of all prompts together. Under "the fine-tune changed
    nothing" and a spread that is alike for all prompts both are draws of one distribution, the base's a little wider
    (the mean is of one round less), so that p-values err on the large side. The first seeds are the scan's own.
    The base's run and images are kept in `earlier.out`/base; the same call resumes. Raises MemdetectError for a base of
    another kind, for given images, and for fewer than 2 rounds.
    """
    if rounds < 2:
        raise MemdetectError(f"{rounds} rounds of the base, expected at least 2: each is compared with the others")
    if image := next((r for r in requests.items if r.prompt is None), None):
        raise MemdetectError(f"{image.source!r} is an image; a base is compared on prompts")
    other = _bench(base, bench, rounds)
    folder, header = earlier.opened(FOLDER, requests, other)
    if not earlier.measure(requests.items, other, folder, header, earlier.watch):
        return None
    rows = unaltered(folder)
    if lost := sum(row.status != "ok" for row in rows):
        note = f"{lost} of {len(rows)} prompts are not finite on the base: they stay inconclusive"
        earlier.watch.progress(len(rows), len(rows), note)
    return calibration_of_base(header, rows, bench, rounds)


def _bench(base: Model, bench: Bench, rounds: int) -> Bench:
    """The scan's settings on the base, with more seeds and no search."""
    own = bench.sampler
    asked = bench.options
    options = replace(
        asked,
        sampling=replace(
            asked.sampling,
            steps=own.steps,
            guidance_scale=own.guidance_scale,
            num_seeds=rounds * own.num_seeds,
        ),
        probing=replace(
            asked.probing,
            detectors=tuple(d.name for d in bench.detectors),
            layers=tuple(point.name for point in bench.probe.points),
            timesteps=tuple(bench.probe.timesteps),
            sigmas=(),
        ),
        lookup=replace(asked.lookup, search=False, index=None),
        judging=replace(asked.judging, base=None),
        sharing=replace(asked.sharing, steal=True),  # all that the base draws is ranked among
        save_images=True,
    )
    other = replace(prepare(base, options), rounds=rounds)
    if other.model.digest == bench.model.digest:
        raise MemdetectError(f"{base.name} is the scanned model itself; give the base that it was trained from")
    return other


def calibration_of_base(header: Header, rows: Sequence[Measurement], bench: Bench, rounds: int) -> Calibration:
    """Reference scores of a base's run: each round's less the mean of the prompt's other rounds, and the means.

    Raises MemdetectError when the base ran with settings other than the scan's, or gave no finite scores.
    """
    wanted, seeds, strata = settings_of(bench), bench.sampler.num_seeds, bench.options.probing.strata
    held = header.plan.settings.model_copy(update={"model": wanted.model})
    if different := held.difference(wanted):
        name, base, model = different
        raise MemdetectError(f"the base has another {name} ({base!r}, the model {model!r}); it is no base of it")
    usable = [row for row in rows if row.status == "ok"]
    if not usable:
        raise MemdetectError(f"none of {header.planned} prompts has finite scores on the base; scan it to see why")
    lost = header.planned - len(usable)
    names, rules = [d.name for d in bench.detectors], {d.name: d.seeds for d in bench.detectors}
    means = {name: {row.id: _round_scores(row, name, rules[name], seeds, rounds) for row in usable} for name in names}
    cells = {name: _centred_cells(usable, name, means[name], seeds, rounds) for name in names}
    items = [
        Item(
            id=f"{row.id}#{k}",
            family=f"{row.id}#{k}",
            part=part_of_round(k),
            stratum=str(row.meta.get(strata, "")),
        )
        for row in usable
        for k in range(rounds)
    ]
    return Calibration(
        about=f"{len(usable)} prompts of the scan, drawn {rounds} times each by {header.model}",
        settings=wanted,
        provenance={
            "base": header.plan.model,
            "inputs": header.plan.inputs,
            "rounds": rounds,
            "versions": header.versions,
            **({"nonfinite": lost} if lost else {}),
        },
        strata=strata,
        base=header.model,
        offsets={name: {item: fmean(found) for item, found in means[name].items()} for name in names},
        items=tuple(items),
        scores=cells,
    )


def _round_scores(row: Measurement, name: str, rule: str, seeds: int, rounds: int) -> list[float]:
    """The score of each round of a prompt, of its seeds' means over places by the detector's rule."""
    kept: list[list[float]] = [
        [v for v in values if v is not None] for times in row.scores[name].cells.values() for values in times.values()
    ]
    means = seed_means(kept, seeds * rounds)
    return [of_seeds(means[k * seeds : (k + 1) * seeds], rule) for k in range(rounds)]


def _centred_cells(
    rows: Sequence[Measurement], name: str, means: Mapping[str, list[float]], seeds: int, rounds: int
) -> dict[str, dict[str, list[list[float]]]]:
    """Per-seed scores by cell, one list a round of a prompt, each less the mean score of the prompt's other rounds."""
    first = rows[0].scores[name].cells
    found: dict[str, dict[str, list[list[float]]]] = {layer: {t: [] for t in times} for layer, times in first.items()}
    for row in rows:
        total = sum(means[row.id])
        others = [(total - own) / (rounds - 1) for own in means[row.id]]
        for layer, times in row.scores[name].cells.items():
            for t, values in times.items():
                groups = [values[k * seeds : (k + 1) * seeds] for k in range(rounds)]
                found[layer][t] += [
                    [float(v) - mean for v in group if v is not None]
                    for group, mean in zip(groups, others, strict=True)
                ]
    return found
