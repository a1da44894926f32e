"""Series from files: .npy, .csv, .parquet. One row a tick, oldest first, one column a feature."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore import terminal
from lstmcore.data.csv_file import check_names, read_columns
from lstmcore.data.npy_file import read_npy
from lstmcore.files import open_plain
from lstmcore.layers import Array
from lstmcore.text import NAME, clean, listed, quoted

#: Of a .parquet file, the cells that are read, 8 bytes each: a column of one repeated value takes next to none there.
MAX_CELLS = 1 << 28
CELLS_A_BYTE = 8  # of the file, and more than that


class Data(NamedTuple):
    """What a file holds, and what was decided while reading it that its owner should hear of."""

    values: Array  # (rows, columns), or (N, T, F) from .npy
    notes: list[str]
    names: list[str] | None = None  # of the columns; None from .npy


def read(path: str, columns: Sequence[str] | None = None) -> Data:
    """Read a series.

    Args:
        path: .npy: real numbers, (rows, features) or (N, T, F). .csv and .parquet: all columns that hold
            numbers, in the file's order; columns of text or dates are left out, and the notes say so.
        columns: For .csv and .parquet, these columns in this order instead.

    Raises:
        OSError: A file that cannot be opened.
        ValueError: A file that is empty, damaged or of another kind, a pipe or a folder, a column that is not there,
            or a cell that is not a number among numbers; the text names file, line and column. A .parquet file with
            more cells in these columns than `MAX_CELLS` and `CELLS_A_BYTE` for each of its bytes.
        ImportError: .parquet without pyarrow.

    An empty cell of a .csv and a null of a .parquet file are NaN, and the notes count them.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(READERS)}")
    data: Data = READERS[suffix](path, columns)
    if data.values.size == 0:
        raise ValueError(f"{path}: no rows of numbers, shape {data.values.shape}")
    return data


def ask(*paths: str | None) -> None:
    """Raise ImportError where one of these files cannot be read for want of a package; none is opened."""
    if any(path is not None and Path(path).suffix.lower() == ".parquet" for path in paths):
        terminal.ask("data", "pyarrow")


def _read_npy(path: str, columns: Sequence[str] | None) -> Data:
    if columns is not None:
        raise ValueError(f"{path}: a .npy file has no column names to choose from")
    return Data(read_npy(path), [])


def _read_csv(path: str, columns: Sequence[str] | None) -> Data:
    return _assemble(path, *read_columns(path, columns), columns)


def _read_parquet(path: str, columns: Sequence[str] | None) -> Data:
    types = terminal.need("pyarrow.types", "data")
    lib = terminal.need("pyarrow", "data")
    chosen: list[str] = []
    with _open_parquet(path) as file:
        schema = file.schema_arrow
        check_columns(path, columns or (), schema.names)
        for name in schema.names if columns is None else columns:
            kind = schema.field(name).type
            if types.is_boolean(kind) or types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind):
                chosen.append(name)
            elif columns is not None:
                raise ValueError(f"{path}: column {quoted(name)}: expected numbers, got {clean(kind, NAME)}")
        table = _read_columns(path, file, chosen)
    found: dict[str, Array] = {}
    empty = 0
    for name in chosen:
        column = table.column(name)
        if types.is_boolean(column.type):
            column = column.cast(lib.uint8())
        found[name] = column.cast(lib.float64(), safe=False).to_numpy()
        empty += column.null_count
    return _assemble(path, schema.names, found, empty, columns)


def read_parquet_table(path: str, columns: Sequence[str] | None = None) -> Any:
    """A pyarrow.Table of these columns, or of all. Raises OSError, ValueError and ImportError as `read`."""
    with _open_parquet(path) as file:
        names = file.schema_arrow.names
        check_columns(path, columns or (), names)
        return _read_columns(path, file, names if columns is None else columns)


@contextlib.contextmanager
def _open_parquet(path: str) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile whose columns have different names. What it raises meanwhile names the file."""
    parquet = terminal.need("pyarrow.parquet", "data")
    lib = terminal.need("pyarrow", "data")
    with open_plain(path, ValueError), lib.OSFile(path) as source:
        # Arrow's own file: of one of Python's, Arrow's threads would let go when the interpreter is gone, and abort.
        try:
            file = parquet.ParquetFile(source)
            check_names(path, file.schema_arrow.names)
            yield file
        except (lib.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a .parquet file: {clean(error, 300)}") from None


def _read_columns(path: str, file: Any, names: Sequence[str]) -> Any:
    """A pyarrow.Table, once the file's own account of its rows shows that they may be read."""
    groups = (file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups))
    rows = max(file.metadata.num_rows, sum(groups))
    most = MAX_CELLS + CELLS_A_BYTE * os.path.getsize(path)
    if rows * len(names) > most:
        raise ValueError(f"{path}: {rows} rows of {len(names)} columns to read; at most {most} cells are taken")
    return file.read(list(names))


def _assemble(
    path: str, header: Sequence[str], found: Mapping[str, Array], empty: int, columns: Sequence[str] | None
) -> Data:
    """The chosen columns, or all that were found, side by side."""
    check_columns(path, columns or (), header)
    names = list(found if columns is None else columns)
    left_out = [name for name in header if name not in found] if columns is None else []
    notes = [f"{path}: left out, not numbers: {listed(left_out)}"] if left_out else []
    if empty:
        notes.append(f"{path}: {empty} empty cells are read as NaN")
    return Data(np.stack([found[name] for name in names], axis=1) if names else np.empty((0, 0)), notes, names)


def check_columns(path: str, columns: Sequence[str], header: Sequence[str]) -> None:
    """Raise ValueError where one of `columns` is not in the file's header."""
    there = set(header)
    for name in columns:
        if name not in there:
            raise ValueError(f"{path}: no column {quoted(name)}; there are {listed(header)}")


READERS = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
