"""Which prompts are of which split: whole families, by hash or by their parts; what cannot be compared is refused."""

import pytest

from memdetect.errors import MemdetectError
from memdetect.evaluation.bench.asked import SPLITS, Asked, Comparison, labelled_of
from memdetect.inputs.prompts import Request

ASKED = Asked((Comparison("famous", "plain"),), clean=("fresh",))


def requests(counts, family=lambda group, i: f"{group}-{i}", **more):
    """Requests of groups, with columns of each by its number."""
    return [
        Request(
            f"{group}-{i:03d}",
            f"{group} {i}",
            None,
            "p",
            i,
            {"group": group, "family": family(group, i), **{k: f(i) for k, f in more.items()}},
        )
        for group, count in counts.items()
        for i in range(count)
    ]


def test_without_parts_groups_are_halved_and_clean_prompts_cut_in_thirds():
    items, labels = labelled_of(requests({"famous": 21, "plain": 20, "fresh": 30, "other": 9}), ASKED)
    sizes = {(g, s): len(labels.ids([g], s)) for g in ("famous", "plain", "fresh") for s in SPLITS}
    assert sizes == {
        ("famous", "tuning"): 10,
        ("famous", "calibration"): 0,
        ("famous", "test"): 11,
        ("plain", "tuning"): 10,
        ("plain", "calibration"): 0,
        ("plain", "test"): 10,
        ("fresh", "tuning"): 10,
        ("fresh", "calibration"): 10,
        ("fresh", "test"): 10,
    }
    assert {labels.groups[item.id] for item in items} == {"famous", "plain", "fresh"}, "others are not measured"


def test_no_family_stands_in_two_splits_though_groups_share_some():
    shared = requests({"famous": 60, "plain": 60, "fresh": 90}, family=lambda g, i: f"{g[0] if i > 30 else ''}{i // 3}")
    _, labels = labelled_of(shared, ASKED)
    for family in set(labels.families.values()):
        assert len({labels.splits[i] for i, own in labels.families.items() if own == family}) == 1
    again = labelled_of(shared[::-1], ASKED)[1]
    assert again.splits == labels.splits, "whatever the order"


def test_parts_make_the_splits_and_prompts_of_others_are_left_out():
    asked = Asked(ASKED.compared, ASKED.clean, parts={"tuning": ("t",), "calibration": ("c",), "test": ("x", "y")})
    items = requests({"famous": 25, "plain": 25, "fresh": 25}, part=lambda i: "tcxyz"[i % 5])
    kept, labels = labelled_of(items, asked)
    assert labels.ids(["famous"], "tuning") == [f"famous-{i:03d}" for i in range(0, 25, 5)]
    assert labels.ids(["famous"], "test") == sorted(f"famous-{i:03d}" for i in range(25) if i % 5 in (2, 3))
    assert not labels.ids(["famous"], "calibration"), "of positives there is none"
    assert len(labels.ids(["fresh"], "calibration")) == 5
    assert not any(item.meta["part"] == "z" for item in kept)


def test_style_and_dose_are_of_the_test_split_alone():
    asked = Asked(ASKED.compared, ASKED.clean, style=("odd",), dose=("rare", "famous"))
    items = requests({"famous": 10, "plain": 10, "fresh": 12, "odd": 7, "rare": 5}, exposures=lambda i: i % 3)
    _, labels = labelled_of(items, asked)
    assert {labels.splits[i] for i, g in labels.groups.items() if g in ("odd", "rare")} == {"test"}
    assert len(labels.ids(["odd"], "test")) == 7
    assert labels.exposures["rare-004"] == 1.0


def test_at_most_so_many_of_a_group_in_a_split_always_the_same_ones():
    items = requests({"famous": 40, "plain": 40, "fresh": 60})
    asked = Asked(ASKED.compared, ASKED.clean, at_most={"": 5, "fresh": 8})
    _, labels = labelled_of(items, asked)
    assert [len(labels.ids(["famous"], s)) for s in SPLITS] == [5, 0, 5]
    assert [len(labels.ids(["fresh"], s)) for s in SPLITS] == [8, 8, 8]
    fewer = labelled_of(items, Asked(ASKED.compared, ASKED.clean, at_most={"": 4}))[1]
    assert set(fewer.ids(["famous"], "test")) < set(labels.ids(["famous"], "test"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(()), "no group is to score high"),
        (Asked((Comparison("famous"),)), "famous is compared with nothing; give its controls as --compare famous="),
        (Asked((Comparison("famous", "famous"),)), "famous is compared with itself"),
        (Asked((Comparison("famous"),), clean=("famous",)), "famous is compared with itself"),
        (
            Asked((Comparison("famous", "plane"),)),
            "no prompt is of the group plane; the groups are famous, plain, fresh",
        ),
        (
            Asked((Comparison("famous", "plain"),), at_most={"": 1}),
            "the tuning split has 1 prompts of the group famous",
        ),
        (Asked((Comparison("famous"),), clean=("fresh",)), "the tuning split has 1 clean prompts"),
    ],
)
def test_what_cannot_be_compared_is_refused(asked, message):
    with pytest.raises(MemdetectError, match=message):
        labelled_of(requests({"famous": 6, "plain": 6, "fresh": 4}), asked)


def test_parts_that_nobody_named_are_refused():
    items = requests({"famous": 6, "plain": 6}, part=lambda i: "ab"[i % 2])
    with pytest.raises(MemdetectError, match=r"have the parts a, b; say which are the tuning split \(--tuning-part\)"):
        labelled_of(items, Asked((Comparison("famous", "plain"),)))
