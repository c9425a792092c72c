"""Settings of the theory lab: the paper's own (`full`), and reduced ones that take a minute or two on one core.

The paper's are those of its notebooks, with lambda = dim * weight_decay / 2 (see `network.lambda_of`):

- memorize: 5 pictures, 100 units, sigma 0.2, RMSprop 1e-3 with weight decay 0.01, 50,000 full-batch steps;
- generalize: 10,000 pictures, 100 units, sigma 0.2, Adam 1e-4 with weight decay 1e-4, 50,000 steps of 256 draws;
- the time-conditioned pair: 256 units, sigma from 0.02 to 2, 5 pictures with RMSprop 1e-3 and 0.01 for 100,000 steps,
  100,000 pictures with Adam 5e-5 and 5e-4 for 200,000 steps of 256 draws.

For the hybrid no settings are published: full takes those of generalize. Reduced recipes have a higher rate that falls
to 0, fewer steps and samples, and the same network, sigma and lambda. One noise draw a step is kept on purpose when
memorizing: the noise of the steps is what joins collinear units. On the mixture, which the paper only shows in a
figure, all settings are this lab's own; full means ten times the steps.
"""

from dataclasses import dataclass, replace
from typing import Literal

from memdetect.errors import MemdetectError
from memdetect.lab.theory.network import Recipe, lambda_of

Regime = Literal["memorize", "generalize", "hybrid"]
REGIMES: tuple[Regime, ...] = ("memorize", "generalize", "hybrid")
PIXELS = 1024
STRONG, WEAK = lambda_of(1e-2, PIXELS), lambda_of(1e-4, PIXELS)  # 5.12 and 0.0512
# Rates at which a tied network of either data set learns in a few thousand steps.
RATES = {"adam": 3e-3, "adamw": 3e-3, "rmsprop": 3e-3, "sgd": 0.3}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many samples, and how to train. `duplicated` images of the hybrid stand `times` in the training set."""

    recipe: Recipe
    samples: int
    duplicated: int = 0
    times: int = 0


_REDUCED: dict[Regime, Plan] = {
    "memorize": Plan(Recipe(100, decay=STRONG, optimizer="rmsprop", rate=3e-3, steps=8000), 5),
    "generalize": Plan(Recipe(100, decay=WEAK, rate=3e-3, steps=4000, draws=128), 6000),
    "hybrid": Plan(Recipe(100, decay=WEAK, rate=3e-3, steps=4000, draws=128), 3000, 3, 150),
}
_FULL: dict[Regime, Plan] = {
    "memorize": Plan(Recipe(100, decay=STRONG, optimizer="rmsprop", rate=1e-3, steps=50_000, anneal=False), 5),
    "generalize": Plan(Recipe(100, decay=WEAK, rate=1e-4, steps=50_000, draws=256, anneal=False), 10_000),
    "hybrid": Plan(Recipe(100, decay=WEAK, rate=1e-4, steps=50_000, draws=256, anneal=False), 10_000, 3, 500),
}
_MIXTURE: dict[Regime, Plan] = {
    "memorize": Plan(Recipe(24, decay=0.05, optimizer="rmsprop", rate=2e-2, steps=8000), 4),
    "generalize": Plan(Recipe(32, decay=0.005, rate=1e-2, steps=3000, draws=256), 20_000),
    "hybrid": Plan(Recipe(32, decay=0.005, rate=1e-2, steps=3000, draws=256), 10_000, 2, 500),
}
_TIMED: dict[str, Plan] = {
    "memorize": Plan(Recipe(128, decay=STRONG / 2, optimizer="rmsprop", rate=1e-3, steps=3000, copies=8), 5),
    "generalize": Plan(Recipe(128, decay=WEAK / 2, rate=2e-3, steps=4000, draws=128), 6000),
}
_TIMED_FULL: dict[str, Plan] = {
    "memorize": Plan(
        Recipe(256, decay=lambda_of(1e-2, PIXELS) / 2, optimizer="rmsprop", steps=100_000, anneal=False), 5
    ),
    "generalize": Plan(
        Recipe(256, decay=lambda_of(5e-4, PIXELS) / 2, rate=5e-5, steps=200_000, draws=256, anneal=False), 100_000
    ),
}
_TIMED_MIXTURE: dict[str, Plan] = {
    "memorize": Plan(Recipe(64, decay=0.02, rate=5e-3, steps=3000, copies=16), 4),
    "generalize": Plan(Recipe(64, decay=0.002, rate=5e-3, steps=4000, draws=256), 20_000),
}


def plan(regime: Regime, *, pictures: bool, full: bool) -> Plan:
    """Settings of a regime for pictures or for the mixture."""
    if pictures:
        return (_FULL if full else _REDUCED)[regime]
    made = _MIXTURE[regime]
    return _longer(made) if full else made


def timed_plan(regime: Literal["memorize", "generalize"], *, pictures: bool, full: bool) -> Plan:
    """Settings of the time-conditioned network, whose single matrix is decayed once in the paper's code: lambda / 2."""
    if pictures:
        return (_TIMED_FULL if full else _TIMED)[regime]
    made = _TIMED_MIXTURE[regime]
    return _longer(made) if full else made


def _longer(made: Plan) -> Plan:
    return replace(made, recipe=replace(made.recipe, steps=10 * made.recipe.steps))


def adjust(made: Plan, optimizer: str | None, sigma: float | None, steps: int | None) -> Plan:
    """The same plan with another optimizer (at a rate that suits it), noise level or number of steps.

    Raises MemdetectError for an optimizer that does not exist.
    """
    recipe = made.recipe
    if optimizer is not None and optimizer != recipe.optimizer:
        if optimizer not in RATES:
            raise MemdetectError(f"no optimizer named {optimizer!r}; choose one of {', '.join(RATES)}")
        recipe = replace(recipe, optimizer=optimizer, rate=RATES[optimizer])
    if sigma is not None:
        recipe = replace(recipe, sigma=sigma)
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    return replace(made, recipe=recipe)
