"""A scan that is only planned: what it can show and what it takes, from the card and the clean scores alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memdetect import bundled
from memdetect.adapters.cards import read_card
from memdetect.calibration import Calibration, read_calibration
from memdetect.index import read_manifest
from memdetect.prompts import Requests
from memdetect.scanning.plan import Options, searched_index
from memdetect.verdict.forecast import clean_count, forecast, forecast_lines
from memdetect.wording import family_key


def dry_run_lines(
    requests: Requests,
    model: str,
    options: Options,
    wanted: Mapping[str, Any],
    members: Sequence[str],
) -> Iterator[str]:
    """The plan in words. wanted: settings that are not None stand before the card's. No weights are opened.

    options: what is looked at of them are policy, calibration, and where outputs are looked up; of an index only the
    manifest is read. Raises MemdetectError where a scan with these would.
    """
    folder = Path(model) if Path(model).is_dir() else bundled.model_folder(model)
    card = read_card(folder)
    made = {key: given if (given := wanted.get(key)) is not None else getattr(card, key, None) for key in wanted}
    file = options.calibration or (folder / "calibration.json" if folder else None)
    clean = read_calibration(file) if file else None
    count = len(members) or len(card.members) or 1
    items = requests.items
    families = len({family_key(item.meta, item.prompt) for item in items})
    yield (
        f"{model}: {made['num_seeds']} images a prompt, {made['steps']} steps, guidance {made['guidance_scale']:g}, "
        f"{_where(made)}"
    )
    yield _looked_up(folder, options)
    yield from forecast_lines(forecast(len(items), families, clean_count(clean, count), options.policy), options.policy)
    yield from _costs(len(items), made, clean, folder)


def _where(made: Mapping[str, Any]) -> str:
    """Timesteps, or the sigmas that stand for them: which timesteps they are, only the loaded model knows."""
    name, values = ("sigma", made["sigmas"]) if made.get("sigmas") else ("t", made["timesteps"])
    return f"{name} = {', '.join(map(str, values))}"


def _looked_up(model: Path | None, options: Options) -> str:
    """What outputs are looked up in."""
    index = searched_index(model, options.index, options.search)
    if options.search and options.train_images:
        return f"looked up among the pictures of {options.train_images}"
    if index is None:
        return "no index: outputs are not looked up among training images"
    manifest = read_manifest(index)
    return f"looked up among {manifest.count} training images (embedder {manifest.embedder.name})"


def _costs(items: int, made: Mapping[str, Any], clean: Calibration | None, folder: Path | None) -> Iterator[str]:
    images = items * made["num_seeds"]
    looks = len(made.get("sigmas") or made["timesteps"])
    passes = images * (made["steps"] * (2 if made["guidance_scale"] > 1 else 1) + looks)
    pace = clean.provenance.get("seconds_per_image") if clean else None
    if pace:
        device = clean.provenance.get("device") if clean else None
        time = f"about {_span(images * pace)} at the calibration's pace ({pace:g} s an image on {device})"
    else:
        time = "time unknown: no calibration of this model tells its pace"
    yield f"{images} images, {passes} passes of the denoiser; {time}"
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) if folder else 0
    if weights:
        yield f"memory: {_size(weights)} of weights on disk, twice that as fp32 if they are fp16, and the activations"
    else:
        yield "memory: unknown, the weights are not on this machine"


def _span(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
