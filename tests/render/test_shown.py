"""What no format may let through, whatever a prompt holds."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from report_runs import HOSTILE, OUTCOMES, run, texts
from synthetic_runs import row

from memdetect.inputs.harmless import ascii_json, escaped, plain
from memdetect.render import FORMATS
from memdetect.render.shown import place, untested
from memdetect.runs.records import Result

NOT_SEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ENDS = {"csv": "\r\n"}


def unseen(text: str) -> set[str]:
    return {letter for letter in text if unicodedata.category(letter) in NOT_SEEN}


@settings(max_examples=25)
@given(texts, texts)
@pytest.mark.parametrize("name", FORMATS)
def test_no_format_lets_through_what_turns_hides_or_commands(name: str, one: str, other: str) -> None:
    """Terminal escapes, control and direction characters, and the commands of a CI runner, in any text field."""
    header, results, verdict = run([one, other], OUTCOMES, reason=other, id=one, source=other, files=[one])
    text = FORMATS[name](header, results, verdict)
    text.encode()  # a report can be written as UTF-8
    assert unseen(text.replace("\r\n", "").replace("\n", "")) == set()
    assert "##[" not in text
    if name != "github":
        assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]


@pytest.mark.parametrize("name", FORMATS)
def test_the_claim_stands_in_every_format_for_readers(name: str) -> None:
    """Rows alone, CSV and JSON lines, have no place for it."""
    header, results, verdict = run(["a cat"])
    shown = FORMATS[name](header, results, verdict)
    assert ("for tiny by spikiness, 25 steps." in shown) == (name not in ("csv", "jsonl"))


@given(texts)
def test_escaped_is_one_line_and_keeps_everything_that_can_be_seen(text: str) -> None:
    shown = escaped(text)
    assert not unseen(shown)
    assert [c for c in text if c not in unseen(text)] == [c for c in text if c in shown and c not in unseen(text)]


def test_escaped_known_values() -> None:
    assert escaped("a\nb\x1b\u202e\ud800\U000e0041") == r"a\nb\x1b\u202e\ud800\U000e0041"
    assert escaped("caf\u00e9 \N{CAT FACE}") == "caf\u00e9 \N{CAT FACE}"


@given(texts)
def test_ascii_json_means_the_same(text: str) -> None:
    assert json.loads(ascii_json(json.dumps(text))) == text


@given(texts)
def test_plain_never_exceeds_its_width(text: str) -> None:
    for width in (1, 7, 60):
        assert len(plain(text, width)) <= width


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("prompts/a.jsonl", "prompts/a.jsonl"),
        ("prompts\\a.jsonl", "prompts/a.jsonl"),
        ("-", ""),
        ("", ""),
        ("/home/me/a.txt", ""),
        ("\\\\server\\a.txt", ""),
        ("C:\\me\\a.txt", ""),
        ("../a.txt", ""),
        ("a/../../b.txt", ""),
    ],
)
def test_a_place_is_inside_the_repository_or_not_named(source: str, shown: str) -> None:
    assert place(Result(**dict(row(0, 0.0, source=source)), outcome="clear")) == shown


def test_what_was_not_tested_follows_the_index() -> None:
    header = run([])[0]
    assert "none were searched" in untested(header)[0]
    covered = header.model_copy(update={"index": {"coverage": 0.25}})
    said = (
        "training images that are not in the index, which covers 25.00% of the training set, and copies that it does "
    )
    assert untested(covered)[0] == said + "not find: it was not tried with changed copies"
    assert "an unknown share" in untested(header.model_copy(update={"index": {"rows": 3}}))[0]


def test_the_hostile_texts_are_hostile() -> None:
    """The property above would pass on harmless ones."""
    assert unseen("".join(HOSTILE)) >= {"\x1b", "\x9b", "\u202e", "\u200b", "\ud800", "\n", "\u2028"}
