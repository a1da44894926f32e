"""Samples to train with: windows of one series, and open trades of many lengths. No window is copied before its batch.

Letters: N samples, T ticks, F features of a tick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from lstmcore.inputs import as_integer, as_real
from lstmcore.layers import Array

Scale: TypeAlias = tuple[Array, Array]  # mean, (F,) in the rows' dtype, and scale, (F,) float32

ROUNDING = 4  # last digits by which numbers differ that were meant to be the same


class Batch(NamedTuple):
    """What one step of training is given."""

    x: torch.Tensor  # (N, T, F) float32
    answered: torch.Tensor | None  # (N, T) bool: the ticks that are answered; None: the last of each
    y: torch.Tensor  # (answers,) float32, 0 or 1, window by window


class Samples:
    """What windows and sequences have in common: rows (R, F), and which of them are answered."""

    rows: Array  # (R, F), float32 or float64
    targets: Array  # (R,) float32, NaN where there is no label
    lengths: Array  # (N,), ticks of each sample
    ends: Array  # (answers,), the rows that are answered

    def __len__(self) -> int:
        """Samples, of which a batch is made."""
        return len(self.lengths)

    @property
    def features(self) -> int:
        """F."""
        return int(self.rows.shape[1])

    @property
    def labels(self) -> Array:
        """(answers,) float32: 0 or 1, in the order in which the samples are answered."""
        raise NotImplementedError

    def batch(self, which: Sequence[int]) -> Batch:
        """These samples, copied out of the rows."""
        raise NotImplementedError

    def used(self) -> Array:
        """(R,) bool: the rows that any sample reads."""
        raise NotImplementedError

    def scaled(self, scale: Scale) -> Samples:
        """The same samples of (rows - mean) / scale, in float32: float64 rows are not rounded before."""
        new = object.__new__(type(self))
        new.__dict__.update(vars(self))
        new.rows = ((self.rows - scale[0]) / scale[1]).astype(np.float32, copy=False)
        return new

    def fit_scaler(self) -> Scale:
        """Mean and standard deviation of each feature over the rows that these samples read; 1 where it is constant.

        What differs by a few of the dtype's last digits is constant too: a scale of that would blow rounding up.
        """
        rows = self.rows[self.used()].astype(np.float64)
        low, high = rows.min(axis=0), rows.max(axis=0)
        rounding = ROUNDING * np.finfo(self.rows.dtype).eps * np.maximum(abs(low), abs(high))
        constant = high - low <= rounding
        mean = np.where(constant, low, rows.mean(axis=0))  # the mean of equal numbers is off by rounding, too
        scale = rows.std(axis=0).astype(np.float32)
        return mean.astype(self.rows.dtype), np.where((scale > 0) & ~constant, scale, np.float32(1))


class Windows(Samples):
    """The windows of a series that end at chosen rows, each with the target of its last row.

    Args:
        series: (rows, F), oldest row first.
        targets: (rows,), 0 or 1; NaN where a row has no label.
        window: T. The sample of row i holds the rows i - T + 1 ... i.

    Raises:
        ValueError: Other shapes, or targets that are neither 0, 1 nor NaN.

    Without `take` the samples are those of every row with a whole window and a label.
    """

    def __init__(self, series: npt.ArrayLike, targets: npt.ArrayLike, window: int) -> None:
        self.rows = _as_rows(series, "series")
        self.targets = as_targets(targets, len(self.rows), "targets")
        self.window = as_integer(window, "window", 1)
        self.ends = np.arange(self.window - 1, len(self.rows))
        self.ends = self.ends[~np.isnan(self.targets[self.ends])]
        self.lengths = np.full(len(self.ends), self.window)

    def take(self, rows: npt.ArrayLike) -> Windows:
        """The samples of these rows, in this order.

        Raises:
            ValueError: A row without a whole window before it, without a label, or that is not there.
        """
        ends = _as_index(rows, "rows", len(self.rows))
        short = ends[ends < self.window - 1]
        if len(short):
            raise ValueError(f"rows: row {short[0]} has {short[0]} rows before it, no window of {self.window}")
        unlabelled = ends[np.isnan(self.targets[ends])]
        if len(unlabelled):
            raise ValueError(f"rows: row {unlabelled[0]} has no label: its target is NaN")
        new = object.__new__(Windows)
        new.__dict__.update(vars(self))
        new.ends, new.lengths = ends, np.full(len(ends), self.window)
        return new

    @property
    def labels(self) -> Array:
        """(N,) float32."""
        return self.targets[self.ends]

    def batch(self, which: Sequence[int]) -> Batch:
        """(N, T, F), answered after the last tick."""
        x = self.windows(which).astype(np.float32, copy=False)
        return Batch(torch.from_numpy(x), None, torch.from_numpy(self.targets[self.ends[which]]))

    def windows(self, which: Sequence[int]) -> Array:
        """(N, T, F) in the rows' dtype."""
        found: Array = self.rows[self.ends[which][:, None] + np.arange(1 - self.window, 1)]
        return found

    def used(self) -> Array:
        """The rows of all windows together."""
        change = np.zeros(len(self.rows) + 1, np.int64)
        np.add.at(change, self.ends - self.window + 1, 1)
        np.add.at(change, self.ends + 1, -1)
        return np.cumsum(change[:-1]) > 0


class Sequences(Samples):
    """Sequences of many lengths, such as open trades, that are answered after each of their ticks.

    Args:
        series: For each sequence (T_i, F), oldest row first.
        targets: For each sequence (T_i,), 0 or 1.
        history: None: tick t is answered with the ticks 0 ... t. K: with the last K of these.

    Raises:
        ValueError: Other shapes, an empty sequence, or targets that are neither 0 nor 1.

    A sequence is run once for all its answers. With a `history`, each tick is a sample of its own.
    """

    def __init__(
        self, series: Sequence[npt.ArrayLike], targets: Sequence[npt.ArrayLike], history: int | None = None
    ) -> None:
        if len(series) != len(targets) or not len(series):
            raise ValueError(f"series, targets: expected as many, at least 1, got {len(series)} and {len(targets)}")
        rows = [_as_rows(one, f"series[{n}]") for n, one in enumerate(series)]
        different = next((n for n, one in enumerate(rows) if one.shape[1] != rows[0].shape[1]), None)
        if different is not None:
            raise ValueError(
                f"series[{different}]: expected {rows[0].shape[1]} features, got {rows[different].shape[1]}"
            )
        marks = [as_targets(y, len(x), f"targets[{n}]") for n, (x, y) in enumerate(zip(rows, targets, strict=True))]
        unlabelled = next((n for n, y in enumerate(marks) if np.isnan(y).any()), None)
        if unlabelled is not None:
            raise ValueError(f"targets[{unlabelled}]: expected 0 or 1 at every tick, got NaN")
        self.rows, self.targets = np.concatenate(rows), np.concatenate(marks)
        self.history = None if history is None else as_integer(history, "history", 1)
        self.sizes = np.array([len(one) for one in rows])  # of the sequences
        self.starts = np.cumsum(self.sizes) - self.sizes
        self._choose(np.arange(len(rows)))

    def _choose(self, which: Array) -> None:
        """Make these sequences the ones that are answered."""
        self.which = which
        sizes, starts = self.sizes[which], self.starts[which]
        #: The rows that are answered, sequence by sequence.
        self.ends = np.concatenate([np.arange(a, a + n) for a, n in zip(starts, sizes, strict=True)] or [which])
        if self.history is None:
            self.firsts, self.lengths = starts, sizes
        else:
            self.firsts = np.maximum(np.repeat(starts, sizes), self.ends - self.history + 1)
            self.lengths = self.ends - self.firsts + 1

    def take(self, which: npt.ArrayLike) -> Sequences:
        """These sequences, in this order.

        Raises:
            ValueError: One that is not there.
        """
        new = object.__new__(Sequences)
        new.__dict__.update(vars(self))
        new._choose(_as_index(which, "which", len(self.sizes)))
        return new

    def __iter__(self) -> Iterator[Array]:
        """The sequences' rows, (T_i, F) each."""
        for first, size in zip(self.starts[self.which], self.sizes[self.which], strict=True):
            yield self.rows[first : first + size]

    @property
    def labels(self) -> Array:
        """(ticks of all sequences,) float32, the sequences one behind the other."""
        return self.targets[self.ends]

    def batch(self, which: Sequence[int]) -> Batch:
        """(N, longest, F); behind the end of a shorter one its last row goes on, and is not answered."""
        firsts, lengths = self.firsts[which][:, None], self.lengths[which][:, None]
        ticks = np.arange(lengths.max())
        index = firsts + np.minimum(ticks, lengths - 1)
        answered = ticks < lengths if self.history is None else ticks == lengths - 1
        y = self.targets[index[answered]]
        x = self.rows[index].astype(np.float32, copy=False)
        return Batch(torch.from_numpy(x), torch.from_numpy(answered), torch.from_numpy(y))

    def used(self) -> Array:
        """The rows of the sequences."""
        marks = np.zeros(len(self.rows), bool)
        marks[self.ends] = True
        return marks


def _as_rows(value: npt.ArrayLike, what: str) -> Array:
    array = as_real(value, what)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{what}: expected (rows, features), at least one each, got shape {array.shape}")
    exact = np.can_cast(array.dtype, np.float32)
    rows: Array = np.ascontiguousarray(array, np.float32 if exact else np.float64)
    return rows


def as_targets(value: npt.ArrayLike, rows: int, what: str) -> Array:
    """(rows,) float32: 0, 1, or NaN where there is no label. Raises ValueError for anything else."""
    array = as_real(value, what)
    if array.shape != (rows,):
        raise ValueError(f"{what}: expected one for each of the {rows} rows, got shape {array.shape}")
    wrong = np.flatnonzero(
        (array != 0) & (array != 1) & ~np.isnan(array)
    )  # in its own dtype: float32 takes 1e-50 for 0
    if len(wrong):
        raise ValueError(f"{what}: expected 0 or 1, got {array[wrong[0]]} in row {wrong[0]}")
    return array.astype(np.float32)


def _as_index(value: npt.ArrayLike, what: str, count: int) -> Array:
    array = np.asarray(value)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise ValueError(f"{what}: expected row numbers (n,), got {array.dtype} of shape {array.shape}")
    array = array.astype(np.int64)
    wrong = array[(array < 0) | (array >= count)]
    if len(wrong):
        raise ValueError(f"{what}: expected 0 to {count - 1}, got {wrong[0]}")
    return array
