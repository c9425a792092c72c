"""The commands of every tutorial are run in their order, offline, in a tiny form: fewer prompts, images and steps."""

import json
import shutil
from pathlib import Path

import pytest
from pages import ROOT, commands, name_of, pages
from safetensors.torch import load_file, save_file

from memdetect.cli import run
from memdetect.errors import Exit

# Option -> its value in the tiny form, wherever a page gives it.
SMALLER = {"--count": "2", "--train-steps": "1", "--batch": "2", "--rank": "1", "--num-seeds": "2", "--per-prompt": "2"}
# Command -> what is added to it.
ADDED = {("scan",): ("--steps", "4"), ("calibrate",): ("--steps", "4")}
WITH_BASE = ("--base-rounds", "2")
# What a page leaves to its reader -> what stands for it here.
NAMES = {"MODEL": "emoji-scenes", "BASE": "emoji-scenes", "MINE": "fine-tuned"}
# Page -> commands that make what its reader has, before the first of its own.
BEFORE = {
    "my-lora.md": (
        "lab unseen --out four --count 2",
        "lab unseen --out photos --count 2",
        "lab lora --model emoji-scenes --train-images photos --out mine.safetensors --train-steps 1 --batch 2 --rank 1",
    ),
}
# A verdict on a tiny run may be any.
VERDICT = {Exit.OK, Exit.FAILED, Exit.INCONCLUSIVE}
CODES = {"gate": VERDICT, "compare": VERDICT}
PROMPTS = 3


def tiny(words):
    """A command in its tiny form."""
    made = [NAMES.get(word, word) for word in words]
    for place, word in enumerate(made[:-1]):
        if word in SMALLER:
            made[place + 1] = SMALLER[word]
    for name, more in ADDED.items():
        if tuple(made[: len(name)]) == name:
            made += more
            made += WITH_BASE if {"--lora", "--base"} & {*made} else ()
    return made


def furnish(folder):
    """The files that a reader's clone has, with few prompts, and prompts of the reader's own."""
    (folder / "sample_prompts").mkdir()
    for path in sorted((ROOT / "sample_prompts").glob("*.jsonl")):
        lines = path.read_text("utf-8").splitlines()[:PROMPTS]
        (folder / "sample_prompts" / path.name).write_text("\n".join(lines) + "\n", "utf-8")
    rows = [json.loads(line) for line in (folder / "sample_prompts" / "release.jsonl").read_text("utf-8").splitlines()]
    for name in ("prompts.txt", "clean.txt", "clean-prompts.txt"):
        (folder / name).write_text("".join(f"{row['prompt']}\n" for row in rows), "utf-8")


def fine_tune(folder):
    """The bundled model with other weights, which is no longer its own base and has no clean scores."""
    shutil.copytree(ROOT / "models" / "emoji-scenes", folder, ignore=shutil.ignore_patterns("calibration*", "*.index"))
    (weights,) = (folder / "unet").glob("*.safetensors")
    held = load_file(weights)
    save_file({name: 1.01 * value for name, value in held.items()}, weights, metadata={"format": "pt"})


@pytest.mark.slow
@pytest.mark.parametrize("path", pages("tutorial"), ids=name_of)
def test_a_tutorial_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    furnish(tmp_path)
    fine_tune(tmp_path / NAMES["MINE"])
    own = [(command.words, command.line) for command in commands(path.read_text("utf-8"))]
    assert own, "a tutorial without a command"
    for words, line in [*((tuple(line.split()), 0) for line in BEFORE.get(path.name, ())), *own]:
        short = tiny(words)
        code = run(short)
        said = capfd.readouterr()
        expected = VERDICT if "--fail-on" in words else CODES.get(words[0], {Exit.OK})
        assert code in expected, f"{name_of(path)}, line {line}: memdetect {' '.join(short)}\n{said.err[-2000:]}"


def test_a_command_becomes_tiny() -> None:
    made = tiny(("scan", "prompts.txt", "--model", "MINE", "--base", "BASE", "--num-seeds", "4"))
    assert made == ["scan", "prompts.txt", "--model", "fine-tuned", "--base", "emoji-scenes", "--num-seeds", "2",
                    "--steps", "4", "--base-rounds", "2"]  # fmt: skip
    assert tiny(("gate", "runs/first")) == ["gate", "runs/first"]
