"""GitHub workflow annotations: lines that its runner turns into marks beside the prompt file's lines."""

from collections.abc import Callable, Sequence

from memdetect.inputs.harmless import plain
from memdetect.judging import Verdict
from memdetect.render.shown import LISTED, Told, decision_words, made_of, place, ranked, state, subject, told
from memdetect.runs.header import Header
from memdetect.runs.records import Result

MOST = 10  # of each kind for a step; GitHub shows no more
LEVELS = {"copy": "error", "partial-copy": "error", "suspicious": "warning", "similar": "notice"}


def render_github(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """The verdict first; copies, also in part, as errors, suspicious ones as warnings, similar as notices; the rest."""
    passed = verdict.verdict == "pass"
    said = "; ".join([*verdict.reasons, verdict.claim])
    lines = [_line("notice" if passed else "error", f"memdetect: {verdict.verdict}", said)]
    room = {"error": MOST - (not passed), "warning": MOST, "notice": MOST - passed}
    chosen = sorted(key for level, most in room.items() for key in ranked(results, most, _of(level)))
    lines += made_of(results, [place for *_, place in chosen], _annotation)
    if (left := sum(bool(_level(one)) for one in told(results)) - len(chosen)) > 0:
        lines.append(_line("notice", "memdetect", f"{left} more findings are not shown here"))
    return "".join(f"{line}\n" for line in lines)


def _level(one: Told) -> str:
    """How a result is told of; "" = not at all."""
    if not one.found or one.suppressed:
        return ""
    return "notice" if one.lifted else LEVELS[LISTED[one.order]]


def _of(level: str) -> Callable[[Told], bool]:
    return lambda one: _level(one) == level


def _annotation(row: Result) -> str:
    level = "notice" if row.lifted else LEVELS[row.ranked_as]
    return _line(level, f"memdetect: {state(row)}", _message(row), row)


def _message(row: Result) -> str:
    said = "; ".join([*([row.reason] if row.reason else []), *map(decision_words, row.decisions)])
    return f"{plain(subject(row), 200)} ({said})" if said else plain(subject(row), 200)


def _line(level: str, title: str, message: str, row: Result | None = None) -> str:
    properties = {"title": title}
    if row is not None and (file := place(row)):
        properties = {"file": file, **({"line": str(row.line)} if row.line else {}), **properties}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {listed}::{_data(plain(message, 4000))}"


def _data(text: str) -> str:
    """As the runner's own toolkit escapes a message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(plain(text, 1000)).replace(":", "%3A").replace(",", "%2C")
