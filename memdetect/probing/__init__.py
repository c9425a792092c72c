"""Watch a running denoiser: probe_prompts and probe_images give a Trace, Replay makes any denoiser f(x, t)."""

from memdetect.probing.looking import Look, probe_images, probe_prompts
from memdetect.probing.predicting import predict
from memdetect.probing.sampling import Sampler, decode, encode, image_size, truncated_at
from memdetect.probing.watching import CAPTURES, Replay, watch

__all__ = [
    "CAPTURES",
    "Look",
    "Replay",
    "Sampler",
    "decode",
    "encode",
    "image_size",
    "predict",
    "probe_images",
    "probe_prompts",
    "truncated_at",
    "watch",
]
