"""scan(): the whole flow, from prompts and a model to a run folder with results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memdetect.adapters import Model, load
from memdetect.adapters.places import loading_of_base
from memdetect.detectors import find
from memdetect.detectors.bank import Bank, bank_file, read_bank
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.prompts import Request, Requests
from memdetect.judging import judge
from memdetect.judging.calibration import Calibration
from memdetect.judging.calibration.banked import read_with_bank
from memdetect.judging.forecast import too_few_rounds
from memdetect.judging.run import Run
from memdetect.judging.telling import kinds_in
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.journal import POLICY_NOTED
from memdetect.runs.mirror import run_at
from memdetect.runs.policy import Policy
from memdetect.runs.screen import Screen
from memdetect.scanning.base_scores import FOLDER, base_calibration, rounds_for
from memdetect.scanning.closing import judged, keep, rests_on_all
from memdetect.scanning.earlier import Earlier, Measure
from memdetect.scanning.given_files import check_labels, check_options
from memdetect.scanning.loop import Watch, compute_as_begun, opened_with, sample_all
from memdetect.scanning.own_index import with_own_index
from memdetect.scanning.planning import header_of, settings_of
from memdetect.scanning.prepare import Bench, Options, deciding, prepare
from memdetect.scanning.screening import (
    Screener,
    check_screening,
    chosen,
    keep_recall,
    refuse_another,
    screened,
    screener_of,
)
from memdetect.scanning.worker import Job, Opened


@dataclass(frozen=True, slots=True)
class ScanJob:
    """A scan as `run_scan` takes it: what a worker in another process is made of, if model and inputs pickle."""

    requests: Requests
    model: Any
    out: Path
    options: Options = field(default_factory=Options)

    def opened(self) -> Opened:
        """Open the model, and the run in its folder; a base or a screen before it is measured too.

        From then on this process computes as the run was begun.
        """
        ready = open_scan(self, Watch())
        assert isinstance(ready, Ready)
        compute_as_begun(ready.header, ready.bench.model.device)
        return opened_with(ready.bench, ready.items, ready.folder, ready.header)


@dataclass(frozen=True, slots=True)
class EarlierJob:
    """The run of a base or of a screen that a scan asks for, as a worker in another process opens it."""

    job: ScanJob

    def opened(self) -> Opened:
        """Open the models and the run, as the scan does before it goes on to its own."""
        found: list[Opened] = []

        def keep(items: Sequence[Request], bench: Bench, folder: RunFolder, header: Header, _watch: Watch) -> bool:
            compute_as_begun(header, bench.model.device)
            found.append(opened_with(bench, items, folder, header))
            return False

        open_scan(self.job, Watch(), keep)
        return found[0]


@dataclass(frozen=True, slots=True)
class Ready:
    """A scan before its first shard. kept: the clean scores that it is judged by. items: those sampled in full."""

    bench: Bench
    folder: RunFolder
    header: Header
    kept: Calibration | None
    items: Sequence[Request]


def run_scan(
    requests: Requests,
    model: Any,
    out: Path,
    options: Options | None = None,
    watch: Watch | None = None,
    *,
    closing: bool = True,
) -> Run:
    """Examine prompts and images with a model and keep everything in the run folder `out`.

    model: what `load` takes. The same call again continues where it stopped, also while others are at it; `stop` is
    asked before every shard. A base draws the prompts first, in `out`/base. closing: whether to judge what is there
    and to write the results once nothing is left; else the run that is returned has none. Raises MemdetectError.
    """
    job, watch = ScanJob(requests, model, out, options or Options()), watch or Watch()
    policy = job.options.policy
    ready = open_scan(job, watch, measuring(job, EarlierJob))
    if isinstance(ready, Run):
        return ready
    folder, header, kept, evidence = ready.folder, ready.header, ready.kept, ready.bench.evidence
    whole = measuring(job, lambda given: given)(ready.items, ready.bench, folder, header, watch)
    if not closing:
        return _empty(folder.path, header, policy, interrupted=not whole)
    rests = rests_on_all(folder, header, kept, policy, evidence) if whole else ""
    run = judged(folder, header, kept, policy, evidence, interrupted=not whole)
    if whole:
        with folder.locked(watch.waits):
            keep(run, folder, rests)
    folder.send()
    return replace(run, verdict=replace(run.verdict, policy_file=job.options.policy_file))


def _empty(out: Path, header: Header, policy: Policy, *, interrupted: bool) -> Run:
    """A run of which nothing is read."""
    return Run(out, header, [], judge(header, (), None, policy)[1], interrupted=interrupted)


def measuring(job: ScanJob, worker: Callable[[ScanJob], Job]) -> Measure:
    """What measures every shard that is not there, here or on a Ray cluster; False when stopped before the last.

    worker: what a process of the cluster opens the run with. Raises MemdetectError for a model that is open already.
    """
    asked = job.options.sharing
    if asked.ray is None:
        return sample_all
    address, models = asked.ray, (job.model, job.options.base_of(job.model))
    if not all(model is None or isinstance(model, str | Path) for model in models):
        raise MemdetectError("workers of Ray open the model themselves; give its name, folder or file")
    from memdetect.scanning.ray_data import through_ray

    def measure(items: Sequence[Request], bench: Bench, folder: RunFolder, header: Header, watch: Watch) -> bool:
        loading = replace(job.options.loading, device=header.device)
        given = worker(replace(job, options=replace(job.options, loading=loading)))
        return through_ray(opened_with(bench, items, folder, header), given, watch, address, asked.workers)

    return measure


def open_scan(job: ScanJob, watch: Watch, measure: Measure = sample_all) -> Ready | Run:
    """Load the model, check all settings, and open the run folder; the run as it is, where a base or screen stopped.

    A base draws the prompts, and a screen chooses among them, before the run is opened; measure: who measures those.
    One process at a time opens a run; others wait for it.
    """
    requests, out, earlier = job.requests, job.out, Earlier(job.out, watch, measure)
    check_screening(job.options)
    check_options(job.model, job.options)
    check_labels(requests, job.model)
    options = with_base(job.model, job.options)
    loaded, file = load(job.model, options.loading), options.judging.calibration
    check_labels(requests, loaded)
    clean = None if options.judging.base else calibration_of(loaded, Path(file) if file else None)
    bench = _bench(requests, loaded, options, clean)
    made = screener_of(bench, requests, clean)
    _refuse_another(requests, bench, out)
    calibration = clean if options.judging.base is None else _of_base(requests, bench, earlier)
    screen = screened(requests, made, earlier) if made else None
    if (options.judging.base is not None and calibration is None) or (made and screen is None):
        header = header_of(bench, requests)
        return _empty(out, header, options.policy, interrupted=True)
    folder = run_at(out)
    with folder.locked(watch.waits):
        drawn = run_at(out / FOLDER).bring_images if options.judging.base is not None else None
        return _opened(requests, bench, folder, calibration, (made, screen), drawn)


def _opened(
    requests: Requests,
    bench: Bench,
    folder: RunFolder,
    calibration: Calibration | None,
    screening: tuple[Screener | None, Screen | None],
    drawn: Callable[[], Path] | None,
) -> Ready:
    """The run folder with its header and clean scores, and the index of the training pictures, if it is to have one.

    screening: the screen with what is known of it, and what it chose. What the header in force says is chosen counts.
    drawn: brings all images of the base here, and says where they are.
    """
    asked, (made, screen) = bench.options, screening
    if asked.lookup.train_images and asked.lookup.search:
        bench = with_own_index(bench, Path(asked.lookup.train_images), folder.path, drawn)
    header = header_of(bench, requests, calibration).model_copy(update={"screen": screen})
    kept = calibration.cut(header.plan) if calibration else None
    header = folder.open(header)
    if asked.policy_file:
        folder.note(POLICY_NOTED, file=asked.policy_file)
    if kept:
        write_atomic(folder.path / "calibration.json", kept.model_dump_json() + "\n")
    keep_recall(folder.path, made, header)
    folder.send()
    # Of a run that goes on with other clean scores, kinds are those of the first.
    if kept and kept.digest == header.calibration:
        bench = replace(bench, kinds=kinds_in(calibration))
    return Ready(bench, folder, header, kept, chosen(requests.items, header.screen))


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
    """The settings with the base, if there is one, opened like the model but without its LoRAs.

    Of revision, variant and configuration, another base is told what is a matter of its kind and not of the model.
    """
    base = options.base_of(model)
    if base is None:
        return options
    loading = replace(options.loading_of(model), loras=())
    if str(base) != str(model.name if isinstance(model, Model) else model):
        loading = loading_of_base(model, base, loading)
    return replace(options, judging=replace(options.judging, base=load(base, loading)))


def _refuse_another(requests: Requests, bench: Bench, out: Path) -> None:
    """Refuse to continue a run with another plan or policy, before a base or an index writes anything into it."""
    asked = bench.options.lookup
    own = asked.train_images is not None and asked.search
    held = run_at(out).continued(header_of(bench, requests), later=("index", "top_k") if own else ())
    refuse_another(held, bench.options.screening, out)
    if held and own and not held.plan.index:
        raise MemdetectError(
            f"{out} holds a run with another plan: no index was searched, now that of {asked.train_images}; "
            "choose another --out"
        )


def _of_base(requests: Requests, bench: Bench, earlier: Earlier) -> Calibration | None:
    """What scores are ranked among where there is a base: its drawings of the same prompts; None when stopped."""
    asked, policy = bench.options.judging, bench.options.policy
    prompts, many = len(requests.items), len(deciding(bench.model.card, bench.options, bench.detectors))
    usual = rounds_for(prompts, scored=policy.asks_scores, deciding=many)
    rounds = usual if asked.base_rounds is None else asked.base_rounds
    earlier.watch.progress(0, prompts, too_few_rounds(prompts, rounds, policy, many))
    return base_calibration(requests, load(asked.base), bench, earlier, rounds)


def calibration_of(model: Model, file: Path | None = None) -> Calibration | None:
    """The clean scores in a file, or those shipped beside a model's card; MemdetectError if a named file is missing."""
    if file is None:
        return read_with_bank(model.folder / "calibration.json") if model.folder else None
    found = read_with_bank(file)
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
