"""Series from files: .npy, .csv, .parquet. One row a tick, oldest first, one column a feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore import terminal
from lstmcore.csv_file import read_columns
from lstmcore.files import open_plain
from lstmcore.layers import Array
from lstmcore.npy_file import read_npy
from lstmcore.text import listed, quoted


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
            or a cell that is not a number among numbers; the text names file, row and column.
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
    table = read_parquet_table(path)
    types = terminal.need("pyarrow.types", "data")
    lib = terminal.need("pyarrow", "data")
    names: list[str] = table.column_names
    found: dict[str, Array] = {}
    empty = 0
    for name in names:
        if columns is not None and name not in columns:
            continue
        column = table.column(name)
        kind = column.type
        if types.is_boolean(kind):
            column = column.cast(lib.uint8())
        elif not (types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind)):
            if columns is None:
                continue
            raise ValueError(f"{path}: column {quoted(name)}: expected numbers, got {kind}")
        found[name] = column.cast(lib.float64(), safe=False).to_numpy()
        empty += column.null_count
    return _assemble(path, names, found, empty, columns)


def read_parquet_table(path: str) -> Any:
    """A pyarrow.Table. Raises OSError, ValueError and ImportError as `read`."""
    parquet = terminal.need("pyarrow.parquet", "data")
    lib = terminal.need("pyarrow", "data")
    with open_plain(path, ValueError), lib.OSFile(path) as file:
        # Arrow's own file: of one of Python's, Arrow's threads would let go when the interpreter is gone, and abort.
        try:
            table = parquet.ParquetFile(file).read()
        except (lib.ArrowException, OSError) as error:
            raise ValueError(f"{path}: not a .parquet file: {error}") from None
    names: list[str] = table.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: two columns have the name {quoted(twice)}")
    return table


def _assemble(
    path: str, header: Sequence[str], found: Mapping[str, Array], empty: int, columns: Sequence[str] | None
) -> Data:
    """The chosen columns, or all that were found, side by side."""
    for name in columns or ():
        if name not in header:
            raise ValueError(f"{path}: no column {quoted(name)}; there are {listed(header)}")
    names = list(found if columns is None else columns)
    left_out = [name for name in header if name not in found] if columns is None else []
    notes = [f"{path}: left out, not numbers: {listed(left_out)}"] if left_out else []
    if empty:
        notes.append(f"{path}: {empty} empty cells are read as NaN")
    return Data(np.stack([found[name] for name in names], axis=1) if names else np.empty((0, 0)), notes, names)


READERS = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
