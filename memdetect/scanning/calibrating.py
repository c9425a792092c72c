"""calibrate(): clean prompts and a model -> the clean scores that a scan is judged against."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from pathlib import Path
from typing import Any

from memdetect.adapters import Model, load
from memdetect.copies.matching import Evidence
from memdetect.detectors import find
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image
from memdetect.inputs.prompts import Request, Requests
from memdetect.inputs.wording import KIND_COLUMNS, family_key, kind_of, one_a_family
from memdetect.judging.calibration import Calibration, Removed, calibration_of_run, parts_of, with_known
from memdetect.judging.integrity import unaltered
from memdetect.judging.ranks import Unranked, reference_scores
from memdetect.judging.rows import Reader, rows_of
from memdetect.judging.search_rules import useless
from memdetect.judging.telling import known_of_kinds, of_kinds, with_kinds
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase
from memdetect.runs.records import Measurement
from memdetect.scanning.costs import pace_of
from memdetect.scanning.given_files import check_calibration, check_labels
from memdetect.scanning.loop import Watch, sample_all
from memdetect.scanning.made_once import keep, made_before, rests_on
from memdetect.scanning.measure import measure
from memdetect.scanning.own_bank import known_beside, made_bank, removed_of, run_beside
from memdetect.scanning.planning import header_of, searched
from memdetect.scanning.prepare import Bench, Options, prepare
from memdetect.scanning.soundness import single_colour

Matcher = Callable[[list[Path]], list[bool]]
LEAST, SHARE = 10, 0.01  # how many of the strongest prompts are searched for copies


def run_calibration(
    requests: Requests,
    model: Any,
    out: Path,
    options: Options | None = None,
    watch: Watch | None = None,
    matcher: Matcher | None = None,
) -> Calibration | None:
    """Measure clean prompts, one a family, and write their scores to the file `out`; None when it was stopped.

    The run is kept beside `out`, in NAME.run, and the same call resumes it, also while others are at it: one of them
    makes the file once all is measured. None as well for a rank that leaves the rest to others. `stop` is asked before
    every shard. With an
    index (the options', or the one that ships with the model) the strongest max(10, 1 %) of the prompts are generated
    and searched, copies are left out, and whoever moves up is searched in turn. Without one, or where it could not have
    told a copy, the calibration says that it was not checked. options.memorized: prompts that the model is known to
    have memorized, each of a kind (`wording.kind_of`), on which the sensitivity of its scores is measured; their run is
    kept in NAME.memorized.run. Raises MemdetectError for images, for parts other than tuning and calibration, for
    memorized prompts without a kind or among the clean ones, for clean prompts of which none has finite scores, and
    for one to be searched whose images are not finite.
    """
    options, watch = replace(options or Options(), save_images=False), watch or Watch()
    check_calibration(requests, model, options)
    requests = _clean(requests)
    known = _memorized(options.memorized, requests) if options.memorized else None
    loaded = load(model, options.loading)
    check_labels(requests, loaded)
    _check(loaded, options)
    bank, whole = made_bank(requests, loaded, options, out, watch)
    if not whole:
        return None
    bench = prepare(loaded, options, bank=bank)
    search = _Given(matcher) if matcher else _search(bench)
    bench = replace(bench, evidence=None)  # only the strongest prompts are searched, once their scores are known
    folder, others = run_beside(out), [known_beside(out)] if known else []
    measured = _measured(requests, bench, folder, watch)
    more = _measured(known, bench, others[0], watch) if known else None
    if known and not watch.stop():  # while one was measured, others may have ended the other
        measured = measured or _measured(requests, bench, folder, watch)
        more = more or _measured(known, bench, others[0], watch)
    if measured is None or (known and more is None):
        return None
    with folder.locked(watch.waits):
        rests = "" if matcher else rests_on([folder, *others], _asked(search, options))
        held = made_before(folder, out, rests) if rests else None
        if held and not (isinstance(search, _Search) and held.provenance.get("unchecked")):
            return held
        made = _made(requests, bench, folder, search, (measured, more))
        keep(made, folder, out, rests)
    return made


Rows = tuple[Header, list[Measurement]]


def _made(
    requests: Requests,
    bench: Bench,
    folder: RunFolder,
    search: "_Given | _Search | str",
    measured: tuple[Rows, Rows | None],
) -> Calibration:
    """The calibration of runs that are whole: of clean prompts, and of memorized ones if there are any."""
    (header, rows), more = measured
    made = _checked(requests, (header, rows), bench, folder, search)
    made = known_of_kinds(with_known(made, *more), more[1]) if more else made
    facts = {**made.provenance, "created": header.created, **pace_of(folder, header, bench)}
    lost = header.planned - len(rows)
    held = bench.bank.facts | removed_of(made, requests, bench.bank.families) if bench.bank else {}
    more_facts = {"provenance": {**facts, "nonfinite": lost}, "about": _about(requests), "bank": held}
    return made.model_copy(update=more_facts)


def _asked(search: "_Given | _Search | str", options: Options) -> dict[str, Any]:
    """How the prompts are searched for copies, as far as the result may depend on it."""
    index = search.index if isinstance(search, _Search) else {}
    return {"index": index, "policy": options.policy.digest, "why": search if isinstance(search, str) else ""}


def _check(model: Model, options: Options) -> None:
    """Refuse what a bank would be sampled for in vain: layers, timesteps, an index, that do not exist."""
    asked = find(tuple(options.probing.detectors))
    others = tuple(d.name for d in asked if not d.banked) or ("spikiness",)
    prepare(model, replace(options, probing=replace(options.probing, detectors=others, combine=(), by="max")))


def _measured(requests: Requests, bench: Bench, folder: RunFolder, watch: Watch) -> "Rows | None":
    """Header and finite rows of a run of prompts; None when it was stopped, or others have still to measure."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with folder.locked(watch.waits):
        header = folder.open(header_of(bench, requests))
    if not sample_all(requests.items, bench, folder, header, watch):
        return None
    rows = [row for row in unaltered(folder) if row.status == "ok"]
    if not rows:
        raise MemdetectError(f"none of {header.planned} prompts has finite scores; scan the model to see why")
    return header, rows


@dataclass(slots=True)
class _Given:
    """Search by a function of the caller."""

    matcher: Matcher

    def copies(self, images: list[Path]) -> bool:
        """Whether one of the images is a copy."""
        return any(self.matcher(images))

    def said(self) -> str:
        """What was searched."""
        return "by the given function"


@dataclass(slots=True)
class _Search:
    """Search in an index, by the rules of a scan: what could not be compared was not searched."""

    evidence: Evidence
    index: Mapping[str, Any]
    compared: int = 0
    missed: int = 0

    def copies(self, images: list[Path]) -> bool:
        """Whether one of the images is a copy, whole or in part; those that could not be compared are counted."""
        copied = False
        for path in images:
            image = open_image(path).image
            matches = self.evidence.of([image])
            own = any(match.copy_found or match.partial_found for match in matches)
            unseen = not matches or any(match.unseen for match in matches)
            missed = (unseen or single_colour(image)) and not own
            self.compared, self.missed = self.compared + (not missed), self.missed + missed
            copied = copied or own
        return copied

    def said(self) -> str:
        """What was searched; "" where an image could not be compared."""
        if self.missed:
            return ""
        where = f"index {self.index['name']!r} of digest {self.index['digest'][:12]}, {coverage_phrase(self.index)}"
        return f"in {where}, all {self.compared} images could be compared"


def _search(bench: Bench) -> "_Search | str":
    """The search in the index of a bench, or why there is none: no index, or one that cannot be relied on."""
    if bench.evidence is None:
        return "no index was searched"
    index = searched(bench.evidence)
    return useless(index, bench.options.policy) or _Search(bench.evidence, index)


def _memorized(requests: Requests, clean: Requests) -> Requests:
    """Checked before the first image: prompts of a kind each, none of a clean family."""
    families = {family_key(item.meta, item.prompt) for item in clean.items}
    for item in requests.items:
        if item.prompt is None:
            raise MemdetectError(f"{item.source!r} is an image; --memorized takes prompts")
        if not kind_of(item.meta):
            raise MemdetectError(f"memorized prompt {item.id} is of no kind; give the file a column {KIND_COLUMNS[0]}")
        if family_key(item.meta, item.prompt) in families:
            raise MemdetectError(f"memorized prompt {item.id} is among the clean ones as well; leave it out of one")
    return Requests(tuple(one_a_family(requests.items)), requests.blank, requests.repeated)


def _clean(requests: Requests) -> Requests:
    image = next((request for request in requests.items if request.prompt is None), None)
    if image is not None:
        raise MemdetectError(f"{image.source!r} is an image; a calibration is made of prompts")
    kept = one_a_family(requests.items)
    parts, given = parts_of(kept)  # refused here, not after hours of sampling
    if given and "calibration" not in parts:
        raise MemdetectError(
            f"all {len(parts)} clean prompts are of part tuning and leave none for the calibration split; add prompts "
            "of part calibration, or remove the column"
        )
    return replace(requests, items=tuple(kept), repeated=requests.repeated + len(requests.items) - len(kept))


def _checked(
    requests: Requests, measured: Rows, bench: Bench, folder: RunFolder, search: "_Given | _Search | str"
) -> Calibration:
    """The calibration of the rows, without those whose images match; never without others, or p would be too small.

    Parts are drawn once, of all requests, so that what the bank holds stays for tuning whatever is lost or removed.
    """
    header, rows = measured
    every = with_kinds(calibration_of_run(header, rows, requests.items), header.plan)
    if isinstance(search, str):
        return _unchecked(every, search)
    matched: dict[str, bool] = {}
    removed: list[Removed] = []
    while True:
        kept = [row for row in rows if not matched.get(row.id)]
        made = of_kinds(calibration_of_run(header, kept, requests.items), every)
        new = [row for row in _strongest(kept, made, header) if row.id not in matched]
        if not new:
            break
        for row in new:
            images = _images(row, bench, folder)
            matched[row.id] = search.copies(images)
            if matched[row.id]:
                removed.append(Removed(id=row.id, prompt=row.prompt or "", images=[path.name for path in images]))
    made = made.model_copy(update={"removed": tuple(removed)})
    how = search.said()
    if not how:
        return _unchecked(made, "an image could not be compared or has a single colour; look at those in NAME.run")
    said = f"the {len(matched)} strongest of {len(rows)} were searched for copies {how}, {len(removed)} removed"
    return made.model_copy(update={"checked": said})


def _unchecked(made: Calibration, reason: str) -> Calibration:
    return made.model_copy(update={"provenance": {**made.provenance, "unchecked": reason}})


def _strongest(rows: Sequence[Measurement], made: Calibration, header: Header) -> list[Measurement]:
    """The strongest of each kind, by what decides and by each detector of its own: what is left out is so for all."""
    reference = reference_scores(header.plan, made)
    if isinstance(reference, Unranked):
        raise MemdetectError(reference.reason)
    reader, strata = Reader(header.plan), {item.id: item.stratum for item in made.items}
    scores: list[dict[str, float | None]] = [
        {row.id: reference.score(row.scores) for row in rows_of(rows, header.plan)},
        *({row.id: reader.score(name, row.scores.get(name)) for row in rows} for name in header.plan.detectors),
    ]
    found: dict[str, Measurement] = {}
    for stratum in [name for name in dict.fromkeys(strata.values()) if name or not made.kinds]:
        own = [row for row in rows if strata.get(row.id) == stratum]
        for values in scores:
            order = sorted(own, key=lambda row: -inf if (s := values[row.id]) is None else s, reverse=True)
            found |= {row.id: row for row in order[: max(LEAST, ceil(SHARE * len(own)))]}
    return list(found.values())


def _images(row: Measurement, bench: Bench, folder: RunFolder) -> list[Path]:
    """Make the images of a prompt again, from the same seeds, and keep them."""
    again = replace(bench, options=replace(bench.options, save_images=True))
    request = Request(row.id, row.prompt, None, row.source, row.line, row.meta)
    (made,) = measure([(row.index, request)], again, folder.pictures(folder.header().sharding.holding(row.index)))
    if made.status != "ok":
        raise MemdetectError(
            f"clean prompt {row.id} cannot be searched for copies: {made.notes[-1]}; use --dtype fp32 or bf16, "
            "or leave out the search (--no-index)"
        )
    return [folder.path / name for name in made.files]


def _about(requests: Requests) -> str:
    sources = ", ".join(dict.fromkeys(Path(request.source).name for request in requests.items))
    return f"{len(requests.items)} clean prompts of {sources}, {time.strftime('%Y-%m-%d', time.gmtime())}"
