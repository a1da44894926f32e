"""What the models are given: a series of ticks, a label for each, and which of its rows are samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstmcore.layers import Array

WINDOW = 50  # ticks that a sequence model sees, the newest included


@dataclass(frozen=True)
class Part:
    """Rows of a series. A sample is a row: what was known then, and its label."""

    series: Array  # (N, F) float32, a row a tick
    labels: Array  # (N,) 0.0 or 1.0; NaN where it is not known
    rows: Array  # (n,) int64, each with a whole window and a label

    @property
    def y(self) -> Array:
        """The samples' labels, (n,), 0 or 1."""
        return self.labels[self.rows].astype(np.int64)

    @property
    def last(self) -> Array:
        """The newest tick of each sample, (n, F)."""
        last: Array = self.series[self.rows]
        return last


def usable(labels: Array, stride: int = 1) -> Array:
    """Every `stride`-th row that has a whole window behind it and a label."""
    rows = np.arange(WINDOW - 1, len(labels), stride)
    return rows[~np.isnan(labels[rows])]


def rises(mid: Array, horizon: int, least: float) -> Array:
    """Whether the mid reaches `least` above where it stands within the next `horizon` ticks, (N,) -> (N,) 0, 1 or NaN.

    Row n looks at the mids n .. n + horizon and no further; the last `horizon` rows are NaN.
    """
    found = np.full(len(mid), np.nan)
    if len(mid) > horizon:
        ahead = np.lib.stride_tricks.sliding_window_view(mid[1:], horizon).max(axis=1)
        found[:-horizon] = ahead - mid[:-horizon] >= least * (1 - 1e-6)  # prices are rounded in float64
    return found


def stands_higher(time: Array, mid: Array, horizon: int) -> Array:
    """Whether the mid in force `horizon` later is above this one, (N,) -> (N,) 0, 1 or NaN.

    Args:
        time: (N,) int64, ascending, the same unit as `horizon`.
        mid: (N,).
        horizon: Rows that have less than this behind them in the series are NaN.
    """
    later = in_force(time, time + horizon)
    return np.where(time + horizon <= time[-1], mid[later] > mid, np.nan)


def in_force(time: Array, at: Array) -> Array:
    """The last row whose time is not after `at`; the quotes of that row are those one would meet then."""
    return np.searchsorted(time, at, side="right") - 1


def rolling(series: Array, rows: Array, spans: tuple[int, ...] = (5, 10, 20, WINDOW)) -> Array:
    """What a table can hold of a window: (n, F * (1 + 4 * len(spans))) float32.

    Of every feature the newest value, and for each span of ticks its mean, least, greatest, and the change over it.
    """
    columns = [series[rows]]
    for span in spans:
        view = np.lib.stride_tricks.sliding_window_view(series, span, axis=0)[rows - span + 1]  # (n, F, span)
        columns += [view.mean(axis=2), view.min(axis=2), view.max(axis=2), view[..., -1] - view[..., 0]]
    return np.concatenate(columns, axis=1, dtype=np.float32)
