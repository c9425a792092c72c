"""Screening: the first steps of every prompt, a run of its own, choose the prompts that are sampled in full."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memdetect.detectors import BUILT_IN, find
from memdetect.detectors.detector import Detector
from memdetect.errors import Exit, MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.options import Judging, Lookup, Probing, Screening
from memdetect.inputs.prompts import Request, Requests
from memdetect.judging.calibration import Calibration
from memdetect.judging.integrity import altered, shard_digests
from memdetect.judging.screen_recall import KEPT, Asked, Recall, recall_for
from memdetect.judging.screened import Choice, strongest, unlikely
from memdetect.judging.telling import kinds_in
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.screen import FOLDER, Screen, packed
from memdetect.scanning.earlier import Earlier
from memdetect.scanning.planning import plan_of, settings_of
from memdetect.scanning.prepare import Bench, Options, prepare

USUAL = "sharpness"  # one step, and one pass of it
STEPS, SEEDS = 10, 2  # at most: of the schedule that is begun, and of each prompt
SHARD = 64  # prompts


@dataclass(frozen=True, slots=True)
class Screener:
    """A screen that is checked against model and settings. calibration: clean scores that it ranks prompts among.

    plan: of its run. recall: what is known of it.
    """

    bench: Bench
    plan: Plan
    asked: Screening
    calibration: Calibration | None = None
    recall: Recall | None = None

    @property
    def digest(self) -> str:
        """That of the clean scores; "" where prompts are not ranked among any."""
        return self.calibration.cut(self.plan).digest if self.calibration else ""

    def screen(self, choice: Choice) -> Screen:
        """What the run's header says of it."""
        return Screen(
            share=self.asked.screen,
            p=self.asked.screen_p,
            detectors=self.plan.detectors,
            steps=self.plan.steps,
            num_seeds=self.plan.num_seeds,
            plan=self.plan.digest,
            cutoffs=choice.cutoffs,
            calibration=self.digest,
            chosen=packed(choice.positions),
            count=len(choice.positions),
            recall=self.recall.digest if self.recall else "",
        )

    def before(self, full: Bench) -> Asked:
        """This screen and the full scan after it, as a recall has to have been measured for."""
        return Asked(
            self.asked.screen,
            self.asked.screen_p,
            self.plan.detectors,
            self.plan.settings,
            self.plan.num_seeds,
            settings_of(full),
            full.sampler.num_seeds,
            self.digest,
        )


def screener_of(bench: Bench, requests: Requests, clean: Calibration | None) -> Screener | None:
    """The screen that a scan asks for, None where it asks for none.

    clean: the calibration of the scan, which `screen_p` ranks among. Raises MemdetectError (usage), before the first
    image: for given images, for a detector that needs more than the first steps, for settings that
    cannot serve it, for missing clean scores, and for a recall that was measured for another screen.
    """
    asked, file = bench.options.screening, bench.options.judging.screen_recall
    check_screening(bench.options)
    if not asked.asked:
        return None
    if any(item.prompt is None for item in requests.items):
        raise MemdetectError("images are given, and a screen reads the run that makes them; leave out --screen")
    own = screening_bench(bench)
    made = Screener(own, plan_of(own, requests), asked)
    if asked.screen_p is not None:
        unlikely((), made.plan, asked.screen_p, clean)  # whether there are such clean scores
        made = replace(made, bench=replace(own, kinds=kinds_in(clean)), calibration=clean)
    return replace(made, recall=recall_for(Path(file), made.before(bench))) if file else made


def check_screening(options: Options) -> None:
    """Refuse what asks for no screen, or for two."""
    asked = options.screening
    for name, value in (("--screen", asked.screen), ("--screen-p", asked.screen_p)):
        if value is not None and not 0 < value < 1:
            raise MemdetectError(f"{name} is {value:g}, expected a share above 0 and below 1")
    if asked.screen is not None and asked.screen_p is not None:
        raise MemdetectError("--screen and --screen-p both choose prompts; give one of the two")
    if asked.asked:
        screening_detectors(asked)
        return
    further = {
        "--screen-detector": asked.screen_detectors,
        "--screen-steps": asked.screen_steps,
        "--screen-recall": options.judging.screen_recall,
    }
    if said := next((name for name, value in further.items() if value), ""):
        raise MemdetectError(f"{said} is of a screen, and none is asked for; give --screen SHARE as well")


def screening_detectors(asked: Screening) -> tuple[Detector, ...]:
    """The detectors that screen; MemdetectError for one that needs more than the first steps of a run."""
    found = find(tuple(asked.screen_detectors) or (USUAL,))
    for detector in found:
        if not of_first_steps(detector):
            able = ", ".join(each.name for each in BUILT_IN if of_first_steps(each))
            raise MemdetectError(
                f"detector {detector.name!r} needs more than the first steps of a run, and cannot screen; choose "
                f"among {able}"
            )
    return found


def of_first_steps(detector: Detector) -> bool:
    """Whether a detector needs the first steps of a sampling run alone, so that the run can end after them."""
    kinds = {need.when.kind if need.when else "" for need in detector.needs}
    return bool(kinds) and kinds <= {"first", "at", "until"} and not (detector.latents or detector.banked)


def screening_bench(bench: Bench) -> Bench:
    """The scan's settings with the screen's detectors, steps and seeds, without a search."""
    own, asked, options = bench.sampler, bench.options.screening, bench.options
    names = tuple(detector.name for detector in screening_detectors(asked))
    ranked = names if asked.screen_p is not None else ()
    seeds = min(own.num_seeds, SEEDS)
    sampling = replace(
        options.sampling,
        steps=asked.screen_steps or min(own.steps, STEPS),
        guidance_scale=own.guidance_scale,
        num_seeds=seeds,
    )
    shard = options.sharing.shard_size or max(SHARD, own.batch_size // seeds)
    own_options = replace(
        options,
        sharing=replace(options.sharing, shard_size=shard, steal=True),  # the choice is among all prompts
        sampling=sampling,
        probing=Probing(detectors=names, combine=ranked, strata=options.probing.strata),
        lookup=Lookup(search=False),
        judging=Judging(),
        screening=Screening(),
        save_images=False,
    )
    return replace(prepare(bench.model, own_options), texts_once=True)


def refuse_another(held: Header | None, asked: Screening, out: Path) -> None:
    """Refuse to continue a run that was screened otherwise, or was not, before anything is written into it."""
    if held is None:
        return
    was, now = (held.screen.share, held.screen.p) if held.screen else (None, None), (asked.screen, asked.screen_p)
    for key, theirs, ours in zip(("screen", "screen-p"), was, now, strict=True):
        if theirs != ours:
            said = ["none" if value is None else f"{value:g}" for value in (theirs, ours)]
            raise MemdetectError(
                f"{out} holds a run with another {key}: it was {said[0]}, now {said[1]}; choose another --out, or give "
                "the same options to resume"
            )


def screened(requests: Requests, made: Screener, earlier: Earlier) -> Screen | None:
    """Measure the first steps of all prompts, in `earlier.out`/screen, and choose those to be sampled in full.

    Others may be at it as well: it goes on when every shard is there. None when it was stopped; the same call resumes.
    Raises MemdetectError where the screen's run was altered.
    """
    bench, items, watch = made.bench, requests.items, earlier.watch
    folder, header = earlier.opened(FOLDER, requests, bench)
    names = " and ".join(header.plan.detectors)
    watch.progress(0, len(items), f"screening {len(items)} prompts by {names}, the first of {header.plan.steps} steps")
    if not earlier.measure(items, bench, folder, header, watch):
        return None
    _unaltered(folder, header)
    choice = _choice(folder, made)
    watch.progress(0, len(choice.positions), f"{len(choice.positions)} of {len(items)} prompts are sampled in full")
    return made.screen(choice)


def _choice(folder: RunFolder, made: Screener) -> Choice:
    asked = made.asked
    if asked.screen is not None:
        return strongest(folder.measurements(), made.plan, asked.screen)
    return unlikely(folder.measurements(), made.plan, asked.screen_p or 0.0, made.calibration)


def _unaltered(folder: RunFolder, header: Header) -> None:
    """Refuse a screen that is not as it was measured; rows are compared when the run is judged."""
    if found := altered(folder, header, (), shard_digests(folder)):
        raise MemdetectError(f"{folder.path} was altered: {found[0]}", Exit.ERROR)


def chosen(items: Sequence[Request], screen: Screen | None) -> Sequence[Request]:
    """The items that are sampled in full."""
    return items if screen is None else [items[position] for position in screen.positions]


def keep_recall(out: Path, made: Screener | None, header: Header) -> None:
    """Keep what is known of the screen beside the run's header, whose digest names it."""
    if made is None or made.recall is None or header.screen is None:
        return
    if header.screen.recall == made.recall.digest:
        write_atomic(out / KEPT, made.recall.model_dump_json() + "\n")
