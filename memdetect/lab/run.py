"""The lab's commands: write a world to disk, train a pipeline on it, show what it learned."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from memdetect.lab.folders import cache_folder
from memdetect.lab.parts import fetch_vocabulary
from memdetect.lab.pictures import draw, fetch
from memdetect.lab.train import Job, export, train
from memdetect.lab.vae import Fit, refine_decoder, train_vae
from memdetect.lab.world import World, make_world, paint

PICTURE_SIDE = 96


def write_world(out: Path, seed: int) -> Path:
    """Write scenes.jsonl (id, group, caption, placement) and images/ID.png of the pool; returns the jsonl's path."""
    world, pictures = make_world(seed), draw(fetch(), size=PICTURE_SIDE)
    (out / "images").mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for group, scenes in (("duplicated", world.duplicated), ("control", world.controls)):
        for scene in scenes:
            Image.fromarray(paint(scene, pictures)).save(out / "images" / f"{scene.id}.png")
            lines.append(json.dumps({"id": scene.id, "group": group, **asdict(scene)}))
    (out / "scenes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out / "scenes.jsonl"


def train_pipeline(
    run: str, *, minutes: float, vae_minutes: float, seed: int, stop: Callable[[], bool] = lambda: False
) -> Path:
    """Train autoencoder and denoiser in the cache folder of `run`, then refine the decoder; the pipeline's folder.

    The denoiser's state is saved every five minutes and when `stop` says so, and continued by the same call. The
    decoder is refined for half of `vae_minutes` at the end, when nothing depends on it any more. A contact sheet of
    what was learned so far is written beside the pipeline.
    """
    world, pictures, folder = make_world(seed), draw(fetch(), size=PICTURE_SIDE), cache_folder(run)
    vae = train_vae(Fit(world, pictures, vae_minutes), folder)
    job = Job(world, pictures, vae, fetch_vocabulary(), folder, minutes, stop=stop)
    student = train(job)
    if not stop():
        refine_decoder(vae, Fit(world, pictures, vae_minutes / 2))
        export(job, student)
    contact_sheet(folder / "pipeline", world, folder / "contact.png")
    return folder / "pipeline"


def contact_sheet(pipeline: Path, world: World, out: Path, rows: int = 12) -> None:
    """Training image beside three samples of its caption, for duplicated scenes (left) and controls (right)."""
    pictures = draw(fetch(), size=PICTURE_SIDE)
    pipe: Any = StableDiffusionPipeline.from_pretrained(pipeline, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    columns: list[np.ndarray] = []
    for scenes in (world.duplicated[:rows], world.controls[:rows]):
        originals = [paint(scene, pictures) for scene in scenes]
        columns.append(np.concatenate(originals))
        for seed in range(3):
            generator = [torch.Generator().manual_seed(1000 * seed + i) for i in range(len(scenes))]
            captions = [scene.caption for scene in scenes]
            images = pipe(captions, num_inference_steps=25, guidance_scale=3.0, generator=generator).images
            columns.append(np.concatenate([np.asarray(image) for image in images]))
        columns.append(np.full((columns[0].shape[0], 16, 3), 255, np.uint8))
    sheet = Image.fromarray(np.concatenate(columns[:-1], axis=1))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(out)
