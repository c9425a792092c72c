"""calibrate(): clean prompts and a model -> the clean scores that a scan is judged against."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, inf
from pathlib import Path
from typing import Any

from memdetect.adapters import load
from memdetect.calibration import Calibration, Removed, calibration_of_run, parts_of
from memdetect.errors import MemdetectError
from memdetect.images import open_image
from memdetect.matching import Evidence
from memdetect.prompts import Request, Requests, read
from memdetect.records import Header, Measurement, RunFolder, write_atomic
from memdetect.scanning.loop import Watch, sample_all
from memdetect.scanning.measure import measure
from memdetect.scanning.plan import Bench, Options, plan, prepare
from memdetect.verdict.nulls import make_null, scores_of
from memdetect.wording import one_a_family

Matcher = Callable[[list[Path]], list[bool]]
LEAST, SHARE = 10, 0.01  # how many of the strongest prompts are searched for copies


def calibrate(
    inputs: Requests | Sequence[str | Path],
    model: Any,
    out: Path | str,
    options: Options | None = None,
    *,
    matcher: Matcher | None = None,
    watch: Watch | None = None,
) -> Calibration | None:
    """Measure clean prompts, one a family, and write their scores to the file `out`; None when it was stopped.

    The run is kept beside `out`, in NAME.run, and the same call resumes it. matcher: images -> whether each is a copy
    of a training image (default: by the options' index, or the one that ships with the model); with it the strongest
    max(10, 1 %) of the prompts are generated and searched, matches are left out, and whoever moves up is searched in
    turn. Without it the calibration says that it was not checked. Raises MemdetectError for images, for parts other
    than A and B, for prompts of which none has finite scores, and for one to be searched whose images are not finite.
    """
    options, out = replace(options or Options(), save_images=False), Path(out)
    requests = _clean(inputs if isinstance(inputs, Requests) else read(inputs))
    bench = prepare(load(model), options)
    if matcher is None and bench.evidence is not None:
        matcher = _matcher(bench.evidence)
    bench = replace(bench, evidence=None)  # only the strongest prompts are searched, once their scores are known
    folder = RunFolder(out.parent / f"{out.stem}.run")
    with folder.locked():
        header = folder.open(plan(bench, requests))
        if not sample_all(requests.items, bench, folder, watch or Watch()):
            return None
        rows = [row for row in folder.measurements() if row.status == "ok"]
        if not rows:
            raise MemdetectError(f"none of {header.planned} clean prompts has finite scores; scan the model to see why")
        made = _searched(header, rows, bench, folder, matcher)
        facts = {**made.provenance, "created": header.created, **_pace(folder, header, bench)}
        lost = header.planned - len(rows)
        made = made.model_copy(update={"provenance": {**facts, "nonfinite": lost}, "about": _about(requests)})
        write_atomic(out, made.model_dump_json() + "\n")
        return made


def _matcher(evidence: Evidence) -> Matcher:
    """Whether each image is a copy of one in the index."""

    def match(images: list[Path]) -> list[bool]:
        return [any(near.copy_found for near in evidence.of([open_image(path).image])) for path in images]

    return match


def _clean(requests: Requests) -> Requests:
    image = next((request for request in requests.items if request.prompt is None), None)
    if image is not None:
        raise MemdetectError(f"{image.source!r} is an image; a calibration is made of prompts")
    kept = one_a_family(requests.items)
    parts_of(kept)  # refused here, not after hours of sampling
    return Requests(tuple(kept), requests.blank, requests.repeated + len(requests.items) - len(kept))


def _searched(
    header: Header, rows: list[Measurement], bench: Bench, folder: RunFolder, matcher: Matcher | None
) -> Calibration:
    """The calibration of the rows, without those whose images match; never without others, or p would be too small."""
    if matcher is None:
        return calibration_of_run(header, rows)
    matched: dict[str, bool] = {}
    removed: list[Removed] = []
    while True:
        kept = [row for row in rows if not matched.get(row.id)]
        made = calibration_of_run(header, kept)
        new = [row for row in _strongest(kept, made, header) if row.id not in matched]
        if not new:
            break
        for row in new:
            images = _images(row, bench, folder)
            matched[row.id] = any(matcher(images))
            if matched[row.id]:
                removed.append(Removed(id=row.id, prompt=row.prompt or "", images=[path.name for path in images]))
    said = f"the {len(matched)} strongest of {len(rows)} were searched for copies, {len(removed)} removed"
    return made.model_copy(update={"checked": said, "removed": tuple(removed)})


def _strongest(rows: Sequence[Measurement], made: Calibration, header: Header) -> list[Measurement]:
    null = make_null(header.plan, made)
    if isinstance(null, str):
        raise MemdetectError(null)
    found = zip(rows, scores_of(rows, header.plan), strict=True)
    scores = {row.id: null.score(own) for row, own in found}
    order = sorted(rows, key=lambda row: -inf if (s := scores[row.id]) is None else s, reverse=True)
    return order[: max(LEAST, ceil(SHARE * len(rows)))]


def _images(row: Measurement, bench: Bench, folder: RunFolder) -> list[Path]:
    """Make the images of a prompt again, from the same seeds, and keep them."""
    again = replace(bench, options=replace(bench.options, save_images=True))
    request = Request(row.id, row.prompt, None, row.source, row.line, row.meta)
    (made,), _ = measure([(row.index, request)], again, folder.path / "images")
    if made.status != "ok":
        raise MemdetectError(
            f"clean prompt {row.id} cannot be searched for copies: {made.notes[-1]}; use --dtype fp32 or bf16, "
            "or leave out the search (--no-index)"
        )
    return [folder.path / name for name in made.files]


def _pace(folder: RunFolder, header: Header, bench: Bench) -> dict[str, Any]:
    """Seconds for each image, and where: what a later scan of this model will about take."""
    lines = (folder.path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    shards = [event for event in map(json.loads, lines) if event["event"] == "shard"]
    images = sum(event["items"] for event in shards) * bench.sampler.num_seeds
    pace = sum(event["seconds"] for event in shards) / images if images else 0.0
    return {"seconds_per_image": round(pace, 4), "device": bench.model.device, "seed": bench.sampler.seed}


def _about(requests: Requests) -> str:
    sources = ", ".join(dict.fromkeys(Path(request.source).name for request in requests.items))
    return f"{len(requests.items)} clean prompts of {sources}, {time.strftime('%Y-%m-%d', time.gmtime())}"
