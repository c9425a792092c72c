"""An entry answers for what it names and for nothing else: not for worse, not for another model, not for ever."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import header, part, row

from memdetect.copies.match import Match
from memdetect.judging.ranks import Rank
from memdetect.judging.results import Items, Judged
from memdetect.judging.rows import rows_of
from memdetect.judging.suppressions import suppressions, with_suppressed
from memdetect.runs.policy import Ignore, Policy
from memdetect.runs.records import FINDINGS, Outcome

TODAY = date(2026, 11, 24)
HEAD = header(3, plan={"model": "0123456789abcdef"})


def entry(id: str = "i0", expires: date = date(2027, 1, 1), **changes: Any) -> Ignore:
    given = {"outcome": "copy", "model": "tiny", **changes}
    return Ignore(id=id, reason="licensed", owner="legal", expires=expires, **given)


def found(outcome: Outcome = "copy", keys: str = "k", i: int = 0, **changes: Any) -> Judged:
    matches = [Match(seed=s, rank=1, key=key, similarity=0.9, copy_found=True) for s, key in enumerate(keys)]
    matches.append(Match(seed=0, rank=2, key="near", similarity=0.8))
    (own,) = rows_of([row(i, 1.0, matches=matches, **changes)], HEAD.plan)
    return Judged(own, 1.0, Rank(1, 99), 0.01, True, outcome, "")


def ended(ignore: Ignore, *items: Judged) -> str:
    """In which place an entry ends."""
    aside = suppressions(Policy(ignore=(ignore,)), items, HEAD, TODAY)
    places = {"used": tuple(aside.used.values()), **{k: getattr(aside, k) for k in PLACES}}
    (place,) = [name for name, entries in places.items() if entries == (ignore,)]
    return place


PLACES = ("expired", "foreign", "unused", "exceeded")


@pytest.mark.parametrize(
    "key", ["a.png#plain", "a.png#black,unturned", "a.png#0,0,64,64", "a.png#plain#8,0,72,64", "a.png"]
)
@pytest.mark.parametrize("given", ["a.png", "a.png#plain"])
def test_a_training_image_is_answered_for_however_it_was_decoded_and_cropped(key: str, given: str) -> None:
    whole = Match(seed=0, rank=1, key=key, similarity=0.9, copy_found=True)
    (own,) = rows_of([row(0, 1.0, matches=[whole])], HEAD.plan)
    item = Judged(own, 1.0, Rank(1, 99), 0.01, True, "copy", "")
    assert ended(entry(outcome=None, copy_of=given), item) == "used"
    assert ended(entry(outcome=None, copy_of="a.pn"), item) == "exceeded"


def test_the_day_of_expiry_is_the_last_one() -> None:
    assert ended(entry(expires=TODAY), found()) == "used"
    assert ended(entry(expires=date(2026, 11, 23)), found()) == "expired"


@pytest.mark.parametrize("given", ["copy", "partial-copy", "suspicious", "similar"])
@pytest.mark.parametrize("outcome", ["copy", "partial-copy", "suspicious", "similar"])
def test_an_outcome_or_a_weaker_one_is_answered_for(given: Outcome, outcome: Outcome) -> None:
    """An entry for `suspicious` must not go on to cover a copy."""
    weaker = FINDINGS.index(outcome) >= FINDINGS.index(given)
    assert ended(entry(outcome=given), found(outcome)) == ("used" if weaker else "exceeded")


@pytest.mark.parametrize(
    ("copies", "parts", "place"),
    [
        ({}, {0: "k"}, "used"),
        ({}, {0: "k", 1: "k"}, "used"),
        ({}, {0: "l"}, "exceeded"),
        ({}, {0: "k", 1: "l"}, "exceeded"),
        ({0: "k"}, {1: "k"}, "used"),
        ({0: "k"}, {1: "l"}, "exceeded"),
        ({0: "l"}, {1: "k"}, "exceeded"),
        ({0: "k"}, {0: "l"}, "used"),  # a copy of k, and l has the same ground as k
    ],
)
def test_a_training_image_is_answered_for_also_where_a_part_of_it_comes_back(
    copies: dict[int, str], parts: dict[int, str], place: str
) -> None:
    whole = [Match(seed=s, rank=1, key=key, similarity=0.9, copy_found=True) for s, key in copies.items()]
    (own,) = rows_of([row(0, 1.0, matches=[*whole, *(part(key, s) for s, key in parts.items())])], HEAD.plan)
    outcome: Outcome = "copy" if copies else "partial-copy"
    item = Judged(own, 1.0, Rank(1, 99), 0.01, True, outcome, "")
    assert ended(entry(outcome=None, copy_of="k"), item) == place


@pytest.mark.parametrize("outcome", ["clear", "inconclusive"])
def test_what_is_no_finding_is_not_answered_for(outcome: Outcome) -> None:
    assert ended(entry(), found(outcome)) == "unused"


@pytest.mark.parametrize(
    ("outcome", "keys", "place"),
    [
        ("copy", "k", "used"),
        ("copy", "kk", "used"),
        ("copy", "kl", "exceeded"),
        ("copy", "l", "exceeded"),
        ("suspicious", "", "exceeded"),
    ],
)
def test_a_training_image_is_answered_for_where_nothing_else_was_copied(
    outcome: Outcome, keys: str, place: str
) -> None:
    assert ended(entry(outcome=None, copy_of="k"), found(outcome, keys)) == place


@pytest.mark.parametrize(
    ("scope", "place"),
    [
        ({"model": "tiny"}, "used"),
        ({"model": "tin"}, "foreign"),
        ({"model": "01234567"}, "used"),
        ({"model": "0123456"}, "foreign"),
        ({"model": "1234567890"}, "foreign"),
        ({"model": "0123456789ABCDEF"}, "foreign"),
        ({"model": None, "run": HEAD.plan_digest[:8]}, "used"),
        ({"model": None, "run": HEAD.plan_digest}, "used"),
        ({"model": None, "run": "00000000"}, "foreign"),
    ],
)
def test_an_entry_is_for_one_model_or_one_run(scope: dict[str, Any], place: str) -> None:
    assert ended(entry(**scope), found()) == place


@pytest.mark.parametrize("id", ["I0", "i0 ", "i00", "i\N{FULLWIDTH DIGIT ZERO}"])
def test_ids_are_compared_exactly(id: str) -> None:
    assert ended(entry(id), found()) == "unused"


def test_two_entries_for_one_id_serve_two_models() -> None:
    policy = Policy(ignore=(entry(model="other"), entry(model="tiny")))
    aside = suppressions(policy, [found()], HEAD, TODAY)
    assert (aside.used, aside.foreign) == ({"i0": policy.ignore[1]}, policy.ignore[:1])


def test_a_finding_says_who_answers_for_it() -> None:
    aside = suppressions(Policy(ignore=(entry(),)), [found()], HEAD, TODAY)
    items = Items(rows_of([found(i=i).row.measurement for i in range(3)], HEAD.plan))
    for outcome in ("copy", "copy", "clear"):
        items.add(1.0, Rank(1, 99), 0.01, True, (outcome, ""))
    assert [item.suppressed for item in items] == ["", "", ""]
    assert [item.suppressed for item in with_suppressed(items, aside)] == ["legal until 2027-01-01: licensed", "", ""]


@given(
    st.sets(st.sampled_from("abcdefgh")),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.dates()), unique_by=lambda pair: pair[0]),
    st.dates(),
)
def test_every_entry_ends_in_one_place(ids: set[str], pairs: list[tuple[str, date]], today: date) -> None:
    policy = Policy(ignore=tuple(entry(id, expires) for id, expires in pairs))
    results = [found(id=id) for id in ids]
    aside = suppressions(policy, results, HEAD, today)
    rest = [e for place in PLACES for e in getattr(aside, place)]
    assert sorted([*aside.used.values(), *rest], key=str) == sorted(policy.ignore, key=str)
    assert set(aside.used) <= ids
    assert all(e.expires >= today for e in aside.used.values())
