"""run_samples(): pictures that something else made of prompts, judged without any model."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from memdetect import __version__
from memdetect.copies.asking import source_in
from memdetect.copies.embedders import choose_embedder
from memdetect.copies.matching import open_evidence
from memdetect.detectors.pictures import OF_PICTURES
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.prompts import Requests
from memdetect.inputs.samples import Samples, usual_count
from memdetect.inputs.wording import KIND_COLUMNS, family_key, kind_of, one_a_family
from memdetect.judging import judge
from memdetect.judging.calibration import Calibration, Removed, calibration_of_run, parts_of, with_known
from memdetect.judging.run import Run
from memdetect.judging.search_rules import useless
from memdetect.judging.telling import kinds_in, known_of_kinds, of_kinds, with_kinds
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase
from memdetect.runs.journal import POLICY_NOTED
from memdetect.runs.plan import GIVEN, RUN, Plan, Reading, inputs_digest
from memdetect.runs.records import Measurement
from memdetect.scanning.closing import closed
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.planning import bar_of, named_index, searched
from memdetect.scanning.sample_rows import Desk, SampleOptions, content_of, opened_samples

SHARD = 16  # prompts
CLEAN, KNOWN = "clean", "memorized"  # folders within that of the run
FEWEST = 2  # pictures of a prompt that can agree


def run_samples(
    scanned: Samples,
    clean: Samples,
    out: Path,
    options: SampleOptions,
    *,
    memorized: Samples | None = None,
    watch: Watch | None = None,
) -> Run:
    """Examine the pictures of prompts, rank them among those of clean prompts, and keep everything in `out`.

    clean: of prompts that are drawn like the scanned ones and that nobody memorized. memorized: of prompts, each of a
    kind, that the maker is known to have memorized. The same call again resumes. Raises MemdetectError.
    """
    watch = watch or Watch()
    _check(clean, memorized)
    desk = _desk(options, [scanned, clean, *([memorized] if memorized else [])])
    RunFolder(out).continued(header := _header(scanned, desk))
    made = _calibration(clean, memorized, desk, out, watch)
    if made is None:
        return Run(out, header, [], judge(header, (), None, options.policy)[1], interrupted=True)
    header = _header(scanned, desk, made)
    kept, folder = made.cut(header.plan), RunFolder(out)
    with folder.locked(watch.waits):
        header = folder.open(header)
        if options.policy_file:
            folder.note(POLICY_NOTED, file=options.policy_file)
        write_atomic(folder.path / "calibration.json", kept.model_dump_json() + "\n")
    kinds = kinds_in(made) if kept.digest == header.calibration else None
    if not go_through(opened_samples(scanned, desk, folder, header, kinds), watch):
        run = closed(folder, header, kept, options.policy, desk.evidence, interrupted=True)
    else:
        with folder.locked(watch.waits):
            run = closed(folder, header, kept, options.policy, desk.evidence, interrupted=False)
    return replace(run, verdict=replace(run.verdict, policy_file=options.policy_file))


def _check(clean: Samples, memorized: Samples | None) -> None:
    """Refuse, before the first picture, what makes no clean scores and no known prompts."""
    parts, given = parts_of(one_a_family(clean.requests.items))
    if "calibration" not in parts:
        cure = "remove the column" if given else "give at least twice as many, or say with a column part which rank"
        raise MemdetectError(
            f"all {len(parts)} clean prompts are of the tuning split, and none is ranked among; {cure}"
        )
    families = {family_key(item.meta, item.prompt) for item in clean.requests.items}
    for item in memorized.requests.items if memorized else ():
        if not kind_of(item.meta):
            raise MemdetectError(f"memorized prompt {item.id} is of no kind; give the list a column {KIND_COLUMNS[0]}")
        if family_key(item.meta, item.prompt) in families:
            raise MemdetectError(f"memorized prompt {item.id} is among the clean ones as well; leave it out of one")


def _desk(options: SampleOptions, every: Sequence[Samples]) -> Desk:
    if not options.maker.strip():
        raise MemdetectError("what made the pictures has no name; give one, such as the service and its version")
    count = usual_count(every) if options.per_prompt is None else options.per_prompt
    if count < FEWEST:
        raise MemdetectError(
            f"{count} pictures a prompt cannot be compared with each other, at least {FEWEST} can; make more of each, "
            "or look single pictures up with match"
        )
    names, asked = [detector.name for detector in OF_PICTURES], options.lookup
    if other := next((name for name in options.combine if name not in names), ""):
        raise MemdetectError(f"no detector of pictures named {other!r}; choose among {', '.join(names)}")
    source = source_in(None, asked)
    if not asked.index:
        return Desk(options, count, choose_embedder(options.embedder, source=source)[0])
    evidence = open_evidence(Path(asked.index), source, asked.top_k)
    if options.embedder not in ("auto", name := evidence.embedder.name):
        raise MemdetectError(f"the index was made with the embedder {name!r}, not {options.embedder!r}; leave it out")
    return Desk(options, count, evidence.embedder, evidence)


def _plan(samples: Samples, desk: Desk) -> Plan:
    """What is asked of which prompts; the digest of inputs holds those of the pictures."""
    facts, options = searched(desk.evidence), desk.options
    names = tuple(detector.name for detector in OF_PICTURES)
    items = ((item.id, item.prompt, content_of(samples.pictures[item.id])) for item in samples.requests.items)
    return Plan(
        model=hashlib.sha256(options.maker.encode()).hexdigest(),
        adapter=GIVEN,
        dtype="",
        scheduler="",
        steps=1,
        guidance_scale=0.0,
        size=(0, 0),
        noise="not known: the pictures were given",
        call={"embedder": desk.embedder.fingerprint},
        inputs=inputs_digest(items),
        num_seeds=desk.count,
        seed=0,
        detectors=names,
        readings={d.name: Reading(places=(RUN,), seeds="prompt", seen=d.seen) for d in OF_PICTURES},
        combine=options.combine or names,
        strata=options.strata,
        index=facts.get("digest", ""),
        top_k=facts.get("top_k"),
        shard_size=SHARD,
    )


def _header(samples: Samples, desk: Desk, made: Calibration | None = None) -> Header:
    plan, options, requests = _plan(samples, desk), desk.options, samples.requests
    named = named_index(options.lookup, desk.evidence) if desk.evidence else {}
    return Header(
        memdetect=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        model=options.maker,
        versions={name: version(name) for name in ("numpy", "pillow")},
        plan=plan,
        planned=len(requests.items),
        dropped={"repeated": requests.repeated},
        index=searched(desk.evidence) | named,
        **bar_of(options.policy, plan, requests.items, made),
    )


def _calibration(clean: Samples, memorized: Samples | None, desk: Desk, out: Path, watch: Watch) -> Calibration | None:
    """The scores of clean prompts, without those whose pictures are copies; None when it was stopped."""
    kept = one_a_family(clean.requests.items)
    clean = Samples(Requests(tuple(kept), 0, len(clean.requests.items) - len(kept)), clean.pictures)
    found = _measured(clean, desk, RunFolder(out / CLEAN), watch)
    more = _measured(memorized, desk, RunFolder(out / KNOWN), watch) if found and memorized else None
    if found is None or (memorized and more is None):
        return None
    header, rows = found
    every = with_kinds(calibration_of_run(header, rows, kept), header.plan)
    copies = [row for row in rows if any(match.copy_found or match.partial_found for match in row.matches)]
    removed = {row.id for row in copies}
    left = [row for row in rows if row.id not in removed]
    made = every if not copies else of_kinds(calibration_of_run(header, left, kept), every)
    named = tuple(Removed(id=row.id, prompt=row.prompt or "", images=row.files) for row in copies)
    facts = {**made.provenance, "created": header.created, "nonfinite": header.planned - len(rows)}
    made = made.model_copy(update={"removed": named, "provenance": facts, **_search(rows, copies, desk, facts)})
    return known_of_kinds(with_known(made, *more), more[1]) if more else made


def _measured(samples: Samples, desk: Desk, folder: RunFolder, watch: Watch) -> tuple[Header, list[Measurement]] | None:
    """Header and usable rows of a run of known prompts; None when it was stopped."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with folder.locked(watch.waits):
        header = folder.open(_header(samples, desk))
    if not go_through(opened_samples(samples, desk, folder, header), watch):
        return None
    rows = [row for row in folder.measurements() if row.status == "ok"]
    if not rows:
        raise MemdetectError(f"none of {header.planned} clean prompts has {desk.count} pictures; give more of each")
    return header, rows


def _search(
    rows: Sequence[Measurement], copies: Sequence[Measurement], desk: Desk, facts: Mapping[str, object]
) -> dict[str, object]:
    """What the calibration says of how its prompts were searched for copies."""
    index = searched(desk.evidence)
    why = useless(index, desk.options.policy) if index else "no index was searched"
    unseen = [row.id for row in rows if row not in copies and _unseen(row)]
    if not why and unseen:
        why = f"pictures of {len(unseen)} prompts could not be compared, such as {unseen[0]}"
    if why:
        return {"provenance": {**facts, "unchecked": why}}
    where = f"index {index['name']!r} of digest {index['digest'][:12]}, {coverage_phrase(index)}"
    return {"checked": f"all {len(rows)} were searched for copies in {where}, {len(copies)} removed"}


def _unseen(row: Measurement) -> bool:
    found = {match.seed for match in row.matches}
    return bool(row.one_colour) or len(found) < len(row.files) or any(match.unseen for match in row.matches)
