"""Rows of parquet files, a batch in memory at a time; needs pyarrow, the extra `parquet`."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.files import open_regular

ROWS = 4096  # in memory


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns. Raises MemdetectError without pyarrow, ValueError or OSError for no parquet."""
    return list(_opened(path).schema_arrow.names)


def rows_in(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows, with these columns, or with all that hold texts, numbers and truths. Raises as `columns_of` does.

    Pictures, lists and tables within a cell are left out: rows of a data set are prompts here, whatever else it holds.
    """
    table = _opened(path)
    for batch in table.iter_batches(batch_size=ROWS, columns=_plain(table) if columns is None else list(columns)):
        yield from batch.to_pylist()


def _plain(table: Any) -> list[str]:
    types: Any = import_module("pyarrow").types
    return [field.name for field in table.schema_arrow if _is_plain(types, field.type)]


def _is_plain(types: Any, kind: Any) -> bool:
    checks = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return any(check(kind) for check in checks) or (types.is_dictionary(kind) and _is_plain(types, kind.value_type))


def _opened(path: Path) -> Any:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise MemdetectError(
            f"{str(path)!r} needs pyarrow; install it with: pip install 'memdetect[parquet]'"
        ) from None
    open_regular(path).close()  # no pipe, which would never end
    return parquet.ParquetFile(path)
