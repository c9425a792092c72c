"""Do the pixel measures tell a damaged copy from a redraw of the same caption?

python benchmarks/copies.py VAE: the folder of an autoencoder (models/NAME/vae). Scenes that nothing was trained on go
through it, and are then damaged by noise, blur, a shift or more light; a redraw has the same caption and places its
pictures afresh; a sibling has one picture changed. The thresholds are chosen on one half of the scenes: each lies
half-way between the 0.5 % quantile of damaged copies and that of redraws on that half. The table is that of the other
half; so is the figure (`--plot PNG`, needs matplotlib).
"""

import argparse
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from scipy import ndimage

from memdetect.copies.pixels import CopyRule, ms_ssim, tile_distance
from memdetect.lab.training.vae import to_tensor
from memdetect.lab.world.recipe import find_world
from memdetect.lab.world.scenes import paint, redraw, sibling

FAR_AWAY = 5_000_000  # scenes of the stream that no training reaches
TAIL = 0.005


def through(vae, images: np.ndarray) -> np.ndarray:
    """Encode and decode."""
    parts = []
    for start in range(0, len(images), 50):
        with torch.no_grad():
            decoded = vae.decode(vae.encode(to_tensor(list(images[start : start + 50]))).latent_dist.mode()).sample
        parts.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8))
    return np.concatenate(parts)


def damages(images: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What sampling does to a copy, and more."""
    blurred = np.stack([ndimage.gaussian_filter(x, (1, 1, 0)) for x in images])

    def noisy(x: np.ndarray, size: float) -> np.ndarray:
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


def measures(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(zip(images, others, strict=True))
    return np.array([tile_distance(a, b) for a, b in pairs]), np.array([ms_ssim(a, b) for a, b in pairs])


def plot(rows: Mapping[str, tuple[np.ndarray, np.ndarray]], rule: CopyRule, out: Path) -> None:
    """Both measures of every pair; what the rule calls a copy lies above and left of its lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.6), layout="constrained")
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
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vae", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--plot", type=Path, metavar="PNG")
    given = parser.parse_args()
    (world, stock), rng = find_world(), np.random.default_rng(5)
    vae = AutoencoderKL.from_pretrained(given.vae, torch_dtype=torch.float32)
    scenes = list(islice((s for s in world.stream(FAR_AWAY) if len(s.pictures) > 1), given.count))
    originals = np.stack([paint(s, stock.pictures) for s in scenes])
    copies = {k: measures(originals, x) for k, x in damages(through(vae, originals), rng).items()}
    others = {
        "redraw": np.stack([paint(redraw(rng, s), stock.pictures) for s in scenes]),
        "sibling": np.stack([paint(sibling(rng, s, world.names), stock.pictures) for s in scenes]),
    }
    strangers = {k: measures(originals, through(vae, x)) for k, x in others.items()}
    half = given.count // 2
    tiles = np.concatenate([t[:half] for t, _ in copies.values()])
    ssims = np.concatenate([s[:half] for _, s in copies.values()])
    far, unlike = strangers["redraw"][0][:half], strangers["redraw"][1][:half]
    rule = CopyRule(
        tile=float((np.quantile(tiles, 1 - TAIL) + np.quantile(far, TAIL)) / 2),
        ssim=float((np.quantile(ssims, TAIL) + np.quantile(unlike, 1 - TAIL)) / 2),
    )
    print(f"chosen on {half} scenes: tile <= {rule.tile:.3f}, ssim >= {rule.ssim:.3f}; default {CopyRule()}\n")
    clips = np.stack(list(stock.clips.values()))
    print("| what | pairs | tile: 1 %, median, 99 % | ssim: 1 %, median, 99 % | copies, chosen rule | default rule |")
    print("|---|---|---|---|---|---|")
    rows = {k: (t[half:], s[half:]) for k, (t, s) in {**copies, **strangers}.items()}
    rows["clip art, round trip"] = measures(clips, through(vae, clips))
    for name, (tile, ssim) in rows.items():
        shares = [int(((tile <= r.tile) & (ssim >= r.ssim)).sum()) for r in (rule, CopyRule())]
        spread = [" ".join(f"{q:.3f}" for q in np.quantile(x, [0.01, 0.5, 0.99])) for x in (tile, ssim)]
        print(f"| {name} | {len(tile)} | {spread[0]} | {spread[1]} | {shares[0]} | {shares[1]} |")
    if given.plot:
        plot(rows, CopyRule(), given.plot)


if __name__ == "__main__":
    main()
