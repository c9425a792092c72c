"""Kinds of prompts: found where they score apart, told by the nearest tuning prompts, refused where unlike all."""

import sys
from collections import Counter
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_runs import INDEX, calibration, header, plan_of, row, searched, write_run
from wordings import captions, clean_prompts, codes, of_kinds_found, scored, titles, two_kinds, unheld

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Judging
from memdetect.inputs.wording import normalised, text_key
from memdetect.judging import Verdict, judge, kinds, verdict
from memdetect.judging.calibration import Calibration, Item, Kind, Known
from memdetect.judging.columns import Numbers
from memdetect.judging.forecast import clean_count, forecast, with_obstacles
from memdetect.judging.kinds import Kinds, central, find_kinds
from memdetect.judging.ranks import SMALLEST_KIND, SMALLEST_TUNING, ReferenceScores, reference_scores
from memdetect.judging.results import Results
from memdetect.judging.rows import Records, rows_of
from memdetect.judging.run import judge_folders
from memdetect.judging.telling import kinds_in, known_of_kinds, of_kinds, told_fields, with_kinds
from memdetect.judging.text_shift import compare_wording
from memdetect.judging.verdict import REFUSAL
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement

UNLIKE = "there are no clean prompts of its kind; calibrate with prompts like it"
SIMULATED = 200


@pytest.fixture(scope="module")
def made() -> Calibration:
    return two_kinds()


def rows_with(texts: list[str], scores: list[float], made: Calibration | None) -> list[Measurement]:
    """Rows as a scan writes them: with the kind that these clean prompts tell."""
    told = told_fields(texts, kinds_in(made))
    return [
        row(i, score, prompt=text, **fields)
        for i, (text, score, fields) in enumerate(zip(texts, scores, told, strict=True))
    ]


def reason(found: Verdict, name: str) -> str:
    return next(rule.reason for rule in found.rules if rule.name == name)


# What is found


def test_wordings_that_score_apart_are_two_kinds_and_those_that_score_alike_are_one() -> None:
    """Mutant: groups of text alone, which are four."""
    texts = captions(60) + titles(60)
    values = np.random.default_rng(0).normal(size=120)
    assert set(find_kinds(texts, {"a": values.tolist()})) == {"0"}
    higher = np.where(np.arange(120) < 60, values, values + 3)
    found = find_kinds(texts, {"flat": values.tolist(), "a": higher.tolist()})
    assert found in (["0"] * 60 + ["1"] * 60, ["1"] * 60 + ["0"] * 60)
    assert set(find_kinds(texts, {})) == {"0"}


def test_scores_of_one_distribution_are_hardly_ever_torn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of 9 to 80 texts. Mutant: nine tenths of few scores taken as known to a binomial test (most torn)."""
    texts = captions(80, seed=1) + titles(80, seed=1)
    places = kinds._components(texts)
    groups = kinds._text_groups(places)
    monkeypatch.setattr(kinds, "_components", lambda _: places)
    monkeypatch.setattr(kinds, "_text_groups", lambda _: groups)
    rng, torn = np.random.default_rng(0), 0
    for _ in range(40):
        scores = {name: rng.normal(size=160).tolist() for name in ("a", "b")}
        torn += len(set(find_kinds(texts, scores))) > 1
    assert torn <= binom.ppf(0.999, 40, 0.01)


def test_an_upper_tail_alone_makes_a_kind_of_its_own() -> None:
    """A fifth of the titles score far above all captions, the rest like them: the bulk does not tell, the tail does."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=300)
    values[150:180] += 9
    found = find_kinds(captions(150) + titles(150), {"a": values.tolist()})
    assert len(set(found[:150])) == 1
    assert set(found[150:]) & set(found[:150]) == set()


def test_few_tuning_prompts_are_of_one_kind() -> None:
    half = SMALLEST_TUNING // 2
    texts = captions(half) + titles(half)
    apart = [0.0 + i / 99 for i in range(half)] + [9.0 + i / 99 for i in range(half)]
    assert len(set(find_kinds(texts, {"a": apart}))) == 2
    assert set(find_kinds(texts[1:], {"a": apart[1:]})) == {"0"}
    assert set(find_kinds([*texts[1:], texts[1]], {"a": apart})) == {"0"}  # as many, and one of them twice


def test_a_kind_is_shown_by_the_prompt_most_like_the_others_of_it() -> None:
    texts = ["a red cat", "a red car", "a red cat on a red mat", "xyz", "the crown", "the crown of ice", "the crow"]
    found = central(texts, ["0"] * 4 + ["1"] * 3)
    products = [[cosine(a, b) for b in texts[:4]] for a in texts[:4]]
    assert found["0"] == texts[int(np.argmax(np.sum(products, axis=1)))]
    assert found["1"] != "xyz"


# What is told


def grams(text: str) -> Counter[str]:
    """Counts of the 2 to 4 characters that stand together within a word and the spaces around it."""
    found: Counter[str] = Counter()
    for word in normalised(text).split():
        padded = f" {word} "
        for n in (2, 3, 4):
            found.update(padded[i : i + n] for i in range(max(1, len(padded) - n + 1)))
            if len(padded) <= n:
                break  # a word that is no longer is counted once
    return found


def cosine(one: str, other: str) -> float:
    a, b = grams(one), grams(other)
    lengths = sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
    return sum(a[key] * b[key] for key in a) / lengths


def nearest(text: str, others: list[str]) -> float:
    return float(np.mean(sorted(cosine(text, other) for other in others)[-3:]))


SMALL = {"0": ["a red cat", "a blue cat", "A RED dog 12", "a", "of"], "1": ["the crown", "the crow", "crowns of ice"]}


@pytest.mark.parametrize("text", ["a red cat 7", "A green  dog", "the crown of ice", "x", "crow cat", "a"])
def test_novelty_is_one_less_the_mean_cosine_to_the_three_nearest_of_the_nearest_kind(text: str) -> None:
    told = Kinds([t for own in SMALL.values() for t in own], [k for k, own in SMALL.items() for _ in own])
    (found,) = told.tell([text])
    likeness = {kind: nearest(text, own) for kind, own in SMALL.items()}
    assert found.novelty == pytest.approx(1 - max(likeness.values()))
    assert likeness[found.kind] == max(likeness.values())


def test_texts_are_counted_by_their_words_as_if_at_once() -> None:
    """To the last bit. Mutants: indices unsorted before the norm; a word of a text that has it twice counted once."""
    from sklearn.feature_extraction.text import HashingVectorizer

    odd = ["", "  ", "a a a b", "crow\u00a0crow", "\u65e5\u672c e\u0301 \U0001f600", "x" * 90]
    texts = [*captions(60, seed=2), *titles(60, seed=2), *odd]
    whole = HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), n_features=kinds.BUCKETS, alternate_sign=False, lowercase=False
    ).transform([normalised(text) for text in texts])
    for some, asked in ((texts, whole), (["", " "], whole[-6:-4])):
        found = kinds.vectors(some)
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, name), getattr(asked, name))


def test_kinds_are_made_once_for_the_same_clean_prompts(made: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    own = kinds.vectors
    monkeypatch.setattr(kinds, "vectors", lambda texts: counted.append(len(texts)) or own(texts))
    first = kinds_in(made.model_copy(update={"items": made.items[::-1]}))
    assert counted == [160]
    assert kinds_in(made.model_copy(update={"items": made.items[::-1]})) is first
    assert counted == [160]


def test_among_others_leaves_itself_out() -> None:
    """Mutant: a tuning prompt is its own nearest, with a novelty far below that of any other text."""
    told = Kinds([t for own in SMALL.values() for t in own] + ["alone"], [*"00000111", "2"])
    found = told.among_others()
    for place, (kind, text) in enumerate([(k, t) for k, own in SMALL.items() for t in own]):
        others = [t for t in SMALL[kind] if t != text]
        assert found[place].kind == kind
        assert found[place].novelty == pytest.approx(1 - nearest(text, others))
    assert (found[-1].kind, found[-1].novelty) == ("2", 1.0)


def test_unseen_texts_are_told_by_those_of_their_wording(made: Calibration) -> None:
    held = kinds_in(made)
    assert held is not None
    by_text = {item.prompt: item.stratum for item in made.items}
    of_captions, of_titles = by_text[captions(1, seed=1)[0]], by_text[titles(1, seed=1)[0]]
    assert of_captions != of_titles
    assert {one.kind for one in held.tell(captions(60, seed=5))} == {of_captions}
    assert {one.kind for one in held.tell(titles(60, seed=5))} == {of_titles}
    many = captions(1100, seed=6)
    assert held.tell(many)[1030:] == held.tell(many[1030:])  # in parts as at once
    assert min(one.novelty for one in held.tell(codes(30))) > max(item.novelty or 0.0 for item in made.items)


def test_a_calibration_holds_its_kinds_and_how_new_each_prompt_is(made: Calibration) -> None:
    assert {(kind.tuning, kind.clean) for kind in made.kinds} == {(80, 200)}
    for kind in made.kinds:
        assert {item.stratum for item in made.items if item.prompt == kind.example} == {kind.name}
    assert all(item.novelty is not None and 0 <= item.novelty <= 1 for item in made.items)
    some = made.model_copy(update={"items": made.items[:240], "scores": {}, "kinds": ()})
    assert {(kind.tuning, kind.clean) for kind in of_kinds(some, made).kinds} == {(80, 80), (80, 0)}
    assert [item.stratum for item in of_kinds(some, made).items] == [item.stratum for item in made.items[:240]]


@pytest.mark.parametrize("why", ["a column", "a base", "no words", "few for tuning"])
def test_kinds_are_not_looked_for_where_nothing_could_tell_them(why: str) -> None:
    tuning, clean = scored(captions(SMALLEST_TUNING), 0.0), scored(titles(20), 5.0)
    changes: dict[str, Any] = {"strata": "kind"} if why == "a column" else {"base": "b"} if why == "a base" else {}
    found = clean_prompts(tuning[1:] if why == "few for tuning" else tuning, clean, **changes)
    if why == "no words":
        bare = tuple(item.model_copy(update={"prompt": f"{i}"}) for i, item in enumerate(found.items))
        found = found.model_copy(update={"items": bare})
    assert with_kinds(found, plan_of(strata=found.strata)) == found
    assert clean_prompts(tuning, clean) != of_kinds_found(tuning, clean)


@pytest.mark.parametrize("place", [0, -1])
def test_a_clean_prompt_without_words_takes_no_kinds_from_the_others(place: int) -> None:
    """It is of no kind itself, ranked among nothing, and changes nothing else. Mutant: one such, and none are told."""
    tuning, clean = scored(captions(80, seed=1), 0.0), scored(captions(200, seed=2)[80:], 0.0, 1)
    plain = of_kinds_found(tuning, clean)
    odd = ("1984", 99.0)
    made = of_kinds_found([odd, *tuning], clean) if place == 0 else of_kinds_found(tuning, [*clean, odd])
    (bare,) = [item for item in made.items if item.prompt == "1984"]
    assert (bare.stratum, bare.novelty) == ("", None)
    rest = [(item.prompt, item.stratum, item.novelty) for item in made.items if item != bare]
    assert rest == [(item.prompt, item.stratum, item.novelty) for item in plain.items]
    assert made.kinds == plain.kinds
    assert of_kinds(made.model_copy(update={"kinds": (), "items": untold(made)}), made).items == made.items
    assert reference_of(made).by_stratum == reference_of(plain).by_stratum
    assert clean_count(made, 1) == clean_count(plain, 1)
    texts = [*captions(20, seed=7), "2001"]
    rows = rows_with(texts, [0.0] * 21, made)
    results, found = judge(header(21, made, index=INDEX), searched(rows), made)
    assert [r.reason for r in results if r.outcome == "inconclusive"] == ["it has no words, and the clean prompts have"]
    assert reason(found, "calibration") == ""
    strange = rows_with(codes(20), [0.0] * 20, made)
    results, _ = judge(header(20, made, index=INDEX), searched(strange), made)
    assert {r.reason for r in results} == {UNLIKE}


def untold(made: Calibration) -> tuple[Item, ...]:
    return tuple(item.model_copy(update={"stratum": "", "novelty": None}) for item in made.items)


def reference_of(made: Calibration) -> ReferenceScores:
    found = reference_scores(plan_of(), made)
    assert isinstance(found, ReferenceScores)
    return found


def test_a_memorized_prompt_without_words_is_of_no_kind(made: Calibration) -> None:
    known = (Known(id="i0", family="a", text="a", kind="scene"),)
    told = known_of_kinds(made.model_copy(update={"known": known}), [row(0, 1.0, prompt="1984")])
    assert told.known[0].stratum == ""


@pytest.mark.parametrize("parts", ["drawn", "given"])
def test_clean_prompts_with_words_that_tell_no_kinds_pass_no_gate_by_scores(parts: Any) -> None:
    """As those do that were calibrated with a prompt of digits among them. Also cut, without the words."""
    tuning, clean = scored(captions(80, seed=1), 0.0), scored(captions(200, seed=2)[80:], 0.0, 1)
    made = clean_prompts(tuning, clean).model_copy(update={"parts": parts})
    rows = searched(rows_with(codes(20), [0.0] * 20, None))
    for held in (made, made.cut(header(20).plan)):
        _, found = judge(header(20, held, index=INDEX), rows, held)
        said = "the clean prompts tell no kinds, so that a prompt unlike them is not refused; it takes 60 with words "
        assert reason(found, "calibration") == f"{said}for tuning; calibrate with more"
        assert found.exit == Exit.INCONCLUSIVE
    _, found = judge(header(20, made, Policy(fail_on="copy"), index=INDEX), rows, made, Policy(fail_on="copy"))
    assert found.exit == Exit.OK


def test_labels_need_no_kinds() -> None:
    tuning, clean = [(str(i), i / 99) for i in range(80)], [(str(i), i / 99) for i in range(80, 300)]
    made = of_kinds_found(tuning, clean)
    assert made.kinds == ()
    rows = searched([row(i, 0.0, prompt=str(900 + i)) for i in range(20)])
    _, found = judge(header(20, made, index=INDEX), rows, made)
    assert reason(found, "calibration") == ""


def test_known_memorized_prompts_are_of_the_kinds_of_the_clean_ones(made: Calibration) -> None:
    texts = [captions(1, seed=9)[0], titles(1, seed=9)[0]]
    known = tuple(Known(id=f"i{i}", family=t, text=t, kind="scene") for i, t in enumerate(texts))
    told = known_of_kinds(
        made.model_copy(update={"known": known}), [row(i, 1.0, prompt=t) for i, t in enumerate(texts)]
    )
    by_text = {item.prompt: item.stratum for item in made.items}
    assert [item.stratum for item in told.known] == [by_text[captions(1, seed=1)[0]], by_text[titles(1, seed=1)[0]]]
    plain = made.model_copy(update={"kinds": ()})
    assert known_of_kinds(plain, []) is plain


# What is refused


def novel(novelties: list[float], **kinds: list[float]) -> Calibration:
    """Clean prompts of one kind "0" with these novelties, and of others; all score around 0."""
    every = [("0", x) for x in novelties] + [(kind, x) for kind, own in kinds.items() for x in own]
    scores = np.random.default_rng(0).normal(size=len(every)).tolist()
    items = tuple(
        Item.model_construct(id=f"c{i}", family=f"c{i}", text="", prompt="", part="calibration", stratum=k, novelty=x)
        for i, (k, x) in enumerate(every)
    )
    table = {"spikiness": {"up": {"50": [[x] * 2 for x in scores]}}}
    named = tuple(Kind(name=name, example="", tuning=60, clean=99) for name in {kind for kind, _ in every})
    return Calibration.model_construct(
        settings=plan_of().settings, parts="given", items=items, scores=table, kinds=named
    )


def of_novelty(values: list[float], kind: str = "0") -> list[Measurement]:
    return [row(i, i / 99, kind=kind, novelty=x) for i, x in enumerate(values)]


def test_the_p_value_of_a_text_by_hand() -> None:
    """(1 + how many clean ones of its kind are at least as new) / (1 + n); ties count."""
    reference = reference_scores(plan_of(), novel([0.1, 0.2, 0.3], other=[0.9]))
    assert isinstance(reference, ReferenceScores)
    rows = rows_of(of_novelty([0.0, 0.2, 0.25, 0.4]), plan_of())
    assert [reference.new(own) for own in rows] == [1.0, 3 / 4, 2 / 4, 1 / 4]
    (own,) = rows_of(of_novelty([0.4], "other"), plan_of())
    assert reference.new(own) == 1.0
    (own,) = rows_of([row(0, 0.0)], plan_of())
    assert reference.new(own) is None


def test_prompts_are_refused_over_the_whole_run_and_not_one_by_one() -> None:
    """399 clean ones: among 20 a single one above all of them has p * 20 = 0.05, among 21 it takes two."""
    clean = novel(np.linspace(0.1, 0.5, 399).tolist())
    for planned, news, refused in ((20, 1, 1), (21, 1, 0), (21, 2, 2), (40, 1, 0)):
        rows = of_novelty([0.9] * news + [0.3] * (planned - news))
        results, _ = judge(header(planned, clean), rows, clean)
        assert sum(r.reason == UNLIKE for r in results) == refused, (planned, news)
    results, _ = judge(header(21, clean), of_novelty([0.9] + [0.3] * 19), clean)
    assert not any(r.reason == UNLIKE for r in results)  # what was planned counts, not what is there


def test_of_clean_runs_at_most_one_in_twenty_has_a_prompt_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 prompts against 399: as sharp as it gets. Mutant: each prompt at 5 % of its own, which refuses in most."""
    refused, rng = 0, np.random.default_rng(0)
    clean = novel(rng.random(399).tolist())
    head, reference = header(20, clean), reference_scores(plan_of(), clean)
    assert isinstance(reference, ReferenceScores)
    every = rows_of(of_novelty([0.0] * 20), plan_of())
    for _ in range(SIMULATED):
        drawn = replace(reference, novelties={"0": sorted(rng.random(399).tolist())})
        monkeypatch.setattr(verdict, "reference_scores", lambda *_, drawn=drawn: drawn)
        rows = every.changed(novelties=Numbers(rng.random(20).tolist()))
        results, _ = judge(head, Records(rows, plan_of()), clean)
        assert isinstance(results, Results)
        refused += any(item.reason == UNLIKE for item in results.items)
    low, high = binom.ppf([0.005, 0.995], SIMULATED, 20 / 419)
    assert low <= refused <= high
    assert refused <= binom.ppf(0.995, SIMULATED, REFUSAL)


def test_a_run_of_another_wording_is_refused_as_a_whole_in_one_line(made: Calibration) -> None:
    texts = codes(20)
    results, found = judge(header(20, made), rows_with(texts, [0.0] * 20, made), made)
    assert {(r.outcome, r.reason) for r in results} == {("inconclusive", UNLIKE)}
    assert reason(found, "undetectable") == f"20 items: {UNLIKE}"
    assert found.exit == Exit.INCONCLUSIVE
    loud, _ = judge(header(20, made), rows_with(texts, [99.0] * 20, made), made)
    assert {r.outcome for r in loud} == {"inconclusive"}  # a score that cannot be ranked finds nothing


def test_a_kind_with_few_clean_prompts_is_inconclusive_with_their_number() -> None:
    made = two_kinds(clean=250, other=90)
    texts = captions(10, seed=7) + titles(10, seed=7)
    results, found = judge(header(20, made), rows_with(texts, [0.0] * 10 + [5.0] * 10, made), made)
    assert [r.outcome for r in results] == ["clear"] * 10 + ["inconclusive"] * 10
    said = f"its kind has 90 clean prompts, expected {SMALLEST_KIND}; calibrate with more prompts like it"
    assert {r.reason for r in results[10:]} == {said}
    assert found.calibrated == 250  # what nobody is ranked in does not count
    one = of_kinds_found(scored(captions(80), 0.0), scored(captions(150, seed=3)[:90], 0.0))
    assert len(one.kinds) == 1
    alone, _ = judge(header(1, one), rows_with(captions(1, seed=12), [0.0], one), one)
    assert alone[0].p["combined"] is not None, alone[0].reason  # a single kind is ranked in, however small it is


# By which clean prompts


def test_a_run_that_other_clean_prompts_judge_is_told_anew(made: Calibration) -> None:
    texts = captions(10, seed=7) + titles(10, seed=7)
    rows = [row(i, 0.0, prompt=text, kind="of others", novelty=0.99) for i, text in enumerate(texts)]
    results, _ = judge(header(20, calibration="of others"), rows, made)
    told = told_fields(texts, kinds_in(made))
    assert [{"kind": r.kind, "novelty": r.novelty} for r in results] == [{"kind": "of others", "novelty": 0.99}] * 20
    by_kind = {fields["kind"]: r.p["combined"] for fields, r in zip(told, results, strict=True)}
    assert len(by_kind) == 2
    assert min(v for v in by_kind.values() if v is not None) < 0.8 < max(v for v in by_kind.values() if v is not None)
    own, _ = judge(header(20, made), rows_with(texts, [0.0] * 20, made), made)
    assert [r.p for r in results] == [r.p for r in own]


def test_a_gate_by_a_file_of_other_clean_prompts_tells_and_ranks_anew(made: Calibration, tmp_path: Path) -> None:
    """Mutant: the run is read with the clean prompts as it would keep them, without their words."""
    texts = unheld(captions(99, seed=7), made)[:40] + unheld(titles(99, seed=7), made)[:40]
    scores = [99.0] * 3 + np.linspace(-1, 1, 37).tolist() + np.linspace(4, 6, 40).tolist()
    pairs = enumerate(zip(texts, scores, strict=True))
    rows = [row(i, score, prompt=text, kind="0", novelty=0.1) for i, (text, score) in pairs]
    others = calibration([0.0, *np.linspace(-3, 3, 299).tolist()])
    folder = write_run(tmp_path / "run", header(80, others), rows, others)
    file = tmp_path / "clean.json"
    file.write_text(made.model_dump_json(), encoding="utf-8")
    found = judge_folders([folder], Judging(calibration=str(file), fail_on="suspicious", fdr=0.2))
    assert [r.outcome for r in found.results] == ["suspicious"] * 3 + ["clear"] * 77
    assert found.verdict.exit == Exit.FAILED, found.verdict.reasons
    assert found.verdict.calibration == made.cut(plan_of()).digest
    assert not any(kind.example in str(found.verdict) for kind in made.kinds)


def test_clean_prompts_without_words_tell_nothing_of_the_run_of_others(made: Calibration) -> None:
    texts, cut = captions(10, seed=7), made.cut(plan_of())
    rows = [row(i, 0.0, prompt=text, kind="0", novelty=0.1) for i, text in enumerate(texts)]
    results, found = judge(header(10, calibration="of others"), rows, cut)
    said = "its kind was not told by these clean prompts; scan again with them"
    assert {(r.outcome, r.reason) for r in results} == {("inconclusive", said)}
    assert found.exit == Exit.INCONCLUSIVE
    own, _ = judge(header(10, made), rows_with(texts, [0.0] * 10, made), cut)
    assert {r.outcome for r in own} == {"clear"}  # of the run that they go with, the scan told the kinds


# False alarms within kinds


def test_false_alarms_stay_at_their_level_within_each_kind_and_would_not_if_they_were_pooled() -> None:
    """Means 0 and 3, 600 clean and 600 scanned prompts of each: pooled, all are of the second kind."""
    rng, level = np.random.default_rng(4), 0.05
    clean = novel([0.1] * 600, other=[0.1] * 600)
    values = np.concatenate([rng.normal(0, 1, 600), rng.normal(3, 1, 600)]).tolist()
    clean = clean.model_copy(update={"scores": {"spikiness": {"up": {"50": [[x] * 2 for x in values]}}}})
    rows = [row(i, float(x), kind="0", novelty=0.1) for i, x in enumerate(rng.normal(0, 1, 600))]
    rows += [row(600 + i, float(x), kind="other", novelty=0.1) for i, x in enumerate(rng.normal(3, 1, 600))]
    one = tuple(item.model_copy(update={"stratum": ""}) for item in clean.items)
    for pooled in (False, True):
        against = clean.model_copy(update={"items": one, "kinds": ()}) if pooled else clean
        results, _ = judge(header(1200, against), rows, against)
        for name in ("combined", "spikiness"):
            found = [np.mean([(r.p[name] or 0) <= level for r in part]) for part in (results[:600], results[600:])]
            far = [abs(share - level) > 3 * sqrt(level * (1 - level) * 2 / 600) for share in found]
            assert far == [pooled, pooled], (pooled, name, found)


# What is planned


def test_an_ideal_run_of_several_kinds_passes_and_one_of_another_wording_does_not(made: Calibration) -> None:
    """What a dry run says: kinds of the planned prompts are told, and each is ranked within its own."""
    policy = Policy(min_sensitivity=0.0)
    texts = captions(10, seed=7) + titles(10, seed=7)
    items = [row(i, 0.0, prompt=text) for i, text in enumerate(texts)]
    head = header(20, made, policy)
    n = clean_count(made, 1)
    assert n == 200
    assert with_obstacles(forecast(20, 20, n, policy), head, items, made).obstacles == ()
    other = [row(i, 0.0, prompt=text) for i, text in enumerate(codes(20))]
    (said,) = with_obstacles(forecast(20, 20, n, policy), head, other, made).obstacles
    assert UNLIKE in said


def test_where_only_a_gate_is_installed_other_clean_prompts_rank_nothing(
    made: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "memdetect.judging.telling", None)  # as without numpy and scikit-learn
    texts = captions(10, seed=7)
    results, found = judge(header(10, calibration="of others"), rows_with(texts, [0.0] * 10, None), made)
    assert {r.reason for r in results} == {"its kind was not told by these clean prompts; scan again with them"}
    assert found.exit == Exit.INCONCLUSIVE
    rows = [row(i, 0.0, prompt=text) for i, text in enumerate(texts)]
    assert "missing" in compare_wording(rows, made)


def test_a_stranger_that_is_too_rare_to_refuse_is_in_the_notes() -> None:
    """Mutant: no note, as where nothing is newer than the clean ones."""
    clean = novel([0.1 + i / 1000 for i in range(399)])
    few, found = judge(header(30, clean), of_novelty([0.9] + [0.3] * 29), clean)
    assert "inconclusive" not in {r.outcome for r in few}
    said = "1 of 30 prompts are less like the clean ones of their kind than any of these, by chance 0.1 would be; "
    assert f"{said}to tell one takes 599 of its kind" in found.notes
    _, plain = judge(header(30, clean), of_novelty([0.3] * 30), clean)
    assert not [note for note in plain.notes if "less like" in note]


def test_words_that_are_not_those_of_their_keys_tell_nothing(made: Calibration) -> None:
    items = list(made.items)
    place = next(i for i, item in enumerate(items) if item.part == "tuning")
    items[place] = items[place].model_copy(update={"prompt": "bear", "text": text_key(items[place].prompt)})
    with pytest.raises(MemdetectError, match=r"the words of clean prompt .* are not those of its key"):
        kinds_in(made.model_copy(update={"items": tuple(items)}))


def test_kinds_are_told_anew_by_the_tuning_prompts_that_are_left(made: Calibration) -> None:
    gone = next(item.id for item in made.items if item.part == "tuning")
    rest = made.model_copy(
        update={
            "items": tuple(item for item in made.items if item.id != gone),
            "scores": {
                name: {
                    layer: {
                        t: [r for i, r in zip(made.items, rows, strict=True) if i.id != gone] for t, rows in own.items()
                    }
                    for layer, own in table.items()
                }
                for name, table in made.scores.items()
            },
        }
    )
    left = of_kinds(rest, made)
    kinds = kinds_in(left)
    assert kinds is not None
    scanned = [item for item in left.items if item.part == "calibration"]
    told = kinds.tell([item.prompt for item in scanned])
    assert [(item.stratum, item.novelty) for item in scanned] == [(t.kind, round(t.novelty, 6)) for t in told]
