"""build(): from references to a vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect import __version__
from memdetect.adapters import Model
from memdetect.copies.embedders import Embedder
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request
from memdetect.probing import Sampler
from memdetect.steering.checking import check_references
from memdetect.steering.directions import Method, direction
from memdetect.steering.references import References, features, gather
from memdetect.steering.vector import At, Header, Vector, sites

TIMESTEP = 10  # of the paper's code


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a vector is made. layers: names, globs, aliases; () = the adapter's for steering, else the paper's.

    method: None = difference where there are negative references, else mean. count: references a side, None = all.
    """

    layers: Sequence[str] = ()
    at: At = "output"
    method: Method | None = None
    normalised: bool = False
    timestep: int = TIMESTEP
    count: int | None = None


def build(
    model: Model,
    positive: Sequence[Request],
    negative: Sequence[Request],
    sampler: Sampler,
    recipe: Recipe | None = None,
    embedder: Embedder | None = None,
) -> tuple[Vector, list[str]]:
    """A vector from positive references (and negative ones), and what has to be said of them, a line each.

    embedder: the edit's direction among its vectors is kept too, so that the success of an edit can be measured
    without knowing what it is. Raises MemdetectError for references that are too few or cannot be used.
    """
    recipe = recipe or Recipe()
    method: Method = recipe.method or ("difference" if negative else "mean")
    points = sites(model.points(tuple(recipe.layers) or _default(model)), recipe.at)
    sides = [_side(model, given, sampler, name, recipe.count) for name, given in _named(positive, negative)]
    found = [features(model, points, side, recipe.timestep, sampler) for side in sides]
    checks = [check_references(model, side, sampler, name) for side, name in zip(sides, NAMES, strict=False)]
    layers = {
        p.name: direction(found[0][p.name], _second(found, p.name), method, normalised=recipe.normalised)
        for p in points
    }
    header = Header(
        memdetect=__version__,
        model=model.name,
        digest=model.digest,
        adapter=model.adapter.pipeline,
        at=recipe.at,
        method=method,
        normalised=recipe.normalised,
        timestep=recipe.timestep,
        prompted=sides[0].generated,
        seed=sampler.seed,
        steps=sampler.steps,
        guidance_scale=sampler.guidance_scale,
        positive=len(sides[0]),
        negative=len(sides[1]) if len(sides) > 1 else 0,
        lengths={name: float(value.norm()) for name, value in layers.items()},
        references={name: check.document() for name, check in zip(NAMES, checks, strict=False)},
        embedder={"name": embedder.name, "fingerprint": embedder.fingerprint} if embedder else {},
    )
    notes = [note for side in sides for note in side.notes] + [check.warning for check in checks if check.warning]
    return Vector(header, layers, _embedded(sides, embedder) if embedder else None), notes


NAMES = ("positive", "negative")


def _default(model: Model) -> tuple[str, ...]:
    return ("steering",) if "steering" in model.adapter.aliases else ("paper",)


def _named(positive: Sequence[Request], negative: Sequence[Request]) -> list[tuple[str, Sequence[Request]]]:
    return [("positive", positive), *([("negative", negative)] if negative else [])]


def _side(model: Model, given: Sequence[Request], sampler: Sampler, name: str, count: int | None) -> References:
    drawn = sampler.num_seeds if given and given[0].image is None else 1
    if count is not None and len(given) * drawn < count:
        raise MemdetectError(f"{len(given) * drawn} {name} references, {count} asked for; give more, or ask for fewer")
    wanted = given if count is None else given[: -(-count // drawn)]
    return gather(model, wanted, sampler, name)


def _second(found: Sequence[dict[str, Tensor]], layer: str) -> Float[Tensor, "item chan"] | None:
    return found[1][layer] if len(found) > 1 else None


def _embedded(sides: Sequence[References], embedder: Embedder) -> Float[Tensor, " dim"]:
    """Unit direction from the negative images' mean to the positive ones'; without negatives the positive mean's."""
    means = [torch.from_numpy(embedder.embed(side.images)).mean(dim=0) for side in sides]
    difference = means[0] - means[1] if len(means) > 1 else means[0]
    return difference / difference.norm().clamp_min(1e-12)
