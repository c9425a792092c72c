"""What a run can be told: every option once, for the command line and for Python alike.

A record is a group of options. Python functions take records as keywords (`sampling=Sampling(num_seeds=4)`); a command
names records among its parameters, and each of their fields becomes an option (`cli.unfold`), with the type, default
and help that stand here. None, and an empty sequence, mean that the model's card decides. Imports nothing heavy.
"""

from memdetect.inputs.options.indexing import Indexing
from memdetect.inputs.options.judging import Judging
from memdetect.inputs.options.ranked import Ranked
from memdetect.inputs.options.running import Inputs, Loading, Lookup, Probing, Sampling, Sharing
from memdetect.inputs.options.screening import Screening
from memdetect.inputs.options.shared import BatchSize, EmbedderName, File, Given, Layers, MaxPixels, Seed

__all__ = [
    "BatchSize",
    "EmbedderName",
    "File",
    "Given",
    "Indexing",
    "Inputs",
    "Judging",
    "Layers",
    "Loading",
    "Lookup",
    "MaxPixels",
    "Probing",
    "Ranked",
    "Sampling",
    "Screening",
    "Seed",
    "Sharing",
]
