"""The table that a person reads: strongest first, then what the run was and what it can say."""

from collections.abc import Mapping, Sequence

from memdetect.inputs.harmless import begun, plain
from memdetect.judging import Verdict
from memdetect.judging.outcome import Tally
from memdetect.render.layout import GAP, columns, paragraph, styled
from memdetect.render.shown import decision_words, decisions, state, strongest, subject
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase, finds_phrase
from memdetect.runs.plan import RUN
from memdetect.runs.records import Result

ROWS = 25
UNSAID = ("copy", "partial-copy", "similar")  # of which a run that has none says nothing
COLOURS = {
    "copy": "bold red",
    "partial-copy": "red",
    "suspicious": "yellow",
    "similar": "cyan",
    "clear": "green",
    "inconclusive": "magenta",
}


def render_table(
    header: Header, results: Sequence[Result], verdict: Verdict, *, colour: bool = False, width: int = 120
) -> str:
    """The strongest results by score, and the run's summary."""
    names = scores_of(header)
    shown = strongest(results, ROWS)
    rows = [["outcome", "p", *names, "prompt or image"], *(_cells(row, names) for row in shown)]
    right = [False, True, *(True for _ in names), False]
    first, *others = columns(rows, right, width)
    styles = [COLOURS[row.outcome] if colour else "" for row in shown]
    lines = [GAP.join(styled(cell, "bold" if colour else "") for cell in first)]
    lines += [GAP.join([styled(cells[0], style), *cells[1:]]) for cells, style in zip(others, styles, strict=True)]
    for line in summary(header, results, verdict):
        lines += paragraph(plain(line, len(line)), width)
    return "".join(f"{begun(line.rstrip())}\n" for line in lines)


def scores_of(header: Header) -> list[str]:
    """Names of the scores, the one that decides first: of the combination where several detectors decide."""
    deciding, every = header.plan.deciding, header.plan.detectors
    return list(dict.fromkeys([*(["combined"] if len(deciding) > 1 else []), *deciding, *every]))


def _cells(row: Result, names: Sequence[str]) -> list[str]:
    p = row.p.get("combined")
    scores = [row.judged.get(name) for name in names]
    numbers = ["-" if value is None else f"{value:.4f}" for value in (p, *scores)]
    return [state(row), *numbers, plain(subject(row))]


def summary(header: Header, results: Sequence[Result], verdict: Verdict) -> list[str]:
    """What was tested, what was found, and what that rests on; a line each."""
    plan, counts = header.plan, verdict.counts
    lines = [""]
    if len(results) > ROWS:
        lines.append(f"({len(results) - ROWS} more rows; --format jsonl or the run's results.jsonl has them all)")
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name not in UNSAID)
    lines.append(f"{verdict.usable}: {found}.")
    lines += _set_aside(header, verdict.tally)
    if verdict.calibrated:
        clean = "drawings of the base" if plan.base else "clean prompts"
        lines.append(
            f"suspicious = at a false discovery rate of {verdict.fdr:g} by {' and '.join(plan.deciding)}, against "
            f"{verdict.calibrated} {clean}; with these the minimum number of detections is {verdict.detections}."
        )
    if verdict.missing:
        lines.append(f"No p-values: {verdict.missing}.")
    lines += _probed(header)
    made = f"{plan.steps} steps, guidance {plan.guidance_scale:g}, seed {plan.seed}, {plan.dtype}"
    lines.append(f"{header.model}: {plan.num_seeds} images a prompt, {'made elsewhere' if plan.given else made}.")
    lines += _searched(header, verdict.tally)
    ruled = decisions(results)
    lines += [f"Decided of {plain(subject(row))!r}: {decision_words(one)}." for row, one in ruled[:ROWS]]
    lines += [f"({len(ruled) - ROWS} more decisions; --format jsonl has them all)"] if len(ruled) > ROWS else []
    lines += [f"Note: {note}." for note in verdict.notes]
    return [*lines, f"Claim: {verdict.claim}"] if verdict.claim else lines


def _probed(header: Header) -> list[str]:
    """Where finished images were probed; nothing of a run that only its sampling was watched of."""
    plan = header.plan
    if not plan.layers:
        return []
    point = f" [{header.default_point}]" if header.default_point else ""
    named = [name for name, reading in plan.readings.items() if RUN not in reading.places]
    some = f" for {', '.join(named)}" if len(named) < len(plan.readings) else ""
    return [f"Probed at {', '.join(plan.layers)} at {probed_at(header.sigmas)}{point}{some}."]


def probed_at(sigmas: Mapping[str, float | None]) -> str:
    """Timesteps, each with its noise over signal where that is finite."""
    return ", ".join(f"t={t} (sigma {s:.3f})" if s is not None else f"t={t}" for t, s in sigmas.items())


def _searched(header: Header, tally: Tally) -> list[str]:
    """What a copy is, of which training images, and how often one was hit; or that none were searched."""
    index = header.index
    if not index:
        return ["No training images were searched: a score is a reason to look, not proof of a copy."]
    held = index.get("pictures", index["rows"])
    lines = [f"Searched {held:,} training images, {coverage_phrase(index)}; copies of others are not found."]
    lines.append(f"The index {finds_phrase(index)}.")
    if index.get("similarity") is not None:
        lines.append(
            f"copy = {index['embedder']} similarity above {index['similarity']:.3f} (exceeded by non-copies with "
            f"probability {index['level']:.2g}, shown by {index['null_queries']:,}) and pixels that agree."
        )
    else:
        lines.append("The index has no threshold: no image is known not to be a copy, so that none can be called one.")
    lines.append(f"{tally.copied} of {tally.images} images are copies.")
    if tally.partial:
        lines.append(f"{tally.partial} of {tally.images} images repeat a part of a training image.")
    if tally.similar:
        lines.append(
            f"Similar to a training image, with other pixels: {tally.similar} more; a page with pictures marks them."
        )
    return lines


def _set_aside(header: Header, tally: Tally) -> list[str]:
    """What was left out of the input, could not be used, or was cut: one line, or none when there was nothing."""
    counts = {
        "blank lines left out": header.dropped.get("blank", 0),
        "repetitions left out": header.dropped.get("repeated", 0),
        "images named beside a prompt and not probed": header.dropped.get("beside", 0),
        "further columns of prompts that were not scanned": header.dropped.get("further", 0),
        "unreadable": tally.unreadable,
        "not finite": tally.nonfinite,
        "not to be measured": tally.lost,
        "truncated": tally.truncated,
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"Noted: {', '.join(found)}."] if found else []
