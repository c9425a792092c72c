"""Do the pixel measures tell a damaged copy from a redraw of the same caption?

Scenes that nothing was trained on go through an autoencoder, and are then damaged by noise, blur, a shift or more
light; a redraw has the same caption and places its pictures afresh; a sibling has one picture changed. The thresholds
are chosen on a tuning split: each lies half-way between the 0.5 % quantile of damaged copies and that of redraws. What
is reported is of the other scenes, the test split.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from memdetect.copies.pixels import CopyRule, ms_ssim, tile_distance
from memdetect.errors import MemdetectError
from memdetect.lab.theory.figures import pyplot
from memdetect.lab.training.damage import round_trip
from memdetect.lab.world.labelled import World
from memdetect.lab.world.scenes import paint, redraw, sibling
from memdetect.lab.world.stock import Stock

FAR_AWAY = 5_000_000  # scenes of the stream that no training reaches
TAIL = 0.005
FEWEST = 4
SEED = 5

Images = UInt8[np.ndarray, "image row col 3"]
Values = Float[np.ndarray, "_"]
Pairs = tuple[Values, Values]  # worst tile and MS-SSIM of each pair


@dataclass(frozen=True, slots=True)
class Trial:
    """The rule, on how many scenes of the tuning split it was chosen, and the test split's measures by kind of pair."""

    rule: CopyRule
    chosen_on: int
    rows: Mapping[str, Pairs]

    def lines(self) -> Iterator[str]:
        """What was chosen, and a table in Markdown: spread of both measures, and how many pairs each rule calls copies.

        Beside the chosen rule stands the default one.
        """
        rule = self.rule
        chosen = f"tile <= {rule.tile:.3f}, ssim >= {rule.ssim:.3f}"
        yield f"chosen on {self.chosen_on} scenes: {chosen}; default {CopyRule()}\n"
        spreads = "tile: 1 %, median, 99 % | ssim: 1 %, median, 99 %"
        yield f"| what | pairs | {spreads} | copies, chosen rule | default rule |"
        yield "|---|---|---|---|---|---|"
        for name, (tile, ssim) in self.rows.items():
            shares = [int(((tile <= r.tile) & (ssim >= r.ssim)).sum()) for r in (rule, CopyRule())]
            spread = [" ".join(f"{q:.3f}" for q in np.quantile(x, [0.01, 0.5, 0.99])) for x in (tile, ssim)]
            yield f"| {name} | {len(tile)} | {spread[0]} | {spread[1]} | {shares[0]} | {shares[1]} |"


def try_rule(vae: Any, made: tuple[World, Stock], count: int) -> Trial:
    """Measure damaged copies, redraws and siblings of `count` fresh scenes of a world, and its clip arts.

    Raises MemdetectError for fewer than four scenes.
    """
    if count < FEWEST:
        raise MemdetectError(f"{count} scenes are too few to choose a rule on a tuning split; give {FEWEST} or more")
    (world, stock), rng = made, np.random.default_rng(SEED)
    scenes = list(islice((s for s in world.stream(FAR_AWAY) if len(s.pictures) > 1), count))
    originals = np.stack([paint(s, stock.pictures) for s in scenes])
    copies = {k: measures(originals, x) for k, x in damages(through(vae, originals), rng).items()}
    others = {
        "redraw": np.stack([paint(redraw(rng, s), stock.pictures) for s in scenes]),
        "sibling": np.stack([paint(sibling(rng, s, world.names), stock.pictures) for s in scenes]),
    }
    strangers = {k: measures(originals, through(vae, x)) for k, x in others.items()}
    tuning = count // 2
    rows = {k: (tile[tuning:], ssim[tuning:]) for k, (tile, ssim) in {**copies, **strangers}.items()}
    clips = np.stack(list(stock.clips.values()))
    rows["clip art, round trip"] = measures(clips, through(vae, clips))
    return Trial(
        choose([(t[:tuning], s[:tuning]) for t, s in copies.values()], _first(strangers["redraw"], tuning)),
        tuning,
        rows,
    )


def _first(pairs: Pairs, count: int) -> Pairs:
    return pairs[0][:count], pairs[1][:count]


def choose(copies: list[Pairs], redraws: Pairs) -> CopyRule:
    """Thresholds half-way between the tails of copies and of redraws."""
    tiles, ssims = (np.concatenate([pair[k] for pair in copies]) for k in (0, 1))
    far, unlike = redraws
    return CopyRule(
        tile=float((np.quantile(tiles, 1 - TAIL) + np.quantile(far, TAIL)) / 2),
        ssim=float((np.quantile(ssims, TAIL) + np.quantile(unlike, 1 - TAIL)) / 2),
    )


def through(vae: Any, images: Images) -> Images:
    """Encode and decode."""
    return np.concatenate([round_trip(vae, images[i : i + 50], 0, 0.0) for i in range(0, len(images), 50)])


def damages(images: Images, rng: np.random.Generator) -> dict[str, Images]:
    """What sampling does to a copy, and more."""
    blurred = np.stack([ndimage.gaussian_filter(x, (1, 1, 0)) for x in images])

    def noisy(x: Images, size: float) -> Images:
        return (x + rng.normal(0, size, x.shape)).clip(0, 255).round().astype(np.uint8)

    return {
        "round trip": images,
        "noise 8": noisy(images, 8),
        "noise 16": noisy(images, 16),
        "blur 1 px": blurred,
        "blur 1 px, noise 8": noisy(blurred, 8),
        "5 % brighter": (images * 1.05).clip(0, 255).astype(np.uint8),
        "shift 1 px": np.roll(images, 1, 2),
    }


def measures(images: Images, others: Images) -> Pairs:
    """Worst tile and MS-SSIM of each image and the other of its place."""
    pairs = list(zip(images, others, strict=True))
    return np.array([tile_distance(a, b) for a, b in pairs]), np.array([ms_ssim(a, b) for a, b in pairs])


def plot(rows: Mapping[str, Pairs], rule: CopyRule, out: Path) -> None:
    """Both measures of every pair; what the rule calls a copy lies above and left of its lines.

    Raises MemdetectError without matplotlib.
    """
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7, 4.6), layout="constrained")
    styles = {"redraw": ("tab:red", "x"), "sibling": ("tab:orange", "+"), "clip art, round trip": ("tab:purple", ".")}
    others = [name for name in rows if name not in styles]
    groups = {"copies: round trip, noise, blur, light, shift": others, **{name: [name] for name in styles}}
    for label, names in groups.items():
        tile, ssim = (np.concatenate([rows[name][k] for name in names]) for k in (0, 1))
        colour, mark = styles.get(label, ("tab:blue", "."))
        axis.scatter(tile, ssim, s=12, c=colour, marker=mark, linewidths=0.7, label=f"{label} ({len(tile)})")
    axis.axvline(rule.tile, color="black", linewidth=0.7)
    axis.axhline(rule.ssim, color="black", linewidth=0.7)
    axis.set(xlabel="root mean square difference of the worst of 4 x 4 tiles", ylabel="MS-SSIM")
    axis.legend(loc="lower left", fontsize=8)
    figure.savefig(out, dpi=110)
    plt.close(figure)
