"""action.yml: what it runs is run here, inputs stay out of scripts, and other actions are pinned by commit."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from synthetic_runs import INDEX, calibration, header, match, row, searched, write_run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "action.yml").read_text(encoding="utf-8")
# The front matter of a card is YAML, and its reader is there already.
ACTION: dict[str, Any] = ModelCard(f"---\n{TEXT}\n---\n").data.to_dict()
STEPS = ACTION["runs"]["steps"]
SCRIPT = textwrap.dedent(TEXT.split("<<'PYTHON'\n")[1].split("        PYTHON\n")[0])
CLEAN = calibration(np.random.default_rng(0).normal(size=999).tolist())
SPREAD = np.random.default_rng(1).uniform(-1.5, 1.5, size=30).tolist()


def test_inputs_and_outputs_are_the_agreed_ones() -> None:
    assert set(ACTION["inputs"]) == {"run", "args", "report", "upload-sarif", "version"}
    assert set(ACTION["outputs"]) == {"verdict", "exit-code", "report-path"}
    assert ACTION["runs"]["using"] == "composite"
    assert all(own["description"] for own in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))
    assert str(ACTION["inputs"]["upload-sarif"]["default"]) == "false"


def test_no_script_holds_an_expression() -> None:
    """Whatever is written in an input reaches a script through the environment alone."""
    assert [step["name"] for step in STEPS if "${{" in step.get("run", "")] == []
    assert len([step for step in STEPS if "run" in step]) == 3


def test_other_actions_are_pinned_by_commit() -> None:
    used = re.findall(r"uses: (\S+)(.*)", TEXT)
    assert len(used) == 2
    for name, note in used:
        assert re.fullmatch(r"[\w-]+(/[\w-]+)+@[0-9a-f]{40}", name)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", note)


def test_every_step_that_uses_an_input_names_one_that_there_is() -> None:
    named = set(re.findall(r"inputs\.([\w-]+)", TEXT))
    assert named == set(ACTION["inputs"])
    outputs = set(re.findall(r"steps\.gate\.outputs\.([\w-]+)", TEXT))
    assert outputs == {"verdict", "exit-code", "report-path", "sarif"}
    assert all(f'"{name}"' in SCRIPT for name in outputs)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder as a job has it: a run without findings, one with a copy, and places for what the runner collects."""
    work = tmp_path / "work"
    rows = [row(i, value, source="p.txt") for i, value in enumerate(SPREAD)]
    for name, first in (("clean", []), ("it's a run", [match()])):
        own = [rows[0].model_copy(update={"matches": first}), *rows[1:]]
        write_run(work / name, header(30, CLEAN, index=INDEX), searched(own), CLEAN)
    (tmp_path / "temp").mkdir()
    return work


def gate(
    work: Path, runs: str, args: str = "", report: str = "memdetect.md", script: str = SCRIPT
) -> tuple[int, dict[str, str], str]:
    """Exit code of the script, the outputs that it sets, and what it prints."""
    out = work.parent / "output"
    out.write_text("")
    added = {"RUNNER_TEMP": work.parent / "temp", "GITHUB_OUTPUT": out, "GITHUB_STEP_SUMMARY": work.parent / "summary"}
    given = {"ARGS": args, "RUNS": runs, "REPORT": report, "CI": "true"}
    env = {**os.environ, **given, **{name: str(path) for name, path in added.items()}}
    command = [sys.executable, "-I", "-"]
    done = subprocess.run(command, input=script, cwd=work, env=env, capture_output=True, text=True, timeout=120)
    found = dict(line.split("=", 1) for line in out.read_text().splitlines())
    return done.returncode, found, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("runs", "args", "verdict", "code"),
    [
        ("clean", "", "pass", "0"),
        ("  clean  \n\n", "--redact", "pass", "0"),
        ("it's a run", "", "fail", "1"),
        ("it's a run", "--fail-on none", "pass", "0"),
        ("clean\nclean", "", "inconclusive", "3"),
        ("none", "", "error", "2"),
        ("", "", "error", "2"),
        ("clean", "--fail-on 'copy", "error", "2"),
        ("clean", "--nonsense", "error", "2"),
        ("clean", "; touch pwned $(touch pwned) `touch pwned`", "error", "2"),
    ],
)
def test_the_gate_is_run_and_its_verdict_set(workspace: Path, runs: str, args: str, verdict: str, code: str) -> None:
    (workspace / "memdetect.md").write_text("of another run")
    ended, found, said = gate(workspace, runs, args)
    assert ended == 0, said
    assert (found["verdict"], found["exit-code"]) == (verdict, code), said
    assert found["report-path"] == ("" if verdict == "error" else "memdetect.md")
    assert bool(found["sarif"]) == (verdict != "error")
    if verdict != "error":
        assert (workspace / "memdetect.md").read_text().startswith(f"## memdetect: {verdict}")
        assert (workspace.parent / "summary").read_text().startswith(f"## memdetect: {verdict}")
        assert json.loads(Path(found["sarif"]).read_text())["version"] == "2.1.0"
        assert said.startswith("::")
    assert not (workspace / "pwned").exists()


@pytest.mark.parametrize(
    ("report", "path"), [("json=a=b", "a=b"), ("x.xml", "x.xml"), ("", ""), ("a\nverdict=pass", "")]
)
def test_the_report_is_where_it_was_asked_for(workspace: Path, report: str, path: str) -> None:
    _, found, said = gate(workspace, "clean", report=report)
    assert found["report-path"] == path
    assert found["verdict"] == ("error" if "\n" in report else "pass"), said


@pytest.mark.parametrize(
    ("runs", "args"),
    [
        ("clean", "--help"),
        ("it's a run", "--help"),
        ("it's a run", "--redact --help --fail-on copy"),
        ("", "--help"),
    ],
)
def test_what_judges_nothing_is_an_error(workspace: Path, runs: str, args: str) -> None:
    """A command that ends well and gives no verdict is not a gate that passes."""
    _, found, said = gate(workspace, runs, args)
    assert (found["verdict"], found["exit-code"], found["sarif"], found["report-path"]) == ("error", "4", "", ""), said
    assert "memdetect: the gate gave no verdict; remove --help" in said


def test_the_exit_code_agrees_with_the_verdict_or_is_an_error(workspace: Path) -> None:
    """Whatever the command returned, 0 is left for a pass that was written."""
    lying = SCRIPT.replace("from memdetect.cli import run", "run = lambda _: CODE")
    assert "run = lambda" in lying
    for code, summary in ((0, None), (1, None), (3, None), (0, "fail"), (0, "inconclusive"), (3, "pass"), (1, "pass")):
        body = json.dumps({"verdict": {"verdict": summary}})
        write = f"(temp / 'memdetect-summary.json').write_text({body!r})\n" if summary else ""
        changed = lying.replace("CODE", str(code)).replace("told = ", f"{write}told = ", 1)
        _, found, said = gate(workspace, "clean", script=changed)
        assert (found["verdict"], found["exit-code"]) == ("error", "4"), (code, summary, said)


def test_the_last_step_ends_with_the_gates_exit_code() -> None:
    assert STEPS[-1]["run"] == 'exit "$CODE"'
    assert STEPS[-1]["env"] == {"CODE": "${{ steps.gate.outputs.exit-code }}"}


def test_the_packages_that_are_installed_are_those_of_a_light_gate() -> None:
    installed = next(step["run"] for step in STEPS if step["name"] == "Install")
    assert '-c "$GITHUB_ACTION_PATH/constraints.txt" typer rich pydantic\n' in installed
    assert installed.count("--no-deps") == 2
