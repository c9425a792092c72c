"""A bench -> tables for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memdetect.inputs.harmless import plain
from memdetect.render.bench.fitting import Blocks, Column, fit, fitted
from memdetect.render.layout import paragraph, styled

NONE = "-"
SIDES = {"control": "against its controls", "clean": "against clean prompts"}
Record = Mapping[str, Any]


def render_bench(found: Record, *, colour: bool = False, width: int = 120) -> str:
    """Tables of each comparison, of what was chosen and what it costs, and what they rest on; `width` cells a line."""
    lines = list(_head(found, width))
    for comparison in found["comparisons"]:
        lines += ["", *_comparison(comparison, found, colour, width)]
    lines += ["", styled("What was chosen on the tuning split, and what it costs", "bold" if colour else "")]
    lines += fitted([_costs(found)], colour, width)
    for line in (*_missing(found), *_notes(found)):
        lines += paragraph(plain(line, len(line)), width)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _head(found: Record, width: int) -> Iterator[str]:
    asked = found["settings"]
    said = (
        f"{found['model']}: {asked['steps']} steps, guidance {asked['guidance_scale']:g}, {asked['num_seeds']} seeds a "
        f"prompt, {asked['dtype']} on {asked['device']}. Chosen on the tuning split of {found['tried']:,} variants; "
        f"all below is of the test split."
    )
    yield from paragraph(plain(said, len(said)), width)


def _comparison(comparison: Record, found: Record, colour: bool, width: int) -> Iterator[str]:
    """Both sides in one table where they fit a line, else one below the other."""
    sides = [side for side in SIDES if any(row[side] for row in comparison["rows"])]
    title = f"{comparison['positive']}: {_counted(comparison['positive'], found)}"
    yield styled(plain(title, width), "bold" if colour else "")
    whole = _blocks(comparison, sides, intervals=True)
    if len(sides) > 1 and fit(whole, width) is not None:
        yield from fitted([whole], colour, width)
    else:
        for side in sides:
            yield f"  {SIDES[side]}"
            ways = [_blocks(comparison, [side], intervals=intervals) for intervals in (True, False)]
            yield from fitted([[("", own) for _, own in way] for way in ways], colour, width)
    for line in _said(comparison, sides, found):
        yield from paragraph(plain(line, len(line)), width)


def _blocks(comparison: Record, sides: Sequence[str], *, intervals: bool) -> Blocks:
    """The columns of some sides. intervals: whether those of TPR are shown."""
    rows = comparison["rows"]
    blocks: Blocks = [("", [("detector", [plain(row["detector"], 40) for row in rows])])]
    blocks += [(SIDES[side], _side(rows, side, _text(comparison, side), intervals)) for side in sides]
    return [*blocks, ("", [("style", [_area(row["style"], intervals=False) for row in rows])])]


def _side(rows: Sequence[Record], side: str, text: str, intervals: bool) -> list[Column]:
    """The columns of one side; a TPR that no row has is left out, and said below."""
    made: list[Column] = [("AUROC", [_area(row[side], intervals=True) for row in rows])]
    if side == "control" or not any(row["control"] for row in rows):
        made.append(("less the best", [_difference(row[side]) for row in rows]))
    for k, level in enumerate(_levels(rows, side)):
        shares = [_share(row[side]["tpr"][k] if row[side] else None, intervals=intervals) for row in rows]
        if set(shares) != {NONE}:
            made.append((f"TPR {level:.0%}", shares))
    if side == "clean" and _resolved(rows):
        made.append(("found", [_found(row["found"]) for row in rows]))
    return [*made, ("text", [text] * len(rows))]


def _levels(rows: Sequence[Record], side: str) -> list[float]:
    first = next((row[side] for row in rows if row[side]), None)
    return [tpr["level"] for tpr in first["tpr"]] if first else []


def _said(comparison: Record, sides: Sequence[str], found: Record) -> Iterator[str]:
    """What a comparison rests on, and what its table leaves out."""
    for side in sides:
        first = next(row[side] for row in comparison["rows"] if row[side])
        others = [comparison["control"]] if side == "control" else found["asked"]["clean"]
        counts = ", ".join(f"{name}: {_counted(name, found)}" for name in others)
        yield f"{SIDES[side]} = {counts}."
        if short := [tpr["level"] for tpr in first["tpr"] if tpr["found"] is None]:
            need = ", ".join(f"{level:.0%} needs {round(1 / level)}" for level in short)
            yield f"No TPR where the prompts cannot resolve it: {need}, there are {first['negatives']}."
    one = next((row["found"] for row in comparison["rows"] if row["found"]), None)
    if one:
        yield _detected(one, found["fdr"], resolved=_resolved(comparison["rows"]))


def _resolved(rows: Sequence[Record]) -> bool:
    """Whether anything could be flagged at the false discovery rate, by as many clean families as there are."""
    return any(row["found"] and row["found"]["needed"] <= row["found"]["positives"] for row in rows)


def _detected(one: Record, fdr: float, *, resolved: bool) -> str:
    """What `found` rests on, or why nothing can be found."""
    scan = f"{one['positives']} among {one['m']} prompts, ranked among n = {one['n']} clean families"
    if resolved:
        said = f"found (false) at a false discovery rate of {fdr:.0%}: {scan}"
        return f"{said}; at least {one['needed']} have to stand above all of these."
    enough = -(-one["m"] // (fdr * one["positives"])) - 1
    return (
        f"Nothing can be found at a false discovery rate of {fdr:.0%}: {scan}, above all of which {one['needed']} "
        f"would have to stand; it takes n = {enough:.0f} or more."
    )


def _counted(group: str, found: Record) -> str:
    own = found["counts"]["groups"].get(group, {}).get("test")
    return f"{own['prompts']} prompts in {own['families']} families" if own else "none in the test split"


def _costs(found: Record) -> Blocks:
    every = found["detectors"]
    blocks: Blocks = [
        (
            "",
            [
                ("detector", [plain(each["detector"], 40) for each in every]),
                ("chosen", [plain(each["chosen"], 60) for each in every]),
                ("of", [f"{each['tried']:,}" for each in every]),
                ("by", [_short(each["tuning"]) for each in every]),
            ],
        ),
        (
            "passes",
            [
                ("more", [f"{each['passes_more']:,}" for each in every]),
                ("alone", [f"{each['passes_alone']:,}" for each in every]),
            ],
        ),
    ]
    if any(each["slower"] is not None for each in every):
        times = [("more", "slower"), ("alone", "screen")]
        blocks.append(("time", [(title, [_percent(each[name]) for each in every]) for title, name in times]))
    return blocks


def _missing(found: Record) -> Iterator[str]:
    if found["missing"]:
        yield ""
        yield "Not measured:"
    for name, reason in found["missing"].items():
        yield f"- {name}: {reason}"


def _notes(found: Record) -> Iterator[str]:
    yield ""
    yield (
        "AUROC and TPR with 95 % intervals over families, none below ten of them. TPR 5%: share found above the "
        "threshold that at most 5 % of the others pass. less the best: AUROC less that of the first row, in pairs; "
        "no interval where both separate everything."
    )
    yield (
        "text: AUROC of the prompts' text alone, * where shuffled labels reach it in less than 5 %. style: AUROC of "
        "prompts of another kind, which nobody memorized, against clean ones. Both are best near .50."
    )
    yield (
        "passes and time: of all seeds of a prompt, beside a run that makes its images; alone: where nobody wants "
        "them. of, by: of how many variants it was chosen, by which value. -: lower scores are the higher ones."
    )
    lost = {row["detector"]: row["lost"] for each in found["comparisons"] for row in each["rows"] if row["lost"]}
    if lost:
        yield "Without a finite score: " + ", ".join(f"{count} prompts by {name}" for name, count in lost.items()) + "."
    if shared := found["counts"]["families_in_two_splits"]:
        yield f"{shared} families stand in two splits: what was chosen on one of their prompts is reported on another."


def _text(comparison: Record, side: str) -> str:
    told = comparison["text"][side]
    return NONE if told is None else f"{_short(told['auroc'])}{'*' if told['p'] < 0.05 else ''}"


def _area(found: Record | None, *, intervals: bool) -> str:
    if found is None:
        return NONE
    return _interval(found["auroc"], found["low"], found["high"]) if intervals else _short(found["auroc"])


def _share(found: Record | None, *, intervals: bool) -> str:
    if found is None or found["share"] is None:
        return NONE
    return _interval(found["share"], found["low"], found["high"]) if intervals else _short(found["share"])


def _difference(found: Record | None) -> str:
    own = found["behind"] if found else None
    return NONE if own is None else _interval(own["value"], own["low"], own["high"])


def _found(found: Record | None) -> str:
    return NONE if found is None else f"{found['found']} ({found['false']})"


def _interval(value: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{_short(low)}, {_short(high)}]"
    return f"{_short(value)}{ends}"


def _short(value: float) -> str:
    """Two places without the leading zero: .98, 1.00, -.02."""
    text = f"{value:.2f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _percent(value: float | None) -> str:
    if value is None:
        return NONE
    return "0%" if abs(value) < 0.005 else f"{value:.0%}"
