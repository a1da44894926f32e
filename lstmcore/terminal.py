"""What the command line writes: tables, progress, JSON and one-line messages.

rich is used where it is installed and a person is looking; else plain text, the same words.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from lstmcore.text import NAME, clean

T = TypeVar("T")

CELL = 300  # characters of a table's cell


def note(text: object) -> None:
    """One line on stderr; where that is closed or its reader went away, nobody can be told."""
    if sys.stderr is not None:  # print would take stdout
        with contextlib.suppress(OSError):
            print(f"lstmcore: {clean(text)}", file=sys.stderr)


def open_closed() -> None:
    """Where the program was started with a closed stdin, stdout or stderr (`>&-`), take what it writes there for lost.

    Python has None for such a stream, and the next file that is opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(file, "r" if number == 0 else "w", encoding="utf-8"))


def finish() -> OSError | None:
    """Write what is still buffered for stdout and stderr.

    Returns the error where stdout could not be written; then, and where stderr could not be, nothing more is: Python
    would try again at exit, and complain with a traceback.
    """
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:  # noqa: PERF203
            failed = failed or (error if stream is sys.stdout else None)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return failed


def has_rich(stream: Any) -> bool:
    """Whether `stream` is a terminal and rich is installed."""
    return bool(stream.isatty()) and importlib.util.find_spec("rich") is not None


def need(package: str, extra: str) -> Any:
    """Import an optional package. Raises ImportError that says which extra brings it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if importlib.util.find_spec(package.partition(".")[0]) is not None:
            raise
        name = package.partition(".")[0]
        raise ImportError(f'{name} is not installed; pip install "lstmcore[{extra}]" brings it') from error


def ask(extra: str, *packages: str) -> None:
    """Look for optional packages before long work begins that ends with them; none is imported.

    Raises ImportError that names the missing ones and the extra that brings them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        names = ", ".join(missing)
        raise ImportError(f'{names} {are} not installed; pip install "lstmcore[{extra}]" brings {them}')


def ask_or_exit(extra: str, *packages: str) -> None:
    """`ask` for a script: what is missing is one line, and the status 2."""
    try:
        ask(extra, *packages)
    except ImportError as error:
        note(f"error: {error}")
        sys.exit(2)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Write a table on stdout. A column whose name begins with ">" is set to the right."""
    columns, title = [clean(column, NAME) for column in columns], clean(title)
    cells = [[clean(cell, CELL) for cell in row] for row in rows]
    names = [c.removeprefix(">") for c in columns]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    fits = sum(widths) + 2 * len(widths) + 2 <= shutil.get_terminal_size().columns
    if fits and has_rich(sys.stdout):  # rich would break the lines of what does not fit
        _rich_table(columns, cells, title)
        return
    if title:
        print(title)
    for row in [names, ["-" * w for w in widths], *cells]:
        aligned = [
            cell.rjust(w) if c.startswith(">") else cell.ljust(w)
            for cell, w, c in zip(row, widths, columns, strict=True)
        ]
        print("  ".join(aligned).rstrip())
    print()


def _rich_table(columns: Sequence[str], cells: list[list[str]], title: str) -> None:
    from rich import box, console, text
    from rich import table as rich_table

    # Text: no markup is read from names
    out = rich_table.Table(title=text.Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        right = column.startswith(">")
        out.add_column(text.Text(column.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    for row in cells:
        out.add_row(*map(text.Text, row))
    console.Console().print(out)


def progress(items: Iterable[T], total: float, what: str, done: Callable[[T], float] | None = None) -> Iterator[T]:
    """The items, with a progress bar on stderr where that is a terminal and rich is installed.

    `done` says how much of `total` is behind us when an item has come; without it each item counts 1.
    """
    if not has_rich(sys.stderr):
        yield from items
        return
    from rich import console
    from rich import progress as rich_progress

    # No thread that redraws: it would run while a benchmark measures.
    with rich_progress.Progress(console=console.Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(what, total=total)
        for n, item in enumerate(items, 1):
            yield item
            bar.update(task, completed=done(item) if done else n, refresh=True)


def write_json(document: Any, stream: Any = None) -> None:
    """One JSON document; what JSON has no number for (NaN, infinity) is null."""
    json.dump(_plain(document), stream or sys.stdout, indent=2, allow_nan=False)
    print(file=stream or sys.stdout)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
