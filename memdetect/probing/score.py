"""Any adapter's denoiser as a score: the recorded call, the schedule and the prediction type put together."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters import Model
from memdetect.adapters.prediction import Prediction, kind_of, predicted
from memdetect.adapters.schedule import levels
from memdetect.probing.hooks import Replay


def predict(model: Model, replay: Replay, x: Float[Tensor, "batch chan row col"], timestep: int) -> Prediction:
    """Clean image, noise and score that a model predicts for noisy latents x at a timestep, in float32.

    Raises MemdetectError for a timestep outside the schedule.
    """
    level = levels(model.pipe.scheduler, timestep)
    x = x.to(model.place)
    times = torch.full((len(x),), timestep, device=x.device)
    output = replay(x.to(model.denoiser.dtype), times)
    return predicted(output.float(), x.float(), level, kind_of(model.pipe.scheduler))
