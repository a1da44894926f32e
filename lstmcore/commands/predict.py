"""Answer a file of market data: one window, a batch of windows, or every window of a series.

Without --window the whole file is one window (or, a 3-D .npy, a batch). With --window T every run of T rows
is answered. The output has a row for each answer: the index of the window's last row in the data (in a
batch, the window's index), counted from 0 without the header, the step where every step answers, and the
outputs.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

import lstmcore
from lstmcore import commands, files, summary, terminal
from lstmcore import data as data_files
from lstmcore.layers import Array, Scaler
from lstmcore.text import listed, quoted
from lstmcore.windows import windows

SAMPLE = 10_000  # rows that are looked at for columns in the wrong places
FAR_OFF = 1000  # scales from the mean; prices drift by some ten
BATCH = 1 << 20  # numbers that one call is given: a few megabytes, whatever the series


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser)
    parser.add_argument("data", help="a .csv (with a header row), .parquet or .npy file, oldest row first")
    parser.add_argument("--window", type=commands.positive, metavar="T", help="answer every window of T rows")
    parser.add_argument("--columns", help="the columns to use, in order, with commas between")
    parser.add_argument("-o", "--out", metavar="FILE", help="write a .csv or .npy file instead of stdout")
    parser.add_argument("--force", action="store_true", help="overwrite FILE where it exists")
    commands.add_backend(parser)
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    if options.out:
        if Path(options.out).suffix.lower() not in (".csv", ".npy"):
            raise ValueError(f"{options.out}: expected a name that ends in .csv or .npy")
        commands.check_new(options.out, options.force, options.model, options.data)
    data_files.ask(options.data)
    model = commands.load(options, backend=options.backend, kernel=options.kernel)
    summary.check_single(model, options.model)
    series, notes, names = data_files.read(options.data, _columns(options.columns))
    for text in notes:
        terminal.note(text)
    if series.shape[-1] != model.input_size:
        came, taken = series.shape[-1], model.input_size
        which = f" ({listed(names)}); --columns names the right ones" if names else ""
        raise ValueError(f"{options.data}: {came} columns of numbers; the model takes {taken} features{which}")
    if names is not None:  # a model file has no names of its own to compare with
        named = ", ".join(name or "(a column without a name)" for name in names)
        terminal.note(f"{options.data}: the features are, in this order: {named}")
    for text in _far_off(model, series, names):
        terminal.note(f"{options.data}: {text}")
    count, first = not_finite(series)
    if count:
        what = "window" if series.ndim == 3 else "row"
        terminal.note(
            f"{options.data}: NaN or infinity in {count:,} of {len(series):,} {what}s, the first of them {what} "
            f"{first:,}; what is answered about them may be NaN, or wrong"
        )
    header, table = answer(model, series, options.window)
    if options.out:
        _write(options.out, header, table)
        terminal.note(f"{options.out}: {len(table)} answers")
    if options.json:
        count = index_columns(header)
        rows = [[*map(int, row[:count]), *row[count:]] for row in table.tolist()]
        facts = {"model": options.model, "data": options.data, "features": names, "columns": header, "rows": rows}
        terminal.write_json(facts)
    elif not options.out:
        _write_csv(sys.stdout, header, table)
    return 0


def _columns(text: str | None) -> list[str] | None:
    """The columns that are asked for by name; None: nobody has asked. Raises ValueError for one that stands twice."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"--columns: {quoted(twice)} stands there twice")
    return names


def _far_off(model: lstmcore.Model, series: Array, names: Sequence[str] | None) -> Iterator[str]:
    """What to say of features that lie nowhere near what the model's scaler was fitted to: other columns, perhaps."""
    scaler = model.layers[0]
    if not isinstance(scaler, Scaler):
        return
    rows = series.reshape(-1, series.shape[-1])
    some = rows[:: max(1, len(rows) // SAMPLE)].astype(np.float64)
    with np.errstate(all="ignore"):
        off = np.abs((some - scaler.weights["mean"]) / scaler.weights["scale"])
    usual = np.median(np.where(np.isfinite(off), off, 0), axis=0)
    for feature in np.flatnonzero(usual > FAR_OFF).tolist():
        name = f" ({quoted(names[feature])})" if names else ""
        yield (
            f"feature {feature}{name} is {usual[feature]:.0e} of the scaler's scales from its mean; is this the column "
            "that the model was trained on?"
        )


def not_finite(series: Array) -> tuple[int, int]:
    """How many rows of a series, or windows of a batch, hold NaN or infinity, and which is the first; -1: none."""
    size = max(1, BATCH // max(1, series[:1].size))
    count, first = 0, -1
    for at in range(0, len(series), size):
        part = series[at : at + size]
        wrong = np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(axis=1))
        if len(wrong) and not count:
            first = at + int(wrong[0])
        count += len(wrong)
    return count, first


def answer(model: lstmcore.Model, series: Array, window: int | None) -> tuple[list[str], Array]:
    """The names of the output's columns, and the output: (answers, columns) float64.

    Args:
        series: (rows, F), or a batch (N, T, F).
        window: T, to answer every window of a series; None: the series is one window.

    Raises:
        ValueError: A window length with a batch, or one that the series or the model does not allow.
    """
    if series.ndim == 3 and window is not None:
        raise ValueError(f"window {window}: the data is a batch of windows already, shape {series.shape}")
    every = series if series.ndim == 3 else windows(series, window or len(series))
    first = 0 if series.ndim == 3 else every.shape[1] - 1
    size = max(1, BATCH // (every.shape[1] * every.shape[2]))
    starts = range(0, len(every), size)
    parts = [model(every[at : at + size]) for at in terminal.progress(starts, len(starts), "answering")]
    answers = np.concatenate(parts).astype(np.float64)
    index = ["window" if series.ndim == 3 else "row"]
    rows = first + np.arange(len(answers), dtype=np.float64)
    keys = [rows]
    if model.output_shape[:1] == ("T",):
        index.append("step")
        steps = answers.shape[1]
        keys = [np.repeat(rows, steps), np.tile(np.arange(steps, dtype=np.float64), len(rows))]
    flat = answers.reshape(len(keys[0]), -1)
    outputs = flat.shape[1]
    names = ["answer"] if outputs == 1 else [f"answer_{k}" for k in range(outputs)]
    return [*index, *names], np.column_stack([*keys, flat])


def index_columns(header: list[str]) -> int:
    """How many columns come before the answers."""
    return sum(not name.startswith("answer") for name in header)


def _write(path: str, header: list[str], table: Array) -> None:
    with files.replacing(path) as file:
        if Path(path).suffix.lower() == ".npy":
            np.save(file, table)
        else:
            with io.TextIOWrapper(file, "utf-8", newline="") as text:
                _write_csv(text, header, table)


def _write_csv(file: TextIO, header: list[str], table: Array) -> None:
    """Answers with 9 significant digits, which name every float32."""
    count = index_columns(header)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row in table.tolist():
        writer.writerow([*(f"{x:.0f}" for x in row[:count]), *(f"{x:.9g}" for x in row[count:])])
