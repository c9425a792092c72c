"""The section of a model card, read as the Hub's own library reads it; no prompt is in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from recorded_runs import scene
from report_runs import OUTCOMES, match, run, texts

from memdetect.judging import judge
from memdetect.judging.statistics.rates import count_rate
from memdetect.render.card import render_card
from memdetect.render.junit import xml_text


def metrics(text: str) -> dict[str, object]:
    card = ModelCard(text)
    found = card.data.eval_results
    assert found is not None
    assert {(own.task_type, own.dataset_type) for own in found} <= {
        ("text-to-image", "prompts"),
        ("unconditional-image-generation", "prompts"),
    }
    return {own.metric_type: own.metric_value for own in found}


def test_the_hub_reads_the_counts_and_the_verdict() -> None:
    header, rows, verdict = run(["a", "b", "c", "d", "e", "f"], OUTCOMES)
    text = render_card(header, rows, replace(verdict, rate=count_rate(2, 6, 999, 0.01, 0.95, None)))
    found = metrics(text)
    assert found.pop("memdetect_flagged_share_bound") == pytest.approx(0.729, abs=1e-3)
    assert found == {
        "memdetect_copy": 1,
        "memdetect_partial_copy": 1,
        "memdetect_suspicious": 1,
        "memdetect_similar": 1,
        "memdetect_inconclusive": 1,
        "memdetect_verdict": "fail",
    }
    assert ModelCard(text).data.model_name == "tiny"


def test_the_section_says_what_was_decided_and_what_was_not_tested() -> None:
    header, rows, verdict = run(["a zebra"])
    text = ModelCard(render_card(header, rows, verdict)).text.lstrip()
    assert text.startswith("## Memorization audit\n\n**Verdict: fail.** Of some items")
    assert "| findings | fail | 1 among 1 |" in text
    assert "- prompts of other kinds than those scanned" in text
    assert "not fixed before the first image" in text


@pytest.mark.parametrize(
    ("adapter", "task"), [("DDPMPipeline", "unconditional-image-generation"), ("Flux", "text-to-image")]
)
def test_the_task_is_that_of_the_pipeline(adapter: str, task: str) -> None:
    header, rows, verdict = run(["a"])
    header = header.model_copy(update={"plan": header.plan.model_copy(update={"adapter": adapter})})
    found = ModelCard(render_card(header, rows, verdict)).data.eval_results
    assert found is not None
    assert found[0].task_type == task


@settings(max_examples=40)
@given(texts, texts)
def test_a_name_is_a_text_and_a_prompt_is_not_there(name: str, secret: str) -> None:
    header, rows, verdict = run(["QXJZ"], matches=[match(f"QXJZ{secret}")], reason=f"QXJZ{secret}", notes=["QXJZ"])
    header = header.model_copy(update={"model": name})
    text = render_card(header, rows, verdict)
    assert "QXJZ" not in text
    if name.strip():
        assert ModelCard(text).data.model_name == xml_text(name, 200)
        assert len(metrics(text)) == 6


def test_a_real_run(tmp_path: Path) -> None:
    held = scene("memorizing")
    found = metrics(render_card(held.header, *judge(held.header, held.rows, held.calibration)))
    assert found["memdetect_copy"] == 20
    assert found["memdetect_verdict"] == "fail"
