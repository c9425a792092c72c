"""Runs with findings, made by hand, for the tests of reports."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from synthetic_runs import header, row

from memdetect.copies.match import Match
from memdetect.judging import Rule, Verdict
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Outcome, Result

OUTCOMES: tuple[Outcome, ...] = ("copy", "partial-copy", "suspicious", "similar", "clear", "inconclusive")
HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\x9b31m \u202egnp.exe \u2066x\u2069 \u200b\ufeff\U000e0041",
    "line\nbreak\r\n::error file=x::y\r\u2028z\u0085",
    "::stop-commands::x",
    "##[add-mask]x ##vso[task.setvariable]x",
    '=HYPERLINK("http://x")',
    "|a|b|\n|-|-|\n",
    "<script>alert(1)</script><img src=x onerror=y> &lt;b&gt; &#60;",
    "`code` ``` ~~~ **bold** _it_ [a](http://x) ![i](http://x) <http://x> https://x.example www.x.example",
    "@octocat me@x.example #12 org/repo#3 deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    "# heading\n- list\n1. list\n> quote\n\n    code\n---\n",
    "\ud800 lone",
    "100%25,file=x:y%0A",
    "",
)
texts = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=60), st.text("|`<>@#:%*_[]()\\\n =+-&;!~\x1b", max_size=40)
)


def run(
    prompts: Sequence[str], outcomes: Sequence[Outcome] = ("copy",), **changes: Any
) -> tuple[Header, list[Result], Verdict]:
    """A run with these prompts, taken as they are even where a record would refuse them; outcomes in turn."""
    results = [
        Result(**dict(row(i, 0.5 - i / 1000)), outcome=outcomes[i % len(outcomes)]).model_copy(
            update={
                "prompt": prompt,
                "line": i + 1,
                "judged": {"combined": 0.5 - i / 1000, "spikiness": 0.5 - i / 1000},
                "p": {"combined": 0.01, "spikiness": 0.02},
                **changes,
            }
        )
        for i, prompt in enumerate(prompts)
    ]
    counts = {name: sum(result.outcome == name for result in results) for name in OUTCOMES}
    failed = counts["copy"] + counts["partial-copy"] + counts["suspicious"]
    rule = Rule("findings", "fail" if failed else "pass", f"{failed} among {len(prompts)}" if failed else "")
    decision = Verdict(
        planned=len(prompts),
        measured=len(prompts),
        counts=counts,
        calibrated=99,
        missing="",
        rules=(rule,),
        policy=Policy().model_dump(mode="json"),
        policy_digest=Policy().digest,
        claim="Of some items all were measured; for tiny by spikiness, 25 steps.",
        notes=("the wording was not compared",),
    )
    return header(len(prompts)), results, decision


def match(key: str, path: str = "", caption: str = "") -> Match:
    """A training image near an item's first image."""
    return Match(seed=0, rank=1, key=key, path=path, caption=caption, similarity=0.97, copy_found=True)
