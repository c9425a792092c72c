"""What a calibration keeps, cuts, refuses; how it is made of a run, one prompt a family."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import PLAN, calibration, header, row, words

from memdetect.calibration import (
    Calibration,
    calibration_of_run,
    draw_parts,
    parts_of,
    read_calibration,
)
from memdetect.errors import Exit, MemdetectError

CELLS = {
    "up": {"50": [[1.0, 3.0], [5.0, 7.0]], "100": [[3.0, 5.0], [7.0, 9.0]]},
    "mid": {"50": [[10.0, 12.0], [14.0, 16.0]]},
}
ASKED = {**PLAN, "num_seeds": 2}


def first_version(**changes: Any) -> dict[str, Any]:
    return {"schema_version": 1, "settings": {"model": "abc"}, "prompts": 2, "scores": {"spikiness": CELLS}, **changes}


def test_seeds_are_means_over_layers_and_timesteps_of_each_seed() -> None:
    made = Calibration.model_validate(first_version())
    assert made.seeds("spikiness", ASKED) == [[1, 3], [5, 7]]
    assert made.seeds("spikiness", {**ASKED, "num_seeds": 1}) == [[1], [5]]
    assert made.seeds("spikiness", {**ASKED, "timesteps": [50, 100]}) == [[2, 4], [6, 8]]
    assert made.seeds("spikiness", {**ASKED, "layers": ["up", "mid"]}) == [[5.5, 7.5], [9.5, 11.5]]
    for changes in ({"layers": ["down"]}, {"timesteps": [60]}, {"num_seeds": 3}, {"layers": []}):
        assert made.seeds("spikiness", {**ASKED, **changes}) is None
    assert made.seeds("other", ASKED) is None


def test_the_first_version_is_read_with_all_its_numbers() -> None:
    made = Calibration.model_validate(first_version())
    assert made.schema_version == 2
    assert made.scores == {"spikiness": CELLS}
    assert [item.id for item in made.items] == ["0000000", "0000001"]
    assert (made.parts, made.checked) == ("drawn", "")
    assert Calibration.model_validate_json(made.model_dump_json()) == made


def test_a_cut_holds_what_the_plan_needs_and_no_words() -> None:
    made = calibration({"spikiness": [1.0, 2.0], "other": [3.0, 4.0]})
    cut = made.cut({**ASKED, "num_seeds": 1})
    assert cut.scores == {"spikiness": {"up": {"50": [[1.0], [2.0]]}}}
    assert not any(item.prompt for item in cut.items)
    assert "clean a" not in cut.model_dump_json()
    assert cut.cut({**ASKED, "num_seeds": 1}) == cut
    assert cut.difference({**ASKED, "num_seeds": 1}) is None


def test_the_digest_knows_scores_and_not_words() -> None:
    made = calibration([1.0, 2.0])
    bare = made.model_copy(update={"items": tuple(i.model_copy(update={"prompt": ""}) for i in made.items)})
    assert made.digest == bare.digest != calibration([1.0, 2.5]).digest


def test_difference_names_the_key() -> None:
    made = calibration([1.0, 2.0], settings={"model": "abc", "steps": 25, "noise": "own"})
    assert made.difference({**PLAN, "noise": "own"}) is None
    assert made.difference({**PLAN, "noise": "own", "steps": 50}) == "steps (calibrated 25, scanned 50)"
    assert made.difference(PLAN) == "noise (calibrated 'own', scanned None)"


def test_parts_are_drawn_by_family_whatever_the_order() -> None:
    keys = [words(i) for i in range(1000)]
    parts = draw_parts(keys)
    assert sorted(parts.values()).count("A") == 200
    assert draw_parts(keys[::-1]) == parts
    assert list(draw_parts(keys[:100]).values()).count("A") == 100
    assert list(draw_parts(keys[:300]).values()).count("A") == 150


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
    rows = [row(i, float(i), meta={"part": "AB"[i % 2]}) for i in range(6)]
    assert parts_of(rows) == (["A", "B"] * 3, True)
    assert calibration_of_run(header(6), rows).parts == "given"
    with pytest.raises(MemdetectError, match="of part 'report', expected A or B"):
        parts_of([*rows, row(7, 1.0, meta={"part": "report"})])
    with pytest.raises(MemdetectError, match="of part None"):
        parts_of([*rows, row(7, 1.0)])
    assert not parts_of([row(i, 1.0) for i in range(4)])[1]


def test_a_run_becomes_a_calibration_of_its_settings() -> None:
    made = calibration_of_run(header(3), [row(i, float(i)) for i in range(3)], ["u*"])
    assert made.scores == {"spikiness": {"up": {"50": [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]}}}
    assert made.difference(PLAN) is None
    assert made.settings["model"] == "abc"
    assert "seed" not in made.settings
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
        ('{"settings": {}, "prompts": 1}', "scores"),
        ('{"settings": {}, "prompts": 1, "scores": {}, "colour": 1}', "colour"),
        ('{"settings": {}, "prompts": 2, "scores": {"s": {"up": {"50": [[1.0]]}}}}', "s, up, t=50.*expected 2"),
        ('{"settings": {}, "prompts": 2, "scores": {"s": {"up": {"50": [[1.0], []]}}}}', "s, up, t=50.*expected 2"),
        ('{"settings": {}, "prompts": 1, "scores": {"s": {"up": {"50": [[NaN]]}}}}', "finite"),
        ('{"settings": {}, "prompts": 1, "scores": {"s": {"up": {"50": [[null]]}}}}', "scores.s.up.50.0.0"),
        ('{"schema_version": 3, "settings": {}, "items": [], "scores": {}}', "schema_version"),
        (json.dumps({"settings": {}, "prompts": 1, "scores": {}}).encode("utf-16"), "file"),
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
    path = Path(__file__).parents[1] / "models" / "emoji-scenes" / "calibration.json"
    made = read_calibration(path)
    assert made is not None
    assert made.items
    assert "spikiness" in made.scores
