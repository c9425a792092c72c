"""What this machine has of what a scan needs; each check alone, so that a broken part is a finding and no crash."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from memdetect.inputs import bundled

Outcome = Literal["ok", "warn", "fail"]
DISK, MEMORY = 2 * 2**30, 2 * 2**30  # bytes below which a scan of the bundled model may fail
FAISS_SECONDS = 120  # for its import, after which it counts as hanging


@dataclass(frozen=True, slots=True)
class Check:
    """One thing checked: `fail` = no scan is possible, `warn` = it may be slow or stop."""

    name: str
    outcome: Outcome
    found: str


def examine() -> Iterator[Check]:
    """Run all checks, one after the other; none raises, none uses a network."""
    for name, check in CHECKS.items():
        try:
            outcome, found = check()
        except Exception as problem:  # a broken installation can raise anything at import
            outcome, found = "fail", f"{type(problem).__name__}: {problem}"
        yield Check(name, outcome, _public(found))


def healthy(checks: Iterable[Check]) -> bool:
    """Whether no check failed."""
    return all(check.outcome != "fail" for check in checks)


def _public(text: str) -> str:
    """One line, without the folders of this machine: what a bug report needs is the last part of a path."""
    line = " ".join(text.split())[:300]
    return re.sub(r"(?:[A-Za-z]:)?(?:[/\\][^/\\\s:'\",]+)+[/\\]([^/\\\s:'\",]+)", r".../\1", line)


def _python() -> tuple[Outcome, str]:
    good = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return ("ok", found) if good else ("fail", f"{found}; 3.11 or later is needed")


def _torch() -> tuple[Outcome, str]:
    import torch

    usable = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if usable else "mps" if torch.backends.mps.is_available() else "cpu"
    return "ok", f"{torch.__version__}, device {device}, {torch.get_num_threads()} threads"


def _package(module: str, needs: str) -> tuple[Outcome, str]:
    """Import a package and the part of it that a scan uses; what it lacks raises."""
    getattr(import_module(module), needs)
    return "ok", version(module)


def _faiss() -> tuple[Outcome, str]:
    """FAISS, imported in a process of its own: beside torch it can abort on macOS, and a crash is a finding too."""
    command = [sys.executable, "-P", "-c", "import faiss; faiss.IndexFlatIP(4)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FAISS_SECONDS, check=False)
    if done.returncode < 0:
        return "fail", f"its import ended with signal {-done.returncode}"
    if done.returncode:
        return "fail", (done.stderr.strip().splitlines() or ["its import failed without a word"])[-1]
    return "ok", version("faiss-cpu")


def _models() -> tuple[Outcome, str]:
    """The bundled models, each compared with the digest that its clean scores were made with."""
    folders = {name: bundled.model_folder(name) for name in bundled.models()}
    whole = {name: folder for name, folder in folders.items() if folder and _has_weights(folder)}
    said = {name: _verified(folder) for name, folder in whole.items()}
    good = said and not any("differs" in found for found in said.values())
    listed = ", ".join(f"{name} {found}" for name, found in said.items())
    return ("ok", listed) if good else ("fail", f"{listed or 'there are none'}; install memdetect again")


def _has_weights(folder: Path) -> bool:
    """Whether a folder is more than the card of a model whose weights are on a hub."""
    return 'repo = "' not in (folder / "card.toml").read_text(encoding="utf-8")


def _verified(folder: Path | None) -> str:
    if folder is None or not (folder / "calibration.json").is_file():
        return "present, without clean scores to verify it by"
    held = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))["settings"].get("model", "")
    found = bundled.folder_digest(folder)
    return f"verified ({found[:16]})" if found == held else f"differs: its digest is {found[:16]}, expected {held[:16]}"


def _disk() -> tuple[Outcome, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return ("ok" if free >= DISK else "warn"), f"{free / 2**30:.1f} GiB free in the working folder"


def _memory() -> tuple[Outcome, str]:
    """Free memory where the system tells it (Linux), else all of it."""
    table = Path("/proc/meminfo")
    if table.exists():
        free = int(table.read_text(encoding="ascii").partition("MemAvailable:")[2].split()[0]) * 1024
    elif hasattr(os, "sysconf"):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        return "ok", "not known on this system"
    return ("ok" if free >= MEMORY else "warn"), f"{free / 2**30:.1f} GiB"


CHECKS: Mapping[str, Callable[[], tuple[Outcome, str]]] = {
    "python": _python,
    "torch": _torch,
    "diffusers": partial(_package, "diffusers", "StableDiffusionPipeline"),
    "transformers": partial(_package, "transformers", "CLIPTextModel"),
    "faiss": _faiss,
    "bundled models": _models,
    "disk": _disk,
    "memory": _memory,
}
