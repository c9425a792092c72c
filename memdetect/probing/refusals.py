"""What a pipeline raises of arguments, or of a model's settings, made a usage error of one line."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from memdetect.adapters import Model
from memdetect.errors import MemdetectError

# What pipelines raise where a model's settings contradict each other, or ask for more memory than there is.
_FAILURES = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError)


@contextmanager
def blaming(given: Mapping[str, Any]) -> Generator[None]:
    """Make a usage error of what a pipeline raises under further arguments that somebody gave."""
    try:
        yield
    except (AttributeError, TypeError, ValueError, LookupError) as problem:
        if not given:
            raise
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        said = f"fails with the arguments {', '.join(given)} of --call ({reason:.200})"
        raise MemdetectError(f"the pipeline {said}; leave out what it cannot take") from problem


@contextmanager
def starting(model: Model, given: Mapping[str, Any]) -> Generator[None]:
    """Make a usage error of what a pipeline raises before its first step, where no argument that was given explains it.

    given: further arguments; what a pipeline says of those is for `blaming`.
    """
    try:
        yield
    except _FAILURES as problem:
        if given and not isinstance(problem, RuntimeError | MemoryError):
            raise
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise MemdetectError(
            f"the pipeline of {model.name} fails before its first step ({reason:.200}); "
            "check the model's files, and the size of its images"
        ) from problem
