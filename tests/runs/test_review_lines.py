"""review.jsonl: what a line has to hold, who counts, and what a finding is known by."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from memdetect.copies.match import Match
from memdetect.errors import MemdetectError
from memdetect.runs.review import RULINGS, Reviewed, fingerprint, is_lifted, read_reviews, shown_matches, strictest

LINE: dict[str, Any] = {
    "schema": "memdetect.review/1",
    "id": "p1",
    "fingerprint": "0123456789abcdef",
    "pictures": ["a" * 64],
    "decision": "not a copy",
    "name": "Ann Lee",
    "note": "licensed",
    "time": "2026-11-30T09:05:00Z",
}


def one(**changes: Any) -> Reviewed:
    return Reviewed.model_validate_json(json.dumps({**LINE, **changes}))


def test_a_line_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n\n{one().line()}\n")
    (held,) = read_reviews([path, path])
    assert json.loads(held.line()) == LINE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decision": "fine"}, "decision"),
        ({"name": " \u200b"}, "holds no letter or digit that can be seen"),
        ({"pictures": []}, "pictures"),
        ({"pictures": ["A" * 64]}, "pictures.0"),
        ({"fingerprint": "xyz"}, "fingerprint"),
        ({"time": "yesterday"}, "is no time in UTC"),
        ({"time": "2026-02-30T09:05:00Z"}, "time"),
        ({"schema": "memdetect.review/2"}, "schema"),
        ({"more": 1}, "more"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps({**LINE, **changes})}\n")
    with pytest.raises(MemdetectError, match=r"review.jsonl, line 2: ") as told:
        read_reviews([path])
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", [b"no json\n", b"[]\n", b'{"schema": 1}\n', b"\xff\n"])
def test_what_is_no_review_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(MemdetectError, match="line 1: "):
        read_reviews([tmp_path / "r"])
    with pytest.raises(MemdetectError, match="cannot be read"):
        read_reviews([tmp_path / "none"])


def test_of_a_person_the_last_counts_and_of_several_the_strictest() -> None:
    late = "2026-12-01T00:00:00Z"
    assert strictest([]) is None
    assert strictest([one(decision="copy"), one(decision="similar", time=late)]) == "similar"
    assert strictest([one(decision="similar", time=late), one(decision="copy")]) == "similar"
    assert strictest([one(decision="copy"), one(decision="similar", time=late, name="ann  lee")]) == "similar"
    for k, strict in enumerate(RULINGS):
        for other in RULINGS[k:]:
            assert strictest([one(decision=other, time=late), one(decision=strict, name="Bo")]) == strict


def test_a_fingerprint_is_of_the_prompt_and_of_the_training_image_that_counts() -> None:
    near = Match(rank=1, key="near", similarity=0.99)
    copy = Match(rank=2, key="copy", similarity=0.5, copy_found=True)
    about = hashlib.sha256(b"a cat").hexdigest()
    expected = hashlib.sha256(json.dumps([about, "copy"]).encode()).hexdigest()[:16]
    assert fingerprint("a cat", "", [near, copy]) == fingerprint("a cat", "x", [copy]) == expected
    others = {fingerprint(*given) for given in (("a cat", "", [near]), ("a cat", "", []), ("a dog", "", [copy]))}
    assert len(others | {expected, fingerprint(None, "ab", [copy]), fingerprint(None, "cd", [copy])}) == 6


def test_a_line_names_the_training_images_that_were_looked_at() -> None:
    """One of before the field was there is about the strongest, and is written as it was."""
    X = Match(rank=1, key="x.png#white", similarity=0.9, copy_found=True)
    Y = Match(rank=2, key="y.png", similarity=0.95, seed=1, partial_found=True, agreed=0.4)
    assert one().about([Y, X]) == ("x.png",)
    assert one().about([]) == ()
    assert "training" not in json.loads(one().line())
    named = one(training=["y.png", "x.png"])
    assert named.about([X]) == ("y.png", "x.png")
    assert one(**json.loads(named.line())) == named
    assert is_lifted([named], [X, Y])
    for decided in ([], [one()], [named, one(name="Bo")], [one(decision="copy", training=["x.png", "y.png"])]):
        assert not is_lifted(decided, [X, Y])
    assert is_lifted([one()], [X])


def test_what_a_person_is_shown_holds_every_training_image_once_and_the_strongest_first() -> None:
    def near(key: str, similarity: float, seed: int = 0, **facts: object) -> Match:
        return Match(rank=1, key=key, similarity=similarity, seed=seed, **facts)

    whole, whole_too = near("a", 0.8, copy_found=True), near("b#plain", 0.7, 1, copy_found=True)
    some = near("c", 0.99, 2, partial_found=True, agreed=0.4)
    like, unlike, less = (near(k, s, 3, similar=True, tile=0.4) for k, s in (("d", 0.9), ("e", 0.85), ("b", 0.6)))
    every = [less, unlike, some, like, whole_too, whole, near("b", 0.5, 1, copy_found=True)]
    assert [match.key for match in shown_matches(every)] == ["a", "b#plain", "c", "d"]
    assert [match.key for match in shown_matches([near("f", 0.3), near("g", 0.4, 1)])] == ["g"]
    assert [match.key for match in shown_matches([near("f", 0.95), like])] == ["f", "d"]
    assert shown_matches([]) == []
