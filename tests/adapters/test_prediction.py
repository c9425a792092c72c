"""Prediction types say the same, and are right: against each other, and against a Gaussian mixture known in full."""

import inspect
import math
from functools import wraps
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline
from tiny_adapters import ADAPTER_MAKERS, tiny_adapter

from memdetect.adapters import Model, load
from memdetect.adapters.prediction import KINDS, kind_of, predicted
from memdetect.adapters.schedule import levels
from memdetect.errors import MemdetectError
from memdetect.probing import Probe, predict

FLOWS = ("sd3", "flux-distilled", "flux-true-cfg")
EDM = {"edm": "epsilon", "edm_v": "v_prediction"}  # what diffusers calls them
CASES = [
    (name, kind)
    for name in ADAPTER_MAKERS
    for kind in (("flow",) if name in FLOWS else tuple(EDM) if name.startswith("edm") else KINDS[:3])
]
WIDTH = 0.3  # standard deviation of each of the mixture's components


def given(kind: str, clean: torch.Tensor, eps: torch.Tensor, level: tuple[float, float]) -> torch.Tensor:
    """What a network of a kind would say, by the definitions."""
    signal, noise = level
    velocity = signal * eps - noise * clean
    spread, data = noise / signal, 0.5  # of an EDM network, F = (x_0 - c_skip x) / c_out of x = x_0 + sigma eps
    both = spread**2 + data**2
    raw = (clean - data**2 / both * (clean + spread * eps)) / (spread * data / both**0.5)
    known = {"epsilon": eps, "sample": clean, "v_prediction": velocity, "flow": eps - clean, "edm": raw, "edm_v": -raw}
    return known[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 50, 500, 998])
def test_every_type_gives_back_the_image_and_the_noise(kind, t):
    special = {"flow": FlowMatchEulerDiscreteScheduler, "edm": EDMEulerScheduler, "edm_v": EDMEulerScheduler}
    scheduler = special.get(kind, DDIMScheduler)()
    level = levels(scheduler, t)
    clean, eps = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(t)).double()
    x = level[0] * clean + level[1] * eps
    found = predicted(given(kind, clean, eps, level), x, level, kind)
    torch.testing.assert_close(found.clean, clean)
    torch.testing.assert_close(found.noise, eps)
    torch.testing.assert_close(found.score, -eps / level[1])


def test_the_type_is_the_schedulers():
    assert kind_of(DDIMScheduler(prediction_type="v_prediction")) == "v_prediction"
    assert kind_of(FlowMatchEulerDiscreteScheduler()) == "flow"
    odd = DDIMScheduler()
    odd.register_to_config(prediction_type="odd")
    with pytest.raises(MemdetectError, match="prediction type 'odd' is not known; expected one of epsilon"):
        kind_of(odd)


class Mixture:
    """Five Gaussians of equal weight around random images: posterior mean and score at any noise, in closed form."""

    def __init__(self, shape: torch.Size) -> None:
        self.means = 0.5 * torch.randn(5, *shape, generator=torch.Generator().manual_seed(9)).double()

    def shares(self, x: torch.Tensor, signal: float, spread: float) -> torch.Tensor:
        far = (x[:, None].double() - signal * self.means).square().flatten(2).sum(dim=2)
        return torch.softmax(-far / (2 * spread), dim=1)[..., None, None, None]

    def clean(self, x: torch.Tensor, signal: float, noise: float) -> torch.Tensor:
        spread = signal**2 * WIDTH**2 + noise**2
        away = x[:, None].double() - signal * self.means
        each = self.means + signal * WIDTH**2 / spread * away
        return (self.shares(x, signal, spread) * each).sum(dim=1)

    def score(self, x: torch.Tensor, signal: float, noise: float) -> torch.Tensor:
        """Gradient of the log density by automatic differentiation of the density itself."""
        spread = signal**2 * WIDTH**2 + noise**2
        at = x.double().requires_grad_()
        far = (at[:, None] - signal * self.means).square().flatten(2).sum(dim=2)
        return torch.autograd.grad(torch.logsumexp(-far / (2 * spread), dim=1).sum(), at)[0]


def raw_of(scheduler: Any, clean: torch.Tensor, x: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """What diffusers' own precondition_outputs, linear in the network's output, turns into this clean image."""
    zero, one = (scheduler.precondition_outputs(x, torch.full_like(x, c), spread) for c in (0.0, 1.0))
    return (clean - zero) / (one - zero)


def behind(model: Model, kind: str, mixture: Mixture) -> Any:
    """A forward of the denoiser's own signature that knows the mixture, with diffusers' own packing and schedules."""
    original, scheduler = model.denoiser.forward, model.pipe.scheduler
    signature = inspect.signature(original)
    flux = isinstance(model.pipe, FluxPipeline)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs).arguments
        x, time = next(iter(bound.values())), float(torch.as_tensor(bound["timestep"]).flatten()[0])
        x = FluxPipeline._unpack_latents(x, 32, 32, 4) if flux else x
        if kind == "flow":
            noise = time if flux else time / 1000
            signal = 1 - noise
        elif kind in EDM:
            spread, data = math.exp(4 * time), scheduler.config["sigma_data"]
            signal = (spread**2 + data**2) ** -0.5
            noise = signal * spread
        else:
            kept = float(scheduler.alphas_cumprod[round(time)])
            signal, noise = kept**0.5, (1 - kept) ** 0.5
        clean = mixture.clean(x, signal, noise)
        if kind in EDM:
            out = raw_of(scheduler, clean, x.double() / signal, torch.tensor(noise / signal).double()).float()
        else:
            out = given(kind, clean, (x.double() - signal * clean) / noise, (signal, noise)).float()
        if flux:
            return (FluxPipeline._pack_latents(out, *out.shape),)
        learned = model.denoiser.config.get("out_channels") == 2 * x.shape[1]
        return (torch.cat([out, torch.full_like(out, 7.0)], dim=1) if learned else out,)

    return forward


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("t", [50, 700])
def test_behind_every_adapter_the_mixtures_score_comes_out(name, kind, t, tmp_path, monkeypatch):
    pipe = tiny_adapter(name, tmp_path)
    if kind != "flow":
        pipe.scheduler.register_to_config(prediction_type=EDM.get(kind, kind))
    model = load(pipe)
    probe = Probe.at(model)
    shape = (
        torch.Size((3, 16, 16)) if model.adapter.condition == "none" else torch.Size((16 if name == "sd3" else 4, 8, 8))
    )
    mixture = Mixture(shape)
    monkeypatch.setattr(model.denoiser, "forward", behind(model, kind, mixture))
    signal, noise = levels(model.pipe.scheduler, t)
    eps = torch.randn(3, *shape, generator=torch.Generator().manual_seed(t))
    x = signal * mixture.means[:3].float() + noise * eps
    found = predict(model, probe.replay, x, t)
    # The conversions divide by signal or noise once; all else is rounding of float32 (1.2e-7) at values of a few units.
    torch.testing.assert_close(found.score.double(), mixture.score(x, signal, noise), rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(found.clean.double(), mixture.clean(x, signal, noise), rtol=1e-3, atol=2e-3)
