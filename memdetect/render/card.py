"""A section for a model card, with the metadata that the Hub reads (`model-index`); no prompt and no image is in it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from memdetect.judging import OUTCOMES, Verdict
from memdetect.render.escapes import code, text
from memdetect.render.junit import xml_text
from memdetect.render.shown import untested
from memdetect.runs.header import Header
from memdetect.runs.records import Result

UNCONDITIONED = ("DDPMPipeline", "DDIMPipeline", "DiTPipeline")


def render_card(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """Metadata between two lines of dashes, then the section: verdict, claim, rules, digests, what was not tested.

    The card says what was counted. Which prompts were found stays in the reports that hold the evidence.
    """
    lines = ["---", *_yaml({"model-index": [_index(header, verdict)]}), "---", "", *_section(header, verdict)]
    return "".join(f"{line}\n" for line in lines)


def _index(header: Header, verdict: Verdict) -> dict[str, Any]:
    plan, counts = header.plan, verdict.counts
    task = "unconditional-image-generation" if plan.adapter in UNCONDITIONED else "text-to-image"
    metrics: list[dict[str, Any]] = [
        {"type": f"memdetect_{name.replace('-', '_')}", "name": f"Items found to be {name}", "value": counts[name]}
        for name in OUTCOMES
        if name in counts and name != "clear"
    ]
    metrics.append({"type": "memdetect_verdict", "name": "Verdict of the gate", "value": verdict.verdict})
    if rate := verdict.rate:
        metrics.append(
            {
                "type": "memdetect_flagged_share_bound",
                "name": f"Upper bound of the share of flagged prompt families ({rate.confidence:.0%})",
                "value": rate.bound,
            }
        )
    data = {"type": "prompts", "name": f"{verdict.planned} items", "revision": plan.inputs}
    result = {"task": {"type": task}, "dataset": data, "metrics": metrics}
    return {"name": header.model, "results": [result]}


def _section(header: Header, verdict: Verdict) -> Iterator[str]:
    plan = header.plan
    yield "## Memorization audit"
    yield ""
    yield f"**Verdict: {verdict.verdict}.** {text(verdict.claim, 4000)}"
    yield ""
    yield f"| {' | '.join(OUTCOMES)} | suppressed | measured | planned |"
    yield f"|{'---:|' * (len(OUTCOMES) + 3)}"
    counts = [verdict.counts.get(name, 0) for name in OUTCOMES]
    yield f"| {' | '.join(map(str, [*counts, verdict.suppressed, verdict.measured, verdict.planned]))} |"
    yield ""
    yield "| rule | outcome | reason |"
    yield "|---|---|---|"
    for rule in verdict.rules:
        yield f"| {text(rule.name)} | {rule.outcome} | {text(rule.reason, 500)} |"
    yield ""
    yield "Not tested:"
    yield ""
    yield from (f"- {text(phrase, 500)}" for phrase in untested(header))
    yield ""
    yield (
        f"Audited with memdetect {text(header.memdetect)}: weights {code(plan.model, 80)}, "
        f"items {code(plan.inputs, 80)}, plan {code(header.plan_digest, 80)}, "
        f"policy {code(verdict.policy_digest, 80)}, {'fixed' if verdict.fixed else 'not fixed'} before the first image."
    )


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Lines of block YAML of tables and lists that are not empty; every text stands in double quotes."""
    if isinstance(value, dict):
        for key, own in value.items():
            yield from _entry(f"{indent}{key}:", own, indent)
    else:
        for own in value:
            first, *rest = _yaml(own, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list):
        yield start
        yield from _yaml(value, f"{indent}  " if isinstance(value, dict) else indent)
    else:  # what JSON escapes in a text, YAML reads in the same way; letters are left as they are
        shown = xml_text(value, 200) if isinstance(value, str) else value
        yield f"{start} {json.dumps(shown, ensure_ascii=False, allow_nan=False)}"
