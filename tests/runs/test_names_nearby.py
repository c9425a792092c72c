"""A path that is not there is told with the name beside it that is nearly the same."""

from pathlib import Path

import pytest

from memdetect.cli import run
from memdetect.files import did_you_mean


def test_the_nearest_name_of_the_same_folder(tmp_path: Path) -> None:
    for name in ("prompts.jsonl", "prompts.txt", "other"):
        (tmp_path / name).touch()
    assert did_you_mean(tmp_path / "prompt.jsonl") == f"did you mean {str(tmp_path / 'prompts.jsonl')!r}? "
    assert did_you_mean(tmp_path / "zzz") == did_you_mean(tmp_path / "none" / "prompts.txt") == ""
    assert did_you_mean(tmp_path / "prompts.txt" / "a") == did_you_mean(Path("\0")) == ""


@pytest.mark.parametrize(
    ("there", "command", "said"),
    [
        (
            "release.jsonl",
            "scan release.json -m emoji-scenes --out o",
            "'release.json': no such file or folder; did you",
        ),
        ("demo", "gate demos", "demos is not a run: it has no run.json; did you mean 'demo'?"),
        ("photos", "scan --train-images photo -m emoji-scenes --out o", "'photo' is no folder; did you mean 'photos'?"),
        (
            "train.index",
            "index info trian.index",
            "no index folder 'trian.index'; did you mean 'train.index'?",
        ),
        ("photos", "index build photo --out i", "no such file or folder; did you mean 'photos'?"),
        ("my.safetensors", "doctor --lora mine.safetensors", "there; did you mean 'my.safetensors'?"),
    ],
)
def test_a_command_names_it(
    there: str,
    command: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).touch() if "." in there else (tmp_path / there).mkdir()
    assert run(command.split()) in (2, 3)
    told = capsys.readouterr()
    assert said in told.out + told.err
