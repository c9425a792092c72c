"""What was named on the command line or in Python is there, before any model is opened: one check for every way in."""

from pathlib import Path

from memdetect.adapters.loras import check_lora
from memdetect.adapters.places import place_of
from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean
from memdetect.inputs.folders import images_in
from memdetect.scanning.prepare import Options


def check_files(options: Options) -> None:
    """MemdetectError for a LoRA, a base, clean scores, weights of an embedder or training pictures that are not there.

    A hub id may be anywhere; whether it is, only the hub tells.
    """
    asked, lookup = options.judging, options.lookup
    for lora in options.loading.loras:
        check_lora(lora)
    if isinstance(asked.base, str | Path):
        place_of(str(asked.base))
    if asked.calibration and asked.base is None and not Path(asked.calibration).exists():
        hint = did_you_mean(Path(asked.calibration))
        said = f"there is no calibration {str(asked.calibration)!r}; {hint}make one with `memdetect calibrate`"
        raise MemdetectError(said)
    if lookup.weights and not Path(lookup.weights).exists():
        raise MemdetectError(f"--weights {str(lookup.weights)!r} is not there; give the file of the embedder's weights")
    if lookup.search and lookup.train_images and not any(images_in(Path(lookup.train_images))):
        raise MemdetectError(f"{str(lookup.train_images)!r} holds no image; give the folder that was trained on")
