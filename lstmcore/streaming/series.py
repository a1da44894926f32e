"""Every window of a long series answered: the backtest's door."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore.inputs import as_integer
from lstmcore.layers import Array
from lstmcore.ports import Given, as_outs, as_series, by_name, sizes_of
from lstmcore.stopping import Workers
from lstmcore.streaming.streams import check_window
from lstmcore.terminal import progress
from lstmcore.text import quoted

if TYPE_CHECKING:
    from lstmcore.model import Model

#: Ticks that one piece of work takes out of the series: memory stays bounded, and a bar moves.
TICKS_AT_ONCE = 1 << 14
LONG = 1 << 17  # ticks from which on a progress bar is shown


def predict_windows(
    model: Model,
    series: Given,
    window: int,
    stride: int = 1,
    *,
    threads: int = 1,
    out: Any = None,
) -> Any:
    """See `Model.predict_windows`."""
    length, stride, threads = (
        check_window(model, window),
        as_integer(stride, "stride", 1),
        as_integer(threads, "threads", 1),
    )
    runner, inputs = model.runner, model.inputs
    xs, count = as_series(series, inputs, length, stride)
    rows = next(len(x) for one, x in zip(inputs, xs, strict=True) if one.rank == "sequence")
    stride = min(stride, rows)  # all that is longer is one window
    shapes = {name: (count, *sizes_of(output, length)) for name, output in runner.outputs.items()}
    answers = as_outs(out, shapes, runner.dtype)
    names = list(runner.outputs)
    for n, y in enumerate(answers):
        what = "out" if len(names) == 1 else f"out {quoted(names[n])}"
        for x in xs:
            _check_apart(x, y, what, "the series, of which later windows would read answers")
        for name, other in zip(names, answers[:n], strict=False):
            _check_apart(other, y, what, f"out {quoted(name)}; give each its own")
    at_once = max(1, TICKS_AT_ONCE // stride)

    def work(first: int) -> int:
        some = slice(first, min(first + at_once, count))
        ticks = slice(first * stride, (some.stop - 1) * stride + length)
        parts = [
            runner.take(x[ticks if one.rank == "sequence" else some], n)
            for n, (one, x) in enumerate(zip(inputs, xs, strict=True))
        ]
        runner.run_windows(parts, length, stride, [y[some] for y in answers])
        return int(some.stop)

    pieces = range(0, count, at_once)
    if threads == 1:
        _follow(map(work, pieces), count, rows)
    else:
        crew = Workers(threads)
        try:
            # In order, so that what is done is what the last result says.
            _follow(crew.map(work, pieces), count, rows)
        finally:
            crew.given_up[0] = 1  # before any function of Python begins, which a handler of signals may end at once
            crew.wait()
    return by_name(runner.outputs, answers) if out is None else out


def _check_apart(other: Array, out: Array, what: str, that: str) -> None:
    """Raise ValueError for room that lies where `that` does."""
    if np.shares_memory(other, out):
        raise ValueError(f"{what}: it shares memory with {that}")
    if _share_a_file(other, out):
        raise ValueError(f"{what}: it maps a part of the file of {that}")


def _share_a_file(first: Array, second: Array) -> bool:
    """Whether both are views of memory maps that have bytes of one file, which numpy takes for different memory."""
    (one, start, stop), (other, begin, end) = (_in_file(array) for array in (first, second))
    if one is None or other is None or start >= end or begin >= stop:
        return False
    with contextlib.suppress(OSError):  # it may be gone, while the map stays
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def _in_file(array: Array) -> tuple[str | None, int, int]:
    """The file that an array lies in, by whatever views of a numpy.memmap, and there its first byte and its end."""
    found: Any = array
    while found is not None and getattr(found, "filename", None) is None:
        found = getattr(found, "base", None)
    if found is None:
        return None, 0, 0
    while isinstance(found.base, np.memmap):  # the first one has the offset; that of views is another
        found = found.base
    reach = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    first = array.ctypes.data - found.ctypes.data + found.offset
    end = first + sum(max(0, each) for each in reach) + array.itemsize
    return os.fspath(found.filename), first + sum(min(0, each) for each in reach), end


def _follow(done: Iterator[int], count: int, ticks: int) -> None:
    """Wait for all pieces, with a bar on stderr where they are many and somebody looks."""
    if ticks >= LONG and sys.stderr.isatty():
        done = progress(done, count, "windows", float)
    for _ in done:
        pass
