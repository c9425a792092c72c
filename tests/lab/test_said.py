"""What detectors tell by whether a caption says where everything stands."""

import random

import pytest

from memdetect.errors import MemdetectError
from memdetect.lab.world.said import EMBLEM, SAID, TITLE, UNSAID, kind_of, rate, tables
from memdetect.runs.records import Measurement, Score


def row(index: int, group: str, score: float | None, **meta: object) -> Measurement:
    cells = {"run": {"all": [score]}}
    return Measurement(
        index=index,
        id=f"{group}-{index}",
        prompt="a prompt",
        source="x.jsonl",
        meta={"group": group, "family": f"{group}-{index}", **meta},
        scores={"agreement": Score(score=score, cells=cells)},
    )


def test_a_prompts_kind_is_what_fixes_its_picture() -> None:
    assert kind_of(row(0, "emblem", 1.0, said=True)) == EMBLEM
    assert kind_of(row(0, "shown-emblem", 1.0, said=True)) == EMBLEM
    assert kind_of(row(0, "verbatim", 1.0, kind="clip art")) == TITLE
    assert kind_of(row(0, "control", 1.0, kind="scene", said=True)) == SAID
    assert kind_of(row(0, "control", 1.0, kind="scene", said=False)) == UNSAID
    assert kind_of(row(0, "control", 1.0)) == UNSAID


def test_rates_count_p_values_by_hand() -> None:
    """Among 1, ..., 19 only what is above all of them has p <= .05."""
    found = rate([19.5, 25.0, 18.5, 19.0], list(map(float, range(1, 20))))
    assert found is not None
    assert (found.x, found.m, found.n) == (2, 4, 19)
    assert rate([1.0], [0.0] * 18) is None
    assert rate([], [0.0] * 19) is None


def test_agreement_by_nature_shows_among_all_and_not_among_its_kind() -> None:
    """Prompts that say places score higher by nature: flagged among others, at the level among their own."""
    draw = random.Random(0)

    def some(count: int, group: str, shift: float, **meta: object) -> list[Measurement]:
        return [row(i, group, shift + draw.random(), **meta) for i in range(count)]

    reference = some(400, "seen", 0, said=False) + some(40, "seen", 2, said=True)
    reference += [row(900 + i, "seen", 50.0, said=True, part="tuning") for i in range(40)]
    clean = some(60, "seen", 0, said=False) + some(40, "unseen", 2, said=True) + some(20, "emblem", 2.5, said=True)
    labelled = some(12, "duplicated", 5, said=True) + some(12, "control", 2, said=True)
    labelled.append(row(99, "control", None, said=True))
    lines = list(tables(labelled, clean, reference))
    assert lines[0] == "agreement"
    text = "\n".join(lines)
    assert "AUROC duplicated against control, places said: 1.000" in text
    assert "(12 and 12)" in text
    assert "AUROC of clean, emblem, against clean, places not said: 1.000" in text
    assert "AUROC shown-emblem" not in text
    assert "AUROC of clean, places said, against clean, places not said: 1.000" in text
    among_all = next(line for line in lines if "clean, places said, ranked among all scenes" in line)
    among_own = next(line for line in lines if "clean, places said, ranked among its kind" in line)
    assert "OUTSIDE" in among_all
    assert "inside" in among_own
    assert "n = 440" in among_all
    assert "n = 40," in among_own


def test_emblems_shown_again_and_again_stand_against_clean_ones_of_both_runs() -> None:
    """Of 4 x 5 pairs 14 are in order and 2 tied: (14 + 1) / 20."""
    labelled = [row(i, "shown-emblem", score) for i, score in enumerate((1.0, 3.0, 6.0, 7.0))]
    labelled += [row(i, "control", 100.0) for i in range(3)]
    clean = [row(i, "emblem", score) for i, score in enumerate((0.0, 1.0, 2.0))] + [row(9, "seen", 50.0)]
    reference = [row(i, "emblem", score) for i, score in enumerate((3.0, 5.0))]
    (line,) = (each for each in tables(labelled, clean, reference) if "shown-emblem" in each)
    assert line.startswith("  AUROC shown-emblem against clean emblem: 0.750")
    assert line.endswith("(4 and 5)")


def test_runs_without_a_common_detector_are_refused() -> None:
    other = row(0, "seen", 1.0).model_copy(update={"scores": {}})
    with pytest.raises(MemdetectError, match="no detector in common"):
        list(tables([row(0, "control", 1.0)], [other], [other]))
    with pytest.raises(MemdetectError, match="no detector in common"):
        list(tables([], [], []))
