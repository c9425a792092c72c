"""What people decided, in reports: a finding that a person calls a copy, and several people in a redacted one."""

import json
from dataclasses import replace

import pytest
from report_runs import run

from memdetect.copies.match import Match
from memdetect.judging import Rule
from memdetect.render import redact
from memdetect.render.page.choosing import chosen
from memdetect.render.sarif import render_sarif
from memdetect.runs.records import Outcome
from memdetect.runs.review import Reviewed, Ruling


def by(name: str, ruling: Ruling, time: str = "2026-12-01T09:00:00Z") -> Reviewed:
    return Reviewed(id="a", fingerprint="0" * 16, pictures=("0" * 64,), decision=ruling, name=name, time=time)


@pytest.mark.parametrize("outcome", ["inconclusive", "clear", "similar", "suspicious"])
def test_what_a_person_calls_a_copy_is_one_in_sarif(outcome: Outcome) -> None:
    made = run(["a"], (outcome,), decisions=[by("Ada", "copy")])
    (found,) = json.loads(render_sarif(*made))["runs"][0]["results"]
    assert (found["ruleId"], found["level"]) == ("copy", "error")
    assert found["message"]["text"].startswith("copy: a")


def test_a_redacted_report_keeps_people_apart() -> None:
    """Else the last word of one would be taken for that of all."""
    decided = [by("Ada", "copy"), by("Bob", "not a copy", "2026-12-01T10:00:00Z"), by(" ada ", "copy")]
    made = run(["a"], ("suspicious",), decisions=decided)
    (shown,) = redact(*made)[1]
    assert shown.decided == made[1][0].decided == "copy"
    assert [one.name for one in shown.decisions] == ["[redacted] 1", "[redacted] 2", "[redacted] 1"]


@pytest.mark.parametrize(
    "said", ["image 0 may be a copy: it cannot be opened; it is near to {}", "of {} (1).png, and {}", "kind {}, at 49%"]
)
@pytest.mark.parametrize("secret", ["Jane Doe (1).png", "portrait, client Acme", "it's 'here'"])
def test_what_is_quoted_cuts_no_secret_in_two(said: str, secret: str) -> None:
    reason = said.replace("{}", secret)
    header, rows, verdict = run([secret], ("inconclusive",), reason=reason)
    verdict = replace(verdict, rules=(Rule("undetectable", "inconclusive", f"1 items: {reason}"),))
    _, shown, told = redact(header, rows, verdict)
    for text in (shown[0].reason, told.rules[0].reason):
        assert not any(word in text for word in ("Jane", "Acme", "here", "portrait"))


def test_screened_items_leave_room_for_those_that_could_not_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memdetect.render.page.choosing.SHOWN", 3)
    _, rows, _ = run(["a"] * 6, ("inconclusive",))
    rows = [row.model_copy(update={"status": "screened"}) if row.index < 4 else row for row in rows]
    assert chosen(rows).unsure == [0, 4, 5]


@pytest.mark.parametrize(
    ("training", "lifted"),
    [((), False), (("a.png", "b.png"), True), (("b.png",), False), (("c.png",), False), (("a.png",), False)],
)
def test_a_redacted_report_tells_what_a_decision_covers_and_not_of_what(
    training: tuple[str, ...], lifted: bool
) -> None:
    """Of two training images that come back, one of them decoded in another way."""
    found = [
        Match(seed=seed, rank=1, key=key, similarity=0.9 - seed / 100, copy_found=True)
        for seed, key in enumerate(("a.png", "b.png#plain"))
    ]
    decided = [by("Ada", "not a copy").model_copy(update={"training": training})]
    made = run(["a"], ("copy",), decisions=decided, matches=found)
    (shown,) = redact(*made)[1]
    assert made[1][0].lifted == shown.lifted == lifted
    assert set(shown.decisions[0].training) <= {match.key for match in shown.matches} | {"[redacted]"}
    assert ".png" not in shown.model_dump_json()
    one = redact(*run(["a"], ("copy",), decisions=decided, matches=found[:1]))[1][0]
    assert one.lifted == (training in ((), ("a.png",), ("a.png", "b.png")))
