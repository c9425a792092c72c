"""Runs that come before a scan's own, of a base or a screen: who measures the scan measures them too."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_options import changed, scan, settings
from tiny_stable import tiny_stable_diffusion
from toy_runs import bytes_of

from memdetect.errors import MemdetectError
from memdetect.inputs.given import prompt_requests
from memdetect.scanning import loop, ray_data
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.worker import Opened, Worker

PROMPTS = [f"a {colour} {animal}" for colour in ("red", "blue") for animal in ("cat", "dog")]
OPTIONS = settings(steps=2, num_seeds=1, batch_size=4, search=False, device="cpu", shard_size=1)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_stable_diffusion(folder, seed=1).save_pretrained(folder / "saved", safe_serialization=True)
    return folder / "saved"


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int | None]]:
    """Has actors measure: what pickles, and is opened elsewhere. The runs, their shards and how many actors at most."""
    found: list[tuple[str, int, int | None]] = []

    def through(opened: Opened, job: Any, watch: Watch, _address: str, actors: int | None = None) -> bool:
        name, left = opened.folder.path.name, Worker(opened).todo()
        found.append((name, len(left), actors))
        if watch.stop():
            return False
        worker = Worker(pickle.loads(pickle.dumps(job)))
        assert worker.folder.path == opened.folder.path
        assert [worker.run(number).state for number in left] == ["made"] * len(left)
        return go_through(opened, watch)

    monkeypatch.setattr(ray_data, "through_ray", through)
    return found


@pytest.mark.parametrize("name", ["screen", "base"])
def test_actors_measure_what_comes_before_the_scan(
    name: str, handed: list[Any], model_folder: Path, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (
        {"screen": 0.5, "detectors": ("sharpness",)} if name == "screen" else {"base": base_folder, "base_rounds": 2}
    )
    options, requests = changed(OPTIONS, **asked), prompt_requests(PROMPTS)
    scan(requests, str(model_folder), tmp_path / "alone", options)
    usual, own = loop.go_through, list[str]()

    def noted(opened: Opened, *given: Any) -> bool:
        own.extend([opened.folder.path.name] * len(Worker(opened).todo()))
        return usual(opened, *given)

    monkeypatch.setattr(loop, "go_through", noted)
    threads = torch.get_num_threads()
    scan(requests, str(model_folder), tmp_path / "run", changed(options, ray="local", workers=3))
    assert torch.get_num_threads() == threads
    assert handed == [(name, 4, 3), ("run", 2 if name == "screen" else 4, 3)]
    assert not own, "nothing is measured by this process alone"
    for part in (".", name):
        assert bytes_of(tmp_path / "run" / part) == bytes_of(tmp_path / "alone" / part)


def test_a_scan_that_is_stopped_before_its_own_run_goes_on(
    handed: list[Any], model_folder: Path, tmp_path: Path
) -> None:
    options = changed(OPTIONS, screen=0.5, detectors=("sharpness",), ray="local")
    requests = prompt_requests(PROMPTS)
    assert scan(requests, str(model_folder), tmp_path, options, stop=lambda: True).interrupted
    assert not scan(requests, str(model_folder), tmp_path, options).interrupted
    assert [(name, count) for name, count, _ in handed] == [("screen", 4), ("screen", 4), (tmp_path.name, 2)]


def test_a_base_that_is_open_already_is_not_sent(
    handed: list[Any], model_folder: Path, pipe: Any, tmp_path: Path
) -> None:
    options = changed(OPTIONS, base=pipe, base_rounds=2, ray="local")
    with pytest.raises(MemdetectError, match="workers of Ray open the model themselves"):
        scan(prompt_requests(PROMPTS), str(model_folder), tmp_path, options)
    assert not handed
