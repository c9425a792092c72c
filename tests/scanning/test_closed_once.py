"""Whoever sees nothing left closes the run; results that follow from the very same are written once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runs import ITEMS, ToyJob, bytes_of

from memdetect.judging.merging import close
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy
from memdetect.scanning import closing
from memdetect.scanning.closing import closed
from memdetect.scanning.loop import Watch, go_through


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs whose results were written."""
    found, usual = list[Path](), RunFolder.write_results

    def write(self: RunFolder, results: object) -> Path:
        found.append(self.path)
        return usual(self, results)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(RunFolder, "write_results", write)
    return found


def end(folder: Path, policy: Policy | None = None) -> None:
    """A rank that finds nothing left to measure."""
    run = ToyJob(folder).opened()
    assert go_through(run, Watch())
    found = closed(run.folder, run.header, None, policy or Policy(), None, interrupted=False)
    assert (len(found.results), found.verdict.complete) == (ITEMS, True)


def test_ranks_that_see_the_same_write_it_once(tmp_path: Path, written: list[Path]) -> None:
    for _ in range(3):
        end(tmp_path)
    assert len(written) == 1
    made = bytes_of(tmp_path)
    close(tmp_path)
    assert bytes_of(tmp_path) == made


def another_row(folder: Path) -> None:
    path = RunFolder(folder).shard(1)
    path.write_bytes(path.read_bytes().replace(b'"score":1.', b'"score":2.'))


def damaged(folder: Path) -> None:
    (folder / "results.jsonl").write_bytes((folder / "results.jsonl").read_bytes()[:-9])


def other_pairs(folder: Path) -> None:
    (folder / "pairs.png").touch()


def gone(folder: Path) -> None:
    (folder / "results.jsonl").unlink()


def another_version(_folder: Path) -> None:
    closing.rests_on.__globals__["__version__"] += "-next"


def another_day(_folder: Path) -> None:
    class Later(closing.datetime):
        def date(self) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
            return "tomorrow"

    closing.datetime = Later  # pyright: ignore[reportPrivateImportUsage]


@pytest.mark.parametrize("change", [another_row, damaged, other_pairs, gone, another_version, another_day])
def test_what_results_rest_on_has_them_written_anew(
    change: Callable[[Path], None], tmp_path: Path, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    end(tmp_path)
    monkeypatch.setattr(closing, "datetime", closing.datetime)  # put back after the test
    monkeypatch.setitem(closing.rests_on.__globals__, "__version__", closing.rests_on.__globals__["__version__"])
    change(tmp_path)
    end(tmp_path)
    assert len(written) == 2
    fresh = bytes_of(tmp_path)["results.jsonl"]
    (tmp_path / "results.jsonl").unlink()
    close(tmp_path)
    assert bytes_of(tmp_path)["results.jsonl"] == fresh


def test_another_policy_has_results_written_anew(tmp_path: Path, written: list[Path]) -> None:
    """Here they come out the same, so that the first policy finds its own again."""
    for policy in (Policy(), Policy(fdr=0.2), Policy(fdr=0.2), Policy()):
        end(tmp_path, policy)
    assert len(written) == 2
