"""Load a model: bundled name, folder, hub id or live pipeline -> pipeline, adapter, card and digest."""

import hashlib
import inspect
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from memdetect.adapters.admitted import unopened
from memdetect.adapters.calls import check_values
from memdetect.adapters.cards import Card, card_of, read_card
from memdetect.adapters.downloads import not_fetched, patient
from memdetect.adapters.loras import add_loras
from memdetect.adapters.opening import (
    DTYPES,
    check_fits,
    check_spread,
    check_whole,
    fastest,
    open_pipeline,
    opening_hint,
    place,
    reason_of,
)
from memdetect.adapters.places import near_name, place_of
from memdetect.adapters.points import Point, any_module, list_points, resolve, spelled_out
from memdetect.adapters.rows import Adapter, adapter_of
from memdetect.adapters.schedule import edm_point, is_edm
from memdetect.adapters.state import settings_of, state_of, unchanged, unwrapped, weights_digest
from memdetect.adapters.whole import drawing_no_weights
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs import bundled
from memdetect.inputs.options import Loading

# What memdetect passes to a pipeline itself; a caller's extra arguments may not set these.
MANAGED = frozenset(
    {
        "prompt",
        "prompt_embeds",
        "class_labels",
        "batch_size",
        "num_inference_steps",
        "guidance_scale",
        "generator",
        "latents",
        "output_type",
    }
    | {"return_dict", "num_images_per_prompt", "callback_on_step_end", "image", "image_latents", "timesteps", "sigmas"}
)


@dataclass(frozen=True, slots=True)
class Model:
    """A pipeline ready to be watched. digest: sha256 of its weights and configurations; state: as `state_of` has it."""

    name: str
    pipe: Any
    adapter: Adapter
    card: Card
    digest: str
    device: str
    dtype: str
    folder: Path | None = None
    loading: Loading = field(default_factory=Loading)
    state: str = ""

    @property
    def aliases(self) -> dict[str, str]:
        """Short names of layers, as of this very network."""
        return spelled_out(self.adapter.aliases, self.denoiser)

    @property
    def place(self) -> Any:
        """The device that the denoiser runs on; its weights may wait elsewhere."""
        return getattr(self.pipe, "_execution_device", self.denoiser.device)

    @property
    def distilled(self) -> str:
        """Why the network has no unconditional branch to compare with; empty where it has one."""
        return distilled(self.pipe, self.adapter, self.card)

    @property
    def denoiser(self) -> Any:
        """The network that predicts noise or velocity: a module with diffusers' `config`, `device` and `dtype`.

        Of one that `torch.compile` wrapped, what is inside: its layers have their own names, and it takes hooks.
        """
        return unwrapped(getattr(self.pipe, self.adapter.denoiser))

    def run(self, **call: Any) -> Any:
        """Run the pipeline, and set its scheduler back to its settings, of which some change a few as they run."""
        scheduler = self.pipe.scheduler
        before, settings = dict(scheduler.config), settings_of(scheduler)
        try:
            return self.pipe(**call)
        finally:
            if settings_of(scheduler) != settings:
                scheduler.register_to_config(**before)

    def points(self, names: tuple[str, ...]) -> tuple[Point, ...]:
        """Probe points by name, glob or alias; MemdetectError with the closest for an unknown one."""
        known = list_points(self.denoiser)
        further = {name: any_module(self.denoiser, name) for name in names if name not in known}
        listed = {**known, **{name: point for name, point in further.items() if point}}
        order = {name: i for i, (name, _) in enumerate(self.denoiser.named_modules())}
        return resolve(names, dict(sorted(listed.items(), key=lambda row: order[row[0]])), self.aliases)


def load(model: Any, loading: Loading | None = None) -> Model:
    """Open a model given by bundled name, folder, .safetensors file, hub id, or live, which is taken as it is.

    A live UNet2DModel is taken with the linear schedule of DDPM. loading: device, number format (`auto`: the card's,
    else what `usual_dtype` says; never fp16 on a CPU), LoRA and the like; nothing of it touches a live pipeline. Only
    safetensors are read. Raises MemdetectError (usage).
    """
    loading = loading or Loading()
    if isinstance(model, Model):
        return _unchanged(model)
    if not isinstance(model, (str, Path)):
        return _wrap(model)
    if not str(model).strip():
        raise MemdetectError("--model is empty; give a bundled name, a folder or a hub id (see `memdetect models`)")
    folder = place_of(str(model))
    card = read_card(folder.parent if folder and folder.is_file() else folder) if folder else card_of(str(model))
    where = folder or card.repo or str(model)
    check_spread(where, loading)
    device, dtype = _placement(loading.device, loading.dtype or "auto", card.dtype)
    pipe = _open(where, (device, dtype), loading, card)
    adapter = adapter_of(type(pipe).__name__)
    digest = bundled.folder_digest(folder, loading.variant) if folder and folder.is_dir() else weights_digest(pipe)
    added = add_loras(pipe, loading.loras)
    digest = hashlib.sha256(f"{digest}{added}".encode()).hexdigest() if added else digest
    pipe = place(pipe, device, loading)
    pipe.set_progress_bar_config(disable=True)
    inside = folder if folder and folder.is_dir() else None
    card = _fitted(card, adapter, pipe.scheduler)
    return Model(str(model), pipe, adapter, card, digest, device, dtype, inside, loading, state_of(pipe))


def _unchanged(model: Model) -> Model:
    if model.state and not unchanged(model.pipe, model.state):
        cure = "load it again, or give the pipeline itself (model.pipe)"
        raise MemdetectError(
            f"the pipeline of {model.name!r} was changed after it was loaded, so that its digest is not its own; {cure}"
        )
    return model


def check_call(model: Model, call: dict[str, Any]) -> None:
    """Refuse extra pipeline arguments that its signature lacks or that memdetect sets itself, half a size, two formats.

    So are those that change the network for the images and not for what is probed: a scale of LoRAs, skipped layers.

    diffusers' pipelines may swallow unknown keywords, so that a misspelt one would silently do nothing. Of height and
    width some drop one that comes without the other. What encodes the prompts has to give the numbers that the network
    takes, unless `torch.autocast` sees to it; transformers keeps weights in the format of their file, and diffusers
    widens them.
    """
    own = getattr(model.denoiser, "dtype", None)
    texts = {
        n: getattr(p, "dtype", own) for n, p in model.pipe.components.items() if n.startswith("text_encoder") and p
    }
    mixed = texts and own not in texts.values() and {own, *texts.values()} <= set(DTYPES.values())
    if mixed and not torch.is_autocast_enabled(torch.device(model.device).type):
        said = f"{next(iter(texts))} is {next(iter(texts.values()))}, {model.adapter.denoiser} is {own}"
        raise MemdetectError(f"parts of the pipeline differ in their number format: {said}; use pipe.to({own})")
    known = set(inspect.signature(model.pipe.__call__).parameters) - {"self", "kwargs"}
    for name in call:
        if name in MANAGED:
            raise MemdetectError(f"pipeline argument {name!r} is set by memdetect itself; use the option for it")
        if name not in known:
            close = get_close_matches(name, known - MANAGED, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise MemdetectError(f"{model.adapter.pipeline} takes no argument {name!r}; {hint}leave it out")
    check_values(call, model.device)


def distilled(pipe: Any, adapter: Adapter, card: Card) -> str:
    """Why a pipeline has no unconditional branch, from its row, its networks' configurations and its card."""
    config = getattr(pipe, adapter.denoiser).config
    if adapter.condition == "none":
        return "the model takes no condition"
    if config.get("guidance_embeds") or config.get("time_cond_proj_dim"):
        return "guidance is distilled into the network"
    if card.distilled or adapter.halves == "none" or type(pipe.scheduler).__name__ == "LCMScheduler":
        return "the model is distilled to few steps without guidance"
    return ""


def _fitted(card: Card, adapter: Adapter, scheduler: Any) -> Card:
    """The card with its adapter's defaults for what it does not name; an EDM sampler has a timestep of its own."""
    own = {"timesteps": (edm_point(scheduler),)} if is_edm(scheduler) else {}
    defaults = {**adapter.defaults, **own}
    return card.model_copy(update={k: v for k, v in defaults.items() if k not in card.model_fields_set})


def usual_dtype(device: str) -> str:
    """The number format of a device: fp32 on a CPU and on mps, bf16 on a GPU that computes in it, fp16 on another.

    bf16 spans the numbers of fp32; fp16 ends at 65,504, and an autoencoder or a text encoder that passes it gives NaN.
    On mps fp16 is known for black images. A GPU that only imitates bf16 (before NVIDIA's Ampere) counts as another.
    """
    kind = torch.device(device).type
    if kind != "cuda":
        return "fp32"
    with torch.cuda.device(torch.device(device)):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _placement(device: str | None, dtype: str, card: str) -> tuple[str, str]:
    """Device and number format; auto: the card's, unless that is fp16 and the device a CPU, else the device's own."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = device or fastest()
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = "unknown"
    if kind not in present:
        raise MemdetectError(f"no device named {device!r}; expected cpu, cuda, cuda:N or mps")
    if not present[kind]:
        raise MemdetectError(f"device {device!r} was asked for, but torch sees no such device; use --device cpu")
    if dtype == "auto":
        own = "" if (kind, card) == ("cpu", "fp16") else card
        dtype = own or usual_dtype(device)
    if dtype not in DTYPES:
        raise MemdetectError(f"no dtype named {dtype!r}; expected auto or one of {', '.join(DTYPES)}")
    if kind == "cpu" and dtype == "fp16":
        raise MemdetectError("fp16 on a CPU is slow and inexact; use --dtype fp32 or bf16")
    return device, dtype


def _open(where: Path | str, placed: tuple[str, str], loading: Loading, card: Card) -> Any:
    device, dtype = placed
    try:
        if isinstance(where, Path):
            check_fits(where, device, dtype, loading)
        with patient(where), drawing_no_weights():
            pipe = open_pipeline(where, DTYPES[dtype], loading)
        check_whole(pipe, loading)
        return pipe
    except MemdetectError as problem:
        if problem.exit is not Exit.USAGE:
            raise
        raise unopened(str(where), problem) from None
    except Exception as problem:  # of several libraries: what a damaged folder can make them raise has no end
        mirrors = f"; mirrors to try: {', '.join(card.mirrors)}" if card.mirrors else ""
        near = "" if isinstance(where, Path) else near_name(where)
        absent = not_fetched(loading, problem) if isinstance(where, str) else ""
        cure = opening_hint(where, loading) or f"{near}check its name and files"
        said = f"{near}{absent}" if absent else f"{reason_of(problem)}; {cure}"
        raise MemdetectError(f"model {str(where)!r} could not be opened: {said}{mirrors}") from None


def _wrap(pipe: Any) -> Model:
    if isinstance(pipe, UNet2DModel):
        pipe = DDPMPipeline(unet=pipe, scheduler=DDPMScheduler())
        pipe.set_progress_bar_config(disable=True)
    adapter = adapter_of(type(pipe).__name__)
    names = {value: key for key, value in DTYPES.items()}
    denoiser = getattr(pipe, adapter.denoiser)
    dtype = names.get(denoiser.dtype, str(denoiser.dtype))
    card = _fitted(Card(), adapter, pipe.scheduler)
    digest, device = weights_digest(pipe), str(getattr(pipe, "_execution_device", denoiser.device))
    return Model("live pipeline", pipe, adapter, card, digest, device, dtype, state=state_of(pipe))
