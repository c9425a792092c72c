"""Which samples a regime trains on, and the groups it is probed with."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from memdetect.errors import MemdetectError
from memdetect.lab.theory.data import Data, separate
from memdetect.lab.theory.forms import Cluster, Samples
from memdetect.lab.theory.presets import Plan, Regime


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Clusters to train on, a name for each; `copied`: images to memorize, each once. `fresh`: never trained on."""

    names: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    copied: Float[np.ndarray, "copied dim"]
    fresh: Float[np.ndarray, "fresh dim"]

    @property
    def samples(self) -> Samples:
        """All training samples, duplicates as often as they are shown."""
        return np.concatenate(self.clusters)

    def groups(self, most: int = 200) -> dict[str, Samples]:
        """Samples to probe by name: memorized or duplicated ones, other training samples, fresh ones."""
        rest = [c for c, name in zip(self.clusters, self.names, strict=True) if name.startswith("cluster")]
        found: dict[str, Samples] = {}
        if len(self.copied):
            found["duplicated" if rest else "training"] = self.copied
        if rest:
            share = max(most // len(rest), 1)
            found["training"] = np.concatenate([c[:share] for c in rest])
        return found | {"fresh": self.fresh[:most]}


def training_set(data: Data, regime: Regime, plan: Plan) -> TrainingSet:
    """The samples of a regime.

    memorize: a few rare samples on different sides of the origin, each its own cluster. generalize: all clusters.
    hybrid: half of the clusters, and rare samples away from them, each many times.
    Raises MemdetectError when there are too few samples.
    """
    if regime == "generalize":
        clusters = replace(data, train=data.train[: plan.samples], cluster=data.cluster[: plan.samples]).clusters()
        names = tuple(f"cluster {k}" for k in range(len(clusters)))
        return TrainingSet(names, tuple(clusters), data.rare[:0], data.fresh)
    if regime == "memorize":
        _enough(data, plan.samples)
        chosen = data.rare[separate(data.rare, plan.samples)]
        names = tuple(f"sample {k}" for k in range(len(chosen)))
        return TrainingSet(names, tuple(x[None] for x in chosen), chosen, data.fresh)
    return _hybrid(data, plan)


def _hybrid(data: Data, plan: Plan) -> TrainingSet:
    _enough(data, plan.duplicated)
    every = data.clusters()
    kept = range(len(every) // 2, len(every))
    limit = max((plan.samples - plan.duplicated * plan.times) // len(kept), 1)
    sampled = [every[k][:limit] for k in kept]
    chosen = data.rare[separate(data.rare, plan.duplicated, [c.mean(axis=0) for c in sampled])]
    names = [f"duplicate {k}" for k in range(len(chosen))] + [f"cluster {k}" for k in kept]
    clusters = [np.repeat(x[None], plan.times, axis=0) for x in chosen] + sampled
    fresh = data.fresh[np.isin(data.fresh_cluster, list(kept))]
    return TrainingSet(tuple(names), tuple(clusters), chosen, fresh if len(fresh) else data.fresh)


def _enough(data: Data, wanted: int) -> None:
    if len(data.rare) < wanted:
        raise MemdetectError(f"{data.name} has {len(data.rare)} samples to choose from, expected at least {wanted}")
