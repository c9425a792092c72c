"""A shard is looked up and kept while the next one goes through the network; nothing is lost when either fails."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flat_options import scan, settings

from memdetect.errors import Exit, MemdetectError
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Run
from memdetect.scanning import loop as loops
from memdetect.scanning.measure import Indexed, Sampled, sampled

OPTIONS = settings(steps=1, num_seeds=2, batch_size=4, shard_size=2, save_images=True)  # two prompts a shard
LONG = 60  # seconds that a thread waits for the other before it gives up


@pytest.fixture
def prompts(tmp_path: Path) -> list[Path]:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\na dog\na red cat\na red dog\na photo of a cat\n", encoding="utf-8")
    return [path]


def kept(run: Run) -> dict[str, bytes]:
    """The bytes of everything that is measured: shards and images."""
    files = sorted(path for path in run.folder.glob("[si]*/**/*") if path.is_file())
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}


def stand_in(monkeypatch: pytest.MonkeyPatch, before: Any = None, finish: Any = None) -> None:
    """Let `before(first)` run as a shard is sampled, and `finish(first)` before it is finished; first: its number."""

    def other(shard: Sequence[Indexed], *rest: Any) -> Sampled:
        first = shard[0][0]
        if before:
            before(first)
        made = sampled(shard, *rest)

        def late() -> Any:
            if finish:
                finish(first)
            return made.finish()

        return Sampled(late, made.notes)

    monkeypatch.setattr(loops, "sampled", other)


def test_a_shard_is_finished_while_the_next_is_sampled(
    pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, second = scan(prompts, pipe, tmp_path / "whole", OPTIONS), Event()
    met: list[bool] = []

    def begun(first: int) -> None:
        if first == 2:
            second.set()

    def waits(first: int) -> None:
        if first == 0:
            met.append(second.wait(LONG))

    stand_in(monkeypatch, begun, waits)
    run = scan(prompts, pipe, tmp_path / "both", OPTIONS)
    assert met == [True]
    assert kept(run) == kept(whole)
    events = [event for event in RunFolder(run.folder).events() if event["event"] == "shard"]
    assert [event["first"] for event in events] == [0, 2, 4]
    assert all(event["seconds"] >= 0 for event in events)


def test_a_fault_in_the_network_loses_no_shard_that_went_through_it(
    pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Event()

    def fails(first: int) -> None:
        if first == 2:
            failed.set()
            raise MemdetectError("no memory", Exit.ERROR)

    def waits(first: int) -> None:
        assert failed.wait(LONG)

    with monkeypatch.context() as patch:
        stand_in(patch, fails, waits)
        with pytest.raises(MemdetectError, match="no memory"):
            scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert [row.index for row in RunFolder(tmp_path / "run").measurements()] == [0, 1]
    again = scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert kept(again) == kept(scan(prompts, pipe, tmp_path / "whole", OPTIONS))


def test_a_fault_in_the_look_up_ends_the_scan_which_can_go_on(
    pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled_first: list[int] = []

    def fails(first: int) -> None:
        if first == 2:
            raise MemdetectError("the index is gone", Exit.ERROR)

    with monkeypatch.context() as patch:
        stand_in(patch, sampled_first.append, fails)
        with pytest.raises(MemdetectError, match="the index is gone"):
            scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert sampled_first == [0, 2, 4]
    held = {row.index for row in RunFolder(tmp_path / "run").measurements()}
    assert held >= {0, 1}
    assert not held & {2, 3}
    again = scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert kept(again) == kept(scan(prompts, pipe, tmp_path / "whole", OPTIONS))
