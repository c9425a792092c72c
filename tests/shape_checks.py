"""The checks of pytest's --jaxtyping-packages at a fraction of their price; to be imported before the package is."""

from collections.abc import Callable
from functools import partial
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType
from typing import Any
from unittest.mock import patch

import jaxtyping
from jaxtyping import _decorator, _import_hook


def sparing(checked: Callable[..., Any]) -> Callable[..., Any]:
    """jaxtyping's decorator, kept for functions whose annotations name a shape; the others have beartype alone.

    Their types are checked as before, in one pass instead of three: without a shape there is nothing for which
    arguments and result would have to be seen together.
    """

    def decorate(function: Any = None, *, typechecker: Callable[..., Any]) -> Any:
        if function is None:
            return partial(decorate, typechecker=typechecker)
        if isinstance(function, FunctionType) and not _has_shapes(function):
            return typechecker(function)
        return checked(function, typechecker=typechecker)

    return decorate


def _has_shapes(function: FunctionType) -> bool:
    """Also where an annotation is a name yet to be looked up, which may stand for one."""
    hints = list(function.__annotations__.values())
    return any(isinstance(h, str) or "jaxtyping" in repr(h) or "ForwardRef" in repr(h) for h in hints)


def _code(loader: Any, name: str) -> CodeType | None:
    """The module's code, from a cache file of its own name.

    jaxtyping has that name in use until the module has run: what it imports, such as diffusers, is compiled again.
    """
    own = partial(_import_hook._optimized_cache_from_source, loader._typechecker.get_hash())
    with patch("importlib._bootstrap_external.cache_from_source", own):
        return SourceFileLoader.get_code(loader, name)


jaxtyping.jaxtyped = _decorator.jaxtyped = sparing(jaxtyping.jaxtyped)
_import_hook._JaxtypingLoader.get_code = _code
_import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module
