"""Where the bundled models and prompts are found: in the wheel, beside a source tree, or nowhere."""

import hashlib
from pathlib import Path

import pytest

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs import bundled


def fill(root: Path) -> Path:
    (root / "models" / "small").mkdir(parents=True)
    (root / "models" / "small" / "card.toml").write_text("", encoding="utf-8")
    (root / "models" / "another").mkdir()
    (root / "models" / "another" / "card.toml").write_text("", encoding="utf-8")
    (root / "models" / "no-card").mkdir()
    (root / "sample_prompts" / "folder").mkdir(parents=True)
    (root / "sample_prompts" / "release.jsonl").write_text("", encoding="utf-8")
    return root


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the installed package's folder, with nothing in or beside it."""
    package = tmp_path / "memdetect"
    package.mkdir()
    monkeypatch.setattr(bundled, "_PACKAGE", package)
    return package


@pytest.fixture
def filled(package: Path) -> Path:
    return fill(package / "_bundled")


def test_the_clone_is_its_own_root():
    assert (bundled.root() / "pyproject.toml").is_file() or bundled.root().name == "_bundled"


def test_inside_the_wheel(filled: Path):
    assert bundled.root() == filled


def test_beside_the_source_tree(package: Path):
    (package.parent / "pyproject.toml").touch()
    assert bundled.root() == package.parent


def test_the_wheel_comes_first(filled: Path):
    (filled.parents[1] / "pyproject.toml").touch()
    assert bundled.root() == filled


def test_models_beside_an_installed_package_are_not_ours(package: Path):
    """site-packages may hold a folder named models; only pyproject.toml makes a source tree."""
    fill(package.parent)
    with pytest.raises(MemdetectError, match="install memdetect again") as caught:
        bundled.root()
    assert caught.value.exit == Exit.ERROR


@pytest.mark.usefixtures("filled")
def test_a_model_is_a_folder_with_a_card():
    assert bundled.models() == ["another", "small"]


def test_no_models_at_all(package: Path):
    (package.parent / "pyproject.toml").touch()
    assert bundled.models() == []
    assert bundled.model_folder("small") is None


def test_a_model_folder_by_its_exact_name(filled: Path):
    assert bundled.model_folder("small") == filled / "models" / "small"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["", ".", "..", "no-card", "Small", "small/", "../models/small", "owner/name", "/"])
def test_any_other_name_is_no_model(name: str):
    assert bundled.model_folder(name) is None


def test_weights_of_another_variant_are_another_model(tmp_path: Path):
    """All files of a folder are digested, whichever are read: which ones stands beside them."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DModel"]}', encoding="utf-8")
    for name in ("weights.safetensors", "weights.fp16.safetensors"):
        (tmp_path / "unet" / name).write_bytes(name.encode())
    plain = bundled.folder_digest(tmp_path)
    assert plain == bundled.folder_digest(tmp_path, None) == bundled.folder_digest(tmp_path, "")
    assert bundled.folder_digest(tmp_path, "fp16") == hashlib.sha256(f"{plain}variant:fp16".encode()).hexdigest()
