"""The table is fit for a terminal whatever a prompt holds, fits its width, and says what the run can say."""

import random
import re
from typing import Any

import pytest
from rich.cells import cell_len
from synthetic_runs import calibration, header, part, plan_of, row

from memdetect.copies.match import Match
from memdetect.inputs.harmless import plain
from memdetect.judging import Verdict, judge
from memdetect.judging.calibration import Calibration, Item
from memdetect.render.table import ROWS, render_table
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement, Result, Score

PLAN = {
    "model": "abc",
    "adapter": "StableDiffusionPipeline",
    "scheduler": "DDIMScheduler:abc",
    "size": [64, 64],
    "noise": "own for each item",
    "call": {},
    "detectors": ["spikiness", "spikiness-l4"],
    "layers": ["up_blocks.0.resnets.0"],
    "timesteps": [50],
    "num_seeds": 2,
    "steps": 25,
    "guidance_scale": 7.5,
    "seed": 3,
    "dtype": "fp32",
}
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def item(index: int, prompt: str | None, score: float | None = 1.0, **changes: Any) -> Measurement:
    cells = {"up_blocks.0.resnets.0": {"50": [score, score]}}
    scores = {"spikiness": Score(score=score, cells=cells), "spikiness-l4": Score(score=0.5, cells={})}
    return Measurement(
        **{"index": index, "id": f"i{index}", "prompt": prompt, "source": "p.txt", "scores": scores, **changes}
    )


def run(*rows: Measurement, clean: int = 0, **changes: Any) -> tuple[Header, list[Result], Verdict]:
    """A run judged against `clean` clean scores of 0, -0.01, -0.02, ..., or against none."""
    values = {
        "memdetect": "0",
        "created": "",
        "model": "tiny",
        "versions": {},
        "plan": plan_of(**PLAN),
        "planned": len(rows),
    }
    header = Header(**{**values, "planned": len(rows), "sigmas": {"50": 0.25}, **changes})
    cells = {"up_blocks.0.resnets.0": {"50": [[-i / 100, -i / 100] for i in range(clean)]}}
    scores = {"spikiness": cells, "spikiness-l4": cells}
    items = tuple(Item(id=f"clean-{i}", family=f"clean-{i}") for i in range(clean))
    made = Calibration(settings=header.plan.settings, items=items, scores=scores) if clean else None
    results, verdict = judge(header, rows, made)
    return header, list(results), verdict


def table(*prompts: str) -> str:
    return render_table(*run(*(item(i, prompt) for i, prompt in enumerate(prompts))))


def rows_of(text: str) -> list[str]:
    """The lines between the header and the empty line before the summary."""
    return text.partition("\n\n")[0].splitlines()[1:]


@pytest.mark.parametrize(
    "prompt", ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "a\x08\x08b", "a\rb", "a\x00b"]
)
def test_terminal_escapes_are_harmless(prompt: str) -> None:
    text = table(prompt)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "\ufffd" in text


@pytest.mark.parametrize("mark", [*BIDI, "\u200b", "\u2060", "\ufeff", "\u00ad", "\U000e0041"], ids=ascii)
def test_characters_that_turn_or_hide_text_are_shown(mark: str) -> None:
    """Otherwise a prompt could read as another one than it is."""
    text = table(f"a{mark}b")
    assert mark not in text
    assert "a\ufffdb" in text


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c"], ids=ascii)
def test_a_prompt_is_one_line(breaks: str) -> None:
    assert rows_of(table(f"one{breaks}two{breaks}three")) == rows_of(
        table("one two three".replace(" ", "\ufffd" * len(breaks)))
    )


@pytest.mark.parametrize(
    "prompt", ["[bold]loud[/bold]", "[/]", "[link=http://x]y[/link]", ":smiley:", "[red]", "\\[x]"]
)
def test_markup_is_literal(prompt: str) -> None:
    assert prompt in table(prompt)


def test_the_name_of_the_model_is_harmless_too() -> None:
    text = render_table(*run(item(0, "a cat"), model="tiny\x1b[31m[bold]", default_point="\x1b[2J"))
    assert "\x1b" not in text
    assert "tiny\ufffd[31m[bold]: 2 images a prompt" in text


def test_plain_cuts_to_its_width() -> None:
    assert plain("x" * 60) == "x" * 60
    assert plain("x" * 61) == "x" * 59 + "\N{HORIZONTAL ELLIPSIS}"
    assert plain("x" * 10**6, 5) == "xxxx\N{HORIZONTAL ELLIPSIS}"


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("letter", ["x", "\N{CJK UNIFIED IDEOGRAPH-732B}", "word "])
def test_no_line_is_wider_than_the_terminal(letter: str, width: int) -> None:
    text = render_table(*run(item(0, letter * 500), item(1, None, image="/far/" * 50 + "x.png")), width=width)
    assert max(map(cell_len, text.splitlines())) <= width


def test_colour_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    header, results, verdict = run(item(0, "a cat"), item(1, "a dog"), clean=99)
    results[1] = results[1].model_copy(update={"outcome": "copy"})  # in bold, which is no colour, but a code as well
    assert "\x1b" not in render_table(header, results, verdict, colour=False)
    assert "\x1b[33msuspicious" in render_table(header, results, verdict, colour=True)


def test_the_strongest_stand_first() -> None:
    """By outcome, then by the score that decides; what has no score stands last."""
    rows = [item(0, "clear low", -2.0), item(1, "nothing", None, status="nonfinite"), item(2, "clear high", -1.0)]
    rows += [item(3, "found", 5.0), item(4, "found more", 6.0)]
    order = [" ".join(line.split()[4:]) for line in rows_of(render_table(*run(*rows, clean=99)))]
    assert order == ["found more", "found", "clear high", "clear low", "nothing"]


def test_cells_of_a_row() -> None:
    """The scores are those that are judged: without a value for each seed there is none."""
    text = render_table(*run(item(0, "a cat", 1.23456), item(1, "a dog", None, status="nonfinite"), clean=99))
    assert rows_of(text)[0].split() == ["suspicious", "0.0100", "1.2346", "-", "a", "cat"]
    assert rows_of(text)[1].split() == ["inconclusive", "-", "-", "-", "a", "dog"]


def test_the_score_that_is_shown_and_sorted_by_is_the_one_that_decides() -> None:
    """Two detectors decide together, and order the items otherwise than the first of them alone."""
    rng = random.Random(0)
    clean = {name: [rng.gauss(0, 1) for _ in range(600)] for name in ("spikiness", "other")}
    made = calibration(clean, tuning=200)
    both = {"detectors": ["spikiness", "other"], "combine": ["spikiness", "other"]}
    scores = [{"spikiness": 1.0, "other": -1.0}, {"spikiness": -1.0, "other": 2.0}]
    head = header(2, made, plan=both)
    results, verdict = judge(head, [row(i, own) for i, own in enumerate(scores)], made)
    by_p = sorted(results, key=lambda result: result.p["combined"] or 1.0)
    assert [result.outcome for result in results] == ["clear", "clear"]
    assert [result.id for result in by_p] == ["i1", "i0"]
    text = render_table(head, results, verdict)
    assert text.splitlines()[0].split()[:5] == ["outcome", "p", "combined", "spikiness", "other"]
    shown = [line.split() for line in rows_of(text)]
    assert [line[2:5] for line in shown] == [
        [f"{result.judged['combined']:.4f}", *(f"{x:.4f}" for x in scores[int(result.id[1:])].values())]
        for result in by_p
    ]
    assert render_table(head, list(results), verdict) == text


def test_a_seed_that_stands_out_does_not_decide() -> None:
    """What is shown is the quartile of the seeds, which is ranked, and not their mean."""
    cells = {"up": {"50": [0.0, 8.0]}}
    measured = row(0, 0.0).model_copy(update={"scores": {"spikiness": Score(score=4.0, cells=cells)}})
    made = calibration([float(i) for i in range(99)])
    results, verdict = judge(header(1, made), [measured], made)
    assert rows_of(render_table(header(1, made), results, verdict))[0].split()[:3] == ["clear", "1.0000", "0.0000"]


def test_rows_that_are_left_out_are_counted() -> None:
    text = render_table(*run(*(item(i, f"prompt {i}") for i in range(ROWS + 3))))
    assert len(rows_of(text)) == ROWS
    assert "(3 more rows; " in text


def test_the_summary_counts_what_was_found() -> None:
    rows = [item(0, "a", 5.0), item(1, "b", -1.0), item(2, "c", None, status="nonfinite")]
    text = render_table(*run(*rows, clean=99, planned=4))
    assert "2 of 4 items measured (1 gave no finite values): 1 suspicious, 1 inconclusive, 1 clear." in text
    assert "against 99 clean prompts; with these the minimum number of detections is 1." in " ".join(text.split())
    assert "No training images were searched" in text


def test_the_summary_says_why_there_are_no_p_values() -> None:
    assert "No p-values: there are no clean scores for this model; run `memdetect calibrate`." in table("a cat")
    few = render_table(*run(*(item(i, f"cat {i}") for i in range(10)), clean=98))
    assert "against 98 clean prompts; with these the minimum number of detections is 3." in " ".join(few.split())


def test_the_summary_counts_what_was_left_out_or_unusable() -> None:
    rows = [
        item(0, "a", None, status="nonfinite"),
        item(1, None, image="x.png", scores={}, status="unreadable", notes=["'truncated.png': corrupt"]),
        item(2, "b", notes=["prompt truncated to its first 12 tokens"]),
    ]
    text = render_table(*run(*rows, dropped={"blank": 3, "repeated": 2}))
    assert "Noted: 3 blank lines left out, 2 repetitions left out, 1 unreadable, 1 not finite, 1 truncated." in text
    assert "Noted" not in table("a cat")
    text = render_table(*run(*rows[:1], dropped={"beside": 4, "further": 5}))
    further = "5 further columns of prompts that were not scanned"
    assert f"Noted: 4 images named beside a prompt and not probed, {further}" in text


def test_the_summary_counts_copies_and_what_is_only_similar() -> None:
    """Each image once: of 6 two are copies, one beside a sibling; one is only similar; one was not compared."""
    near = Match(seed=0, rank=1, key="a", similarity=0.9, similar=True, tile=0.1, ssim=0.9, copy_found=True)
    alike = near.model_copy(update={"rank": 2, "tile": 0.3, "copy_found": False})
    unseen = alike.model_copy(update={"seed": 1, "tile": None})
    index = {"rows": 9, "coverage": None, "embedder": "pdq", "similarity": 0.8, "level": 0.01, "null_queries": 100}
    rows = [
        item(0, "a", seeds=[1, 2], matches=[near, alike, near.model_copy(update={"seed": 1})]),
        item(1, "b", seeds=[1, 2], matches=[alike, alike.model_copy(update={"rank": 3}), unseen]),
        item(2, "c", seeds=[1, 2], matches=[]),
    ]
    text = " ".join(render_table(*run(*rows, index=index)).split())
    assert "2 of 6 images are copies. Similar to a training image, with other pixels: 1 more;" in text
    assert "As similar" not in render_table(*run(*rows[::2], index=index))
    assert "a part of a training image" not in text


def test_parts_of_training_images_are_counted_and_coloured() -> None:
    index = {"rows": 9, "coverage": None, "embedder": "pdq", "similarity": 0.8, "level": 0.01, "null_queries": 100}
    rows = [item(0, "a", seeds=[1, 2], matches=[part(), part("train-8"), part(seed=1)]), item(1, "b", seeds=[1, 2])]
    text = render_table(*run(*rows, index=index), colour=True)
    assert "\x1b[31mpartial-copy\x1b[0m" in text
    assert "1 partial-copy, 0 suspicious" in text
    assert "0 of 4 images are copies.\n2 of 4 images repeat a part of a training image.\n" in text


def test_the_summary_says_where_it_probed() -> None:
    text = render_table(*run(item(0, "a"), sigmas={"50": 0.25, "999": None}, default_point="paper default, untuned"))
    assert "Probed at up_blocks.0.resnets.0 at t=50 (sigma 0.250), t=999 [paper default, untuned]." in text
    assert "tiny: 2 images a prompt, 25 steps, guidance 7.5, seed 3, fp32." in text
