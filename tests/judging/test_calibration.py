"""What a calibration keeps, cuts, refuses; how it is made of a run, one prompt a family."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_runs import calibration, header, plan_of, row, words

from memdetect.detectors.bank import Bank, bank_file, read_bank, write_bank
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.wording import text_key
from memdetect.judging import Rule, judge
from memdetect.judging.calibration import (
    Calibration,
    Removed,
    calibration_of_run,
    draw_parts,
    parts_of,
    read_calibration,
    with_known,
)
from memdetect.judging.calibration.banked import REMOVED, read_with_bank, removed_in_bank
from memdetect.runs.plan import Places
from memdetect.runs.records import Score

CELLS = {
    "up": {"50": [[1.0, 3.0], [5.0, 7.0]], "100": [[3.0, 5.0], [7.0, 9.0]]},
    "mid": {"50": [[10.0, 12.0], [14.0, 16.0]]},
}
ASKED = Places((("up", "50"),), 2)


SETTINGS = plan_of().settings.model_dump(mode="json")
ITEMS = [{"id": "a", "family": "a"}, {"id": "b", "family": "b"}]


def text(items: int = 1, **changes: Any) -> str:
    """A calibration's file with so many items and without scores, but for the changes."""
    return json.dumps({"settings": SETTINGS, "items": ITEMS[:items], "scores": {}, **changes})


def test_seeds_are_means_over_layers_and_timesteps_of_each_seed() -> None:
    made = Calibration.model_validate_json(text(2, scores={"spikiness": CELLS}))
    assert made.seeds("spikiness", ASKED) == [[1, 3], [5, 7]]
    assert made.seeds("spikiness", replace(ASKED, num_seeds=1)) == [[1], [5]]
    assert made.seeds("spikiness", replace(ASKED, cells=(("up", "50"), ("up", "100")))) == [[2, 4], [6, 8]]
    assert made.seeds("spikiness", replace(ASKED, cells=(("up", "50"), ("mid", "50")))) == [[5.5, 7.5], [9.5, 11.5]]
    for changes in ({"cells": (("down", "50"),)}, {"cells": (("up", "60"),)}, {"num_seeds": 3}):
        assert made.seeds("spikiness", replace(ASKED, **changes)) is None
    assert made.seeds("other", ASKED) is None


def test_a_cut_holds_what_the_plan_needs_and_no_words() -> None:
    made = calibration({"spikiness": [1.0, 2.0], "other": [3.0, 4.0]})
    cut = made.cut(plan_of(num_seeds=1))
    assert cut.scores == {"spikiness": {"up": {"50": [[1.0], [2.0]]}}}
    assert not any(item.prompt for item in cut.items)
    assert "clean a" not in cut.model_dump_json()
    assert cut.cut(plan_of(num_seeds=1)) == cut
    assert cut.difference(plan_of(num_seeds=1)) is None


def test_a_cut_is_made_once_for_each_choice_and_never_that_of_another_calibration() -> None:
    """Mutants: a copy that keeps the cuts of what it was made from; one cut for all numbers of seeds."""
    made = calibration({"spikiness": [1.0, 2.0]})
    one, two = made.cut(plan_of(num_seeds=1)), made.cut(plan_of(num_seeds=2))
    assert made.cut(plan_of(num_seeds=1)) is one
    assert made.cut(plan_of(num_seeds=2)) is two
    assert one.scores != two.scores
    assert two.cut(plan_of(num_seeds=2)) is two
    changed = made.model_copy(update={"about": "others"})
    assert changed.cut(plan_of(num_seeds=1)).about == "others"
    assert made == changed.model_copy(update={"about": made.about})


PAIRS: dict[str, Any] = {
    "detectors": ["spikiness", "pairs"],
    "combine": ["pairs"],
    "readings": {
        "spikiness": {"places": [["up", "50"]]},
        "pairs": {"places": [["run", "all"]], "seeds": "prompt"},
    },
}


@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
def test_scores_of_seeds_that_are_compared_hold_for_their_number_alone(seeds: int) -> None:
    """As well of a cut, which goes with the run and is what judges it. Mutant: a cut to the seeds of the run."""
    four = {"up": {"50": [[float(i)] * 4 for i in range(400)]}}
    made = calibration([1.0] * 400).model_copy(
        update={"scores": {"spikiness": four, "pairs": {"run": {"all": four["up"]["50"]}}}}
    )
    plan = plan_of(**PAIRS, num_seeds=seeds)
    said = f"num_seeds (calibrated 4, scanned {seeds})"
    for held in (made, made.cut(plan), made.cut(plan).cut(plan)):
        assert held.difference(plan) == (said if seeds != 4 else None)
        rows = [row(0, {"spikiness": 1.0, "pairs": 1.0})]
        _, verdict = judge(header(1, held, plan={**PAIRS, "num_seeds": seeds}), rows, held)
        assert verdict.missing == (
            f"the clean scores were made with another {said}; calibrate again" if seeds != 4 else ""
        )
    beside = {**PAIRS, "combine": ["spikiness"], "num_seeds": min(seeds, 4)}
    cells = {"up": {"50": [1.0] * min(seeds, 4)}}, {"run": {"all": [1.0] * min(seeds, 4)}}
    scores = {name: Score(score=1.0, cells=own) for name, own in zip(PAIRS["detectors"], cells, strict=True)}
    held = made.cut(plan_of(**beside))
    results, verdict = judge(header(1, held, plan=beside), [row(0, 1.0).model_copy(update={"scores": scores})], held)
    assert verdict.missing == ""
    assert results[0].p["spikiness"] == results[0].p["combined"] is not None
    assert (results[0].p["pairs"] is None) == (seeds < 4)  # a description, left out where it would be of others


def test_the_digest_knows_scores_and_not_words() -> None:
    made = calibration([1.0, 2.0])
    bare = made.model_copy(update={"items": tuple(i.model_copy(update={"prompt": ""}) for i in made.items)})
    assert made.digest == bare.digest != calibration([1.0, 2.5]).digest


def test_difference_names_the_key() -> None:
    made = calibration([1.0, 2.0])
    assert made.difference(plan_of()) is None
    assert made.difference(plan_of(steps=50)) == "steps (calibrated 25, scanned 50)"
    assert made.difference(plan_of(noise="shared")) == "noise (calibrated 'own for each item', scanned 'shared')"
    assert made.difference(plan_of(strata="kind")) == "strata (calibrated '', scanned 'kind')"


def test_parts_are_drawn_by_family_whatever_the_order() -> None:
    keys = [words(i) for i in range(1000)]
    parts = draw_parts(keys)
    assert sorted(parts.values()).count("tuning") == 200
    assert draw_parts(keys[::-1]) == parts
    assert list(draw_parts(keys[:100]).values()).count("tuning") == 100
    assert list(draw_parts(keys[:300]).values()).count("tuning") == 150


def test_one_prompt_a_family() -> None:
    """Design 12: 49 families of 10 are 49 clean prompts; a new top prompt has p = 1/50. Mutant: pooled, 1/491."""
    rows = [row(i, float(i), prompt=words(i), meta={"family": i // 10}) for i in range(490)]
    made = calibration_of_run(header(490), rows)
    assert len(made.items) == 49
    assert len({item.family for item in made.items}) == 49
    again = calibration_of_run(header(490), rows[::-1])
    assert {item.id for item in again.items} == {item.id for item in made.items}


def test_families_without_a_column_are_what_reads_the_same() -> None:
    prompts = ["A cat, 3 dogs", "a CAT,  7 dogs", "a cat, 12 dogs", "a cat, \uff13 dogs", "another cat"]
    made = calibration_of_run(header(5), [row(i, float(i), prompt=p) for i, p in enumerate(prompts)])
    assert len(made.items) == 3


def test_given_parts_are_kept_and_half_given_ones_refused() -> None:
    rows = [row(i, float(i), meta={"part": ("tuning", "calibration")[i % 2]}) for i in range(6)]
    assert parts_of(rows) == (["tuning", "calibration"] * 3, True)
    assert calibration_of_run(header(6), rows).parts == "given"
    with pytest.raises(MemdetectError, match="of part 'test', expected tuning or calibration"):
        parts_of([*rows, row(7, 1.0, meta={"part": "test"})])
    with pytest.raises(MemdetectError, match="of part None"):
        parts_of([*rows, row(7, 1.0)])
    assert not parts_of([row(i, 1.0) for i in range(4)])[1]


def test_parts_are_drawn_of_what_was_planned_and_stay_whoever_is_lost() -> None:
    """2,000 prompts, 400 of them for tuning and in the bank; 20 are lost. Mutant: drawn anew, 4 of the bank rank."""
    rows = [row(i, float(i)) for i in range(2000)]
    drawn = {item.id: item.part for item in calibration_of_run(header(2000), rows).items}
    lost = {name for name, part in drawn.items() if part == "calibration"} - {r.id for r in rows[:1950]}
    kept = [r for r in rows if r.id not in lost]
    assert len(lost) > 20
    made = calibration_of_run(header(2000), kept, rows)
    assert made.parts == "drawn"
    assert {item.id: item.part for item in made.items} == {r.id: drawn[r.id] for r in kept}
    assert {i.id: i.part for i in calibration_of_run(header(2000), kept).items} != {r.id: drawn[r.id] for r in kept}


def bank_of_families(path: Path, families: list[str]) -> Bank:
    """A bank of these families beside a calibration."""
    bank = Bank(tuple(families), torch.zeros(len(families), 4).half(), torch.zeros(2, 0))
    write_bank(bank_file(path), bank)
    return bank


@pytest.mark.parametrize(("count", "named"), [(1, []), (2, []), (3, ["r0", "r1", "r2"])])
def test_removed_prompts_in_the_bank_of_an_older_file_are_found_where_they_are_too_many(
    count: int, named: list[str], tmp_path: Path
) -> None:
    path, texts = tmp_path / "calibration.json", [words(i, "gone") for i in range(count)]
    bank = bank_of_families(path, [text_key(text) for text in [*texts, words(0, "clean")]])
    gone = [Removed(id=f"r{i}", prompt=text, images=[]) for i, text in enumerate([*texts, "not in it"])]
    made = calibration([1.0, 2.0]).model_copy(update={"removed": tuple(gone), "bank": bank.facts})
    path.write_text(made.model_dump_json(), encoding="utf-8")
    found = read_with_bank(path)
    assert found is not None
    assert sorted(removed_in_bank(found)) == named
    assert (found == made) == (not named)  # what tolerates them stays as it is, and so its digest
    assert removed_in_bank(found.cut(plan_of())) == removed_in_bank(found)
    bank_file(path).write_bytes(b"\xff" * 20)
    assert read_with_bank(path) == made
    bank_file(path).unlink()
    assert read_with_bank(path) == made
    assert read_with_bank(tmp_path / "none.json") is None


def test_removed_prompts_of_families_with_a_column_are_counted_by_what_the_bank_alone_holds(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    bank = bank_of_families(path, ["d", "c", "b", "a", text_key(words(0, "clean"))])
    gone = tuple(Removed(id=f"r{i}", prompt=words(i, "gone"), images=[]) for i in range(3))
    made = calibration([1.0, 2.0]).model_copy(update={"removed": gone, "bank": bank.facts})
    path.write_text(made.model_dump_json(), encoding="utf-8")
    assert removed_in_bank(read_with_bank(path)) == ["of family a", "of family b", "of family c"]


@pytest.mark.parametrize("count", [2, 3])
def test_a_bank_with_more_than_two_prompts_that_came_back_decides_nothing(count: int) -> None:
    ids = [f"r{i}" for i in range(count)]
    made = calibration([float(i) for i in range(1000)]).model_copy(update={"bank": {"digest": "b", REMOVED: ids}})
    rows = [row(i, 300.0 + 100 * i) for i in range(5)]

    def rule(bank: str) -> Rule:
        verdict = judge(header(5, made, plan={"bank": bank}), rows, made)[1]
        return next(rule for rule in verdict.rules if rule.name == "calibration")

    said = "3 prompts that came back as copies are in the bank, ids r0, r1, r2: what resembles them scores low; "
    wanted = ("pass", "") if count == 2 else ("inconclusive", f"{said}take them out and calibrate again")
    assert (rule("b").outcome, rule("b").reason) == wanted
    assert rule("").outcome == "pass"  # of a run that compares with no bank


def test_the_bundled_calibration_is_as_it_was_made() -> None:
    """Two of its removed prompts are in its bank, which is tolerated: its digest is that of its runs."""
    path = Path(__file__).parents[2] / "models" / "emoji-scenes" / "calibration.json"
    made = read_with_bank(path)
    assert made == read_calibration(path)
    assert made is not None
    families = read_bank(bank_file(path))
    assert families is not None
    assert len({*families.families} - {item.family for item in made.items}) == 2  # seen-0260 and seen-1828


def test_a_run_becomes_a_calibration_of_its_settings() -> None:
    made = calibration_of_run(header(3), [row(i, float(i)) for i in range(3)])
    assert made.scores == {"spikiness": {"up": {"50": [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]}}}
    assert made.difference(plan_of()) is None
    assert made.settings.model == "abc"
    assert [item.prompt for item in made.items] == [words(i) for i in range(3)]
    with pytest.raises(MemdetectError, match="i0 has a score that is not finite"):
        calibration_of_run(header(1), [row(0, None)])


def test_read_calibration_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert read_calibration(path) is None
    path.write_text(calibration([1.0, 2.0]).model_dump_json(), encoding="utf-8")
    assert read_calibration(path) == calibration([1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "Invalid JSON"),
        ("[]", "file"),
        (json.dumps({"settings": SETTINGS, "items": ITEMS}), "scores"),
        (text(colour=1), "colour"),
        (text(2, scores={"s": {"up": {"50": [[1.0]]}}}), "s, up, t=50.*expected 2"),
        (text(2, scores={"s": {"up": {"50": [[1.0], []]}}}), "s, up, t=50.*expected 2"),
        (text(scores={"s": {"up": {"50": [[float("nan")]]}}}), "finite"),
        (text(scores={"s": {"up": {"50": [[None]]}}}), "scores.s.up.50.0.0"),
        (text(scores={"s": {"up": {"50": [["high"]]}}}), "scores.s.up.50.0.0"),
        (text(settings={}), "settings.model: Field required"),
        (text(settings={"model": "abc"}), "settings.adapter: Field required"),
        (text(known=[{"id": "k", "family": "k", "text": "k", "kind": ""}]), "known.0.kind"),
        (text(known_scores={"s": {"up": {"50": [[1.0]]}}}), "s, up, t=50.*expected 0"),
        (text(schema_version=2), "schema_version"),
        (text().encode("utf-16"), "file"),
    ],
)
def test_read_calibration_refuses_what_is_none(text: str | bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MemdetectError, match=f"calibration.json is no calibration: .*{named}") as raised:
        read_calibration(path)
    assert raised.value.exit == Exit.USAGE
    assert "\n" not in str(raised.value)


def test_the_bundled_calibration_is_read() -> None:
    path = Path(__file__).parents[2] / "models" / "emoji-scenes" / "calibration.json"
    made = read_calibration(path)
    assert made is not None
    assert made.items
    assert "spikiness" in made.scores


def test_known_memorized_prompts_are_one_a_family_of_a_kind_each_and_of_the_same_settings() -> None:
    made = calibration([1.0, 2.0])
    rows = [row(i, float(i), prompt=words(i, "known"), meta={"kind": "scene", "family": i // 2}) for i in range(4)]
    found = with_known(made, header(4), rows)
    assert [item.kind for item in found.known] == ["scene", "scene"]
    assert found.known_seeds("spikiness", ASKED) == [[float(item.id[1:])] * 2 for item in found.known]
    assert found.known_seeds("other", ASKED) is None
    assert found.known_seeds("spikiness", replace(ASKED, num_seeds=3)) is None
    assert found.cut(plan_of(num_seeds=1)).known_seeds("spikiness", replace(ASKED, num_seeds=1)) is not None
    assert found.digest != made.digest
    with pytest.raises(MemdetectError, match="memorized prompt i0 is of no kind"):
        with_known(made, header(1), [row(0, 1.0)])
    with pytest.raises(MemdetectError, match="memorized prompt i0 is among the clean ones"):
        with_known(made, header(1), [row(0, 1.0, prompt=words(0, "clean"), meta={"kind": "scene"})])
    with pytest.raises(MemdetectError, match="another steps"):
        with_known(made, header(1, plan={"steps": 9}), rows)
    grouped = with_known(made, header(1), [row(0, 1.0, prompt="x", meta={"group": "emblem"})])
    assert grouped.known[0].kind == "emblem"
