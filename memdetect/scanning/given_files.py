"""What was named is there and nothing said is ignored, before any model is opened: one check for every way in."""

import json
from pathlib import Path
from typing import Any

from memdetect.adapters import Model
from memdetect.adapters.loras import check_lora
from memdetect.adapters.places import check_loading, place_of
from memdetect.adapters.rows import adapter_of
from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean
from memdetect.inputs.folders import images_in
from memdetect.inputs.prompts import Requests
from memdetect.scanning.prepare import Options


def check_options(model: Any, options: Options) -> None:
    """MemdetectError for files that are not there, and for what would be ignored beside this model or the base.

    model: as `load` takes it.
    """
    check_files(options)
    check_loading(model, options.loading, options.judging.base)
    _check_base(model, options)


def check_calibration(requests: Requests, model: Any, options: Options) -> None:
    """As `check_options` and `check_labels`, and MemdetectError for what only a scan takes."""
    if options.sharing.ray is not None:
        raise MemdetectError("a calibration is not handed to Ray; share it by --workers, or by --rank and --world")
    if options.lookup.train_images:
        said = "a calibration looks up its prompts in an index, not among training pictures"
        raise MemdetectError(f"{said}; give index=, or leave out train_images")
    check_options(model, options)
    check_labels(requests, model)


def _check_base(model: Any, options: Options) -> None:
    asked = options.judging
    if options.base_of(model) is None:
        if asked.base_rounds is not None:
            said = "--base-rounds says how often a base draws each prompt, and there is none"
            raise MemdetectError(f"{said}; give --base, or leave it out")
        return
    own = "the LoRA's base, which --train-images asks for," if asked.base is None else ""
    if asked.calibration:
        cure = "leave out one of the two" if own else "give one of the two"
        raise MemdetectError(f"a calibration and {own or 'a base'} exclude each other; {cure}")
    if options.screening.asked:
        said = f"--screen and {own or '--base'} exclude each other: a base draws every prompt many times over"
        raise MemdetectError(f"{said}; leave out one of the two")


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


def check_labels(requests: Requests, model: Any) -> None:
    """MemdetectError for labels of classes where the model takes prompts or nothing.

    model: as `load` takes it, or loaded; of a hub id, or a single file, only the loaded model tells.
    """
    pipeline = _pipeline_of(model) if requests.labels else ""
    if pipeline and (takes := adapter_of(pipeline).condition) != "label":
        told = "prompts: give them as files" if takes == "prompt" else "no condition: use --unconditional"
        raise MemdetectError(f"--labels names classes, and the {pipeline} takes {told}")


def _pipeline_of(model: Any) -> str:
    """The class of a model's pipeline; "" where that is not known before it is loaded."""
    if isinstance(model, Model):
        return model.adapter.pipeline
    if not isinstance(model, str | Path):
        return type(model).__name__
    index = (place_of(str(model)) or Path()) / "model_index.json"
    return str(json.loads(index.read_text(encoding="utf-8")).get("_class_name", "")) if index.is_file() else ""
