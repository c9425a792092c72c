"""The lab's commands: train a pipeline on a world, show what it learned."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.inputs.ranks import processors
from memdetect.lab.training.parts import fetch_vocabulary
from memdetect.lab.training.train import Job, export, train
from memdetect.lab.training.vae import Fit, refine_decoder, train_vae
from memdetect.lab.world.entry import Entry
from memdetect.lab.world.folders import cache_folder
from memdetect.lab.world.labelled import World
from memdetect.lab.world.stock import Stock

SHEET_STEPS, SHEET_GUIDANCE = 10, 2.5


def train_pipeline(
    run: str,
    made: tuple[World, Stock],
    *,
    base_steps: int,
    autoencoder: tuple[float, Path | None],
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train autoencoder, base and twin in the cache folder of `run`; returns the folder of the twin's pipeline.

    `autoencoder`: minutes of its training, and a pipeline whose autoencoder is trained further; None: a new one. The
    decoder is refined for half as long at the end, when nothing depends on it any more.
    The state is saved every five minutes and when `stop` says so, and continued by the same call. A contact sheet of
    what was learned so far is written beside the pipeline.
    """
    (world, stock), folder = made, cache_folder(run)
    fit = Fit(world.seed, stock.pictures, list(stock.clips.values()), *autoencoder)
    vae: Any = train_vae(fit, folder)
    batch = 64 if device == "cpu" else 512
    job = Job(
        world,
        stock,
        vae.to(device),
        fetch_vocabulary(),
        folder,
        base_steps,
        batch=batch,
        duplicates=batch * 3 // 4,
        device=device,
        workers=1 if device == "cpu" else min(8, processors()),
        stop=stop,
    )
    student = train(job)
    if not stop():
        refine_decoder(vae.to("cpu"), replace(fit, minutes=fit.minutes / 2))
        export(job, student)
    contact_sheet(folder / "pipeline", world, stock, folder / "contact.png")
    return folder / "pipeline"


def contact_sheet(pipeline: Path, world: World, stock: Stock, out: Path, rows: int = 12) -> None:
    """Training image beside three samples of its caption, in five columns.

    Duplicated, verbatim, one variant of each template, the pool from one exposure up, and clean captions; there the
    first image is a rendering that was never trained on. Raises MemdetectError where there is no pipeline.
    """
    if not (pipeline / "model_index.json").is_file():
        raise MemdetectError(
            f"{pipeline} is no folder of a pipeline: it has no model_index.json; give one of `lab train`"
        )
    pipe: Any = StableDiffusionPipeline.from_pretrained(pipeline, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    columns: list[np.ndarray] = []
    for entries in sheet_entries(world, rows):
        blocks = [[stock.image(entry) for entry in entries]]
        for seed in range(3):
            generator = [torch.Generator().manual_seed(1000 * seed + i) for i in range(len(entries))]
            captions = [entry.caption for entry in entries]
            images = pipe(
                captions, num_inference_steps=SHEET_STEPS, guidance_scale=SHEET_GUIDANCE, generator=generator
            ).images
            blocks.append([np.asarray(image) for image in images])
        blank = np.full((64, 64, 3), 255, np.uint8)
        columns += [np.concatenate([*block, *[blank] * (rows - len(block))]) for block in blocks]
        columns.append(np.full((64 * rows, 16, 3), 255, np.uint8))
    sheet = Image.fromarray(np.concatenate(columns[:-1], axis=1))
    sheet.resize((sheet.width * 3 // 2, sheet.height * 3 // 2), Image.Resampling.NEAREST).save(out)


def sheet_entries(world: World, rows: int) -> list[list[Entry]]:
    """Up to `rows` entries for each column of a contact sheet; of the pool equally many of each exposure, few first."""
    own = {g: [e for e in world.labelled if e.group == g] for g in ("duplicated", "verbatim", "template")}
    own["template"] = list({e.family: e for e in reversed(own["template"])}.values())[::-1]
    pool = [e for e in world.trained if e.group in ("duplicated", "dose-response", "control")]
    exposures = sorted({e.exposures for e in pool})
    each = max(1, rows // max(1, len(exposures)))
    response = [e for number in exposures for e in [e for e in pool if e.exposures == number][:each]]
    return [entries[:rows] for entries in (*own.values(), response, list(world.clean)) if entries]
