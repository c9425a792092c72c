"""`memdetect lab relu-dae`: train the regimes, write their numbers as JSON and the figures drawn from them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memdetect.errors import MemdetectError
from memdetect.lab.theory import data as sources
from memdetect.lab.theory import presets
from memdetect.lab.theory.data import Data
from memdetect.lab.theory.presets import REGIMES, Regime
from memdetect.lab.theory.results import RegimeResult, SamplingResult, TransitionResult, write_result

Note = Callable[[str], None]
Timed = Literal["memorize", "generalize"]


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. data: `tiles`, `pictures`, `mixture` or a folder; the rest as in `presets`; None keeps the preset.

    steps: of every training, for a quick trial.
    """

    regimes: tuple[str, ...] = REGIMES
    data: str = "tiles"
    full: bool = False
    seed: int = 1
    sigma: float | None = None
    optimizer: str | None = None
    steps: int | None = None
    sampling: bool = True
    transition: bool = True


def reproduce(out: Path, options: Options, note: Note | None = None) -> list[str]:
    """Run everything asked for into the folder `out`; lines that sum the results up.

    Writes REGIME.json, sampling-REGIME.json, transition.json and the figures as PNG. Raises MemdetectError, one line,
    for a regime, data or setting that cannot be used, before anything is trained.
    """
    from memdetect.lab.theory import figures

    regimes: list[Regime] = [_regime(name) for name in options.regimes]
    figures.pyplot()
    _check(options)
    data = _load(options, regimes)
    out.mkdir(parents=True, exist_ok=True)
    lines = [line for regime in regimes for line in _one(out, data, regime, options, note)]
    if options.sampling:
        lines += [
            line for regime in regimes if regime != "hybrid" for line in _samples(out, data, regime, options, note)
        ]
    if options.transition:
        lines += _moved(out, options, note)
    return lines + [str(path) for path in figures.draw(out)]


def _regime(name: str) -> Regime:
    for known in REGIMES:
        if name == known:
            return known
    raise MemdetectError(f"no regime named {name!r}; choose one of {', '.join(REGIMES)} or all")


def _check(options: Options) -> None:
    """Every setting that a recipe would refuse later, before data are made."""
    from memdetect.lab.theory.network import check

    for regime in REGIMES:
        check(_plan(regime, options, pictures=True).recipe)


def _plan(regime: Regime, options: Options, *, pictures: bool) -> presets.Plan:
    made = presets.plan(regime, pictures=pictures, full=options.full)
    return presets.adjust(made, options.optimizer, options.sigma, options.steps)


def _load(options: Options, regimes: Iterable[Regime]) -> Data:
    """The data, as many samples as the greediest of the plans takes."""
    pictures = options.data != "mixture"
    plans = [_plan(regime, options, pictures=pictures) for regime in regimes]
    if options.sampling:
        plans += [presets.timed_plan(r, pictures=pictures, full=options.full) for r in regimes if r != "hybrid"]
    # The hybrid keeps half of the clusters.
    count = max(plan.samples * (2 if plan.duplicated else 1) for plan in plans)
    if options.data == "mixture":
        return sources.from_mixture(count, options.seed)
    if options.data == "tiles":
        return sources.tiles(count, options.seed)
    if options.data == "pictures":
        return sources.tiles(count, options.seed, pictures=sources.named_pictures(), name="pictures")
    return sources.from_folder(Path(options.data), count, options.seed)


def _one(out: Path, data: Data, regime: Regime, options: Options, note: Note | None) -> list[str]:
    from memdetect.lab.theory.measure import measure

    plan = _plan(regime, options, pictures=data.side > 0)
    result, _ = measure(data, regime, plan, options.seed, _preset(options), note)
    write_result(out / f"{regime}.json", result)
    return _summary(result)


def _preset(options: Options) -> str:
    changed = [
        f"{name} {value}"
        for name, value in (("optimizer", options.optimizer), ("sigma", options.sigma), ("steps", options.steps))
        if value is not None
    ]
    return ", ".join(["full" if options.full else "reduced", *changed])


def _summary(result: RegimeResult) -> list[str]:
    """A few lines for people: conditions, distances, errors, shape."""
    lines = [f"{result.regime} ({result.data}, {result.preset}): {result.samples} samples"]
    lines += [f"  the theory's conditions do not hold: {problem}" for problem in result.problems]
    if not result.problems:
        numbers = result.conditions
        lines.append(
            f"  conditions hold: beta {numbers['beta']:.3f} < 0, n lambda {numbers['n_lambda']:.3g} < "
            f"{numbers['smallest_eigenvalue']:.3g}"
        )
    if "merged" in result.distances:
        near = result.distances
        lines.append(
            f"  distance from (r_i x_i): {near['columns']:.4f} by columns, {near['merged']:.4f} with collinear units "
            f"merged, {near['filter']:.4f} of W2 W1'; units a sample {result.units_a_sample}"
        )
    lines += [
        f"  {block.cluster}: {block.units} units, filter {block.filter:.4f} from the predicted one, active on "
        f"{block.own:.3f} of its own and {block.other:.3f} of the other samples"
        for block in result.blocks
    ]
    if result.between is not None:
        lines.append(f"  between the empirical (0) and the true (1) denoiser: {result.between:.3f}")
    lines.append("  error: " + ", ".join(f"{name} {value:.3g}" for name, value in result.errors.items()))
    for name, groups in result.statistics.items():
        told = ", ".join(f"{group} {value:.3f}" for group, value in groups.items() if value is not None)
        separated = result.separation[name]
        lines.append(f"  {name}: {told}" + ("" if separated is None else f"; AUROC {separated:.3f}"))
    lines += [
        f"  Jacobian, {group}: effective rank {s.rank:.2f}, share along the sample {s.along:.3f}"
        for group, s in result.jacobian.items()
    ]
    lines.append(f"  denoised {len(result.power) - 1} times: cosine {result.power[-1]:.3f} with a training sample")
    return lines


def _samples(out: Path, data: Data, regime: Timed, options: Options, note: Note | None) -> list[str]:
    from memdetect.lab.theory.sampling import draw

    plan = presets.timed_plan(regime, pictures=data.side > 0, full=options.full)
    result: SamplingResult = draw(
        data, regime, presets.adjust(plan, options.optimizer, None, options.steps), options.seed, _preset(options), note
    )
    write_result(out / f"sampling-{regime}.json", result)
    mean, copies = sum(result.cosines) / len(result.cosines), sum(c > 0.95 for c in result.cosines)
    level = sum(result.fresh) / len(result.fresh)
    return [
        f"sampling, {regime}: cosine {mean:.3f} with the nearest training sample, {copies} of {len(result.cosines)} "
        f"above 0.95; fresh samples have {level:.3f}"
    ]


def _moved(out: Path, options: Options, note: Note | None) -> list[str]:
    from dataclasses import replace

    from memdetect.lab.theory.transition import RECIPE, transition

    recipe = replace(RECIPE, steps=options.steps) if options.steps else RECIPE
    moved: TransitionResult = transition(options.seed, recipe=recipe, note=note)
    write_result(out / "transition.json", moved)
    wide = len(moved.units) - 2
    told = ", ".join(f"{n}: {row[wide]:.2f}" for n, row in zip(moved.samples, moved.between, strict=True))
    return [f"transition, {moved.units[wide]} units, place between the denoisers by number of samples: {told}"]
