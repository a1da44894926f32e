"""Every window of a long series answered: the backtest's door."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_integer, as_out, as_real
from lstmcore.layers import Array
from lstmcore.stopping import Workers
from lstmcore.streaming.streams import check_window
from lstmcore.terminal import progress

if TYPE_CHECKING:
    from lstmcore.model import Model

#: Ticks that one piece of work takes out of the series: memory stays bounded, and a bar moves.
TICKS_AT_ONCE = 1 << 14
LONG = 1 << 17  # ticks from which on a progress bar is shown


def predict_windows(
    model: Model,
    series: npt.ArrayLike,
    window: int,
    stride: int = 1,
    *,
    threads: int = 1,
    out: Array | None = None,
) -> Array:
    """See `Model.predict_windows`."""
    length, stride, threads = (
        check_window(model, window),
        as_integer(stride, "stride", 1),
        as_integer(threads, "threads", 1),
    )
    ticks = as_real(series, "series")
    if ticks.ndim != 2 or ticks.shape[1] != model.input_size:
        raise ValueError(f"series: expected (rows, {model.input_size}), got shape {ticks.shape}")
    if len(ticks) < length:
        raise ValueError(f"series: expected at least the window's {length} rows, got {len(ticks)}")
    count = (len(ticks) - length) // stride + 1
    stride = min(stride, len(ticks))  # all that is longer is one window
    shape = (count, *(n if isinstance(n, int) else length for n in model.output_shape))
    dtype = model.runner.dtype
    answers = np.empty(shape, dtype) if out is None else as_out(out, shape, dtype)
    if np.shares_memory(ticks, answers):
        raise ValueError("out: it shares memory with the series, of which later windows would read answers")
    if _share_a_file(ticks, answers):
        raise ValueError("out: it maps the part of a file that the series maps; later windows would read answers")
    at_once = max(1, TICKS_AT_ONCE // stride)

    def work(first: int) -> int:
        n = min(at_once, count - first)
        rows = slice(first * stride, (first + n - 1) * stride + length)
        part = model.runner.take(ticks[rows])
        model.runner.run_windows(part, length, stride, answers[first : first + n])
        return first + n

    pieces = range(0, count, at_once)
    if threads == 1:
        _follow(map(work, pieces), count, len(ticks))
    else:
        crew = Workers(threads)
        try:
            # In order, so that what is done is what the last result says.
            _follow(crew.map(work, pieces), count, len(ticks))
        finally:
            crew.given_up[0] = 1  # before any function of Python begins, which a handler of signals may end at once
            crew.wait()
    return answers if out is None else out


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
