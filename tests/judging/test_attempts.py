"""Ordinary ways to a green gate that were found by trying: each is closed as a kind."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_runs import scene
from synthetic_runs import INDEX, calibration, header, known, match, row, searched, words, write_run

from memdetect.cli import run
from memdetect.copies.match import Match
from memdetect.errors import Exit
from memdetect.inputs.wording import kind_of, text_key
from memdetect.judging import Verdict, judge, read_runs
from memdetect.judging.search_rules import most_similar
from memdetect.runs.policy import Ignore, Policy
from memdetect.runs.records import Measurement

MADE = calibration(np.random.default_rng(0).normal(size=2400).tolist())


def scanned(m: int = 40, **changes: Any) -> list[Measurement]:
    values = np.random.default_rng(1).normal(size=m).clip(-2, 2)
    return [row(i, float(x), **changes) for i, x in enumerate(values)]


def judged(rows: list[Measurement], policy: Policy | None = None, index: dict[str, Any] | None = None) -> Verdict:
    head = header(len(rows), MADE, policy, index={**INDEX, **(index or {})})
    return judge(head, searched(rows), MADE, policy, today=date(2026, 11, 29))[1]


def reason(verdict: Verdict, name: str) -> str:
    return next(rule.reason for rule in verdict.rules if rule.name == name)


def test_a_prompt_that_is_known_to_be_memorized_is_never_clear():
    """Its score ranks among the clean ones, which is what its score is known to miss."""
    made = calibration(np.random.default_rng(0).normal(size=2400).tolist(), **known([0.0, 9.0]))
    rows = [row(0, 0.0, prompt=words(0, "scene"), meta={"kind": "scene"}), *scanned()[1:]]
    results, verdict = judge(header(40, made, index=INDEX), searched(rows), made)
    assert (results[0].outcome, verdict.exit) == ("inconclusive", Exit.INCONCLUSIVE)
    assert results[0].reason == "the prompt, or one of its family, is known to be memorized by this model"
    loud = [row(0, 9.0, prompt=words(1, "scene")), *scanned()[1:]]
    assert judge(header(40, made, index=INDEX), searched(loud), made)[0][0].outcome == "suspicious"


@pytest.mark.parametrize(
    ("planted", "pictures", "exit"), [(1, 500, 3), (44, 500, 3), (45, 500, 0), (11, 12, 0), (10, 12, 3)]
)
def test_a_few_planted_copies_show_no_recall(planted: int, pictures: int, exit: int):
    verdict = judged(scanned(), index={"planted": planted, "pictures": pictures})
    assert verdict.exit == exit
    if exit:
        assert "planted copies cannot show what the index finds" in reason(verdict, "index")
    assert judged(scanned(), Policy(min_recall=0.0), {"planted": planted, "pictures": pictures}).exit == Exit.OK


def near(seed: int = 0) -> Match:
    return match(False, seed).model_copy(update={"similar": True, "similarity": 0.9, "tile": 0.4, "ssim": 0.2})


@pytest.mark.parametrize(("level", "most"), [(0.001, 1), (0.01, 2), (0.02, 0), (0.5, 0)])
def test_as_many_images_may_be_similar_as_a_tight_level_lets_through(level: float, most: int):
    """80 images: the 95 % quantile of a binomial count; at a loose level none, for it would be most of them."""
    if level <= 0.01:
        assert most_similar(80, level) == most
    for similar in (most, most + 1):
        rows = [r.model_copy(update={"matches": [near()]}) if i < similar else r for i, r in enumerate(scanned())]
        verdict = judged(rows, index={"level": level})
        assert verdict.exit == (Exit.OK if similar == most else Exit.INCONCLUSIVE)
        assert verdict.counts["similar"] == similar
    assert "images are similar to a training image though their pixels differ" in reason(verdict, "similar")


def test_the_quantile_is_that_of_a_binomial_count():
    from scipy.stats import binom

    for images in (1, 7, 80, 2000):
        for level in (0.0005, 0.003, 0.01, 0.3):
            assert most_similar(images, level) == binom.ppf(0.95, images, level)


def test_an_item_of_which_every_image_has_a_single_colour_is_not_clear():
    rows = [r.model_copy(update={"one_colour": [0, 1]}) if i == 3 else r for i, r in enumerate(scanned())]
    results, verdict = judge(header(40, MADE, index=INDEX), searched(rows), MADE)
    assert verdict.exit == Exit.INCONCLUSIVE
    assert (results[3].outcome, results[3].reason) == ("inconclusive", "its images have a single colour")
    assert verdict.counts["clear"] == 39
    one = [r.model_copy(update={"one_colour": [0]}) if i == 3 else r for i, r in enumerate(scanned())]
    assert judged(one).exit == Exit.OK
    many = [r.model_copy(update={"one_colour": [0]}) if i < 5 else r for i, r in enumerate(scanned())]
    assert "5 of 80 images have a single colour" in reason(judged(many), "one-colour")


def test_a_suppression_by_the_name_of_a_base_does_not_answer_for_its_lora():
    entry = {"reason": "ours", "owner": "ada", "expires": date(2027, 1, 1), "outcome": "copy"}
    rows = [row(0, 0.0, matches=[match()]), *scanned()[1:]]
    named = Policy(ignore=(Ignore(id="i0", model="tiny", **entry),))
    head = header(40, MADE, named, index=INDEX)
    assert judge(head, searched(rows), MADE, named, today=date(2026, 11, 29))[1].exit == Exit.OK
    tuned = head.model_copy(update={"opening": {"loras": ["hard.safetensors"]}})
    assert judge(tuned, searched(rows), MADE, named, today=date(2026, 11, 29))[1].exit == Exit.FAILED


def test_runs_that_are_too_small_each_to_compare_their_wording_are_not_too_small_together(tmp_path: Path):
    folders = []
    for part in range(4):
        rows = searched(
            [
                row(100 * part + i, float(x))
                for i, x in enumerate(np.random.default_rng(part).normal(size=10).clip(-2, 2))
            ]
        )
        few = {"few": "10 scanned and 2400 clean families", "calibration": MADE.cut(header(1).plan).digest}
        folders.append(write_run(tmp_path / f"{part}", header(10, MADE, index=INDEX, wording=few), rows, MADE))
    alone, together = read_runs(folders[:1]), read_runs(folders)
    assert judge(alone.header, alone.rows, alone.calibration, altered=alone.altered)[1].exit == Exit.OK
    verdict = judge(together.header, together.rows, together.calibration, altered=together.altered)[1]
    assert verdict.exit == Exit.INCONCLUSIVE
    assert "each run is too small for that, all of them together are not" in reason(verdict, "shift")


def test_a_kind_is_what_its_column_says_even_where_that_is_false_or_nought():
    assert [kind_of({"kind": value, "group": "scene"}) for value in (0, False, "", " ", None, "x")] == [
        *("0", "False", "scene", "scene", "scene", "x"),
    ]


def test_ids_that_are_the_same_by_chance_are_no_prompts_of_the_calibration():
    rows = [r.model_copy(update={"id": f"clean-{r.index}"}) for r in scanned()]
    assert judged(rows).exit == Exit.OK
    said = [r.model_copy(update={"prompt": words(r.index, "clean")}) for r in scanned()]
    assert judged(said).exit == Exit.INCONCLUSIVE
    assert text_key(words(0, "clean")) == MADE.items[0].text


def test_a_coverage_of_nothing_asks_for_nothing():
    assert judged(scanned(), Policy(min_coverage=0.0), {"coverage": None}).exit == Exit.OK


def test_under_a_policy_on_copies_what_was_searched_is_clear():
    """A pass beside items that are all inconclusive contradicts itself."""
    policy = Policy(fail_on="copy")
    results, verdict = judge(header(40, None, policy, index=INDEX), searched(scanned()), None, policy)
    assert verdict.exit == Exit.OK
    assert {(r.outcome, r.reason) for r in results} == {("clear", "no copy was found; scores were not judged")}
    results, _ = judge(header(40, None, index=INDEX), searched(scanned()), None)
    assert {r.outcome for r in results} == {"inconclusive"}


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "md", "github"])
def test_a_run_with_an_index_can_be_redacted(form: str, tmp_path: Path, monkeypatch: Any, capsys: Any):
    monkeypatch.chdir(tmp_path)
    folder = scene("memorizing").write(tmp_path / "run")
    assert run(["gate", str(folder), "--redact", "--format", form]) == Exit.FAILED
    shown = capsys.readouterr().out
    assert "a picture of a lemon" not in shown
    assert "pool-061" not in shown
    assert form not in ("table", "json") or "as --training-set states its size" in " ".join(shown.split())
    if form == "json":
        assert set(json.loads(shown)["run"]["index"]["finds"]) == {"mirrored", "cropped", "shifted"}


@pytest.mark.parametrize("outcome", ["similar", "inconclusive"])
def test_no_inconclusive_item_is_left_without_a_rule(outcome: str):
    """Whatever the reason: an item that nothing was decided of keeps a run from passing."""
    rows = scanned()
    if outcome == "inconclusive":
        rows[0] = row(0, 0.0, prompt=words(0, "scene"), one_colour=[0, 1])
        assert judged(rows).exit == Exit.INCONCLUSIVE
        assert "its images have a single colour" in reason(judged(rows), "undetectable")
        assert judged(rows, Policy(fail_on="copy")).exit == Exit.INCONCLUSIVE
    else:
        rows[0] = rows[0].model_copy(update={"matches": [near()], "prompt": words(0, "clean")})
        assert "is among the clean ones" in reason(judged(rows), "undetectable")
