"""Tiny random pipelines of every adapter; nothing is ever fetched."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
# A runner's own must not decide a test.
os.environ.pop("CI", None)
os.environ.pop("GITHUB_STEP_SUMMARY", None)
os.environ.pop("NO_COLOR", None)
os.environ.pop("MEMDETECT_TRACEBACK", None)

import gc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import shape_checks  # noqa: F401 - before any module of the package
import typer
from hypothesis import settings
from ready import Ready
from tiny_adapters import ADAPTER_MAKERS, tiny_adapter
from tiny_stable import tiny_stable_diffusion

from memdetect.copies.index import part, recall_check

settings.register_profile("memdetect", deadline=None)  # a busy machine is no failure
settings.load_profile("memdetect")

MAKERS: dict[str, Callable[[Path], Any]] = {
    "sd-epsilon": tiny_stable_diffusion,
    "sd-v": lambda folder: tiny_stable_diffusion(folder, "v_prediction"),
}


def pytest_configure() -> None:
    """While modules are imported there is no garbage worth a search."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is imported stays: a search for garbage need not go through it each time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def few_parts() -> Iterator[None]:
    """An index lays ten pictures on their neighbours for the limit of its parts, not two thousand.

    And plants six copies of each geometric kind, not a hundred.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "MOST", 10)
        patch.setattr(recall_check, "EACH", 6)
        yield


@pytest.fixture(scope="session", autouse=True)
def commands() -> Iterator[None]:
    """Commands are put together once, not for each call of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def starting(request: pytest.FixtureRequest) -> Iterator[Ready | None]:
    """Imports beside the first tests, where one of them wants it, so that nobody waits for it."""
    own = Ready() if any("ready" in getattr(item, "fixturenames", ()) for item in request.session.items) else None
    yield own
    if own is not None:
        own.close()


@pytest.fixture(scope="session")
def ready(starting: Ready) -> Ready:
    """A plain interpreter that has imported torch already; its programs each have a process of their own."""
    return starting


@pytest.fixture(scope="session", params=list(MAKERS))
def any_pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny random pipeline of every adapter in turn."""
    return MAKERS[request.param](tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session", params=[*MAKERS, *ADAPTER_MAKERS])
def adapter_pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny random pipeline of every row of adapters in turn; to be left as it is."""
    folder = tmp_path_factory.mktemp("tokenizer")
    return tiny_adapter(request.param, folder) if request.param in ADAPTER_MAKERS else MAKERS[request.param](folder)


@pytest.fixture(scope="module")
def short_texts() -> Iterator[None]:
    """T5 pads to 32 tokens where a pipeline asks for its 256 to 512, on which tiny networks would spend their time."""
    from transformers import T5TokenizerFast

    usual = T5TokenizerFast.__call__

    def short(self: Any, *given: Any, max_length: int | None = None, **more: Any) -> Any:
        return usual(self, *given, max_length=max_length and min(max_length, 32), **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(T5TokenizerFast, "__call__", short)
        yield


@pytest.fixture(scope="session")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One tiny StableDiffusionPipeline."""
    return tiny_stable_diffusion(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def model_folder(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline saved in the diffusers layout."""
    folder = tmp_path_factory.mktemp("model")
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what was not run for want of something on this machine: a skip alone is easily missed."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    reasons = {found[2].removeprefix("Skipped: ") for found in skipped if isinstance(found, tuple)}
    for reason in sorted(reason for reason in reasons if reason.startswith("not run: ")):
        terminalreporter.write_line(reason)
