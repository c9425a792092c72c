"""What was exchanged or edited after it was fixed or measured is named, and never green."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, row, searched, write_run

from memdetect.errors import Exit, MemdetectError
from memdetect.judging import judge, read_runs
from memdetect.judging.integrity import unaltered
from memdetect.runs.folder import RunFolder
from memdetect.runs.plan import inputs_digest
from memdetect.runs.policy import Policy

MADE = calibration(np.random.default_rng(0).normal(size=999).tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound run of 30 prompts that passes."""
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(1).normal(size=30).clip(-2, 2))]
    return write_run(tmp_path / "run", header(30, MADE, index=INDEX), searched(rows), MADE)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    held = json.loads(path.read_text(encoding="utf-8"))
    change(held)
    path.write_text(json.dumps(held), encoding="utf-8")


def gated(folder: Path) -> tuple[Exit, tuple[str, ...]]:
    found = read_runs([folder])
    _, verdict = judge(found.header, found.rows, found.calibration, altered=found.altered)
    return verdict.exit, found.altered


def test_an_untouched_run_is_as_it_was(folder: Path) -> None:
    assert gated(folder) == (Exit.OK, ())
    assert [r.id for r in unaltered(RunFolder(folder))] == [f"i{i}" for i in range(30)]


SEAL = "run.json is not as it was written, its seal is of another content; scan again"
PLAN_LINE = "the plan in run.json is not the one whose digest it holds; scan again"
POLICY_LINE = "the policy in run.json is not the one whose digest it holds; scan again"
INPUTS = "the items that were measured are not those that were planned; scan again"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h.update(created="later"), [SEAL]),
        (lambda h: h.update(seal=""), [SEAL]),
        (lambda h: h["plan"].update(seed=7), [SEAL, PLAN_LINE]),
        (lambda h: h["plan"].update(inputs="0" * 64), [SEAL, PLAN_LINE, INPUTS]),
        (lambda h: h["policy"].update(fail_on="none"), [SEAL, POLICY_LINE]),
        (lambda h: h.update(plan_digest=""), [SEAL, PLAN_LINE]),
        (lambda h: h.update(wording={"low": 0.1}), [SEAL]),
    ],
)
def test_an_edited_header_is_named_by_what_it_no_longer_fits(change: Any, said: list[str], folder: Path) -> None:
    edit(folder / "run.json", change)
    assert gated(folder) == (Exit.INCONCLUSIVE, tuple(said))


def test_a_mended_seal_does_not_mend_the_digests(folder: Path) -> None:
    """Each digest is computed of what it covers, whatever the others say."""

    def change(held: dict[str, Any]) -> None:
        held["plan"]["seed"] = 7
        text = json.dumps({key: value for key, value in held.items() if key != "seal"}, sort_keys=True)
        held["seal"] = hashlib.sha256(text.encode()).hexdigest()

    edit(folder / "run.json", change)
    assert gated(folder) == (Exit.INCONCLUSIVE, (PLAN_LINE,))


def test_an_edited_shard_is_named(folder: Path) -> None:
    shard = folder / "shards" / "0000000001.jsonl"
    edit_line = shard.read_text(encoding="utf-8").replace('"score":', '"score": ', 1)
    shard.write_text(edit_line, encoding="utf-8")
    said = "shards/0000000001.jsonl is not what the journal says was written; delete it and scan again"
    assert gated(folder) == (Exit.INCONCLUSIVE, (said,))
    with pytest.raises(MemdetectError, match=r"run was altered: shards/0000000001\.jsonl") as caught:
        unaltered(RunFolder(folder))
    assert caught.value.exit == Exit.ERROR


def test_another_prompt_under_an_old_id_is_not_what_was_planned(folder: Path) -> None:
    """Also where the shard came in the regular way."""
    run = RunFolder(folder)
    rows = [r.model_copy(update={"prompt": "a cat"}) if r.id == "i9" else r for r in run.measurements()]
    run.shard(1).unlink()
    assert run.write_shard(1, rows[8:16])
    assert gated(folder) == (Exit.INCONCLUSIVE, (INPUTS,))


def test_a_shard_that_was_written_anew_counts_by_any_of_its_notes(folder: Path) -> None:
    run = RunFolder(folder)
    rows = list(run.measurements())
    run.shard(1).unlink()
    assert run.write_shard(1, [r.model_copy(update={"notes": ["again"]}) for r in rows[8:16]])
    assert gated(folder) == (Exit.OK, ())


def test_a_shard_without_a_note_is_named_and_a_cut_note_hides_no_other(folder: Path) -> None:
    (journal,) = RunFolder(folder).journal.files()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[1:]) + lines[0][:20])
    RunFolder(folder).note("start")
    assert [e["event"] for e in RunFolder(folder).events()] == ["shard"] * 3 + ["start"]
    code, said = gated(folder)
    assert (code, len(said)) == (Exit.INCONCLUSIVE, 1)
    assert said[0].startswith("shards/0000000000.jsonl is not what the journal says")
    journal.write_bytes(b'[]\n{"event": "shard", "file": [1], "sha256": {}}\n\xff\n')
    assert len(gated(folder)[1]) == 4
    journal.unlink()
    assert len(gated(folder)[1]) == 4


def test_a_crash_between_note_and_shard_leaves_a_run_that_resumes(folder: Path) -> None:
    rows = list(read_runs([folder]).rows)
    (folder / "shards" / "0000000003.jsonl").unlink()
    RunFolder(folder).note("shard", file="0000000003.jsonl", sha256="0" * 64)
    RunFolder(folder).write_shard(3, rows[24:])
    assert gated(folder) == (Exit.OK, ())


def test_exchanged_clean_scores_are_named(folder: Path) -> None:
    other = calibration(np.random.default_rng(5).normal(size=999).tolist())
    (folder / "calibration.json").write_text(other.model_dump_json(), encoding="utf-8")
    code, said = gated(folder)
    assert code == Exit.INCONCLUSIVE
    assert said == (
        "calibration.json does not hold the clean scores that run.json names; put those back, or scan again",
    )
    (folder / "calibration.json").unlink()
    assert gated(folder)[1] == (
        "calibration.json is missing, though run.json names clean scores; put it back, or scan again",
    )


def test_clean_scores_put_into_a_run_that_has_none_are_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", header(1), [row(0, 1.0)], None)
    assert read_runs([folder]).altered == ()
    (folder / "calibration.json").write_text(MADE.model_dump_json(), encoding="utf-8")
    assert len(read_runs([folder]).altered) == 1


def test_the_content_of_given_images_is_part_of_the_inputs(tmp_path: Path) -> None:
    given = [row(0, 1.0, prompt=None, image="a.png", sha256="1" * 64), row(1, 1.0)]
    folder = write_run(tmp_path / "run", header(2), given, None)
    assert read_runs([folder]).altered == ()
    assert read_runs([folder]).header.plan.inputs == inputs_digest(
        [("i0", None, "1" * 64), ("i1", given[1].prompt, None)]
    )
    for sha256, said in (("2" * 64, INPUTS), ("", "1 given images were measured without their sha256")):
        RunFolder(folder).shard(0).unlink()
        RunFolder(folder).write_shard(0, [given[0].model_copy(update={"sha256": sha256}), given[1]])
        assert read_runs([folder]).altered[0].startswith(said)


def test_digests_are_those_of_plain_json() -> None:
    plan = header(1).plan
    text = json.dumps(json.loads(plan.model_dump_json()), sort_keys=True)
    assert plan.digest == hashlib.sha256(text.encode()).hexdigest()
    assert inputs_digest([("a", "b", None)]) == hashlib.sha256(b'["a", "b", null]').hexdigest()
    head = header(1)
    text = json.dumps(head.model_dump(mode="json", exclude={"seal"}), sort_keys=True)
    assert head.sealed().seal == hashlib.sha256(text.encode()).hexdigest()
    assert head.sealed().sealed() == head.sealed()


def test_many_lines_are_counted_and_a_finding_still_fails() -> None:
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(1).normal(size=30).clip(-2, 2))]
    lines = [f"line {i}" for i in range(5)]
    verdict = judge(header(30, MADE, index=INDEX), searched(rows), MADE, altered=lines)[1]
    assert verdict.reasons == ["integrity: line 0; line 1; line 2; and 2 more"]
    assert verdict.notes[0] == "line 0; line 1; line 2; and 2 more"
    found = judge(header(30, MADE), [row(0, 9.0), *rows[1:]], MADE, Policy(), altered=lines)[1]
    assert found.exit == Exit.FAILED
