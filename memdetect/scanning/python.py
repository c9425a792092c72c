"""scan, calibrate and score as Python calls them: a model, what to examine, and records of options by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from jaxtyping import Float
from PIL import Image

from memdetect.adapters import Model, load
from memdetect.adapters.places import check_loading
from memdetect.detectors import find
from memdetect.detectors.choice import chosen, with_bank
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.folders import outside
from memdetect.inputs.given import (
    CLEAN,
    SCANNED,
    every_prompt,
    first_of_each,
    prompt_requests,
    requests_from,
    training_requests,
)
from memdetect.inputs.options import File, Judging, Loading, Lookup, Probing, Sampling, Screening, Sharing
from memdetect.inputs.prompts import Requests
from memdetect.inputs.wording import family_key
from memdetect.judging.calibration import Calibration
from memdetect.judging.run import Run, policy_of
from memdetect.probing import Probe, probe_prompts
from memdetect.runs.mirror import run_at
from memdetect.scanning.calibrating import run_calibration
from memdetect.scanning.flow import run_scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.prepare import Options, sampler_of

Prompt = str | Mapping[str, Any]
RECORDS: Mapping[str, type[Any]] = {
    "loading": Loading,
    "sampling": Sampling,
    "probing": Probing,
    "lookup": Lookup,
    "judging": Judging,
    "sharing": Sharing,
    "screening": Screening,
}


class Told(TypedDict, total=False):
    """Records of options, who is told of the progress, and who is asked before every shard whether to stop."""

    loading: Loading
    sampling: Sampling
    probing: Probing
    lookup: Lookup
    judging: Judging
    sharing: Sharing
    progress: Callable[[int, int, str], None]
    stop: Callable[[], bool]


class ScanOf(Told, total=False):
    """What is scanned, one of these, whether the generated images are kept, and what is sampled in full."""

    prompts: Sequence[Prompt]
    images: Sequence[File | Image.Image]
    labels: Sequence[int | str] | str
    unconditional: int
    files: Sequence[File]
    save_images: bool
    screening: Screening


class CalibrationOf(Told, total=False):
    """What clean scores are made of, one of these, and prompts that the model is known to have memorized."""

    clean: Sequence[Prompt]
    labels: Sequence[int | str] | str
    unconditional: int
    files: Sequence[File]
    memorized: Sequence[Prompt]


def scan(model: Any, *, out: File, **given: Unpack[ScanOf]) -> Run:
    """Examine prompts or images with a model and keep everything in the run folder `out`; the same call resumes.

    model: a live pipeline, a bundled name, a folder, a .safetensors file or a hub id. Give one of: prompts, texts or
    rows with a `prompt`; images, paths or pictures of Pillow; labels of a model of classes; unconditional, a number of
    images; files, as the command line takes them; or training pictures in `lookup`, whose captions are scanned then.
    Options are records: `sampling=Sampling(num_seeds=4)`; `loading` is for a model that is not loaded yet. Of files
    around the working folder a policy is read, as on the command line. progress is told (done, planned, note); stop is
    asked before every shard. Raises MemdetectError, also for a `loading` beside what is loaded.
    """
    told, home = _checked(given, ScanOf, model), Path(out)
    outside(home, _folders(told))
    requests = _requests(told, run_at(home).path)
    settings = _settings(told, save_images=told.get("save_images", True))
    return run_scan(requests, model, home, settings, _watch(told))


def calibrate(model: Any, *, out: File = "calibration.json", **given: Unpack[CalibrationOf]) -> Calibration | None:
    """Measure clean prompts with a model and write their scores to the file `out`; None when it was stopped.

    Give one of: clean, texts or rows with a `prompt`, drawn like those to be scanned; labels; unconditional; files. The
    run is kept beside `out`, in NAME.run, and the same call resumes it. memorized: rows with a `prompt` and a `kind`,
    which the model is known to have memorized. The rest is as for `scan`. Raises MemdetectError.
    """
    told, file = _checked(given, CalibrationOf, model), Path(out)
    requests = requests_from(told, file.parent, CLEAN)
    known = prompt_requests(told["memorized"], "memorized") if told.get("memorized") is not None else None
    return run_calibration(requests, model, file, _settings(told, memorized=known), watch=_watch(told))


def score(
    model: Any,
    prompts: Sequence[Prompt],
    *,
    detectors: Sequence[str | Detector] = (),
    loading: Loading | None = None,
    sampling: Sampling | None = None,
    probing: Probing | None = None,
) -> dict[str, Float[np.ndarray, "item seed"]]:
    """Score prompts with a model and keep nothing: detector -> an array [item, seed], higher = more memorized.

    An item for each prompt that is given, in order; what is given twice is measured once. Scores are those that a scan
    with the same options measures, not compared with clean ones. detectors: names, or records of your own; the usual
    ones without any. loading: as for `scan`. Raises MemdetectError.
    """
    _check_loading(model, loading)
    every, probed = every_prompt(prompts), probing or Probing()
    items = list(first_of_each(every).values())
    check_loading(model, loading or Loading())
    ready = load(model, loading)
    sampler = sampler_of(ready, sampling or Sampling())
    asked = tuple(detectors) or tuple(probed.detectors)
    named = [one for each in asked for one in (find([each]) if isinstance(each, str) else (each,))]
    found = chosen(ready, sampler, named, banked=False)
    with_bank(found, None)
    probe = Probe.at(
        ready,
        layers=probed.layers,
        timesteps=probed.timesteps,
        sigmas=probed.sigmas,
        detectors=found,
        call=sampler.call,
    )
    trace = probe_prompts(
        ready,
        [item.prompt or "" for item in items],
        ids=[item.id for item in items],
        sampler=sampler,
        probe=probe,
        images=False,
    )
    trace = replace(trace, families=tuple(family_key(item.meta, item.prompt) for item in items))
    places = {item.id: row for row, item in enumerate(items)}
    rows = [places[item.id] for item in every]
    return {each.name: each.score(trace).float().numpy()[rows] for each in found}


def _check_loading(model: Any, loading: Loading | None) -> None:
    """MemdetectError for a loading beside what is loaded, which it could not change: its own alone is taken."""
    if isinstance(model, str | Path):
        return
    asked, own = _said(loading or Loading()), _said(model.loading) if isinstance(model, Model) else {}
    if asked and asked != own:
        name = next(name for name in {**asked, **own} if asked.get(name) != own.get(name))
        raise MemdetectError(
            f"the model is loaded already, and takes no Loading ({name}={asked.get(name)!r:.80}); "
            "load the LoRA into it, or give the model's name"
        )


def _said(loading: Loading) -> dict[str, Any]:
    """What a loading says, by name."""
    held = {each.name: getattr(loading, each.name) for each in fields(loading)} | {"loras": tuple(loading.loras)}
    return {name: value for name, value in held.items() if value and (name, value) != ("dtype", "auto")}


def _checked(given: Mapping[str, Any], kind: Any, model: Any) -> dict[str, Any]:
    """The keywords of a call; MemdetectError for one that it does not take, and for a record of another kind.

    So it is for a `loading` beside a model that is loaded.
    """
    known = kind.__optional_keys__ | kind.__required_keys__
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise MemdetectError(f"there is no keyword {name!r}; {hint}(have: {', '.join(sorted(known))})")
        if name in RECORDS and not isinstance(value, RECORDS[name]):
            expected = RECORDS[name].__name__
            raise MemdetectError(f"{name} is a {type(value).__name__}, expected {expected}(...) of memdetect.scanning")
    _check_loading(model, given.get("loading"))
    return dict(given)


def _folders(told: Mapping[str, Any]) -> list[str | Path]:
    """What may be searched for images."""
    pictures = told.get("lookup", Lookup()).train_images
    lists = [told[name] for name in ("images", "files") if isinstance(told.get(name), list | tuple)]
    return [each for given in (*lists, [pictures]) for each in given if isinstance(each, str | Path)]


def _requests(told: Mapping[str, Any], home: Path) -> Requests:
    """What is given, else the captions of the training pictures."""
    given = any(told.get(way) is not None for way in SCANNED)
    return training_requests(told.get("lookup", Lookup()), given=given) or requests_from(told, home)


def _settings(told: Mapping[str, Any], **more: Any) -> Options:
    records = {name: told.get(name, kind()) for name, kind in RECORDS.items()}
    if records["sharing"].workers is not None and records["sharing"].ray is None:
        raise MemdetectError("workers are started by the command line; call with a rank in processes of your own")
    if told.get("unconditional"):
        records["sampling"] = records["sampling"].without_prompts()
    policy = policy_of(records["judging"])
    return Options(**records, policy=policy.policy, policy_file=policy.file, **more)


def _watch(told: Mapping[str, Any]) -> Watch:
    return Watch(**{name: told[name] for name in ("progress", "stop") if told.get(name) is not None})
