"""Reports of many items: what they hold in memory, what they leave out, and that they say so."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import OUTCOMES, run
from synthetic_runs import INDEX, calibration, header, match, row, searched, write_run

from memdetect.cli import run as memdetect
from memdetect.inputs.harmless import ascii_json
from memdetect.inputs.options import Judging
from memdetect.judging.run import Judged, held, judge_folders
from memdetect.render import FORMATS, STREAMED, redact
from memdetect.render.junit import render_junit
from memdetect.render.page import choosing, render_page
from memdetect.render.page.making import beside_of
from memdetect.render.sarif import render_sarif
from memdetect.render.shown import made_of, p_counts, reasons, scores_of, strata_of, told, worst
from memdetect.runs.records import Result

CLEAN = calibration(
    {name: np.random.default_rng(k).normal(size=400).tolist() for k, name in enumerate(("spikiness", "gap"))}
)
SIZES, MOST = (100, 400), 20
EACH = 150  # bytes that a report may hold of a record; before they were read one by one it held all of it, 10,000


def many(folder: Path, count: int) -> Path:
    """A run on disk: a third copies, of training images of their own, a third clear, and a third without a score."""
    rows = [row(i, {"spikiness": -1.0 - i / count, "gap": i / count}, line=i + 1) for i in range(count)]
    rows = [r.model_copy(update={"matches": [match().model_copy(update={"key": r.id})]} if r.index % 3 == 0 else {})
            for r in searched(rows)]  # fmt: skip
    rows = [r.model_copy(update={"scores": {}, "status": "nonfinite"}) if r.index % 3 == 1 else r for r in rows]
    plan = {"detectors": ["spikiness", "gap"], "combine": ["spikiness"]}
    return write_run(folder, header(count, CLEAN, index=INDEX, plan=plan), searched(rows), CLEAN, shard=20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judged, Judged]:
    folder = tmp_path_factory.mktemp("many")
    found = [judge_folders([many(folder / f"{count}", count)], Judging()) for count in SIZES]
    return found[0], found[1]


def parts(name: str, judged: Judged, folder: Path, hidden: bool) -> Iterable[str]:
    """A report of a run as it is made for a file."""
    given: Any = (judged.found.header, judged.results, judged.verdict)
    beside = beside_of(given[0], given[1], [folder], "hash", judged.found.calibration) if name == "html" else None
    given = redact(*given) if hidden else given
    if name in STREAMED:
        return STREAMED[name](*given)
    if name in ("sarif", "junit"):
        return [FORMATS[name](*given, most=MOST)]
    if name == "md":
        return [FORMATS[name](*given, rows=MOST)]
    return [FORMATS[name](*given, *([beside] if beside else []))]


def highest(made: Callable[[], Iterable[str]]) -> int:
    """Bytes in memory at the highest point while a report is made."""
    tracemalloc.start()
    try:
        for _ in made():
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", sorted({"html", "json", "jsonl", "csv", "md", "github", "sarif", "junit"}))
def test_a_report_holds_few_bytes_a_record(
    name: str, hidden: bool, runs: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(choosing, "SHOWN", MOST)
    monkeypatch.setattr(choosing, "LINES", MOST)
    for _ in parts(name, runs[0], tmp_path, hidden):  # what is imported and kept once
        pass
    small, large = (highest(lambda one=one: parts(name, one, tmp_path, hidden)) for one in runs)
    each = (large - small) / (SIZES[1] - SIZES[0])
    print(name, hidden, each)
    assert each < EACH


def test_what_results_are_listed_by_is_known_without_making_them(runs: Any) -> None:
    """Against results that are all there."""
    results = runs[0].results
    held = list(results)
    assert list(told(results)) == list(told(held))
    assert Counter(one.outcome for one in told(results)) == {"copy": 34, "clear": 33, "inconclusive": 33}
    names = ["combined", "spikiness", "gap"]
    wanted = [[row.judged.get(name) for row in held] for name in names]
    assert [list(column) for column in scores_of(results, names)] == wanted
    assert [list(column) for column in scores_of(held, names)] == wanted
    assert [list(column) for column in scores_of(results, names[:1])] == wanted[:1]
    assert p_counts(results) == p_counts(held) == Counter(p for row in held if (p := row.p["combined"]) is not None)
    assert list(reasons(results)) == list(reasons(held)) == [row.reason for row in held]
    assert list(strata_of(results, results.reference)) == [""] * len(held)


ITEMS = st.lists(st.tuples(st.sampled_from(OUTCOMES), st.booleans(), st.none() | st.floats(-2, 2)), max_size=12)


def results_of(items: Sequence[tuple[Any, bool, float | None]]) -> tuple[Any, list[Result], Any]:
    head, rows, verdict = run(["a"] * len(items), OUTCOMES)
    changed = [{"outcome": o, "suppressed": "x" if s else "", "judged": {"combined": x}} for o, s, x in items]
    return head, [r.model_copy(update=own) for r, own in zip(rows, changed, strict=True)], verdict


@given(ITEMS, st.integers(0, 13))
def test_the_worst_by_brute_force(items: Any, count: int) -> None:
    _, rows, _ = results_of(items)

    def key(i: int) -> Any:
        outcome, suppressed, score = items[i]
        return suppressed, OUTCOMES.index(outcome), score is None, -(score or 0.0), i

    ordered = sorted((i for i in range(len(items)) if items[i][0] not in ("clear", "inconclusive")), key=key)
    found = worst(rows, count, lambda one: one.found, last=lambda one: one.suppressed)
    assert found == ordered[:count]
    assert made_of(rows, found, lambda row: row.index) == found


@given(ITEMS, st.integers(0, 13))
def test_no_item_gets_lost_in_junit(items: Any, most: int) -> None:
    said: list[str] = []
    made = results_of(items)
    root = ElementTree.fromstring(render_junit(*made, most=most, say=said.append))
    cases = [c for c in root.iter("testcase") if c.get("classname") == "memdetect.findings"]
    whole = ElementTree.fromstring(render_junit(*made))
    every = [c for c in whole.iter("testcase") if c.get("classname") == "memdetect.findings"]
    left = len(every) - most
    assert [c.get("name") for c in cases[:most]] == [c.get("name") for c in every[:most]]
    assert len(said) == (left > 0) == len(cases) - min(most, len(every))
    if left > 0:
        assert said[0].startswith(f"{left} more item")
        assert cases[-1].get("name") == f"{left} more items"
        worst_end = next(end for end in ("failure", "error", "", "skipped") if end in map(_end, every[most:]))
        assert _end(cases[-1]) == worst_end
        unclear = sorted((OUTCOMES.index(o), x is None, -(x or 0.0)) for o, _, x in items if o != "clear")
        counts = Counter(OUTCOMES[i] for i, *_ in unclear[most:])
        assert all(f"{count} {outcome}" in said[0] for outcome, count in counts.items())
        assert "memdetect report RUN -o results.csv" in said[0]
        assert said[0] in "".join(cases[-1].itertext())


def _end(case: ElementTree.Element) -> str:
    return next((end for end in ("failure", "error", "skipped") if case.find(end) is not None), "")


@given(ITEMS, st.integers(1, 13))
def test_no_finding_gets_lost_in_sarif(items: Any, most: int) -> None:
    said: list[str] = []
    made = results_of(items)
    text = render_sarif(*made, most=most, say=said.append)
    log, whole = (json.loads(t)["runs"][0] for t in (text, render_sarif(*made)))
    assert log["results"] == whole["results"][:most]
    left = len(whole["results"]) - most
    told = [n["message"]["text"] for n in log["invocations"][0]["toolExecutionNotifications"]]
    assert said == told[: left > 0]
    assert not said or said[0].startswith(f"{left} more findings are not in this file")


@settings(max_examples=20)
@given(ITEMS)
def test_json_written_a_finding_at_a_time_is_json_written_whole(items: Any) -> None:
    text = FORMATS["json"](*results_of(items))
    assert text == ascii_json(json.dumps(json.loads(text), indent=1)) + "\n"
    assert [f["outcome"] for f in json.loads(text)["findings"]] == [o for o, _, _ in items if o in OUTCOMES[:4]]


def test_a_page_says_on_stderr_what_it_leaves_out(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Of 12 items 4 are copies, 4 inconclusive, 4 clear: one is shown in full and one in the table, of each kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choosing, "SHOWN", 1)
    monkeypatch.setattr(choosing, "LINES", 1)
    many(tmp_path / "run", 12)
    assert memdetect(["report", "run", "-o", "page.html", "-o", "all.csv"]) == 0
    said = next(line for line in capsys.readouterr().err.splitlines() if "are not shown" in line)
    assert said.startswith("html: 2 findings, 3 inconclusive items, 3 clear items are not shown: a page holds at most")
    assert "memdetect report RUN -o results.csv" in said
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2
    for words in ("2 more findings are", "3 more inconclusive items are", "3 more clear items are"):
        assert f"{words} not shown: " in page
    assert "4 of 12 items came back as a copy" in page
    assert len(Path("all.csv").read_bytes().splitlines()) == 13


def test_a_page_shows_the_worst_first_however_few(runs: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(choosing, "SHOWN", 2)
    monkeypatch.setattr(choosing, "LINES", 3)
    judged = runs[0]
    text = render_page(judged.found.header, judged.results, judged.verdict)
    copies = [r for r in judged.results if r.outcome == "copy"]
    order = [r.prompt for r in sorted(copies, key=lambda r: (r.score is None, -(r.score or 0)))][:6]
    places = [text.find(f">{prompt}</bdi>") for prompt in order]
    assert places[:5] == sorted(places[:5])
    assert -1 not in places[:5]
    assert places[5] == -1


def test_a_secret_of_one_item_is_gone_from_the_reason_of_another() -> None:
    head, rows, verdict = run(["zebra crossing", "a cat", "a dog"], reason="seen beside a zebra crossing at night")
    _, shown, _ = redact(head, rows, verdict)
    assert {r.reason for r in shown} == {"seen beside a [redacted] at night"}


def test_many_results_are_read_again_and_few_are_held(runs: Any, monkeypatch: Any) -> None:
    results = runs[0].results
    assert type(held(results)) is list
    monkeypatch.setattr("memdetect.judging.run.MOST_HELD", len(results) - 1)
    assert held(results) is results
