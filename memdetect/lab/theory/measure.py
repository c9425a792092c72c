"""Train one regime and measure it: distances to the closed forms, errors, Jacobians, the shape of the hidden layer."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError
from memdetect.lab.theory import analysis, forms, probes
from memdetect.lab.theory.data import Data
from memdetect.lab.theory.forms import Samples, Weights
from memdetect.lab.theory.network import ReluDae, train
from memdetect.lab.theory.presets import Plan, Regime
from memdetect.lab.theory.results import Found, Panel, RegimeResult, Spectra, picture
from memdetect.lab.theory.sets import TrainingSet, training_set

Note = Callable[[str], None]
Draws = Float[np.ndarray, "draw dim"]
STARTS, ITERATIONS = 64, 100
UNITS_SHOWN = 7
KEPT_VALUES = 30  # singular values that are written


def measure(
    data: Data, regime: Regime, plan: Plan, seed: int, preset: str, note: Note | None = None
) -> tuple[RegimeResult, ReluDae]:
    """Train the regime's network and compare it with what the theory says; the result and the network."""
    chosen = training_set(data, regime, plan)
    losses: list[float] = []

    def seen(step: int, loss: float) -> None:
        losses.append(loss)
        if note and step % 1000 == 0:
            note(f"{regime}: step {step} of {plan.recipe.steps}, loss {loss:.3f}")

    network = train(chosen.samples, plan.recipe, seed, note=seen)
    first, second = network.weights()
    rng = np.random.default_rng(seed + 2)
    found = analysis.blocks(first, second, chosen.clusters, plan.recipe.sigma, plan.recipe.decay)
    # A cluster of one image has one direction, however many units share it.
    units = [1 if _single(c) else b.units for c, b in zip(chosen.clusters, found, strict=True)]
    state = analysis.conditions(chosen.clusters, units, plan.recipe.units, plan.recipe.decay, regime == "memorize")
    predicted, problems = _prediction(chosen, plan, units)
    margin = None if predicted is None else forms.margin(chosen.samples[:2000], predicted)
    if margin is not None and margin < plan.recipe.sigma:
        problems.append(
            f"the margin of the predicted units is {margin:.2g}, less than sigma {plan.recipe.sigma:g}: noise changes "
            "which of them are active, and the theorem's remainder need not be small"
        )
    distances, a_sample = _distances(chosen, plan, (first, second), regime)
    errors, between = _errors(network, predicted, chosen, data, plan.recipe.sigma, rng)
    errors["known cluster, training"] = _linear_error(chosen, plan, units)
    statistics, separation = _statistics(network, chosen, plan.recipe.sigma, rng)
    result = RegimeResult(
        regime=regime,
        data=data.name,
        preset=preset,
        seed=seed,
        recipe=asdict(plan.recipe),
        samples=len(chosen.samples),
        conditions=_conditions(state, margin),
        problems=[*state.problems, *problems],
        distances=distances,
        units_a_sample=list(a_sample),
        blocks=[Found(cluster=name, **asdict(b)) for name, b in zip(chosen.names, found, strict=True)],
        errors=errors,
        between=between,
        statistics=statistics,
        separation=separation,
        jacobian={name: _spectra(first, second, group, rng, plan) for name, group in chosen.groups().items()},
        power=_power(network, chosen, seed),
        loss=losses,
        trained_units=unit_panels(first, chosen.samples, data.side, chosen.copied),
        predicted_units=[] if predicted is None else unit_panels(predicted, chosen.samples, data.side, chosen.copied),
        bars=_bars(network, chosen, plan.recipe.sigma, seed),
        denoised=_denoised(network, chosen, data, plan.recipe.sigma, seed),
    )
    return result, network


def _prediction(chosen: TrainingSet, plan: Plan, units: Sequence[int]) -> tuple[Weights | None, list[str]]:
    """The closed form with as many units a block, less the directions that decay removes; why there is none."""
    recipe = plan.recipe
    pull = len(chosen.samples) * recipe.decay
    strong = [min(k, analysis.directions(c, pull)) for c, k in zip(chosen.clusters, units, strict=True)]
    try:
        return forms.blockwise(chosen.clusters, strong, recipe.sigma, recipe.decay), []
    except MemdetectError as problem:
        return None, [f"no closed form for these blocks: {problem}"]


def _single(cluster: Samples) -> bool:
    return bool((cluster == cluster[0]).all())


def _conditions(state: analysis.Conditions, margin: float | None) -> dict[str, float]:
    numbers = {"alpha": state.alpha, "beta": state.beta, "n_lambda": state.pull, "smallest_eigenvalue": state.floor}
    return numbers if margin is None else numbers | {"margin": margin}


def _distances(
    chosen: TrainingSet, plan: Plan, weights: tuple[Weights, Weights], regime: Regime
) -> tuple[dict[str, float], tuple[int, ...]]:
    """Relative distances of the trained from the predicted weights (memorize only), and how far W2 is from W1."""
    first, second = weights
    tied = {"untied": float(np.linalg.norm(first - second) / np.linalg.norm(first))}
    if regime != "memorize":
        return tied, ()
    try:
        near = analysis.against_memorizing(first, second, chosen.copied, plan.recipe.sigma, plan.recipe.decay)
    except MemdetectError:
        return tied, ()
    return tied | {"columns": near.columns, "merged": near.merged, "filter": near.filter}, near.units_a_sample


def _noisy(samples: Samples, sigma: float, rng: np.random.Generator, rows: int = 200) -> tuple[Draws, Draws]:
    """About `rows` noisy draws of the samples, and the clean ones."""
    clean = np.repeat(samples, max(rows // len(samples), 1), axis=0)
    return clean + sigma * rng.standard_normal(clean.shape), clean


def _apply(network: ReluDae, noisy: Samples) -> Samples:
    return network(torch.from_numpy(noisy).to(network.first.dtype)).double().numpy()


def _errors(
    network: ReluDae,
    predicted: Weights | None,
    chosen: TrainingSet,
    data: Data,
    sigma: float,
    rng: np.random.Generator,
) -> tuple[dict[str, float], float | None]:
    """Squared error on training and fresh samples: trained, predicted and empirical denoiser, the true one if known."""
    every, errors, between = chosen.samples, dict[str, float](), None
    picked = every[rng.integers(len(every), size=400)]
    for name, group in (("training", picked), ("fresh", chosen.fresh)):
        noisy, clean = _noisy(group, sigma, rng, 400)
        guesses = {"trained": _apply(network, noisy), "empirical": forms.empirical_denoiser(noisy, every, sigma)}
        if predicted is not None:
            guesses["predicted"] = np.maximum(noisy @ predicted, 0) @ predicted.T
        if data.mixture is not None:
            guesses["true"] = data.mixture.denoise(noisy, sigma)
            between = forms.between(guesses["trained"], noisy, every, guesses["true"], sigma)
            errors[f"empirical to true, {name}"] = _error(guesses["empirical"], guesses["true"])
        for which, guess in guesses.items():
            errors[f"{which}, {name}"] = _error(guess, clean)
    return errors, between  # of the fresh samples, which come last


def _error(made: Samples, clean: Samples) -> float:
    return float(np.square(made - clean).sum(axis=1).mean())


def _linear_error(chosen: TrainingSet, plan: Plan, units: Sequence[int]) -> float:
    """Error of the predicted filters if the cluster were known: what the theorem's network has with a wide margin.

    In closed form: trace((P - I)^2 S_k) + sigma^2 ||P||^2, averaged over the clusters.
    """
    recipe, total = plan.recipe, len(chosen.samples)
    error = 0.0
    for cluster, count in zip(chosen.clusters, units, strict=True):
        moment, share = cluster.T @ cluster / len(cluster), len(cluster) / total
        values, vectors = forms.gains(moment, max(count, 1), recipe.sigma, recipe.decay, share)
        left = np.trace(moment) + ((values**2 - 2 * values) * np.einsum("dk,de,ek->k", vectors, moment, vectors)).sum()
        error += share * float(left + recipe.sigma**2 * np.square(values).sum())
    return error


def _hidden(network: ReluDae, noisy: Samples) -> Float[Tensor, "sample unit"]:
    return network.represent(torch.from_numpy(noisy).to(network.first.dtype))


def _statistics(
    network: ReluDae, chosen: TrainingSet, sigma: float, rng: np.random.Generator
) -> tuple[dict[str, dict[str, float | None]], dict[str, float | None]]:
    groups = {n: probes.shapes(_hidden(network, _noisy(g, sigma, rng)[0])) for n, g in chosen.groups().items()}
    medians = {
        name: {group: _number(float(np.nanmedian(values[name]))) for group, values in groups.items()}
        for name in probes.STATISTICS
    }
    marked = groups.get("duplicated", groups["training"])
    separation = {
        name: _number(probes.auroc(_finite(marked[name]), _finite(groups["fresh"][name]))) for name in probes.STATISTICS
    }
    return medians, separation


def _finite(values: Tensor) -> list[float]:
    return values[values.isfinite()].tolist()


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _spectra(first: Weights, second: Weights, group: Samples, rng: np.random.Generator, plan: Plan) -> Spectra:
    noisy, _ = _noisy(group[:20], plan.recipe.sigma, rng, 20)
    seen = [probes.spectrum(first, second, point) for point in noisy]
    values = np.zeros((len(seen), KEPT_VALUES))
    for row, one in zip(values, seen, strict=True):
        row[: len(one.values)] = one.values[:KEPT_VALUES]
    medians = (float(np.median([getattr(s, name) for s in seen])) for name in ("rank", "top", "along"))
    rank, top, along = medians
    return Spectra(values=list(values.mean(axis=0)), rank=rank, top=top, along=along)


def _power(network: ReluDae, chosen: TrainingSet, seed: int) -> list[float]:
    """Mean cosine with the nearest training sample after each denoising, from noise of the data's norm."""
    samples = torch.from_numpy(np.unique(chosen.samples[:5000], axis=0)).to(network.first.dtype)
    generator = torch.Generator().manual_seed(seed + 3)
    starts = torch.randn(STARTS, samples.shape[1], generator=generator, dtype=samples.dtype)
    starts = torch.nn.functional.normalize(starts, dim=1) * samples.norm(dim=1).mean()
    return probes.iterate(network, starts, samples, ITERATIONS).cosines.mean(dim=1).tolist()


def unit_panels(
    weights: Weights, samples: Samples, side: int, copied: Float[np.ndarray, "copied dim"] | None = None
) -> list[Panel]:
    """Units, titled by norm and largest cosine with a training sample: first the strongest on each of `copied`."""
    norms = np.linalg.norm(weights, axis=0)
    unit = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    first = [] if copied is None else (copied @ weights).argmax(axis=1).tolist()
    panels: list[Panel] = []
    for i in list(dict.fromkeys([*first, *np.argsort(-norms, kind="stable").tolist()]))[:UNITS_SHOWN]:
        cosine = float((unit @ weights[:, i]).max() / max(norms[i], 1e-30))
        panels.append(picture(f"{norms[i]:.2f}, cos {cosine:.2f}", weights[:, i], side))
    return panels


def _bars(network: ReluDae, chosen: TrainingSet, sigma: float, seed: int) -> list[Panel]:
    """Hidden layer of one noisy sample of each group."""
    rng, panels = np.random.default_rng(seed + 4), list[Panel]()
    for name, group in chosen.groups().items():
        hidden = _hidden(network, group[:1] + sigma * rng.standard_normal(group[:1].shape))
        shape = {key: float(value[0]) for key, value in probes.shapes(hidden).items()}
        title = f"{name}: std {shape['spikiness']:.2f}, l4/l2 {shape['spikiness-l4']:.2f}"
        panels.append(Panel(title=title, values=hidden[0].tolist()))
    return panels


def _denoised(network: ReluDae, chosen: TrainingSet, data: Data, sigma: float, seed: int) -> list[list[Panel]]:
    """Noisy, denoised and clean for one sample of each group; PSNR of a range of 2."""
    rng, rows = np.random.default_rng(seed + 5), list[list[Panel]]()
    for name, group in chosen.groups().items():
        clean = group[:1]
        noisy = clean + sigma * rng.standard_normal(clean.shape)
        pole = forms.empirical_denoiser(noisy, chosen.samples, sigma)
        shown = {"noisy": noisy, "trained": _apply(network, noisy), "empirical": pole, "clean": clean}
        if data.mixture is not None:
            shown["true"] = data.mixture.denoise(noisy, sigma)
        rows.append([picture(f"{name}, {what}{_psnr(p, clean)}", p[0], data.side) for what, p in shown.items()])
    return rows


def _psnr(made: Samples, clean: Samples) -> str:
    error = float(np.square(made - clean).mean())
    return f" {10 * np.log10(4 / error):.1f} dB" if error > 1e-12 else ""
