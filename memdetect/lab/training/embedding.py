"""Train the copy embedder of a world's model: damaged copies near their originals, redraws and siblings far away."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, UInt8
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from memdetect.copies.embedders import EMBEDDERS
from memdetect.copies.embedders.scenes import CONFIG, DIM, WEIGHTS, WIDTHS, Config, SceneNet
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.lab.training.damage import damage, round_trip
from memdetect.lab.training.parts import mixed
from memdetect.lab.training.vae import to_tensor
from memdetect.lab.world.labelled import World
from memdetect.lab.world.scenes import Placed, Scene, paint, redraw, sibling
from memdetect.lab.world.stock import Stock

Pixels = UInt8[np.ndarray, "image row col 3"]

START = 3_000_000  # scenes of the stream that the denoiser never reaches; trials take others
STREAM = 6  # of the world's random streams
PEAK_RATE, WARM_UP, DECAY = 2e-3, 50, 0.05
TEMPERATURE = 0.05
CLIP_SHARE = 0.1  # of a batch: clip art
TRIP_SHARE = 0.125  # of a batch: through the autoencoder, the dearest damage
HARD = (0.4, 0.8)  # redraws below the first, siblings below the second, then scenes with one picture moved
MOVED = (5.0, 14.0)  # pixels
SAVE_EVERY = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class EmbedderJob:
    """What to train on, for how many steps, and where the state is kept. Batch k depends on the world and k alone."""

    world: World
    stock: Stock
    vae: Any
    folder: Path
    steps: int
    batch: int = 96
    stop: Callable[[], bool] = lambda: False

    @property
    def clips(self) -> Sequence[str]:
        """Clip art that may be trained on: all but that of the test split."""
        kept = {entry.clip for entry in self.world.labelled if entry.part == "test"}
        return [name for name in self.stock.clips if name not in kept]


def open_vae(folder: Path) -> Any:
    """The autoencoder in a folder; MemdetectError when there is none."""
    try:
        return AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True).eval()
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise MemdetectError(f"{folder} holds no autoencoder: {reason}; give the vae folder of a model") from None


def train_embedder(job: EmbedderJob) -> Path:
    """Train, save the state every half minute, and export to `job.folder`/embedder; the same call again resumes.

    Returns that folder; a run that `stop` ended exports nothing. Raises MemdetectError for a state of other settings.
    """
    torch.manual_seed(job.world.seed)
    net = SceneNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=DECAY)
    step, saved = _resume(job, net, optimizer), time.monotonic()
    net.train()
    while step < job.steps and not job.stop():
        for group in optimizer.param_groups:
            group["lr"] = rate(step, job.steps)
        loss = _loss(net, *batch(job, step))
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 20 == 0 or step == job.steps:
            print(f"embedder: step {step} of {job.steps}, loss {loss.item():.4f}", flush=True)
        if time.monotonic() - saved > SAVE_EVERY:
            _save(job, net, optimizer, step)
            saved = time.monotonic()
    _save(job, net, optimizer, step)
    return _export(job, net) if step == job.steps else job.folder / "embedder"


def rate(step: int, steps: int) -> float:
    """Learning rate: a linear warm-up, then half a cosine down to zero."""
    return PEAK_RATE * min(1, (step + 1) / WARM_UP) * (1 + cos(pi * step / steps)) / 2


def batch(job: EmbedderJob, step: int) -> tuple[Pixels, Pixels, Pixels]:
    """Originals, a damaged copy of each, and an image that is easily mistaken for each but no copy."""
    rng = np.random.default_rng([job.world.seed, STREAM, step])
    clips = min(round(CLIP_SHARE * job.batch), len(job.clips))
    scenes = list(islice(job.world.stream(START + step * job.batch), job.batch - clips))
    originals = [paint(scene, job.stock.pictures) for scene in scenes]
    others = [paint(_mistakable(rng, scene, job.world.names), job.stock.pictures) for scene in scenes]
    for index in rng.permutation(len(job.clips))[:clips]:
        clip = job.stock.clips[job.clips[int(index)]]
        originals.append(clip)
        others.append(np.roll(clip, rng.integers(8, 56, 2), (0, 1)))
    whole = np.stack(originals)
    trips = rng.permutation(job.batch)[: round(TRIP_SHARE * job.batch)]
    copies = whole.copy()
    copies[trips] = round_trip(job.vae, whole[trips], int(rng.integers(2**31)))
    copies = np.stack([damage(rng, image) for image in copies])
    hard = np.stack([damage(rng, image) if rng.random() < 0.5 else image for image in others])
    return whole, copies, hard


def _mistakable(rng: np.random.Generator, scene: Scene, names: Sequence[str]) -> Scene:
    kind = rng.random()
    if kind < HARD[0]:
        return redraw(rng, scene)
    return sibling(rng, scene, names) if kind < HARD[1] else _moved(rng, scene)


def _moved(rng: np.random.Generator, scene: Scene) -> Scene:
    """One picture a few pixels away, into whichever direction keeps it inside."""
    slot = int(rng.integers(len(scene.pictures)))
    old, angle, far = scene.pictures[slot], rng.uniform(0, 2 * pi), rng.uniform(*MOVED)
    x, y = (
        float(np.clip(c + s, old.size / 2, 64 - old.size / 2) if abs(s) >= 1 else c)
        for c, s in ((old.x, far * np.cos(angle)), (old.y, far * np.sin(angle)))
    )
    if abs(x - old.x) + abs(y - old.y) < MOVED[0]:
        return redraw(rng, scene)
    new = Placed(old.name, x, y, old.size, old.flip)
    return Scene(scene.ground, (*scene.pictures[:slot], new, *scene.pictures[slot + 1 :]), scene.caption)


def _loss(net: SceneNet, originals: Pixels, copies: Pixels, hard: Pixels) -> Float[Tensor, ""]:
    images = to_tensor([*originals, *copies, *hard])
    with mixed("cpu"):
        vectors = net(images)
    return contrast(*vectors.float().chunk(3))


def contrast(
    originals: Float[Tensor, "image dim"], copies: Float[Tensor, "image dim"], hard: Float[Tensor, "image dim"]
) -> Float[Tensor, ""]:
    """InfoNCE (van den Oord et al. 2018, eq. 4), both ways; cosines over TEMPERATURE, hard ones among the negatives.

    Rows are unit vectors. 0 when every copy is infinitely nearer to its original than to anything else.
    """
    target = torch.arange(len(originals))
    forth = copies @ torch.cat([originals, hard]).T / TEMPERATURE
    back = originals @ torch.cat([copies, hard]).T / TEMPERATURE
    return (nn.functional.cross_entropy(forth, target) + nn.functional.cross_entropy(back, target)) / 2


def _resume(job: EmbedderJob, net: SceneNet, optimizer: torch.optim.Optimizer) -> int:
    path = job.folder / "state.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != _settings(job):
        raise MemdetectError(f"{path} is of {state['settings']}, not {_settings(job)}; choose another --run")
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def _save(job: EmbedderJob, net: SceneNet, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"settings": _settings(job), "step": step, "net": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, job.folder / "state.tmp")
    (job.folder / "state.tmp").replace(job.folder / "state.pt")


def _settings(job: EmbedderJob) -> dict[str, Any]:
    return {"world": job.world.digest, "steps": job.steps, "batch": job.batch}


def _export(job: EmbedderJob, net: SceneNet) -> Path:
    """fp16 weights and config.json, whose digest is theirs."""
    row, out = EMBEDDERS["scenes"], job.folder / "embedder"
    half = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    data = to_bytes({k: v.contiguous() for k, v in half.items()})
    config = Config(
        dim=DIM,
        widths=WIDTHS,
        preprocessing=dict(row.preprocessing),
        sha256=hashlib.sha256(data).hexdigest(),
        licence=f"Apache-2.0; trained on pictures under {job.stock.licence or 'their own licence'}",
        about=f"copy embedder of world {job.world.digest}",
        trained=f"{job.steps} steps of {job.batch} scenes with a damaged copy and a hard negative each",
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(data)
    write_atomic(out / CONFIG, config.model_dump_json(indent=1) + "\n")
    return out
