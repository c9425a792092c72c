"""Groups and splits of labelled items, by anybody's names."""

import json
from dataclasses import dataclass, field
from itertools import count

import pytest

from memdetect.errors import MemdetectError
from memdetect.evaluation import Question, check_splits, labels_of, splits


@dataclass
class Labelled:
    id: str
    meta: dict = field(default_factory=dict)


def items(**sizes: int) -> list[Labelled]:
    number = count()
    return [Labelled(f"{next(number):03d}", {"group": group}) for group, size in sizes.items() for _ in range(size)]


def test_splits_cut_every_group_and_forget_the_order():
    groups = {item.id: item.meta["group"] for item in items(cats=40, dogs=40, birds=21, fish=2)}
    tuning, test = splits(groups)
    assert tuning | test == set(groups)
    assert not tuning & test
    sizes = {g: sum(groups[i] == g for i in tuning) for g in groups.values()}
    assert sizes == {"cats": 20, "dogs": 20, "birds": 10, "fish": 1}
    assert splits(dict(reversed(groups.items()))) == (tuning, test)
    assert tuning & set(list(groups)[:20]) != set(list(groups)[:20]), "the splits follow the order of the ids"


def test_families_are_dealt_whole_and_each_group_by_its_families():
    """20 families of 8 siblings in each of two groups: by their own hashes siblings would stand in both splits."""
    some = [
        Labelled(f"{group}-{k}", {"group": group, "family": f"{group} {k // 8}"})
        for group in ("cats", "dogs")
        for k in range(160)
    ]
    tuning, test = labels_of(some, None, Question("cats")).splits()
    sides = [{item.meta["family"] for item in some if item.id in ids} for ids in (tuning, test)]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [20, 20]
    assert [sum(name.startswith("cats") for name in ids) for ids in (tuning, test)] == [80, 80]
    families = {item.id: "all" for item in some}
    assert splits({item.id: item.meta["group"] for item in some}, families)[0] == set()


@pytest.mark.parametrize("blank", ["", None])
def test_an_item_whose_family_is_blank_is_one_of_its_own(blank):
    some = [Labelled(f"{k}", {"group": "cats" if k % 2 else "dogs", "family": blank}) for k in range(8)]
    labels = labels_of(some, None, Question("cats"))
    assert labels.families == {str(k): str(k) for k in range(8)}
    check_splits(labels)


def test_every_other_group_is_a_rival_unless_some_are_named():
    some = items(one=1, cats=4, dogs=3, birds=2)
    assert labels_of(some, None, Question("dogs")).rivals == ("cats", "birds")
    assert labels_of(some, None, Question("dogs", ("birds",))).rivals == ("birds",)


def test_groups_may_be_numbers():
    some = [Labelled(str(i), {"group": i % 2}) for i in range(6)]
    labels = labels_of(some, None, Question("1"))
    assert (labels.rivals, labels.count("0")) == (("0",), 3)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question("horses"), "fewer than two items are of the group horses; the groups are cats, dogs, one"),
        (Question("cats", ("horses",)), "of the group horses"),
        (Question("cats", ("one",)), "of the group one"),
        (Question("cats", ("cats",)), "cats is compared with itself"),
    ],
)
def test_groups_that_nobody_has_are_refused(question, message):
    with pytest.raises(MemdetectError, match=message):
        labels_of(items(cats=4, dogs=4, one=1), None, question)


def test_one_group_alone_is_refused():
    with pytest.raises(MemdetectError, match="no group beside cats has two items"):
        labels_of(items(cats=4, one=1), None, Question("cats"))
    with pytest.raises(MemdetectError, match="item x has no group"):
        labels_of([*items(cats=4), Labelled("x", {"group": ""})], None, Question("cats"))


def test_groups_come_from_the_truth_file_where_there_is_one(tmp_path):
    some, truth = items(cats=4, dogs=4), tmp_path / "truth.jsonl"
    truth.write_text(json.dumps({"id": "000", "group": "dogs"}) + "\n", encoding="utf-8")
    assert labels_of(some, truth, Question("cats")).groups["000"] == "dogs"
    assert labels_of(some, None, Question("cats")).groups["000"] == "cats"
    truth.write_text('{"group": "dogs"}\n', encoding="utf-8")
    with pytest.raises(MemdetectError, match=r"truth\.jsonl:1 is no JSON object with an id and a group"):
        labels_of(some, truth, Question("cats"))


def test_the_parts_that_are_named_make_the_splits():
    some = [
        Labelled(f"{k}{part}{group}", {"group": group, "part": part})
        for part in ("first", "second", "third")
        for group in ("cats", "dogs")
        for k in range(2)
    ]
    labels = labels_of(some, None, Question("cats", (), ("first",), ("third",)))
    check_splits(labels)
    tuning, test = labels.splits()
    assert tuning == {item.id for item in some if item.meta["part"] == "first"}
    assert test == {item.id for item in some if item.meta["part"] == "third"}
    with pytest.raises(MemdetectError, match="have the parts first, second, third; say which are the tuning split"):
        check_splits(labels_of(some, None, Question("cats")))
    with pytest.raises(MemdetectError, match="the tuning split has fewer than two items of cats or of dogs"):
        check_splits(labels_of(some, None, Question("cats", (), ("fourth",), ("third",))))
    with pytest.raises(MemdetectError, match="the test split has fewer than two"):
        check_splits(labels, {item.id for item in some if item.meta["part"] != "third"})
