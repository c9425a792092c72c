"""`gate`, and every report, where only typer, rich, pydantic and jinja2 are installed, and nothing else is there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, row, searched, write_run

from memdetect.render import FORMATS
from memdetect.render.comparison import COMPARED

ROOT = Path(__file__).parents[1]
BLOCKED = (
    *("torch", "faiss", "scipy", "numpy", "diffusers", "transformers", "jaxtyping", "PIL", "safetensors"),
    *("sklearn", "huggingface_hub", "accelerate", "pyarrow", "ray", "obstore"),
)
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Blocker())
"""


def in_a_light_place(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = f"{BLOCKER}\narguments = {list(arguments)!r}\n{program}"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three findings."""
    values = np.random.default_rng(1).normal(size=40)
    values[:3] = 9.0
    clean = calibration(np.random.default_rng(0).normal(size=999).tolist())
    rows = [row(i, float(x), files=[f"images/{i}.png"]) for i, x in enumerate(values)]
    return write_run(tmp_path_factory.mktemp("light") / "run", header(40, clean, index=INDEX), searched(rows), clean)


def test_gate_writes_every_format(finished: Path, tmp_path: Path) -> None:
    outputs = [f"{name}={tmp_path / name}" for name in FORMATS]
    options = [option for output in outputs for option in ("-o", output)]
    program = "from memdetect.cli import run; sys.exit(run(arguments))"
    done = in_a_light_place(program, "gate", str(finished), "--redact", *options)
    assert done.returncode == 1, done.stderr
    assert ": findings: 3 suspicious among 40" in done.stderr
    assert all((tmp_path / name).stat().st_size > 100 for name in FORMATS)
    assert json.loads((tmp_path / "json").read_text())["verdict"]["counts"]["suspicious"] == 3


def test_two_runs_are_compared(finished: Path, tmp_path: Path) -> None:
    program = "from memdetect.cli import run; sys.exit(run(arguments))"
    outputs = [part for name in COMPARED for part in ("-o", f"{name}={tmp_path / name}")]
    done = in_a_light_place(program, "compare", str(finished), str(finished), "--fail-on", "new", *outputs)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "json").read_text())["counts"]["unchanged"] == 3
    assert all((tmp_path / name).stat().st_size > 100 for name in COMPARED)


def test_help_and_doctor_run(tmp_path: Path) -> None:
    program = "from memdetect.cli import run; sys.exit(run(arguments))"
    assert in_a_light_place(program, "--help").returncode == 0
    found = in_a_light_place(program, "doctor")
    assert found.returncode == 3
    assert "fail  torch: ImportError: torch is not installed here" in found.stdout


def test_the_blocker_blocks() -> None:
    done = in_a_light_place("import memdetect.scanning")
    assert done.returncode == 1
    assert "is not installed here" in done.stderr
