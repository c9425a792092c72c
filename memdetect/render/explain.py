"""One item of a run, in full: what was decided and why, scores by layer and timestep, matches, how to make it again."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence

from memdetect.copies.alignment_words import aligned_words, alignment, box_words
from memdetect.copies.match import Match
from memdetect.inputs.harmless import escaped, lines, plain
from memdetect.runs.header import Header
from memdetect.runs.plan import RUN, Plan
from memdetect.runs.records import Result, Score
from memdetect.runs.screen import NAMED


def render_explanation(header: Header, row: Result) -> str:
    """Everything that a run holds of an item, for a person to read."""
    told = [f"{plain(row.id)}: {row.outcome}" + (f" ({plain(row.reason, 500)})" if row.reason else "")]
    what = row.prompt if row.prompt is not None else row.image or ""
    told += [plain(what, 500), f"from {plain(row.source, 200)}" + (f", line {row.line}" if row.line else "")]
    told += [f"note: {plain(note, 500)}" for note in row.notes]
    for name, score in row.scores.items():
        judged = score.score if name.startswith(NAMED) else row.judged.get(name)
        told += ["", *_scores(name, score, judged, row.p.get(name))]
    p, score = row.p.get("combined"), row.judged.get("combined")
    if p is not None and score is not None:
        told += ["", f"p = {p:.4g} of {score:.4f}, which decides"]
    if row.kind and row.novelty is not None:
        told += [f"ranked among clean prompts of kind {row.kind}; distance to the nearest of them {row.novelty:.3f}"]
    told += ["", *_matches(row, header)]
    made = [f"  {file}" for file in row.files] if header.plan.given else [f"  {again(header, row)}"]
    told += ["", f"its pictures, made by {header.model}:" if header.plan.given else "make it again:", *made]
    return lines(told)


def _scores(name: str, score: Score, judged: float | None, p: float | None) -> list[str]:
    """A detector's score as it is judged, and its parts: rows are layers, columns timesteps, each a mean over seeds."""
    value = "not finite" if judged is None else f"{judged:.4f}"
    lines = [f"{name} {value}" + ("" if p is None else f" (p = {p:.4g})")]
    if tuple(score.cells) == RUN[:1]:
        parts = ", ".join("-" if value is None else f"{value:.4f}" for value in score.cells[RUN[0]].get(RUN[1], []))
        return [*lines, f"  of the sampling run, by seed: {parts}"]
    times = list(dict.fromkeys(t for cells in score.cells.values() for t in cells))
    width = max((len(layer) for layer in score.cells), default=0)
    lines.append("  " + " " * width + "".join(f"{'t=' + t:>12}" for t in times))
    for layer, cells in score.cells.items():
        lines.append(f"  {layer:<{width}}" + "".join(f"{_mean(cells.get(t, [])):>12}" for t in times))
    return lines


def _mean(values: Sequence[float | None]) -> str:
    kept = [value for value in values if value is not None]
    return f"{sum(kept) / len(kept):.4f}" if kept and len(kept) == len(values) else "-"


def _matches(row: Result, header: Header) -> list[str]:
    if row.status == "screened":
        return ["no image was made, so that no training image was searched"]
    if not header.index:
        return ["no training images were searched"]
    hits = {match.seed for match in row.matches if match.copy_found}
    tried = max(len(row.files) if header.plan.given else len(row.seeds), 1) if row.image is None else 1
    parts = {match.seed for match in row.matches if match.partial_found} - hits
    more = f", {len(parts)} repeat a part of a training image" if parts else ""
    lines = [f"{len(hits)} of {tried} images are copies{more}; nearest training images:"]
    for match in sorted(row.matches, key=lambda m: (m.seed, m.rank)):
        lines.append("  " + _match(row, match))
        lines += [f"    {line}" for line in _alignment(match)]
    return lines


def _match(row: Result, match: Match) -> str:
    file = row.files[match.seed] if match.seed < len(row.files) else f"image {match.seed}"
    pixels = (
        f", tile {match.tile:.3f}, MS-SSIM {match.ssim:.3f}"
        if match.tile is not None and match.ssim is not None
        else ""
    )
    p = "" if match.p is None else f", p {match.p:.4g}"
    note = f" ({match.note})" if match.note else ""
    return (
        f"{plain(file, 200)} #{match.rank}: {_relation(match)} {plain(match.key)} "
        f"[{plain(match.path, 200)}] similarity {match.similarity:.4f}{p}{pixels}{note}"
    )


def _relation(match: Match) -> str:
    return "copy" if match.copy_found else "in part" if match.partial_found else "near"


def _alignment(match: Match) -> Iterator[str]:
    """How an image was aligned with a training image, and what then agrees; nothing of those that were not aligned."""
    found = alignment(match.affine) if match.affine else None
    if found is not None:
        yield f"aligned: the training image is {aligned_words(match.affine) or 'where it was'}"
    if found is not None and found.part is not None and found.place is not None:
        yield f"its {box_words(found.part)} lies at {box_words(found.place)} of the image"
    if match.agreed is not None:
        p = "" if match.p_agreed is None else f" (p {match.p_agreed:.4g})"
        where = "" if match.region is None else f", the largest part at its {box_words(match.region)}"
        yield f"{match.agreed:.0%} of the training image agrees{p}{where}"


def again(header: Header, row: Result) -> str:
    """A shell command that makes the item's images once more, from the same seeds, and looks them up as before."""
    if header.plan.given:
        return f"made elsewhere, by {header.model}: {' '.join(row.files)}"
    if row.prompt is None:
        inputs, feed = [row.image or ""], ""
    elif row.source == "--unconditional":  # their ids count from 0
        inputs, feed = ["--unconditional", f"{int(row.id.rpartition('-')[2]) + 1}"], ""
    elif row.source == "--labels":
        inputs, feed = ["--labels", row.prompt], ""
    else:
        line = json.dumps({"id": row.id, "prompt": row.prompt})
        inputs, feed = ["-", "--prompts-format", "jsonl"], f"printf '%s\\n' {_word(line)} | "
    command = ["memdetect", "scan", *inputs, "--model", header.model, *_settings(header.plan), *_places(header)]
    folder = re.sub(r"[^\w.-]+", "_", row.id).strip(".")  # an id may be anything
    command += ["--out", f"runs/{folder or 'again'}"]
    return f"{feed}{' '.join(map(_word, command))}"


def _places(header: Header) -> list[str]:
    """Options that say how the weights were opened, and which index was searched."""
    found: list[str] = []
    for name, value in header.opening.items():
        flag = f"--{name.rstrip('s').replace('_', '-')}"  # `loras` are given by --lora each
        values = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
        found += [flag] if value is True else [part for each in values for part in (flag, each)]
    if header.index:
        for name, flag in (("given", "--index"), ("weights", "--weights")):
            found += [flag, header.index[name]] if header.index.get(name) else []
        found += ["--trust-torchscript"] if header.index.get("trust_torchscript") else []
        return [*found, "--top-k", f"{header.index.get('top_k', 3)}"]
    return [*found, "--no-index"]


def _word(text: str) -> str:
    """A word of a shell command; in bash's $'...' where a part of it would not be seen."""
    if escaped(text) == text:
        return shlex.quote(text)
    return f"$'{''.join(map(_byte_codes, text))}'"


def _byte_codes(c: str) -> str:
    if c not in "\\'#" and escaped(c) == c:
        return c
    return "".join(f"\\x{byte:02x}" for byte in c.encode(errors="surrogatepass"))


def _settings(plan: Plan) -> list[str]:
    found = ["--num-seeds", f"{plan.num_seeds}", "--seed", f"{plan.seed}", "--steps", f"{plan.steps}"]
    found += ["--guidance-scale", f"{plan.guidance_scale}"]
    for values, flag in ((plan.layers, "--layer"), (plan.timesteps, "--timestep"), (plan.detectors, "--detector")):
        found += [part for value in values for part in (flag, f"{value}")]
    if plan.dtype in ("fp32", "bf16", "fp16"):
        found += ["--dtype", plan.dtype]
    for name, value in plan.call.items():
        found += ["--call", f"{name}={json.dumps(value)}"]
    return found
