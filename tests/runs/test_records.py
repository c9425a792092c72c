"""The run folder survives what happens to it: a crash, damage, a second writer, another plan."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import plan_of

from memdetect.errors import Exit, MemdetectError
from memdetect.files import temporary_of, write_atomic
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Result, Score
from memdetect.runs.sharding import Sharding

PLAN = {
    **{"inputs": "aa", "model": "bb", "dtype": "fp32", "seed": 0, "num_seeds": 1, "steps": 4, "guidance_scale": 7.5},
    **{"detectors": ["spikiness"], "layers": ["up"], "timesteps": [50], "call": {"eta": 0.1}},
}


def header(**plan: Any) -> Header:
    return Header(memdetect="0", created="now", model="tiny", versions={}, plan=plan_of(**{**PLAN, **plan}), planned=4)


def row(index: int, **changes: Any) -> Measurement:
    scores = {"spikiness": Score(score=0.5 + index, cells={"up": {"50": [0.5 + index]}})}
    values = {"index": index, "id": f"id-{index}", "prompt": "a cat", "source": "p.txt", "scores": scores, **changes}
    return Measurement(**values)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An open run of the plan above."""
    made = RunFolder(tmp_path / "run")
    made.open(header())
    return made


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails before the rename is done, readers see the old file, and no temporary one stays behind."""
    path = tmp_path / "file.jsonl"
    write_atomic(path, "old\n")

    def fail(*_: Any) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="disk gone"):
        write_atomic(path, "new\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that reaches the disk before the content would leave an empty file after a power cut."""
    path, events, fsync, replace = tmp_path / "file.jsonl", list[str](), os.fsync, Path.replace
    write_atomic(path, "old\n")

    def watched_fsync(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == len("new\n")
        events.append(f"sync, readers see {path.read_text()!r}")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> Path:
        events.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_atomic(path, "new\n")
    assert events == ["sync, readers see 'old\\n'", "rename"]
    assert path.read_text() == "new\n"


def test_measurements_come_back_in_the_order_of_the_plan(folder: RunFolder) -> None:
    assert folder.write_shard(1, [row(2), row(3)])
    assert folder.write_shard(0, [row(0), row(1)])
    assert list(folder.measurements()) == [row(0), row(1), row(2), row(3)]
    assert folder.todo(Sharding(6, 2)) == [2]


def test_a_half_written_shard_counts_for_nothing(folder: RunFolder) -> None:
    """What a process that was killed while writing left behind is no shard."""
    folder.write_shard(0, [row(0)])
    temporary_of(folder.shard(1)).write_text('{"index": 1, "id"')
    assert list(folder.measurements()) == [row(0)]
    assert folder.todo(Sharding(2, 1)) == [1]


@pytest.mark.parametrize(
    "damage", [b'{"index": 3, "id"', b"\xff\xfe", b"{}", b""], ids=["cut", "binary", "{}", "empty"]
)
def test_a_damaged_shard_is_named_with_its_line(damage: bytes, folder: RunFolder) -> None:
    folder.write_shard(0, [row(0)])
    shard = folder.shard(1)
    shard.write_bytes(row(2).model_dump_json().encode() + b"\n" + damage + b"\n")
    with pytest.raises(
        MemdetectError, match=r"shards/0000000001\.jsonl, line 2 is damaged; delete this shard"
    ) as raised:
        list(folder.measurements())
    assert raised.value.exit == Exit.ERROR


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", 1, "seed was 0, now 1"),
        ("model", "cc", 'model was "bb", now "cc"'),
        ("layers", ["up", "mid"], 'layers was ["up"], now ["up", "mid"]'),
        ("inputs", "dd", 'inputs was "aa", now "dd"'),
        ("guidance_scale", 7.0, "guidance_scale was 7.5, now 7.0"),
        ("call", {}, 'call was {"eta": 0.1}, now {}'),
        ("top_k", 1, "top_k was null, now 1"),
    ],
)
def test_another_plan_is_refused_by_its_key(key: str, value: Any, said: str, folder: RunFolder) -> None:
    with pytest.raises(MemdetectError) as raised:
        folder.open(header(**{key: value}))
    assert f"holds a run with another plan: {said};" in str(raised.value)
    assert raised.value.exit == Exit.USAGE
    assert folder.header() == header().sealed()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": Policy(fdr=0.1)}, "another policy: fdr was 0.05, now 0.1; choose another --out, or resume with"),
        ({"policy": Policy(fail_on="copy")}, 'another policy: fail_on was "suspicious", now "copy"'),
        (
            {"calibration": "b" * 64},
            "another calibration: its digest was aaaaaaaaaaaa, now bbbbbbbbbbbb; choose another",
        ),
        ({"calibration": ""}, "another calibration: its digest was aaaaaaaaaaaa, now none"),
    ],
)
def test_another_bar_is_refused_before_anything_is_written(change: Any, said: str, tmp_path: Path) -> None:
    made = {"policy": Policy(), "calibration": "a" * 64}
    heads = [
        header().model_copy(update={**facts, "policy": facts["policy"].model_dump(mode="json")})
        for facts in (made, {**made, **change})
    ]
    run = RunFolder(tmp_path / "run")
    run.open(heads[0])
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(MemdetectError) as raised:
        run.open(heads[1])
    assert said in str(raised.value)
    assert raised.value.exit == Exit.USAGE
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_what_is_set_aside_may_change_before_a_resume(tmp_path: Path) -> None:
    """Such entries count where the gate runs, never from the header."""
    run = RunFolder(tmp_path / "run")
    given = {"ignore": [{"id": "a"}]}
    run.open(header().model_copy(update={"policy": Policy().model_dump(mode="json")}))
    assert run.open(header().model_copy(update={"policy": {**Policy().model_dump(mode="json"), **given}}))


def test_keys_that_are_not_known_yet_are_not_compared(folder: RunFolder) -> None:
    assert folder.continued(header(index="later"), later=("index",)) == header().sealed()
    with pytest.raises(MemdetectError, match="another plan: seed was 0, now 1"):
        folder.continued(header(index="later", seed=1), later=("index",))
    assert RunFolder(folder.path / "nothing").continued(header()) is None
    assert not (folder.path / "nothing").exists()


def test_a_shard_is_noted_before_it_is_there(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two leaves a line too many, never a shard without one."""
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        folder.write_shard(0, [row(0)], seconds=1.5)
    monkeypatch.undo()
    (event,) = folder.events()
    digest = hashlib.sha256((row(0).model_dump_json() + "\n").encode()).hexdigest()
    assert {key: event[key] for key in ("event", "file", "sha256", "items", "seconds")} == {
        **{"event": "shard", "file": "0000000000.jsonl", "sha256": digest, "items": 1, "seconds": 1.5}
    }
    assert folder.shards() == []


def test_a_long_difference_is_cut(folder: RunFolder) -> None:
    with pytest.raises(MemdetectError) as raised:
        folder.open(header(layers=["x" * 1000]))
    assert len(str(raised.value)) < 500


def test_the_same_plan_continues_under_the_first_header(folder: RunFolder) -> None:
    later = header().model_copy(update={"created": "later"})
    assert folder.open(later).created == "now"


@pytest.mark.parametrize("blocked", ["run", "shards", "images"])
def test_a_folder_that_cannot_be_written_is_refused(blocked: str, tmp_path: Path) -> None:
    """A regular file stands where a folder has to be."""
    path = tmp_path / "run"
    place = path if blocked == "run" else path / blocked
    place.parent.mkdir(exist_ok=True)
    place.write_text("in the way")
    with pytest.raises(MemdetectError, match=r"cannot write to .*run: .*; choose another --out") as raised:
        RunFolder(path).open(header())
    assert raised.value.exit == Exit.USAGE
    assert place.read_text() == "in the way"


def test_a_folder_below_a_file_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(MemdetectError, match=r"cannot write to .*Not a directory") as raised,
        RunFolder(tmp_path / "file" / "run").locked(),
    ):
        pass
    assert raised.value.exit == Exit.USAGE


@pytest.mark.parametrize("name", ["shards", "images"])
def test_files_of_something_else_are_never_written_over(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "run" / name / "0000000-0.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(MemdetectError, match=rf"holds {name} but no run\.json"):
        RunFolder(tmp_path / "run").open(header())
    assert mine.read_text() == "mine"
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_second_writer_is_refused_until_the_first_is_gone(folder: RunFolder) -> None:
    with folder.locked():
        with (
            pytest.raises(MemdetectError, match=r"another process is writing to .*run") as raised,
            RunFolder(folder.path).locked(),
        ):
            pass
        assert raised.value.exit == Exit.USAGE
    with RunFolder(folder.path).locked():
        pass


def test_the_lock_goes_when_its_body_fails(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.locked():
        raise ZeroDivisionError
    with RunFolder(folder.path).locked():
        pass


def test_the_journal_is_a_json_object_a_line(folder: RunFolder) -> None:
    folder.note("start", device="cpu", what='line\nbreak, "quotes", \x1b[31m')
    folder.note("shard", halved=[(4, 2)], seconds=0.5)
    lines = [json.loads(line) for line in folder.journal.own.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "shard"]
    assert lines[0]["what"] == 'line\nbreak, "quotes", \x1b[31m'
    assert lines[1]["halved"] == [[4, 2]]
    assert all(line["host"] and line["time"].endswith("Z") for line in lines)


def test_results_round_trip_with_hostile_prompts(folder: RunFolder) -> None:
    """A prompt is one line of the file whatever line ends it holds, and comes back as it was."""
    prompts = ["a\nb\r\nc", "\u2028\u2029\x85\x0b\x0c", '"},{"', "\N{GRINNING FACE}"]
    wanted = [
        Result(**row(i, prompt=prompt, meta={"k": prompt}).model_dump(), p={"spikiness": None}, outcome="clear")
        for i, prompt in enumerate(prompts)
    ]
    path = folder.write_results(wanted)
    assert path.read_bytes().count(b"\n") == len(prompts)
    assert folder.results() == wanted


def test_results_that_are_missing_or_damaged_are_named(folder: RunFolder) -> None:
    with pytest.raises(MemdetectError, match=r"has no results\.jsonl: the scan is not finished"):
        folder.results()
    whole = Result(**row(0).model_dump(), outcome="clear").model_dump_json()
    (folder.path / "results.jsonl").write_text(f"{whole}\n{whole[:40]}\n")
    with pytest.raises(MemdetectError, match=r"results\.jsonl, line 2 is damaged") as raised:
        folder.results()
    assert raised.value.exit == Exit.USAGE


def test_a_header_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(MemdetectError, match=r"is not a run: it has no run\.json"):
        RunFolder(tmp_path).header()
    (tmp_path / "run.json").write_text('{"memdetect": "0"')
    with pytest.raises(MemdetectError, match=r"run\.json does not parse"):
        RunFolder(tmp_path).header()


def test_records_refuse_fields_they_do_not_know() -> None:
    """A newer file is refused, never read by halves."""
    with pytest.raises(ValueError, match="colour"):
        Measurement.model_validate_json(json.dumps({**row(0).model_dump(), "colour": 1}))
