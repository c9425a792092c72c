"""Watch a running denoiser: probe_prompts and probe_images give a Trace, Replay makes any denoiser f(x, t)."""

from memdetect.probing.decoding import Decoded, decode, encode
from memdetect.probing.finished import Probe, probe_images, probe_prompts, trace_of
from memdetect.probing.hooks import CAPTURES, Replay, as_written, quiet, watch
from memdetect.probing.replay import record
from memdetect.probing.sampling import (
    Sampler,
    generators,
    image_size,
    sample_latents,
    truncated_at,
)
from memdetect.probing.score import predict

__all__ = [
    "CAPTURES",
    "Decoded",
    "Probe",
    "Replay",
    "Sampler",
    "as_written",
    "decode",
    "encode",
    "generators",
    "image_size",
    "predict",
    "probe_images",
    "probe_prompts",
    "quiet",
    "record",
    "sample_latents",
    "trace_of",
    "truncated_at",
    "watch",
]
