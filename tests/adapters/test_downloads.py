"""What a hub id would fetch, from a stand-in for the hub's client; nothing here is ever asked of a real one."""

from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from memdetect.adapters.downloads import download_of
from memdetect.cli import run
from memdetect.inputs.options import Loading

FILES = {
    "model_index.json": 1,
    "README.md": 7_000,
    "v1-5-pruned.safetensors": 7_700_000_000,
    "unet/config.json": 2,
    "unet/diffusion_pytorch_model.safetensors": 4_000_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 2_000_000_000,
    "unet/diffusion_pytorch_model.bin": 4_000_000_000,
    "vae/diffusion_pytorch_model.safetensors": 300_000_000,
    "text_encoder/model-00001-of-00002.safetensors": 500_000_000,
    "text_encoder/model-00002-of-00002.safetensors": 600_000_000,
    "tokenizer/merges.txt": 4,
    "safety_checker/model.safetensors": 1_200_000_000,
}
PLAIN = 1 + 2 + 4 + 4_000_000_000 + 300_000_000 + 500_000_000 + 600_000_000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A client that knows FILES and writes down what it was asked; one file is in the cache."""
    asked: list[Any] = []

    def model_info(_self: Any, repo: str, **options: Any) -> Any:
        asked.append((repo, options["revision"], options["files_metadata"]))
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=n, size=s) for n, s in FILES.items()])

    def cached(_repo: str, file: str, **_options: Any) -> str | None:
        return "/cache" if file.startswith("vae/") else None

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    return asked


def test_what_is_opened_is_counted_and_what_is_cached_is_not_fetched(hub):
    found = download_of("some/model", Loading(revision="abc"))
    assert found is not None
    assert (found.needed, found.missing) == (PLAIN, PLAIN - 300_000_000)
    assert hub == [("some/model", "abc", True)]
    assert str(found) == "5.40 GB on disk, 5.10 GB of it to be downloaded"


def test_a_variant_stands_in_for_the_plain_file_where_there_is_one(hub):
    found = download_of("some/model", Loading(variant="fp16"))
    assert found is not None
    assert found.needed == PLAIN - 2_000_000_000


def test_nothing_is_asked_for_what_is_here_or_offline(hub, model_folder):
    assert download_of(str(model_folder)) is None
    assert download_of("emoji-scenes") is None
    assert download_of("some/model", Loading(offline=True)) is None
    assert not hub


def test_a_card_leads_to_its_repository(hub):
    assert download_of("sd-v1-4") is not None
    assert hub[0][0].count("/") == 1


@pytest.mark.parametrize("problem", [OfflineModeIsEnabled("off"), RuntimeError("no net"), OSError("no"), ValueError()])
def test_a_hub_that_does_not_answer_is_no_error(problem, monkeypatch):
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise problem

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    assert download_of("some/model") is None


def test_a_dry_run_and_a_scan_say_it_before_loading(hub, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a cat\n", encoding="utf-8")
    scan = [
        "scan",
        str(tmp_path / "prompts.txt"),
        "--model",
        "some/model",
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
    ]
    assert run([*scan, "--dry-run"]) == 0
    assert "download: 5.40 GB on disk, 5.10 GB of it to be downloaded" in capsys.readouterr().out
    assert run(scan) == 2  # the tests' hub is offline
    assert "loading some/model: 5.40 GB on disk, 5.10 GB of it to be downloaded" in capsys.readouterr().err
