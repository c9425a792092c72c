"""What people's decisions do to rules: they lift what they can tell and raise what they find, and nothing else."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, match, part, row, searched, write_run

from memdetect.errors import MemdetectError
from memdetect.inputs.options import Judging
from memdetect.judging.reviewing import found_in, pictures
from memdetect.judging.run import Judged, judge_folders
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement
from memdetect.runs.review import Reviewed, fingerprint

CLEAN = calibration(np.random.default_rng(0).normal(size=999).tolist())
COPIES = Policy(fail_on="copy")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def made(first: Measurement, policy: Policy = COPIES, *, planned: int = 5, folder: str = "run") -> Path:
    """A run of five prompts of which the first is as given, with two images each."""
    rows = searched([first, *(row(i, -1.0 - i) for i in range(1, 5))])
    rows = [r.model_copy(update={"files": [f"images/{r.index}-{k}.png" for k in range(2)]}) for r in rows]
    home = write_run(Path(folder), header(planned, CLEAN, policy, index=INDEX), rows, CLEAN)
    for r in rows:
        for name in r.files:
            (home / name).write_bytes(f"{folder} {name}".encode())
    return home


def copied(score: float = -1.0) -> Measurement:
    return row(0, score, matches=[match(), match(seed=1)])


def decide(home: Path, decision: str, index: int = 0, **changes: Any) -> Path:
    """review.jsonl with a decision on an item of a run."""
    found = next(r for r in RunFolder(home).measurements() if r.index == index)
    line = {
        "schema": "memdetect.review/1",
        "id": found.id,
        "fingerprint": fingerprint(found.prompt, found.sha256, found.matches),
        "pictures": pictures(found, home),
        "decision": decision,
        "name": "Ann Lee",
        "time": "2026-11-30T09:05:00Z",
    }
    path = home / "review.jsonl"
    with path.open("a") as file:
        file.write(json.dumps({**line, **changes}) + "\n")
    return path


def judged(home: Path, *reviews: Path) -> Judged:
    return judge_folders([home], Judging(review=reviews))


def outcome(found: Judged, name: str) -> str:
    return next(rule.outcome for rule in found.verdict.rules if rule.name == name)


@pytest.mark.parametrize("decision", ["not a copy", "similar"])
def test_a_copy_that_is_none_fails_no_longer_and_stays_listed(decision: str) -> None:
    home = made(copied())
    assert judged(home).verdict.verdict == "fail"
    found = judged(home, decide(home, decision, note="another car"))
    assert found.verdict.verdict == "pass"
    assert found.results[0].outcome == "copy"
    assert found.results[0].decided == decision
    (told,) = found.results[0].decisions
    assert (told.name, told.note, told.time) == ("Ann Lee", "another car", "2026-11-30T09:05:00Z")
    assert found.verdict.counts["copy"] == 1
    assert f"people decided on 1 of them: 1 {decision}" in found.verdict.claim


def test_a_decision_never_makes_an_incomplete_run_pass() -> None:
    home = made(copied(), planned=6)
    found = judged(home, decide(home, "not a copy"))
    assert found.verdict.verdict == "inconclusive"
    assert outcome(found, "complete") == "inconclusive"


def test_nor_does_it_decide_an_item_of_which_nothing_is_known() -> None:
    home = made(row(0, None))
    before = judged(home).verdict
    after = judged(home, decide(home, "not a copy")).verdict
    assert before.verdict == after.verdict == "inconclusive"
    assert [r for r in after.rules if r.name != "review"] == list(before.rules)


def test_a_score_cannot_be_refuted_by_a_picture() -> None:
    """Of a copy that scores high as well the score is left; so is that of a suspicious prompt."""
    for first in (copied(9.0), row(0, 9.0)):
        home = made(first, Policy(), folder=f"run-{len(first.matches)}")
        assert judged(home).verdict.verdict == "fail"
        found = judged(home, decide(home, "not a copy"))
        assert outcome(found, "findings") == "pass"
        assert outcome(found, "review") == "inconclusive"
        assert found.verdict.verdict == "inconclusive"
        assert "answer for it in .memdetectignore.toml" in "; ".join(found.verdict.reasons)


def test_where_only_copies_fail_the_score_is_not_asked() -> None:
    home = made(copied(9.0))
    assert judged(home, decide(home, "not a copy")).verdict.verdict == "pass"


@pytest.mark.parametrize("first", [row(0, -1.0), row(0, -1.0, matches=[part(similarity=0.9, similar=True)])])
def test_what_a_person_calls_a_copy_is_one(first: Measurement) -> None:
    home = made(first)
    before = judged(home)
    found = judged(home, decide(home, "copy"))
    assert before.verdict.verdict == "pass"
    assert found.verdict.verdict == "fail"
    assert "1 copy among 5" in "; ".join(found.verdict.reasons)
    assert found.results[0].outcome == before.results[0].outcome != "copy"


def test_a_finding_that_waits_for_its_owner_keeps_a_run_open() -> None:
    similar = [match().model_copy(update={"copy_found": False, "similar": True, "tile": 0.5, "ssim": 0.1})]
    home = made(row(0, -1.0, matches=similar))
    assert judged(home).results[0].outcome == "similar"
    found = judged(home, decide(home, "needs the owner"))
    assert found.verdict.verdict == "inconclusive"
    assert "1 finding waits for an owner" in "; ".join(found.verdict.reasons)
    home = made(copied(), folder="other")
    assert judged(home, decide(home, "needs the owner")).verdict.verdict == "fail"


def test_two_people_who_differ_are_taken_at_the_stricter() -> None:
    home = made(copied())
    decide(home, "not a copy", time="2026-12-01T00:00:00Z")
    assert judged(home, decide(home, "copy", name="Bo Ek")).verdict.verdict == "fail"


def test_rates_count_what_was_found_and_what_people_find() -> None:
    """A bound may not fall because people say so, and it may rise."""
    wide = Policy(fail_on="copy", max_rate=0.999)
    home = made(copied(), wide)
    rates = [judged(home).verdict.rate, judged(home, decide(home, "not a copy")).verdict.rate]
    assert rates[0] == rates[1]
    home = made(row(0, -1.0), wide, folder="other")
    found = judged(home, decide(home, "copy")).verdict.rate
    assert found is not None
    assert found.copies == found.flagged == 1


@pytest.mark.parametrize("decision", ["not a copy", "copy"])
def test_a_decision_about_other_pixels_is_refused(decision: str) -> None:
    home = made(copied())
    review = decide(home, decision)
    (home / "images" / "0-1.png").write_bytes(b"other pixels")
    with pytest.raises(MemdetectError, match="is about other pixels than those in run; decide again") as told:
        judged(home, review)
    assert "Ann Lee" in str(told.value)
    (home / "images" / "0-1.png").unlink()
    with pytest.raises(MemdetectError, match="about other pixels"):
        judged(home, review)


def test_a_decision_about_no_item_is_refused() -> None:
    home = made(copied())
    review = decide(home, "not a copy", fingerprint="0" * 16)
    with pytest.raises(MemdetectError, match="is about no item of this run"):
        judged(home, review)


def test_runs_judged_together_have_each_its_own_decisions() -> None:
    """The same prompt and the same file names in both: the pixels tell them apart."""
    one = made(copied(), folder="one")
    rows = searched([row(i, -1.0 - i, id=f"b{i}") for i in range(1, 5)])
    first = copied().model_copy(update={"id": "b0", "files": ["images/0-0.png", "images/0-1.png"]})
    two = write_run(Path("two"), header(5, CLEAN, COPIES, index=INDEX), [first, *rows], CLEAN)
    for k in range(2):
        (two / f"images/0-{k}.png").write_bytes(f"two {k}".encode())
    review = decide(two, "not a copy")
    found = judge_folders([one, two], Judging(review=[review]))
    assert {r.id: r.decided for r in found.results if r.outcome == "copy"} == {"i0": None, "b0": "not a copy"}
    assert found.verdict.verdict == "fail"
    decide(one, "not a copy")
    found = judge_folders([two, one], Judging(review=[review, one / "review.jsonl"]))
    assert not found.verdict.reasons or "findings" not in "; ".join(found.verdict.reasons)


def test_a_given_image_is_known_by_its_own_digest(tmp_path: Path) -> None:
    given = row(0, -1.0, prompt=None, image=str(tmp_path / "x.png"), sha256=hashlib.sha256(b"x").hexdigest())
    assert pictures(given, tmp_path) == (given.sha256,)
    outside = row(0, -1.0, files=["../x.png"])
    (tmp_path.parent / "x.png").write_bytes(b"x")
    assert pictures(outside, tmp_path) == ()


def test_the_same_picture_given_twice_is_decided_once(tmp_path: Path) -> None:
    """Nobody could decide on the second: a line says nothing by which the two could be told apart."""
    rows = [row(i, -1.0, prompt=None, image=f"{i}.png", sha256="a" * 64, matches=[match()]) for i in range(2)]
    one = Reviewed(
        id="i1",
        fingerprint=fingerprint(None, "a" * 64, [match()]),
        pictures=("a" * 64,),
        decision="similar",
        name="Ann Lee",
        time="2026-11-30T09:05:00Z",
    )
    assert found_in([one], rows, [tmp_path, tmp_path]) == {0: (one,), 1: (one,)}


def test_a_suppression_has_to_answer_for_what_people_found(tmp_path: Path) -> None:
    """An entry for a suspicious prompt does not cover a copy, which a person says it is."""
    home = made(row(0, 9.0), Policy())
    entry = '[[ignore]]\nid = "i0"\noutcome = "{}"\nmodel = "tiny"\nreason = "r"\nowner = "o"\nexpires = 2999-01-01\n'
    file = Path(".memdetectignore.toml")
    file.write_text(entry.format("suspicious"))
    assert judged(home).verdict.verdict == "pass"
    review = decide(home, "copy")
    assert judged(home, review).verdict.verdict == "fail"
    file.write_text(entry.format("copy"))
    assert judged(home, review).verdict.verdict == "pass"
