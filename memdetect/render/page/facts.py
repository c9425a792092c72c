"""What a page says of a whole run: rules, suppressions, provenance, and where a question is answered."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memdetect.inputs.harmless import plain
from memdetect.judging import OUTCOMES, Rule, Verdict
from memdetect.judging.statistics.beta import interval
from memdetect.render.page.beside import Beside
from memdetect.render.page.findings import LABELS
from memdetect.render.shown import made_of, told
from memdetect.render.table import probed_at
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase, finds_phrase
from memdetect.runs.records import Result
from memdetect.runs.review import Reviewed

Pairs = list[tuple[str, str]]

ASKED: Mapping[str, str] = {
    "complete": "every planned item was measured",
    "screen": "what a screen misses of the prompts that were screened only is known, and little",
    "findings": "no finding that the policy fails on, unless somebody answers for it",
    "calibration": "enough clean scores of this model and these settings",
    "shift": "the prompts are like the clean ones",
    "resolution": "nothing above every clean prompt is left undecided",
    "sensitivity": "the score is known to notice what this model memorized",
    "undetectable": "every item could be decided",
    "index": "every image was searched for in an index that finds copies",
    "similar": "no more similar images than chance makes",
    "one-colour": "few images of a single colour",
    "max-rate": "the share of flagged prompt families is bounded",
    "review": "people's decisions leave nothing open",
    "integrity": "nothing was changed after it was fixed or measured",
}
SHOWN: Mapping[str, str] = {"pass": "pass", "fail": "fail", "inconclusive": "inconclusive"}


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as a row of the table."""

    name: str
    asked: str
    limit: str
    observed: str
    interval: str
    outcome: str
    reason: str


def counts_of(verdict: Verdict) -> list[tuple[str, str, int]]:
    """Outcomes with their number, the worst first."""
    return [(name, LABELS[name], verdict.counts.get(name, 0)) for name in OUTCOMES]


def headline(verdict: Verdict) -> str:
    """What was found, in a sentence for whoever reads no further."""
    counts, measured = verdict.counts, verdict.sampled
    whole, part = counts.get("copy", 0), counts.get("partial-copy", 0)
    said = f"{whole} of {measured} items came back as a copy of a training image"
    said += f", {part} as a copy of a part of one" if part else ""
    if score := counts.get("suspicious", 0):
        said += f"; {score} more {'is' if score == 1 else 'are'} suspicious by the score alone"
    if open_ := counts.get("inconclusive", 0):
        said += f"; of {open_} nothing can be said"
    said += f"; {verdict.left} of {verdict.planned} were screened only" if verdict.left else ""
    return f"{said}."


def rules_of(verdict: Verdict) -> list[RuleRow]:
    """The rules, those that are not met first."""
    order = {"fail": 0, "inconclusive": 1, "pass": 2}
    return [_rule(rule, verdict) for rule in sorted(verdict.rules, key=lambda rule: order[rule.outcome])]


def _rule(rule: Rule, verdict: Verdict) -> RuleRow:
    share = rule.name in ("max-rate", "sensitivity", "one-colour", "screen")
    return RuleRow(
        rule.name,
        ASKED.get(rule.name, ""),
        _number(rule.limit, share),
        _number(rule.observed, share),
        _interval(rule, verdict),
        rule.outcome,
        plain(rule.reason, 800),
    )


def _number(value: float | None, share: bool) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.4g}" if not share or value > 1 or value == int(value) else f"{value:.2%}"


def _interval(rule: Rule, verdict: Verdict) -> str:
    rate = verdict.rate
    if rule.name == "max-rate" and rate is not None and rate.rank and rate.families:
        bound = f"at most {rate.bound:.2%} with {rate.confidence:.0%} confidence"
        return f"{rate.flagged} of {rate.families} families, {bound}"
    if rule.name == "findings" and rule.observed is not None and 0 <= rule.observed <= verdict.sampled > 0:
        low, high = interval(rule.observed, verdict.sampled)
        return f"{rule.observed / verdict.sampled:.1%} of those measured, 95 % interval {low:.1%} to {high:.1%}"
    return "\N{EN DASH}"


def suppressions_of(results: Sequence[Result], verdict: Verdict) -> list[tuple[str, ...]]:
    """Entries of the policy: of which item, what is answered for, by whom, why, until when, and whether it applies."""
    held: Any = (verdict.policy or {}).get("ignore", ())
    places = [place for place, one in enumerate(told(results)) if one.suppressed] if held else []
    in_force = set(made_of(results, places, lambda row: row.id))
    return [_suppression(entry, in_force) for entry in held]


def _suppression(entry: Any, in_force: set[str]) -> tuple[str, ...]:
    if not isinstance(entry, Mapping):
        return (plain(str(entry), 80), "", "", "", "", "")
    own = {str(key): str(value) for key, value in entry.items() if value is not None}
    what = own.get("outcome") or f"copies of {own.get('copy_of', '')}"
    applies = "in force" if own.get("id", "") in in_force else "does not apply, see the notes"
    cells = (own.get("id", ""), what, own.get("owner", ""), own.get("reason", ""), own.get("expires", ""), applies)
    return tuple(plain(cell, 300) for cell in cells)


def decided_of(found: Sequence[tuple[Result, Reviewed]]) -> list[tuple[str, ...]]:
    """Every decision: of which item, what, by whom, when, why, and on which pictures."""
    made: list[tuple[str, ...]] = []
    for row, one in found:
        pictures = ", ".join(digest[:16] for digest in one.pictures)
        when = f"{one.time[:10]} {one.time[11:16]} UTC"
        made.append(
            (plain(row.id, 80), row.outcome, one.decision, plain(one.name, 80), when, plain(one.note, 600), pictures)
        )
    return made


def provenance_of(header: Header, verdict: Verdict, beside: Beside) -> list[tuple[str, Pairs]]:
    """Everything that says which model, settings, training images and bar a run is of; a heading and rows each."""
    return [
        ("Model", list(_model(header))),
        ("Settings", list(_settings(header))),
        ("Training images", list(_index(header))),
        ("The bar", list(_bar(header, verdict))),
        ("Records", list(_records(header, beside))),
    ]


def _model(header: Header) -> Iterator[tuple[str, str]]:
    plan = header.plan
    yield "Name", plain(header.model, 200)
    yield "Digest", plan.model
    yield "Pipeline", f"{plan.adapter}, {plan.dtype}"
    yield "Scheduler", plan.scheduler
    for name, value in header.opening.items():
        yield f"Opened with {plain(name)}", plain(_text(value), 400)


def _settings(header: Header) -> Iterator[tuple[str, str]]:
    plan = header.plan
    yield "Images a prompt", f"{plan.num_seeds}, from run seed {plan.seed} ({plan.noise})"
    yield "Sampling", f"{plan.steps} steps, guidance {plan.guidance_scale:g}, {plan.size[1]} x {plan.size[0]} pixels"
    yield "Other arguments", plain(_text(plan.call), 400) if plan.call else "none"
    decide = "decides" if len(plan.deciding) == 1 else "decide"
    yield "Detectors", f"{', '.join(plan.detectors)}; {' and '.join(plan.deciding)} {decide}"
    if plan.layers:
        yield "Probed at", f"{plain(', '.join(plan.layers), 400)} at {probed_at(header.sigmas)}"
    yield "Items planned", f"{header.planned}"
    if header.screen:
        yield "Screened by", f"{plain(header.screen.phrase, 300)}; {header.screen.count} prompts sampled in full"
    for what, count in header.dropped.items():
        if count:
            yield f"Left out: {plain(what)}", f"{count}"


def _index(header: Header) -> Iterator[tuple[str, str]]:
    index = header.index
    if not index:
        yield "Index", "none was searched"
        return
    yield "Index", plain(str(index.get("name", "")), 200)
    yield "Digest", plain(str(index.get("digest", "")), 80)
    yield "Holds", f"{index.get('pictures') or index.get('rows', 0):,} training images, {coverage_phrase(index)}"
    yield "Finds", finds_phrase(index)
    if index.get("similarity") is not None:
        chance = f"{index['level']:.2g}, shown by {index['null_queries']:,} images that are no copies"
        yield (
            "Similar",
            f"similarity above {index['similarity']:.3f} by {index['embedder']}; by chance at most {chance}",
        )


def _bar(header: Header, verdict: Verdict) -> Iterator[tuple[str, str]]:
    fixed = "fixed in the run's header before its first image" if verdict.fixed else "not those fixed before the run"
    yield "Policy and clean scores", fixed
    yield "Policy digest", verdict.policy_digest
    for key, value in (verdict.policy or {}).items():
        if key != "ignore":
            yield key.replace("_", "-"), "not asked" if value is None else f"{value}"
    yield "Clean scores", f"{verdict.calibrated} clean prompts" if verdict.calibrated else plain(verdict.missing, 300)
    if header.calibration:
        yield "Their digest", header.calibration


def _records(header: Header, beside: Beside) -> Iterator[tuple[str, str]]:
    yield "Begun", header.created
    yield "memdetect", header.memdetect
    yield "Plan digest", header.plan_digest
    yield "Inputs digest", header.plan.inputs
    if header.seal:
        yield "Seal of run.json", header.seal
    for digest in beside.results:
        yield "sha256 of results.jsonl", digest
    for name, version in header.versions.items():
        yield plain(name), plain(version)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def questions_of(header: Header, verdict: Verdict, beside: Beside) -> list[tuple[str, str, str]]:
    """What a release engineer or a lawyer has to answer, the answer or where it stands, and the section."""
    rate, counts = verdict.rate, verdict.counts
    bound = f"at most {rate.bound:.2%} with {rate.confidence:.0%} confidence" if rate and rate.rank else "not bounded"
    repeated = counts.get("copy", 0) + counts.get("partial-copy", 0)
    decided = sum(verdict.decided.values())
    pictures = "it holds pictures" if beside.evidence == "thumbs" and not beside.without else "it holds no pictures"
    return [
        (
            "Does the model give a work back when asked with its own caption? How often, with which settings?",
            "Under each finding: the prompt beside the caption, and how many of the images are copies.",
            "findings",
        ),
        (
            "Was the expression already in the prompt? How simple was the prompt?",
            "Under each finding: the prompt, its number of words, and whether it is the training caption.",
            "findings",
        ),
        (
            "Which works come back? What share at most, of which population?",
            f"{repeated} of {verdict.sampled} items; of families drawn like these prompts {bound}.",
            "verdict",
        ),
        (
            "Is it chance? Would an unrelated image be this near?",
            "Under each finding: the second nearest image, and the p-value among images that are no copies.",
            "findings",
        ),
        ("What could not have been found?", "Listed with what the index covers and finds.", "untested"),
        (
            "Which exact model, adapter and sampler? Since when was the bar fixed?",
            "Digests, settings and policy. Filters of a service around the model are not part of a run.",
            "provenance",
        ),
        (
            "Who looked at the pictures, what did they decide, and when?",
            f"{decided} findings are decided." if decided else "Nobody's decision was given to this report.",
            "decisions",
        ),
        ("What was done about a finding?", "Suppressions with owner and expiry, and decisions.", "suppressions"),
        (
            "Can a third party repeat it?",
            "Each finding has the command that makes it again; versions and seeds are recorded.",
            "provenance",
        ),
        (
            "A rights holder names pictures: do they come back?",
            "Only if they are in the index or their captions were among the prompts; else scan their pictures.",
            "untested",
        ),
        (
            "Who may see this page, and what has to be kept?",
            f"Whoever may see the run; {pictures}. The run folder is the record, this page a view of it.",
            "provenance",
        ),
        ("What changed since the last release?", "Not in this page, which is about one run.", ""),
    ]
