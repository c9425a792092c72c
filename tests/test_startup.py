"""Help comes at once: nothing heavy is imported before a command needs it, not even by what is imported."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "diffusers", "transformers", "faiss", "numpy", "scipy", "pydantic", "PIL", "safetensors", "jinja2"}
OURS = "from memdetect.cli import run; code = run(arguments)"
BARE = """
import typer
app = typer.Typer()
app.callback()(lambda: None)
app.command("scan")(lambda path, flag=False: None)
app.command("other")(lambda: None)
code = app(args=arguments, standalone_mode=False)
"""


@cache
def run_fresh(program: str, *arguments: str) -> tuple[int, frozenset[str]]:
    """The exit code of a command line in a new interpreter, and the modules that it had loaded at its end."""
    script = f"import json, sys\narguments = {arguments!r}\n{program}\n"
    script += "print(json.dumps([code, list(sys.modules)]), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, frozenset(modules)


def test_help_loads_nothing_heavy() -> None:
    code, modules = run_fresh(OURS, "--help")
    assert code == 0
    assert "memdetect.cli.scan" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["scan", "--help"], 0),
        (["lab", "--help"], 0),
        (["scan", "nowhere.txt"], 2),
        (["scan", "nowhere.txt", "-m", "m"], 2),
    ],
    ids=str,
)
def test_a_command_loads_nothing_heavy_before_it_needs_it(arguments: list[str], expected: int) -> None:
    """Help and bad input are told at once. Newer releases of typer load pydantic themselves to parse a command."""
    code, modules = run_fresh(OURS, *arguments)
    assert code == expected
    assert not modules & (HEAVY - run_fresh(BARE, "scan", "--help")[1])


def test_a_command_loads_no_other_command() -> None:
    _, modules = run_fresh(OURS, "gate", "nowhere")
    ours = {module for module in modules if module.startswith("memdetect.cli.")}
    assert {"memdetect.cli.gate", "memdetect.cli.lazy"} <= ours
    assert not ours & {f"memdetect.cli.{name}" for name in ("calibrate", "index", "lab", "scan", "steer", "sweep")}


def test_the_check_sees_a_heavy_module() -> None:
    """The package itself is light; its public names load what they need."""
    assert not run_fresh("import memdetect; code = 0")[1] & HEAVY
    assert "pydantic" in run_fresh("import memdetect; memdetect.judge; code = 0")[1]
