"""Columns of .csv files: a header row, commas, decimal points. Read in pieces, so memory is that of the numbers."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
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
            has more or fewer cells than it. The text names the file and, counted from 1, its line.
    """
    return (cells for _, cells in _numbered(path))


def check_names(path: str, names: Iterable[str]) -> None:
    """Raise ValueError where two columns of the file at `path` have one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path}: two columns have the name {quoted(name)}")
        seen.add(name)


def _numbered(path: str) -> Iterator[tuple[int, list[str]]]:
    """What `read_rows` gives, each with the line of the file that it begins in."""
    header: list[str] = []
    end = 0  # the line that the row before ends in
    blank = 0  # the first of the blank lines just read, which may be those at the end
    with io.TextIOWrapper(open_plain(path, ValueError), encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line, end = end + 1, reader.line_num
                if not row:
                    blank = blank or (line if header else 0)
                    continue
                cells = [cell.strip() for cell in row]
                if not header:
                    header = cells
                    _check_header(path, line, header)
                else:
                    if len(header) == 1:
                        _check_separator(path, header[0], ",".join(row))
                    if blank or len(row) != len(header):
                        at, count = (blank, 0) if blank else (line, len(row))
                        raise ValueError(f"{path}: line {at}: {count} cells; the header has {len(header)}")
                yield line, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a .csv file: {error}") from None
    if not header:
        raise ValueError(f"{path}: empty; expected a header row and rows of numbers")


def _check_header(path: str, line: int, header: list[str]) -> None:
    if all(is_number(name) for name in header):
        raise ValueError(f"{path}: line {line} holds numbers; expected a header row with the columns' names")
    check_names(path, header)


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
        self.wrong: tuple[int, str] | None = None  # the first cell that is neither a number nor empty, and its line
        self.has_numbers = False

    def take(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        """The next cells, and the lines that they are in."""
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
        for line, cell in zip(lines, cells, strict=True):
            if not cell:
                self.empty += 1
                self.values.append(np.nan)
            elif is_number(cell):
                self.has_numbers = True
                self.values.append(float(cell))
            elif self.wrong is None:
                self.wrong = line, cell


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
    rows = _numbered(path)
    _, header = next(rows)
    names = set(header if wanted is None else wanted)
    kept = [(k, _Column(name)) for k, name in enumerate(header) if name in names]
    while piece := list(islice(rows, ROWS_AT_ONCE)):
        lines = [line for line, _ in piece]
        for k, column in kept:
            column.take([cells[k] for _, cells in piece], lines)
    found: dict[str, Array] = {}
    empty = 0
    for _, column in kept:
        if column.wrong is not None:
            if wanted is None and not column.has_numbers:
                continue
            line, cell = column.wrong
            hint = "; expected a decimal point" if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", cell) else ""
            raise ValueError(f"{path}: line {line}, column {quoted(column.name)}: not a number: {quoted(cell)}{hint}")
        found[column.name] = np.frombuffer(column.values)
        empty += column.empty
    return header, found, empty


def is_number(text: str) -> bool:
    """Whether it is a number: digits, a point, an exponent; or nan, inf, infinity, in any case and with a sign.

    >>> from lstmcore.data.csv_file import is_number
    >>> [is_number(text) for text in ("-1.5e3", ".5", "NaN", "1_000", "0x10", "1,5", "\N{FULLWIDTH DIGIT ONE}")]
    [True, True, True, False, False, False, False]
    """
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and text.isascii()
