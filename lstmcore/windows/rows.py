"""Windows of a series, as (samples, timesteps, features), and the targets that belong to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_integer, as_real
from lstmcore.layers import Array


def windows(series: npt.ArrayLike, window: int, stride: int = 1) -> Array:
    """Every run of `window` consecutive rows of a series, as a view: (rows, F) -> (N, T, F).

    Window n holds the rows n*stride, n*stride + 1, ..., n*stride + window - 1: its first row is n*stride,
    and its last, the newest tick it knows, is n*stride + window - 1.
    There are N = (rows - window) // stride + 1 windows.

    >>> import numpy as np
    >>> from lstmcore import windows
    >>> series = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0], [3.0, 13.0]])
    >>> x = windows.windows(series, 3)
    >>> x.shape
    (2, 3, 2)
    >>> x[0, :, 0], x[1, :, 0]  # rows 0, 1, 2 and rows 1, 2, 3
    (array([0., 1., 2.]), array([1., 2., 3.]))

    Args:
        series: (rows, F), oldest row first.
        window: T, rows in a window; at least 1.
        stride: Rows from the start of one window to the start of the next; at least 1.

    Returns:
        (N, T, F), read-only. float32 and float64 keep their dtype, and nothing is copied.
        Another dtype or byte order, or a list, is converted once, and the windows are a view of that
        (rows, F) copy: float16 becomes float32, everything else float64, exact for integers up to 2**53.

    Raises:
        ValueError: A series that is not 2-D or is too short, or a `window` or `stride` below 1.
        TypeError: A series that does not hold real numbers, or a `window` or `stride` that is not an integer.
    """
    array = _as_series(series)
    length, _, step = _check(len(array), window, 0, stride)
    return _view(array, length, step)


def windows_and_targets(
    series: npt.ArrayLike, targets: npt.ArrayLike, window: int, horizon: int = 0, stride: int = 1
) -> tuple[Array, Array]:
    """Windows of a series and the target of each, as views: (rows, F), (rows, ...) -> (N, T, F), (N, ...).

    Window n holds the rows n*stride, ..., n*stride + window - 1. Its target is row
    n*stride + window - 1 + horizon of `targets`: with `horizon=0` the row of the window's own last tick, with
    `horizon=5` the fifth row after it. Windows whose target would lie beyond the last row are left out.

    >>> import numpy as np
    >>> from lstmcore import windows
    >>> price = np.array([10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    >>> x, y = windows.windows_and_targets(price[:, np.newaxis], price, window=3, horizon=2)
    >>> x[..., 0]
    array([[10., 11., 12.],
           [11., 12., 13.]])
    >>> y  # 2 rows after 12, 2 rows after 13
    array([14., 15.])

    Args:
        series: (rows, F), as in `windows`.
        targets: (rows,) or (rows, outputs), a row for each row of `series`; the dtype is kept, integers too.
        window: T, rows in a window; at least 1.
        horizon: Rows from a window's last row to its target; at least 0.
        stride: Rows from the start of one window to the start of the next; at least 1.

    Returns:
        X (N, T, F) and y (N,) or (N, outputs), both read-only views, with
        N = (rows - window - horizon) // stride + 1.

    Raises:
        ValueError: As in `windows`; also `targets` that are not 1-D or 2-D or have another number of rows,
            and a `horizon` below 0.
        TypeError: As in `windows`.
    """
    array = _as_series(series)
    length, ahead, step = _check(len(array), window, horizon, stride)
    y = as_real(targets, "targets")
    if y.ndim not in (1, 2):
        raise ValueError(f"targets: expected (rows,) or (rows, outputs), got shape {y.shape}")
    if len(y) != len(array):
        raise ValueError(f"targets: expected a row for each of the series' {len(array)} rows, got {len(y)}")
    y = y[target_rows(len(array), length, ahead, step)]
    y.flags.writeable = False
    return _view(array[: len(array) - ahead], length, step), y


def target_rows(rows: int, window: int, horizon: int = 0, stride: int = 1) -> slice:
    """Which rows the targets of `windows_and_targets` are, to line up timestamps or anything else with them.

    With `horizon=0` they are the windows' last rows: the moments at which the windows can be answered.

    >>> from lstmcore import windows
    >>> days = ["Mon", "Tue", "Wed", "Thu", "Fri"]
    >>> days[windows.target_rows(len(days), window=3)]
    ['Wed', 'Thu', 'Fri']

    Args:
        rows: Rows of the series.
        window, horizon, stride: As in `windows_and_targets`.

    Raises:
        ValueError: Too few rows, or a number that is too small.
        TypeError: Something that is not an integer.
    """
    count = as_integer(rows, "rows", 0)
    length, ahead, step = _check(count, window, horizon, stride)
    return slice(length - 1 + ahead, count, step)


def _as_series(value: npt.ArrayLike) -> Array:
    """(rows, F) of float32 or float64, copied only where the dtype is another."""
    array = as_real(value, "series")
    if array.ndim != 2:
        hint = "; one feature is series[:, np.newaxis]" if array.ndim == 1 else ""
        raise ValueError(f"series: expected (rows, features), got shape {array.shape}{hint}")
    kept = np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64
    return array.astype(kept, copy=False)


def _check(rows: int, window: int, horizon: int, stride: int) -> tuple[int, int, int]:
    """Window, horizon and stride as integers that fit the rows."""
    length, step = as_integer(window, "window", 1), as_integer(stride, "stride", 1)
    ahead = as_integer(horizon, "horizon", 0)
    if rows < length + ahead:
        needs = f"a window of {length}" + (f" and a target {ahead} rows later" if ahead else "")
        raise ValueError(f"series: {needs} needs at least {length + ahead} rows, got {rows}")
    return length, ahead, step


def _view(series: Array, window: int, stride: int) -> Array:
    every = np.lib.stride_tricks.sliding_window_view(series, window, axis=0)  # (N, F, T), read-only
    return every[::stride].transpose(0, 2, 1)
