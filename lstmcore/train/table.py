"""What a config names in a file: features, labels and stamps, a row a tick."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore import data as data_files
from lstmcore.data.csv_file import is_number, read_rows
from lstmcore.layers import Array
from lstmcore.text import quoted
from lstmcore.train.config import DataSection
from lstmcore.train.samples import as_targets
from lstmcore.windows.stamps import as_stamps, check_sorted
from lstmcore.windows.zones import Stamps, from_text


class Table(NamedTuple):
    """A series with labels; row n of each belongs together."""

    features: Array  # (rows, F)
    targets: Array  # (rows,), 0 or 1, NaN without a label
    stamps: Stamps  # (rows,), datetimes or numbers


def read_table(section: DataSection, folder: Path) -> Table:
    """Read the file that a config names.

    Args:
        section: Of the config.
        folder: That a relative path is in.

    Raises:
        OSError, ImportError: As `data.read`.
        ValueError: As `data.read`; also targets that are neither 0, 1 nor empty, and stamps that descend, are missing,
            or are neither numbers nor dates. The text names the column and a row, counted from 0 without the header;
            or, as `data.read`, a line of the file, counted from 1.
        TypeError: Stamps of another kind.
    """
    path = str(folder / section.path)
    if Path(path).suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{path}: expected a file that ends in .csv or .parquet, which names its columns")
    labels = str(section.target if section.price is None else section.price)
    names = list(dict.fromkeys([*section.features, labels]))  # a price may be a feature too
    columns = data_files.read(path, names).values
    features, last = columns[:, : len(section.features)], columns[:, names.index(labels)]
    if section.price is None:
        targets = as_targets(last, len(last), f"{path}: column {quoted(labels)}")
    else:
        targets = rises(last, section.horizon, section.threshold)
    if section.timestamp is None:
        return Table(features, targets, Stamps(np.arange(len(features))))
    what = f"{path}: column {quoted(section.timestamp)}"
    stamps = as_stamps(_stamps(path, section.timestamp), what)
    check_sorted(stamps, what)
    return Table(features, targets, stamps)


def rises(price: Array, horizon: int, threshold: float) -> Array:
    """(rows,): 1 where the price, `horizon` rows later, is above price + |price| * threshold, else 0; NaN: unknown."""
    found = np.full(len(price), np.nan)
    now, later = price[: max(len(price) - horizon, 0)], price[horizon:]
    found[: len(now)] = np.where(np.isnan(now) | np.isnan(later), np.nan, later > now * (1 + np.sign(now) * threshold))
    return found


def _stamps(path: str, column: str) -> Any:
    """(rows,): a column of numbers as int64 or float64, one of dates as datetimes, with its time zone."""
    if Path(path).suffix.lower() == ".parquet":
        return data_files.read_parquet_table(path, [column]).column(column)
    rows = read_rows(path)
    header = next(rows)
    data_files.check_columns(path, [column], header)
    at = header.index(column)
    cells = [row[at] for row in rows]
    if all(cell.removeprefix("-").isdecimal() and cell.isascii() for cell in cells):
        with contextlib.suppress(OverflowError, ValueError):  # numbers beyond int64
            return np.array([int(cell) for cell in cells], np.int64)
    if all(map(is_number, cells)):
        return np.array([float(cell) for cell in cells])
    return from_text(cells, f"{path}: column {quoted(column)}")
