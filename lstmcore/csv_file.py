"""Columns of .csv files: a header row, commas, decimal points. Read in pieces, so memory is that of the numbers."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from lstmcore.files import open_plain
from lstmcore.layers import Array
from lstmcore.text import quoted

ROWS_AT_ONCE = 4096
#: What may be between cells where it is not commas.
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}


def read_rows(path: str) -> Iterator[list[str]]:
    """The header, then rows of as many cells, without spaces around them; blank lines at both ends are left out.

    Raises:
        OSError: A file that cannot be opened.
        ValueError: A file that is empty or no .csv file, with another separator, without a header, or with a row that
            has more or fewer cells than it. The text names file and row.
    """
    header: list[str] = []
    blank = 0  # the first of the blank lines just read, which may be those at the end
    with io.TextIOWrapper(open_plain(path, ValueError), encoding="utf-8-sig", newline="") as file:
        try:
            for number, row in enumerate(csv.reader(file, strict=True), 1):
                if not row:
                    blank = blank or (number if header else 0)
                    continue
                cells = [cell.strip() for cell in row]
                if not header:
                    header = cells
                    _check_header(path, number, header)
                else:
                    if len(header) == 1:
                        _check_separator(path, header[0], ",".join(row))
                    if blank or len(row) != len(header):
                        at, count = (blank, 0) if blank else (number, len(row))
                        raise ValueError(f"{path}: row {at}: {count} cells; the header has {len(header)}")
                yield cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a .csv file: {error}") from None
    if not header:
        raise ValueError(f"{path}: empty; expected a header row and rows of numbers")


def _check_header(path: str, number: int, header: list[str]) -> None:
    if all(is_number(name) for name in header):
        raise ValueError(f"{path}: row {number} holds numbers; expected a header row with the columns' names")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"{path}: two columns have the name {quoted(twice)}")


def _check_separator(path: str, header: str, row: str) -> None:
    found = next((name for mark, name in SEPARATORS.items() if mark in header and mark in row), None)
    if found:
        raise ValueError(
            f"{path}: its rows have {found} between their cells, such as {quoted(row)}; expected commas, and points in "
            "numbers"
        )


class _Column:
    """What has come of one column."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values = array("d")
        self.empty = 0
        self.wrong: tuple[int, str] | None = None  # the first cell that is neither a number nor empty, and its row
        self.has_numbers = False

    def take(self, cells: Sequence[str], first: int) -> None:
        """Cells from row `first` on."""
        if self.wrong is None or self.has_numbers:
            text = "".join(cells)
            if "_" not in text and text.isascii():  # of what is no number to us, Python takes only these
                try:
                    part = array("d", map(float, cells))
                except ValueError:
                    pass
                else:
                    self.values += part
                    self.has_numbers = True
                    return
        for row, cell in enumerate(cells, first):
            if not cell:
                self.empty += 1
                self.values.append(np.nan)
            elif is_number(cell):
                self.has_numbers = True
                self.values.append(float(cell))
            elif self.wrong is None:
                self.wrong = row, cell


def read_columns(path: str, wanted: Sequence[str] | None = None) -> tuple[list[str], dict[str, Array], int]:
    """Columns of numbers, each (rows,) float64, an empty cell as NaN.

    Args:
        path: The file.
        wanted: Their names; None: all that hold numbers, in the file's order.

    Returns:
        The header; the columns by name, those of `wanted` that are there; how many cells of them are empty.

    Raises:
        OSError, ValueError: As `read_rows`; also a cell that is no number, in a column of `wanted` or among numbers.
    """
    rows = read_rows(path)
    header = next(rows)
    kept = [(k, _Column(name)) for k, name in enumerate(header) if wanted is None or name in wanted]
    first = 2
    while piece := list(islice(rows, ROWS_AT_ONCE)):
        for k, column in kept:
            column.take([row[k] for row in piece], first)
        first += len(piece)
    found: dict[str, Array] = {}
    empty = 0
    for _, column in kept:
        if column.wrong is not None:
            if wanted is None and not column.has_numbers:
                continue
            row, cell = column.wrong
            hint = "; expected a decimal point" if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", cell) else ""
            raise ValueError(f"{path}: row {row}, column {quoted(column.name)}: not a number: {quoted(cell)}{hint}")
        found[column.name] = np.frombuffer(column.values)
        empty += column.empty
    return header, found, empty


def is_number(text: str) -> bool:
    """Whether it is a number: digits, a point, an exponent; or nan, inf, infinity, in any case and with a sign.

    >>> from lstmcore.csv_file import is_number
    >>> [is_number(text) for text in ("-1.5e3", ".5", "NaN", "1_000", "0x10", "1,5", "\N{FULLWIDTH DIGIT ONE}")]
    [True, True, True, False, False, False, False]
    """
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and text.isascii()
