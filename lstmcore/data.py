"""Series from files: .npy, .csv, .parquet. One row a tick, oldest first, one column a feature."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore import terminal
from lstmcore.layers import Array
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
        ValueError: A file that is empty, damaged or of another kind, a column that is not there, or a cell
            that is not a number among numbers; the text names file, row and column.
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


def _read_npy(path: str, columns: Sequence[str] | None) -> Data:
    if columns is not None:
        raise ValueError(f"{path}: a .npy file has no column names to choose from")
    with open(path, "rb") as file:
        try:
            values = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: not a .npy file of numbers: {error}") from None
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiub":
        raise ValueError(
            f"{path}: expected numbers of shape (rows, features) or (N, T, features), "
            f"got {values.dtype} of shape {values.shape}"
        )
    return Data(values, [])


def _read_csv(path: str, columns: Sequence[str] | None) -> Data:
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.reader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a .csv file: {error}") from None
    while rows and not rows[-1]:  # blank lines at the end; elsewhere they are rows with too few cells
        rows.pop()
    if not rows:
        raise ValueError(f"{path}: empty; expected a header row and rows of numbers")
    header, *body = rows
    header = [name.strip() for name in header]
    if all(_is_number(name) for name in header):
        raise ValueError(f"{path}: row 1 holds numbers; expected a header row with the columns' names")
    for n, row in enumerate(body, 2):
        if len(row) != len(header):
            raise ValueError(f"{path}: row {n}: {len(row)} cells; the header has {len(header)}")
    cells = {name: [row[k].strip() for row in body] for k, name in enumerate(header)}
    if len(cells) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"{path}: two columns have the name {quoted(twice)}")

    def numbers(name: str) -> Array | None:
        column = cells[name]
        try:
            return np.array([cell or "nan" for cell in column], dtype=np.float64)
        except ValueError:
            if columns is None and not any(_is_number(cell) for cell in column):
                return None
            n = next(n for n, cell in enumerate(column) if cell and not _is_number(cell))
            raise ValueError(f"{path}: row {n + 2}, column {quoted(name)}: not a number: {column[n]!r:.80}") from None

    empty = sum(cells[name].count("") for name in columns or header if name in cells)
    return _assemble(path, header, columns, numbers, empty)


def _read_parquet(path: str, columns: Sequence[str] | None) -> Data:
    parquet = terminal.need("pyarrow.parquet", "data")
    types = terminal.need("pyarrow.types", "data")
    lib = terminal.need("pyarrow", "data")
    with open(path, "rb") as file:
        try:
            table = parquet.read_table(file)
        except (lib.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path}: not a .parquet file: {error}") from None

    def numbers(name: str) -> Array | None:
        column = table.column(name)
        kind = column.type
        if types.is_boolean(kind):
            column = column.cast(lib.uint8())
        elif not (types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind)):
            if columns is None:
                return None
            raise ValueError(f"{path}: column {quoted(name)}: expected numbers, got {kind}")
        values: Array = column.cast(lib.float64(), safe=False).to_numpy()
        return values

    names: list[str] = table.column_names
    empty = sum(table.column(name).null_count for name in columns or names if name in names)
    return _assemble(path, names, columns, numbers, empty)


def _assemble(path: str, header: Sequence[str], columns: Sequence[str] | None, numbers: Any, empty: int) -> Data:
    """The chosen columns, or all that `numbers` has numbers for, side by side."""
    for name in columns or ():
        if name not in header:
            raise ValueError(f"{path}: no column {quoted(name)}; there are {listed(header)}")
    found = {name: numbers(name) for name in columns or header}
    kept = {name: values for name, values in found.items() if values is not None}
    left_out = [name for name, values in found.items() if values is None]
    notes = [f"{path}: left out, not numbers: {listed(left_out)}"] if left_out else []
    if empty:
        notes.append(f"{path}: {empty} empty cells are read as NaN")
    return Data(np.stack(list(kept.values()), axis=1) if kept else np.empty((0, 0)), notes, list(kept))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


READERS = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
