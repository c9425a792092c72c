"""Pictures from an icon package: fetched once, checked by hash, drawn. The package here is a small fake."""

import hashlib
import io
import json
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memdetect.errors import Exit, MemdetectError
from memdetect.lab.world.pictures import NAMES, Source, draw, fetch

ICONS = {
    "prefix": "fake",
    "width": 32,
    "icons": {
        "square": {"body": '<rect width="32" height="32" fill="#ff0000"/>'},
        "half": {"body": '<rect width="16" height="32" fill="#0000ff"/>'},
        "large": {"body": '<rect width="64" height="64" fill="#00ff00"/>', "width": 64},
    },
}


def pack(path: Path, name: str = "package/icons.json") -> None:
    content = json.dumps(ICONS).encode()
    with tarfile.open(path, "w:gz") as packed:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))


def source_of(archive: Path) -> Source:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return Source(package="@fake/icons", version="1.0.0", sha256=digest, licence="MIT", holder="nobody")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "fake-icons-1.0.0.tgz"
    pack(path)
    return path


def program(folder: Path, body: str) -> str:
    """A program that stands in for npm."""
    path = folder / "npm"
    path.write_text(f"#!{sys.executable}\nimport shutil, sys\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def one_line(problem: pytest.ExceptionInfo[MemdetectError]) -> str:
    text = str(problem.value)
    assert "\n" not in text
    return text


# Fetching


def test_the_archive_is_named_as_npm_names_it(archive):
    assert source_of(archive).archive == archive.name


def test_an_archive_that_is_there_is_not_fetched_again(archive, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert fetch(source_of(archive), archive.parent) == archive


def test_an_archive_with_another_hash_is_refused(archive):
    with pytest.raises(MemdetectError) as problem:
        fetch(replace(source_of(archive), sha256="0" * 64), archive.parent)
    assert problem.value.exit == Exit.ERROR
    assert str(archive) in one_line(problem)
    assert "delete the file" in one_line(problem)


def test_a_missing_npm_is_one_line(archive, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MemdetectError) as problem:
        fetch(source_of(archive), tmp_path_factory.mktemp("empty"))
    assert problem.value.exit == Exit.USAGE
    assert "npm" in one_line(problem)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script with a shebang")
class TestWithNpm:
    def test_npm_packs_into_the_folder(self, archive, tmp_path_factory, monkeypatch):
        npm = program(
            tmp_path_factory.mktemp("bin"),
            f"assert sys.argv[1:] == ['pack', '@fake/icons@1.0.0']\nshutil.copy({str(archive)!r}, '.')",
        )
        monkeypatch.setattr(shutil, "which", lambda _: npm)
        folder = tmp_path_factory.mktemp("cache")
        assert fetch(source_of(archive), folder) == folder / archive.name
        assert (folder / archive.name).read_bytes() == archive.read_bytes()

    def test_npm_that_fails_is_one_line_with_its_reason(self, archive, tmp_path_factory, monkeypatch):
        npm = program(tmp_path_factory.mktemp("bin"), "sys.exit('npm error one\\nnpm error no such package')")
        monkeypatch.setattr(shutil, "which", lambda _: npm)
        with pytest.raises(MemdetectError) as problem:
            fetch(source_of(archive), tmp_path_factory.mktemp("cache"))
        assert problem.value.exit == Exit.ERROR
        assert "no such package" in one_line(problem)

    def test_what_npm_packed_is_checked(self, archive, tmp_path_factory, monkeypatch):
        npm = program(tmp_path_factory.mktemp("bin"), f"open({archive.name!r}, 'wb').write(b'something else')")
        monkeypatch.setattr(shutil, "which", lambda _: npm)
        with pytest.raises(MemdetectError, match="sha256"):
            fetch(source_of(archive), tmp_path_factory.mktemp("cache"))


# Drawing


def test_a_picture_is_drawn_at_the_wanted_size(archive):
    drawn = draw(archive, ["square", "half", "large"], size=48)
    assert {image.size for image in drawn.values()} == {(48, 48)}
    assert {image.mode for image in drawn.values()} == {"RGBA"}
    assert (np.asarray(drawn["square"]) == (255, 0, 0, 255)).all()
    half = np.asarray(drawn["half"])
    assert (half[:, :24] == (0, 0, 255, 255)).all()
    assert (half[:, 24:, 3] == 0).all()
    assert (np.asarray(drawn["large"]) == (0, 255, 0, 255)).all()


def test_a_name_that_the_package_lacks_is_named(archive):
    with pytest.raises(MemdetectError, match="unicorn") as problem:
        draw(archive, ["square", "unicorn"])
    assert problem.value.exit == Exit.USAGE
    assert archive.name in one_line(problem)


def test_a_package_without_icons_is_named(tmp_path):
    pack(tmp_path / "other.tgz", name="package/readme.md")
    with pytest.raises(MemdetectError, match=r"no package/icons\.json") as problem:
        draw(tmp_path / "other.tgz", ["square"])
    assert "other.tgz" in one_line(problem)


def test_a_missing_rasteriser_names_the_extra(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MemdetectError) as problem:
        draw(archive, ["square"])
    assert problem.value.exit == Exit.USAGE
    assert "memdetect[lab]" in one_line(problem)


def test_the_names_are_thirty_six():
    assert len(NAMES) == len(set(NAMES)) == 36
