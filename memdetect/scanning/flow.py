"""scan(): the whole flow, from prompts and a model to a run folder with results."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from memdetect.adapters import Model, load
from memdetect.copies.matching import Evidence
from memdetect.detectors import find
from memdetect.detectors.bank import Bank, bank_file, read_bank
from memdetect.errors import Exit, MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.prompts import Requests
from memdetect.judging import judge
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.judging.forecast import too_few_rounds
from memdetect.judging.integrity import altered, shard_digests
from memdetect.judging.rows import Records, rows_of
from memdetect.judging.run import Run
from memdetect.judging.screened import with_screened
from memdetect.judging.screened_runs import known_of
from memdetect.judging.telling import kinds_in
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement
from memdetect.scanning.base_scores import FOLDER, base_calibration, rounds_for
from memdetect.scanning.contact_sheet import write_pairs
from memdetect.scanning.given_files import check_files, check_labels
from memdetect.scanning.loop import Watch, sample_all
from memdetect.scanning.own_index import with_own_index
from memdetect.scanning.planning import header_of, settings_of
from memdetect.scanning.prepare import Bench, Options, prepare
from memdetect.scanning.screening import (
    Screener,
    check_screening,
    chosen,
    keep_recall,
    refuse_another,
    screened,
    screener_of,
    write_results,
)


def run_scan(
    requests: Requests, model: Any, out: Path, options: Options | None = None, watch: Watch | None = None
) -> Run:
    """Examine prompts and images with a model and keep everything in the run folder `out`.

    model: what `load` takes. The same call again continues where it stopped; `stop` is asked before every batch. A
    base draws the prompts first, in `out`/base. Raises MemdetectError.
    """
    options = options or Options()
    check_screening(options)
    check_files(options)
    check_labels(requests, model)
    options, watch = with_base(model, options), watch or Watch()
    loaded, file = load(model, options.loading), options.judging.calibration
    check_labels(requests, loaded)
    clean = None if options.judging.base else calibration_of(loaded, Path(file) if file else None)
    bench = _bench(requests, loaded, options, clean)
    made = screener_of(bench, requests, clean)
    _refuse_another(requests, bench, out)
    calibration = clean if options.judging.base is None else _of_base(requests, bench, out, watch)
    base, pictures = options.judging.base is not None, options.lookup.train_images
    screen = screened(requests, made, out, watch) if made else None
    if (base and calibration is None) or (made and screen is None):
        header = header_of(bench, requests)
        return Run(out, header, [], judge(header, (), None, options.policy)[1], interrupted=True)
    if pictures and options.lookup.search:
        bench = with_own_index(bench, Path(pictures), out, out / FOLDER / "images" if base else None)
    header = header_of(bench, requests, calibration).model_copy(update={"screen": screen})
    return _in_full(requests, bench, RunFolder(out), header, (calibration, made), watch)


def _in_full(
    requests: Requests,
    bench: Bench,
    folder: RunFolder,
    header: Header,
    known: tuple[Calibration | None, Screener | None],
    watch: Watch,
) -> Run:
    """Sample all prompts, or those that a screen chose, and judge the run.

    known: what scores are ranked among, and the screen with what is known of it.
    """
    calibration, made = known
    kept = calibration.cut(header.plan) if calibration else None
    with folder.locked():
        header = folder.open(header)
        if kept:
            write_atomic(folder.path / "calibration.json", kept.model_dump_json() + "\n")
        keep_recall(folder.path, made, header)
        # Of a run that goes on with other clean scores, kinds are those of the first.
        if kept and kept.digest == header.calibration:
            bench = replace(bench, kinds=kinds_in(calibration))
        finished = sample_all(chosen(requests.items, header.screen), bench, folder, watch)
        return closed(folder, header, kept, bench.options.policy, bench.evidence, interrupted=not finished)


def _bench(requests: Requests, loaded: Model, options: Options, clean: Calibration | None) -> Bench:
    """The settings, with the bank of the clean scores where it was made with the same."""
    file = options.judging.calibration
    bank = bank_of_calibration(loaded, clean, Path(file) if file else None)
    images = all(r.prompt is None for r in requests.items)
    bench = prepare(loaded, options, bank=bank, images=images)
    if clean and bank and (different := clean.settings.difference(settings_of(bench))):
        return _without_bank(bench, different, images=images)
    return bench


def _without_bank(bench: Bench, different: tuple[str, Any, Any], *, images: bool) -> Bench:
    """The settings without a bank that was made with others; MemdetectError where a detector of it is asked for."""
    asked = [d.name for d in find(tuple(bench.options.probing.detectors)) if d.banked]
    if asked:
        name, made, ours = different
        raise MemdetectError(
            f"detector {asked[0]!r} compares with a bank that was made with another {name} ({made!r}, now {ours!r}); "
            "calibrate again, or leave it out"
        )
    return prepare(bench.model, bench.options, images=images)


def with_base(model: Any, options: Options) -> Options:
    """The settings with the base, if there is one, opened like the model but without its LoRAs."""
    base = options.base_of(model)
    if base is None:
        return options
    return replace(options, judging=replace(options.judging, base=load(base, replace(options.loading, loras=()))))


def _refuse_another(requests: Requests, bench: Bench, out: Path) -> None:
    """Refuse to continue a run with another plan or policy, before a base or an index writes anything into it."""
    asked = bench.options.lookup
    own = asked.train_images is not None and asked.search
    held = RunFolder(out).continued(header_of(bench, requests), later=("index", "top_k") if own else ())
    refuse_another(held, bench.options.screening, out)
    if held and own and not held.plan.index:
        raise MemdetectError(
            f"{out} holds a run with another plan: no index was searched, now that of {asked.train_images}; "
            "choose another --out"
        )


def _of_base(requests: Requests, bench: Bench, out: Path, watch: Watch) -> Calibration | None:
    """What scores are ranked among where there is a base: its drawings of the same prompts; None when stopped."""
    asked, policy = bench.options.judging, bench.options.policy
    if asked.calibration:
        raise MemdetectError("a calibration and a base exclude each other; give one of the two")
    usual = rounds_for(len(requests.items), scored=policy.asks_scores)
    rounds = usual if asked.base_rounds is None else asked.base_rounds
    watch.progress(0, len(requests.items), too_few_rounds(len(requests.items), rounds, policy))
    return base_calibration(requests, load(asked.base), bench, out, watch, rounds)


def calibration_of(model: Model, file: Path | None = None) -> Calibration | None:
    """The clean scores in a file, or those shipped beside a model's card; MemdetectError if a named file is missing."""
    if file is None:
        return read_calibration(model.folder / "calibration.json") if model.folder else None
    found = read_calibration(file)
    if found is None:
        raise MemdetectError(f"there is no calibration {str(file)!r}; make one with `memdetect calibrate`")
    return found


def bank_of_calibration(model: Model, calibration: Calibration | None, file: Path | None) -> Bank | None:
    """The bank that lies beside a calibration; None where it names none.

    Raises MemdetectError where the one that it names is not there, or another.
    """
    if calibration is None or not calibration.bank:
        return None
    home = file or (model.folder or Path()) / "calibration.json"
    found = read_bank(bank_file(home))
    if found is None or found.digest != calibration.bank["digest"]:
        what = "is not there" if found is None else "is another"
        raise MemdetectError(
            f"the bank of {home}, {bank_file(home).name}, {what}; keep both together, or calibrate again"
        )
    return found


def seen_from_here(row: Measurement, evidence: Evidence) -> Measurement:
    """An item with the paths of its training images seen from the present working folder, not a former one."""
    folder = str(evidence.index.folder)
    paths = [evidence.index.row(match.row).seen_from(folder) for match in row.matches]
    if paths == [match.path for match in row.matches]:
        return row
    moved = [m.model_copy(update={"path": path}) for m, path in zip(row.matches, paths, strict=True)]
    return row.model_copy(update={"matches": moved})


def closed(
    folder: RunFolder,
    header: Header,
    calibration: Calibration | None,
    policy: Policy,
    evidence: Evidence | None,
    *,
    interrupted: bool,
) -> Run:
    """The run in a folder, judged; its results and its sheet of pairs are written, unless it was interrupted."""
    rows = folder.measurements()  # those of a scan that was resumed may come from another working folder
    found = (seen_from_here(row, evidence) for row in rows) if evidence else rows
    every, changed = with_screened(folder.path, header, rows_of(found, header.plan))
    changed += altered(folder, header, every, shard_digests(folder))
    known = known_of([(folder.path, header)])
    made, verdict = judge_with(
        header, Records(every, header.plan), calibration, policy, Beside(altered=changed, recall=known)
    )
    results = made if header.screen else list(made)
    if not interrupted:
        if verdict.measured != header.planned:
            raise MemdetectError(
                f"{folder.path} holds {verdict.measured} of {header.planned} items; run the same command again",
                Exit.ERROR,
            )
        write_results(folder, results)
        write_pairs(folder.path, results)
    return Run(folder.path, header, results, verdict, interrupted)
