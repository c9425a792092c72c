"""What a screen takes and what may be known of it, before any weights are opened."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Requests
from memdetect.judging.calibration import Calibration
from memdetect.judging.screen_recall import Asked, Recall, read_recall, recall_for
from memdetect.probing.checks import check_seeds
from memdetect.runs.screen import Screen, packed
from memdetect.scanning.costs import Effort, levels_in, time_words
from memdetect.scanning.prepare import Options
from memdetect.scanning.screening import SEEDS, STEPS, check_screening, screening_detectors


@dataclass(frozen=True, slots=True)
class PlannedScreen:
    """A screen as it will be, without its scores. count: how many prompts it will choose of `prompts`, at the least.

    recall: what is known of it, and the screen that this has to be of.
    """

    prompts: int
    count: int
    detectors: tuple[Detector, ...]
    screen: Screen
    recall: tuple[Recall, Asked] | None = None


def planned_screen(requests: Requests, options: Options, *, steps: int, num_seeds: int) -> PlannedScreen | None:
    """The screen that a scan of `steps` steps asks for; None where it asks for none.

    Raises MemdetectError where the scan would, as far as that can be told without weights.
    """
    check_screening(options)
    asked, prompts = options.screening, len(requests.items)
    if not asked.asked:
        return None
    if any(item.prompt is None for item in requests.items):
        raise MemdetectError("images are given, and a screen reads the run that makes them; leave out --screen")
    share = asked.screen if asked.screen is not None else asked.screen_p or 0.0
    count = min(prompts, ceil(Fraction(str(share)) * prompts))
    detectors = screening_detectors(asked)
    seeds = min(num_seeds, SEEDS)
    check_seeds(detectors, seeds)
    recall = _recall(options, tuple(d.name for d in detectors), seeds, num_seeds)
    screen = Screen(
        share=asked.screen,
        p=asked.screen_p,
        detectors=tuple(d.name for d in detectors),
        steps=asked.screen_steps or min(steps, STEPS),
        num_seeds=seeds,
        plan="",
        cutoffs=recall[0].cutoffs if recall else {},
        chosen=packed(range(count)),
        count=count,
    )
    return PlannedScreen(prompts, count, detectors, screen, recall)


def _recall(options: Options, detectors: tuple[str, ...], seeds: int, full: int) -> tuple[Recall, Asked] | None:
    """What is known of the screen, where it differs in nothing that is known without weights."""
    file, asked = options.judging.screen_recall, options.screening
    if not file:
        return None
    held = read_recall(Path(file))
    own = Asked(asked.screen, asked.screen_p, detectors, held.screen, seeds, held.full, full, held.calibration)
    return recall_for(Path(file), own), own


def screen_lines(
    planned: PlannedScreen, guidance_scale: float, clean: Calibration | None, folder: Path | None
) -> Iterator[str]:
    """What the screen takes, in words."""
    screen = planned.screen
    effort = Effort(planned.detectors, screen.steps, guidance_scale, kept=False, levels=levels_in(folder, screen.steps))
    passes = planned.prompts * screen.num_seeds * effort.passes
    yield (
        f"screened by {screen.phrase}: {planned.prompts} prompts, {screen.num_seeds} runs begun of each, {passes} "
        f"passes of the denoiser; {time_words(passes, clean, folder)}"
    )
    about = "about" if screen.p is not None else "then"
    more = " if nothing is memorized" if screen.p is not None else ""
    yield f"{about} {planned.count} of {planned.prompts} prompts are sampled in full{more}:"
