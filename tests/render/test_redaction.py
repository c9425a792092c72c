"""A redacted report is the same whatever the prompts, paths, captions, names and pixels were."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from report_runs import HOSTILE, OUTCOMES, match, run, texts
from synthetic_runs import part

from memdetect.copies.match import Match
from memdetect.judging import Rule, Verdict
from memdetect.judging.search_rules import copy_reason, part_reason
from memdetect.judging.sensitivity import Sensitivity
from memdetect.render import FORMATS, redact, with_evidence
from memdetect.render.redaction import OWN, _blanked
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.policy import Ignore, Policy
from memdetect.runs.records import Measurement, Result

Run = tuple[Header, list[Result], Verdict]
EXPIRES = date(2027, 1, 1)


def private(secret: str, other: str = "") -> Run:
    """A run in which every field that a user fills holds the secret; everything else does not depend on it."""
    policy = Policy(ignore=(Ignore(id="i0", outcome="copy", model="m", reason="r", owner="o", expires=EXPIRES),))
    told = {"id": secret, "copy_of": secret, "model": secret, "owner": secret, "reason": secret}
    held = {**policy.model_dump(mode="json"), "ignore": [told]}
    header, results, verdict = run(
        [secret, f"{secret} and {other}", other],
        OUTCOMES,
        image=secret,
        source=f"/home/{secret}/prompts.txt",
        meta={"caption": secret, secret: [secret, {"x": secret}], "n": 3},
        matches=[match(secret, f"/train/{secret}.png", secret)],
        notes=[f"{secret!r}: corrupt", "prompt truncated to its first 12 tokens"],
        reason=f"image 0 is a copy of {secret}",
        suppressed=f"{secret} until {EXPIRES}: {secret}",
    )
    plan = header.plan.model_copy(update={"call": {"negative_prompt": secret}, "strata": secret})
    header = header.model_copy(
        update={
            "model": secret,
            "plan": plan,
            "default_point": secret,
            "policy": held,
            "index": {"name": secret, "rows": 7, "coverage": 0.5},
            "wording": {"auroc": 0.6, "word": secret},
        }
    )
    rules = (
        Rule("findings", "fail", "2 suspicious among 3"),
        Rule(
            "undetectable",
            "inconclusive",
            f"1 items: the clean scores were made with another call ({secret}, {secret})",
        ),
        Rule("strata", "inconclusive", f"stratum {secret!r} has 3 clean prompts, expected 200"),
    )
    verdict = Verdict(
        **{name: getattr(verdict, name) for name in ("planned", "measured", "counts", "calibrated")},
        missing=f"the clean scores were made with another call (calibrated {secret!r}, scanned {other!r})",
        rules=rules,
        policy=held,
        claim=f"Of 3 items 3 were measured; for {secret} by spikiness, 25 steps; checked ({secret}).",
        notes=(
            f"the suppression of {secret} expired on {EXPIRES}",
            f"the suppression of {other} ({secret}) matches no",
        ),
    )
    return header, results, verdict


def without_hashes(made: Run) -> Run:
    """Hashes follow what they are of, on purpose: those of keys, settings and names are set to one value."""
    header, results, verdict = made
    plan = header.plan.model_copy(update={"call": {"redacted": "#"}, "strata": "#"})
    index = {**header.index, "name": "#"}
    header = header.model_copy(update={"plan": plan, "index": index, "wording": {**header.wording, "word": "#"}})
    rows = [
        row.model_copy(update={"matches": [m.model_copy(update={"key": "#"}) for m in row.matches]}) for row in results
    ]
    return header, rows, verdict


@settings(max_examples=15)
@given(texts, texts)
@pytest.mark.parametrize("name", FORMATS)
def test_a_redacted_report_does_not_depend_on_what_is_redacted(name: str, secret: str, other: str) -> None:
    """Nothing at all can be learned: two runs that differ in what is redacted give one report."""
    expected = FORMATS[name](*without_hashes(redact(*private("another secret", "and more"))))
    assume(not any(len(own) >= 6 and own in expected for own in (secret, other)))  # a word of the report's own
    assert FORMATS[name](*without_hashes(redact(*private(secret, other)))) == expected


@settings(max_examples=15)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=12, max_size=20), st.sampled_from(HOSTILE))
@pytest.mark.parametrize("name", FORMATS)
def test_a_redacted_report_holds_no_prompt(name: str, marker: str, hostile: str) -> None:
    """In no spelling: as it is, escaped for JSON, or as a format shows it."""
    secret = f"{marker}QXJZQXJZ{hostile}"
    shown = FORMATS[name](*redact(*private(secret)))
    assert "QXJZQXJZ" in FORMATS[name](*private(secret))
    assert "QXJZQXJZ" not in shown
    other = FORMATS[name](*redact(*private("another secret")))
    for spelling in (marker, json.dumps(marker)[1:-1]):
        assert spelling not in shown or spelling in other, "neither, unless it is a word of the format's own"


REASONS = {
    "copy": copy_reason,
    "part": part_reason,
    "similar": lambda near: f"image 0 is similar to {near.key}, but the pixels differ",
    "gone": lambda near: f"image 0 may be a copy: it is gone; it is similar to {near.key}",
}


@settings(max_examples=40)
@given(st.one_of(texts, st.sampled_from(["k", "a: 7% of its area agrees, x", ": 1% of its area agrees"])))
@pytest.mark.parametrize("name", REASONS)
def test_a_reason_does_not_depend_on_the_key_of_a_training_image(name: str, key: str) -> None:
    def said(own: str) -> str:
        near = part(own)
        return redact(*run(["a cat"], matches=[near], reason=REASONS[name](near)))[1][0].reason

    assert said(key) == said("another key")
    assert "31% of its area agrees, mirrored" in said(key) or name != "part"


def test_what_is_no_secret_stays() -> None:
    header, results, verdict = redact(*private("a secret"))
    assert [row.outcome for row in results] == ["copy", "partial-copy", "suspicious"]
    assert [row.line for row in results] == [1, 2, 3]
    assert results[0].scores["spikiness"].score == 0.5
    assert results[0].matches[0].similarity == 0.97
    assert results[0].notes == ["prompt truncated to its first 12 tokens"]
    assert header.plan.steps == 25
    assert header.index["coverage"] == 0.5
    assert header.index["rows"] == 7
    assert verdict.claim == "Of 3 items 3 were measured; for model abc by spikiness, 25 steps; checked [redacted]."
    assert verdict.rules[0].reason == "2 suspicious among 3"


def test_texts_of_one_length_that_overlap_are_blanked_in_one_order() -> None:
    """They come as a set, of which each process has an order of its own."""
    pair = ["a red dog in", "red dog in s"]
    assert _blanked("said: a red dog in snow", pair) == _blanked("said: a red dog in snow", pair[::-1])


def test_the_kinds_of_memorized_prompts_are_not_told() -> None:
    header, results, verdict = private("a secret")
    known = Sensitivity("zebra", 30, 29, 28, 0.85)
    verdict = replace(verdict, sensitivity=(known,), basis=f"by scores alone, which notice {known.phrase}")
    _, _, hidden = redact(header, results, verdict)
    assert "zebra" not in repr(hidden)
    assert hidden.basis == "by scores alone, which notice 29 of 30 memorized prompts of kind [redacted], at least 85%"


def test_an_id_that_is_a_hash_of_its_prompt_stays_and_any_other_is_hashed() -> None:
    own = hashlib.sha256(b"a cat").hexdigest()[:16]
    header, results, verdict = run(["a cat", "a dog"])
    results = [results[0].model_copy(update={"id": own}), results[1].model_copy(update={"id": "my dog"})]
    _, shown, _ = redact(header, results, verdict)
    assert [row.id for row in shown] == [own, hashlib.sha256(b"my dog").hexdigest()[:16]]
    assert redact(header, [results[1].model_copy(update={"id": own})], verdict)[1][0].id != own


def test_every_field_of_a_record_has_been_thought_of() -> None:
    """A field that is new here has to be kept or redacted on purpose: add it to one of the two sets."""
    kept = {"schema_version", "index", "line", "seeds", "scores", "files", "status", "p", "judged", "outcome"}
    kept |= {"one_colour", "kind", "novelty"}
    changed = {
        "id",
        "prompt",
        "image",
        "sha256",
        "source",
        "meta",
        "matches",
        "notes",
        "reason",
        "suppressed",
        "decisions",
    }
    assert set(Result.model_fields) == kept | changed >= set(Measurement.model_fields)
    assert set(Match.model_fields) == {
        *("seed", "rank", "similarity", "similar", "p", "tile", "ssim", "copy_found", "note"),
        *("affine", "agreed", "p_agreed", "region", "partial_found"),
        *("key", "row", "path", "caption"),
    }
    kept = {"schema_version", "memdetect", "created", "versions", "planned", "sigmas", "dropped", "device", "threads"}
    kept |= {"policy_digest", "plan_digest", "calibration", "screen"}
    assert set(Header.model_fields) == kept | {
        *("model", "plan", "default_point", "index", "opening", "policy", "wording", "seal"),
    }
    kept = {"model", "adapter", "dtype", "scheduler", "steps", "guidance_scale", "size", "noise", "inputs", "num_seeds"}
    kept |= {"seed", "detectors", "readings", "combine", "by", "bank", "layers", "timesteps", "top_k"}
    kept |= {"shard_size", "turns"}
    assert set(Plan.model_fields) == kept | set(OWN)


@pytest.fixture
def pixels(tmp_path: Path) -> tuple[Path, bytes]:
    content = bytes(range(256)) * 4
    (tmp_path / "images" / "0000000000").mkdir(parents=True)
    (tmp_path / "images" / "0000000000" / "0000000000-0.png").write_bytes(content)
    (tmp_path.parent / "outside.png").write_bytes(content)
    return tmp_path, content


def shown(folder: Path, evidence: Any, files: list[str]) -> list[str]:
    results = run(["a cat"], files=files)[1]
    return with_evidence(results, evidence, folder)[0].files


def test_evidence(pixels: tuple[Path, bytes]) -> None:
    folder, content = pixels
    name = "images/0000000000/0000000000-0.png"
    assert shown(folder, "none", [name]) == []
    assert shown(folder, "thumbs", [name]) == [name]
    assert shown(folder, "hash", [name]) == [f"sha256:{hashlib.sha256(content).hexdigest()}"]
    assert shown(folder, "hash", ["images/none.png", "../outside.png", "/etc/hostname"]) == ["missing"] * 3


@pytest.mark.parametrize("evidence", ["none", "hash", "thumbs"])
@pytest.mark.parametrize("name", FORMATS)
def test_no_report_holds_a_pixel(name: str, evidence: Any, pixels: tuple[Path, bytes]) -> None:
    """Neither as they are nor in base64 or hex, from any start."""
    folder, content = pixels
    header, results, verdict = run(["a cat"], files=["images/0000000000/0000000000-0.png"])
    text = FORMATS[name](header, with_evidence(results, evidence, folder), verdict)
    for start in range(3):
        assert base64.b64encode(content[start : start + 24]).decode()[:28] not in text
    assert content[:8].hex() not in text.lower()
    assert content[40:60].decode("latin-1") not in text
