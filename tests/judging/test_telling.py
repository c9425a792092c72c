"""Whether prompts can be told from the clean ones by their text."""

import random
import sys

from synthetic_runs import calibration, header, row, words
from wordings import captions, of_kinds_found, titles

from memdetect.inputs.wording import text_key
from memdetect.judging.shift_rules import MAX_TEXT_SHIFT
from memdetect.judging.text_shift import compare_wording, tell_apart

THINGS = ("cat", "dog", "house", "tree", "car", "boat", "apple", "pear", "lamp", "cup", "ball", "bird", "fish", "horse")
GROUNDS = ["red", "blue", "green", "yellow", "white", "grey", "dark", "pale", "warm", "cold"]


def plain(rng: random.Random, count: int) -> dict[str, str]:
    made = [
        f"a {rng.choice(THINGS)} and a {rng.choice(THINGS)} on a {rng.choice(GROUNDS)} ground" for _ in range(count)
    ]
    return {text: text for text in made}


def odd(rng: random.Random, count: int) -> dict[str, str]:
    made = [
        f"{rng.choice(GROUNDS).upper()} {rng.choice(THINGS)}, oil painting no. {rng.randrange(999)}"
        for _ in range(count)
    ]
    return {text: text for text in made}


def test_prompts_of_one_source_raise_no_warning():
    """Design 20. Mutant: families cut across folds, so that a classifier knows the prompts it judges."""
    for seed in range(3):
        rng = random.Random(seed)
        found = tell_apart(plain(rng, 150), plain(rng, 300))
        assert found["low"] <= MAX_TEXT_SHIFT
        assert found["low"] < found["auroc"]


def test_prompts_in_other_words_raise_it():
    """Design 20."""
    for seed in range(2):
        rng = random.Random(seed)
        assert tell_apart(odd(rng, 80), plain(rng, 300))["low"] > MAX_TEXT_SHIFT


def test_members_of_a_family_never_vouch_for_each_other():
    """Each family repeats its own word on one side only; the words of other families say nothing of the side."""
    rng = random.Random(0)
    names = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(60)]
    texts = {f"{name} {name} {thing}": name for name in names for thing in THINGS[:8]}
    scanned = {text: name for text, name in texts.items() if name in names[:30]}
    clean = {text: name for text, name in texts.items() if name not in names[:30]}
    assert tell_apart(scanned, clean)["low"] <= MAX_TEXT_SHIFT


def test_too_few_prompts_are_not_compared_and_counted():
    made = calibration([float(i) for i in range(30)])
    few = {"few": "19 scanned and 30 clean families of prompts, it takes 20 of each"}
    assert compare_wording([row(i, 1.0) for i in range(19)], made) == few
    assert compare_wording([row(i, 1.0, prompt=f"{i}") for i in range(40)], made)["few"].startswith("0 scanned and 30 ")
    assert compare_wording([row(i, 1.0, prompt=words(i)) for i in range(40)], made)["scanned"] == 40


def test_clean_scores_without_words_are_missing_where_there_is_something_to_compare():
    """Images without a condition have no words to miss, and neither has a base that draws the scan's own prompts."""
    made = calibration([float(i) for i in range(30)])
    bare = made.model_copy(update={"items": tuple(i.model_copy(update={"prompt": ""}) for i in made.items)})
    rows = [row(i, 1.0) for i in range(40)]
    without = {"missing": "the clean scores were kept without the words of 30 of their prompts"}
    assert compare_wording(rows, bare) == without
    assert "few" in compare_wording(rows[:19], bare)
    none = tuple(i.model_copy(update={"prompt": "", "text": text_key("")}) for i in made.items)
    assert "few" in compare_wording(rows, made.model_copy(update={"items": none}))
    assert compare_wording(rows, bare.model_copy(update={"base": "before"})) == {}


def test_prompts_are_compared_with_clean_ones_of_their_kind():
    """A run of one kind only is no shift; other words within a kind are. Mutant: compared with all clean prompts."""
    tuning = [(text, 0.0 + i / 99) for i, text in enumerate(captions(80))]
    tuning += [(text, 9.0 + i / 99) for i, text in enumerate(titles(80))]
    made = of_kinds_found(tuning, [(text, 1.0) for text in captions(150, seed=1) + titles(150, seed=1)])
    assert len(made.kinds) == 2
    one = [row(i, 1.0, prompt=text) for i, text in enumerate(captions(60, seed=2))]
    found = compare_wording(one, made)
    assert found["low"] <= MAX_TEXT_SHIFT
    assert found["scanned"] == 60
    assert compare_wording(one, made.model_copy(update={"kinds": ()}))["low"] > MAX_TEXT_SHIFT
    both = [*one, *(row(i, 1.0, prompt=text) for i, text in enumerate(titles(60, seed=2)))]
    assert compare_wording(both, made)["low"] <= MAX_TEXT_SHIFT
    turned = [text.replace("beside", "right behind").replace("ground", "backdrop") for text in captions(60, seed=3)]
    other = [*one, *(row(i, 1.0, prompt=text) for i, text in enumerate(turned))]
    assert compare_wording(other[60:], made)["low"] > MAX_TEXT_SHIFT
    assert compare_wording([*both[60:], *other[60:]], made)["low"] > MAX_TEXT_SHIFT  # the worst kind is what is said


def test_without_words_a_calibration_of_kinds_says_so():
    tuning = [(text, float(i)) for i, text in enumerate(captions(80))]
    made = of_kinds_found(tuning, [(text, 1.0) for text in captions(30, seed=1)])
    rows = [row(i, 1.0) for i in range(40)]
    bare = made.cut(header(40).plan)
    assert compare_wording(rows, bare) == {"missing": "the clean scores were kept without the words of their prompts"}
    assert compare_wording([row(0, 1.0, prompt="17")], bare) == {}


def test_without_scikit_learn_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    made = calibration([float(i) for i in range(30)])
    found = compare_wording([row(i, 1.0) for i in range(40)], made)
    assert found == {"missing": "scikit-learn is not installed here; install it, or judge where it is"}
