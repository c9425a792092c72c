"""`memdetect doctor`: every check alone, no network, no private path."""

import json
import re
import shutil
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from ready import Ready
from safetensors.torch import save_file

from memdetect.cli import machine, run
from memdetect.cli.machine import CHECKS, examine, healthy
from memdetect.inputs import bundled

NAMES = ["python", "torch", "diffusers", "transformers", "faiss", "bundled models", "disk", "memory"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("doctor opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_here_it_can_scan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:].partition(":")[0] for line in lines] == NAMES
    assert "verified (" in next(line for line in lines if "bundled models" in line)


@pytest.mark.parametrize("broken", ["torch", "diffusers"])
def test_a_broken_import_is_a_failed_check(
    broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None in sys.modules makes `import` fail."""
    monkeypatch.setitem(sys.modules, broken, None)
    assert run(["doctor", "--format", "json"]) == 3
    out = json.loads(capsys.readouterr().out)
    outcomes = {check["check"]: check["outcome"] for check in out["checks"]}
    assert list(outcomes) == NAMES
    assert {name for name, outcome in outcomes.items() if outcome == "fail"} == {broken}
    assert out["can_scan"] is False


FAISS = {
    "raise ImportError('libfaiss.so is gone')": "ImportError: libfaiss.so is gone",
    "import sys; sys.exit(3)": "its import failed without a word",
    "import os; os.abort()": "its import ended with signal 6",
    "": "AttributeError: module 'faiss' has no attribute 'IndexFlatIP'",
}


@pytest.mark.parametrize(("code", "expected"), FAISS.items(), ids=["raises", "exits", "aborts", "is another module"])
def test_a_broken_faiss_is_a_finding_and_breaks_nothing_here(
    code: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On macOS it may abort beside torch, so that it is imported elsewhere."""
    (tmp_path / "faiss.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert CHECKS["faiss"]() == ("fail", expected)


def test_faiss_is_not_imported_beside_torch(ready: Ready) -> None:
    code = "import sys; from memdetect.cli.machine import CHECKS; CHECKS['torch']()\n"
    code += "print(CHECKS['faiss'](), 'faiss' in sys.modules)"
    assert ready.run(code).strip() == f"('ok', '{version('faiss-cpu')}') False"


def test_a_check_that_crashes_is_a_failed_check_without_private_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> Any:
        raise OSError("cannot open\n/home/somebody/secret project/lib/libfoo.so")

    monkeypatch.setattr(machine, "CHECKS", {"torch": crash, "python": CHECKS["python"]})
    first, second = examine()
    assert (first.outcome, second.outcome) == ("fail", "ok")
    assert "\n" not in first.found
    assert "somebody" not in first.found
    assert first.found.endswith("libfoo.so")
    assert not healthy([first, second])


def test_changed_weights_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(bundled.root() / "models", tmp_path / "models")
    monkeypatch.setattr(bundled, "root", lambda: tmp_path)
    assert CHECKS["bundled models"]()[0] == "ok"
    weights = next((tmp_path / "models").rglob("unet/*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    outcome, found = CHECKS["bundled models"]()
    assert outcome == "fail"
    assert "differs: its digest is" in found


def test_no_models_at_all_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(bundled, "root", lambda: tmp_path)
    assert CHECKS["bundled models"]() == ("fail", "there are none; install memdetect again")


@pytest.mark.parametrize(("free", "outcome"), [(machine.DISK, "ok"), (machine.DISK - 1, "warn")])
def test_little_disk_is_a_warning(free: int, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan without images needs next to none."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(free, 0, free))
    assert CHECKS["disk"]()[0] == outcome


# Training pictures


def test_training_pictures_are_told_with_their_captions_and_what_is_left_out(tmp_path, capsys):
    folder = tmp_path / "train"
    repeats = folder / "10_sks dog"
    repeats.mkdir(parents=True)
    (folder / "more").mkdir()
    for name in ("a.png", "more/b.png", "10_sks dog/c.png", "a-masklabel.png"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    whole = (folder / "more" / "b.png").read_bytes()
    (folder / "more" / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a.txt").write_text("a red square\nred\n", encoding="utf-8")
    row = '{"file_name": "b.png", "text": "half of one"}\n'
    (folder / "more" / "metadata.jsonl").write_text(row, encoding="utf-8")
    (folder / "a.npz").write_bytes(b"cache")
    (folder / "a.ndjson").write_text("{}\n", encoding="utf-8")
    assert run(["doctor", "--train-images", str(folder)]) == 3
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "ok    pictures: 3 (1 in the folder itself, 1 in 10_sks dog, 1 in more)"
    assert out[1] == "ok    captions: 5 (3 from NAME.txt, 1 from the folder's name '10_sks dog', 1 from metadata.jsonl)"
    assert out[2].startswith("fail  left out: 1 ('more/b.png') cannot be opened (")
    assert out[2].endswith("no copy of it would be found, and no scan would pass: mend it or move it away")
    assert out[3] == (
        "ok    not pictures: 2 ('a-masklabel.png', 'a.npz'): masks, caches and files that no trainer shows"
    )
    assert out[4:] == ["warn  not read: 1 ('a.ndjson'): move what was trained on into NAME.txt"]
    assert run(["doctor", "--train-images", str(folder), "--format", "json"]) == 3
    told = json.loads(capsys.readouterr().out)
    rows = {Path(row["path"]).name: row for row in told["pictures"]}
    assert rows["a.png"]["captions"][0] == {"text": "a red square", "from": str(folder / "a.txt")}
    assert rows["c.png"] == {
        "path": str(repeats / "c.png"),
        "captions": [{"text": "sks dog", "from": str(repeats)}],
        "problem": "",
    }
    assert rows["b.png"]["problem"]


def test_a_folder_that_a_scan_would_refuse_is_a_failure_of_one_line(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert run(["doctor", "--train-images", str(tmp_path)]) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(r"fail  training pictures: '.*a\.png' has no caption; write it into a\.txt", line)
    assert run(["doctor", "--train-images", str(tmp_path), "--instance-prompt", "a sks"]) == 0
    assert "captions: 1 (1 from --instance-prompt)" in capsys.readouterr().out


def test_lora_files_are_read_without_a_model(tmp_path, capsys):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    factors = {f"unet.mid.to_q.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}
    save_file(factors, good)
    save_file({**factors, "unet.mid.to_q.dora_scale": torch.ones(2)}, bad)
    assert run(["doctor", "--lora", f"{good}@0.5"]) == 0
    assert capsys.readouterr().out == f"ok    LoRA: {good}: 1 layers, 2 tensors, at scale 0.5\n"
    assert run(["doctor", "--lora", str(good), "--lora", str(bad)]) == 3
    assert "are DoRA in kohya's names" in capsys.readouterr().out


def test_what_is_not_there_is_a_failed_check_and_the_others_are_made(tmp_path, capsys):
    assert run(["doctor", "--lora", str(tmp_path / "no.safetensors"), "--train-images", str(tmp_path / "no")]) == 3
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("fail  training pictures: --train-images ")
    assert second.startswith("fail  LoRA: --lora ")
