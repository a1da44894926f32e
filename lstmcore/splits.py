"""Splits of a time series that do not leak: walk-forward, and k-fold with purge and embargo.

A sample is known at its stamp, and its label reads what happens from there to the label's end.
What a model is trained or chosen with must have ended before the window that it is judged on begins:
a sample whose label reaches into that window is purged, and an embargo keeps a further distance
(M. López de Prado, Advances in Financial Machine Learning, 2018, chapter 7).
Samples are named by their rows: 0, 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.errors import LstmcoreError
from lstmcore.inputs import as_integer
from lstmcore.layers import Array
from lstmcore.stamps import after, as_size, as_stamps, check_sorted, end_of, first_edge, is_unknown, show_stamp

__all__ = ["Fold", "LeakageError", "check_no_leakage", "label_ends", "purged_kfold", "show_folds", "walk_forward"]

Bounds = tuple[Any, Any]  # [start, stop), stamps


class LeakageError(LstmcoreError, ValueError):
    """A split in which a label that a model learns from overlaps one that it is judged by."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: rows as ascending int64 arrays; each row is in exactly one of the five.

    Bounds are half-open, [start, stop), in the unit of the stamps; None where there is no such window.
    """

    number: int  # from 1
    train: Array
    validation: Array
    test: Array
    purged: Array  # in the time of training or validation, but the label, or the embargo, reaches another window
    outside: Array  # in none of the windows, without a label, or without all the rows of its features
    train_bounds: Bounds
    validation_bounds: Bounds | None
    test_bounds: Bounds

    def __str__(self) -> str:
        named = self._named()
        parts = [f"{name} {show_stamp(b[0])} to {show_stamp(b[1])} ({n:,})" for name, (b, n) in named.items() if b]
        return f"fold {self.number}: {', '.join(parts)}, purged {len(self.purged):,}"

    def to_dict(self) -> dict[str, Any]:
        """Bounds, as text, and counts: what a report holds."""
        found: dict[str, Any] = {"fold": self.number}
        for name, (bounds, count) in self._named().items():
            found[name] = None if bounds is None else [show_stamp(edge) for edge in bounds]
            found[f"{name}_samples"] = count
        return found | {"purged_samples": len(self.purged)}

    def _named(self) -> dict[str, tuple[Bounds | None, int]]:
        return {
            "train": (self.train_bounds, len(self.train)),
            "validation": (self.validation_bounds, len(self.validation)),
            "test": (self.test_bounds, len(self.test)),
        }


def walk_forward(
    times: npt.ArrayLike,
    train: Any,
    validation: Any,
    test: Any,
    *,
    horizon: Any = None,
    label_end: npt.ArrayLike | None = None,
    embargo: Any = 0,
    window: int = 1,
    step: Any = None,
    expanding: bool = False,
    start: Any = None,
    min_coverage: float = 0.5,
) -> list[Fold]:
    """Train, validate, test, and roll on: train on months 1 to 12, validate on 13 to 15, test on 16 to 18.

    >>> import numpy as np
    >>> from lstmcore import windows
    >>> days = np.arange("2020-01-01", "2022-01-01", dtype="datetime64[D]")
    >>> folds = windows.walk_forward(days, "12 months", "3 months", "3 months", horizon="5 days")
    >>> print(folds[0])
    fold 1: train 2020-01-01 to 2021-01-01 (361), validation 2021-01-01 to 2021-04-01 (85), ...purged 10
    >>> [str(fold.test_bounds[0]) for fold in folds]
    ['2021-04', '2021-07', '2021-10']

    Args:
        times: (n,), when each sample is known: datetime64, or numbers; not descending, ties allowed.
            `np.arange(n)` makes everything be counted in rows.
        train: How long the training window is: timedelta64, calendar months and years among them
            (`np.timedelta64(12, "M")`, then in all sizes), text such as "12 months", or a number where stamps are.
        validation: How long the validation window behind it is; may be 0.
        test: How long the test window behind that is.
        horizon: How long each label reads ahead: the label of the sample at t has the span [t, t + horizon]. 0 where
            a label is known at once. Ten days are ten of the calendar: for ten trading days see `label_end`.
        label_end: (n,), instead of `horizon`, where each label's span ends, the end itself part of it; `label_ends`
            makes it from a number of rows. NaT or NaN: the sample has no label, and is outside.
        embargo: How much later than a label's end the next window must begin, besides.
        window: Rows that a sample's features reach over, its own the last. The first window - 1 rows are outside.
            Features of a test sample may reach back into the time of training: they are known by then.
        step: From one test window's start to the next; if None, the length of the test window.
        expanding: Training begins where the series does in every fold, instead of rolling along.
        start: Where the first training window begins; if None, at the first stamp, for months the first of its month.
        min_coverage: The share of a test window that the series must reach over; a last window with less is left out.

    Returns:
        The folds, oldest first. A training sample is purged unless its label's end + embargo is before the start of
        validation (without validation, of the test); a validation sample, unless it is before the start of the test.

    Raises:
        ValueError: Stamps that descend or are NaT or NaN, neither `horizon` nor `label_end`, a label that ends before
            its sample, a series that is too short for one fold, or a window without a sample.
        TypeError: Stamps, sizes and label ends of kinds that do not go together.
    """
    stamps, ends, guard, known = _samples(times, horizon, label_end, embargo, window)
    sizes = [as_size(train, stamps, "train"), as_size(validation, stamps, "validation", zero=True)]
    sizes.append(as_size(test, stamps, "test"))
    roll = sizes[2] if step is None else as_size(step, stamps, "step")
    if not 0 < min_coverage <= 1:
        raise ValueError(f"min_coverage: expected a share above 0 and at most 1, got {min_coverage!r}")
    origin = first_edge(stamps, [*sizes, roll], start)
    folds: list[Fold] = []
    while True:
        begin = origin + len(folds) * roll
        edges = [begin, begin + sizes[0], begin + sizes[0] + sizes[1], begin + sizes[0] + sizes[1] + sizes[2]]
        if not _reaches(stamps, edges[2], edges[3], min_coverage):
            break
        edges[0] = origin if expanding else begin
        folds.append(_cut(stamps, ends + guard, known, edges, len(folds) + 1))
    if not folds:
        raise ValueError(
            f"times: too short for one fold, which would reach from {show_stamp(edges[0])} to {show_stamp(edges[3])}: "
            f"the series ends at {show_stamp(stamps[-1])}"
        )
    return folds


def _reaches(stamps: Array, start: Any, stop: Any, share: float) -> bool:
    """Whether the series reaches over that share of the window."""
    if stamps.dtype.kind == "M":  # lengths of months and of days cannot be divided
        unit = np.promote_types(stamps.dtype, start.dtype)
        start, stop = start.astype(unit), stop.astype(unit)
    return bool(stamps[-1] >= start and (end_of(stamps) - start) / (stop - start) >= share)


def _cut(stamps: Array, guarded: Array, known: Array, edges: Sequence[Any], number: int) -> Fold:
    """The fold with these edges: where training, validation and test start, and where the test stops."""
    at = [int(np.searchsorted(stamps, edge)) for edge in edges]
    train, validation, test = (np.arange(at[k], at[k + 1]) for k in range(3))
    train, validation, test = (rows[known[rows]] for rows in (train, validation, test))
    in_time, seen_in_time = guarded[train] < edges[1], guarded[validation] < edges[2]
    fold = Fold(
        number,
        train[in_time],
        validation[seen_in_time],
        test,
        np.concatenate([train[~in_time], validation[~seen_in_time]]),
        _others(len(stamps), train, validation, test),
        (edges[0], edges[1]),
        (edges[1], edges[2]) if edges[1] != edges[2] else None,
        (edges[2], edges[3]),
    )
    return _check_filled(fold)


def purged_kfold(
    times: npt.ArrayLike,
    folds: int = 5,
    *,
    horizon: Any = None,
    label_end: npt.ArrayLike | None = None,
    embargo: Any = 0,
    window: int = 1,
) -> list[Fold]:
    """k blocks in time, each the test once; training on what comes before and behind, purged and with an embargo.

    For when there is too little data to walk forward: a model is trained on the future of what it is judged on,
    which is no leak of labels, but no rehearsal of trading either.

    >>> import numpy as np
    >>> from lstmcore import windows
    >>> for fold in windows.purged_kfold(np.arange(100), 4, horizon=5, embargo=2):
    ...     print(fold.test[[0, -1]], len(fold.train), len(fold.purged))
    [ 0 24] 68 7
    [25 49] 61 14
    [50 74] 61 14
    [75 99] 68 7

    Args:
        times, horizon, label_end, embargo, window: As in `walk_forward`.
        folds: Blocks, of as nearly the same number of samples as ties allow: equal stamps stay together.

    Returns:
        A fold for each block, oldest first, with no validation. A training sample is purged where its label's span,
        or, behind the test, the rows of its features, overlap the time from the first test sample to the end of the
        last test label, or are within the embargo of it.

    Raises:
        ValueError, TypeError: As in `walk_forward`; also fewer than 2 folds, or more than the stamps allow.
    """
    stamps, ends, guard, known = _samples(times, horizon, label_end, embargo, window)
    count, n = as_integer(folds, "folds", 2), len(stamps)
    edges = np.linspace(0, n, count + 1).round().astype(int)
    edges[1:-1] = np.searchsorted(stamps, stamps[edges[1:-1]])
    if np.any(np.diff(edges) <= 0):
        raise ValueError(f"times: too short for {count} folds: {n} samples at {len(np.unique(stamps))} different times")
    reach = stamps[np.maximum(np.arange(n) - (window - 1), 0)]  # of the oldest row of the features
    stop = after(stamps[-1])
    every, found = np.arange(n), []
    for number, (a, b) in enumerate(pairwise(edges.tolist()), 1):
        test = every[a:b][known[a:b]]
        train = every[((every < a) | (every >= b)) & known]
        last = ends[a:b].max() + guard
        clear = np.where(train < a, ends[train] + guard < stamps[a], reach[train] > last)
        bounds = (stamps[a], stamps[b] if b < n else stop)
        outside = _others(n, train, test)
        none = train[:0]
        fold = Fold(number, train[clear], none, test, train[~clear], outside, (stamps[0], stop), None, bounds)
        found.append(_check_filled(fold))
    return found


def label_ends(times: npt.ArrayLike, rows: int) -> Array:
    """The stamp `rows` rows later: where a label ends that reads so many rows ahead, as `label_end` takes it.

    The last `rows` samples have no label, and NaT here; NaN where times are numbers, which then become float64.

    >>> from lstmcore import windows
    >>> windows.label_ends([1, 4, 9, 16], 2)
    array([ 9., 16., nan, nan])

    Args:
        times: (n,), sorted.
        rows: At least 0.
    """
    stamps = as_stamps(times, "times")
    ahead = min(as_integer(rows, "rows", 0), len(stamps))
    if ahead == 0:
        return stamps
    if stamps.dtype.kind != "M":
        stamps = stamps.astype(np.float64)
    unknown = np.full(ahead, np.datetime64("NaT") if stamps.dtype.kind == "M" else np.nan, stamps.dtype)
    return np.concatenate([stamps[ahead:], unknown])


def check_no_leakage(
    fold: Fold,
    times: npt.ArrayLike,
    *,
    horizon: Any = None,
    label_end: npt.ArrayLike | None = None,
    embargo: Any = 0,
    window: int = 1,
) -> None:
    """Compare every label that is learned from with every one that is judged by; for a split from anywhere.

    Args:
        fold: Its train, validation and test are looked at, not its bounds.
        times, horizon, label_end, embargo, window: As in `walk_forward`.

    Raises:
        LeakageError: A span of training that overlaps one of validation or test, or is within the embargo of it; or
            one of validation and one of test. The text names a pair.
    """
    stamps, ends, guard, _ = _samples(times, horizon, label_end, embargo, window)
    reach = stamps[np.maximum(np.arange(len(stamps)) - (window - 1), 0)]
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        learned, judged = np.sort(getattr(fold, earlier)), np.sort(getattr(fold, later))
        if not len(learned) or not len(judged):
            continue
        # Of the judged samples that begin before a label ends, the one whose label ends last.
        longest = np.maximum.accumulate(ends[judged])
        begun = np.searchsorted(stamps[judged], ends[learned] + guard, side="right")
        overlaps = (begun > 0) & (longest[np.maximum(begun, 1) - 1] + guard >= reach[learned])
        if overlaps.any():
            row = learned[overlaps][0]
            before = judged[: begun[overlaps][0]]
            other = before[np.argmax(ends[before])]
            raise LeakageError(
                f"fold {fold.number}: {int(overlaps.sum())} {earlier} samples overlap the {later} window; such as "
                f"row {row}, {show_stamp(reach[row])} to {show_stamp(ends[row])}, and row {other}, "
                f"{show_stamp(stamps[other])} to {show_stamp(ends[other])}"
            )


def show_folds(folds: Sequence[Fold]) -> str:
    """A table with a line a fold: the windows' starts, and how many samples they hold."""
    header = ["fold", "train from", "samples", "validation from", "samples", "test from", "to", "samples", "purged"]
    lines = [header]
    for fold in folds:
        named = fold._named()
        cells = [str(fold.number)]
        for bounds, count in named.values():
            cells += [show_stamp(bounds[0]) if bounds else "-", f"{count:,}"]
        cells.insert(-1, show_stamp(fold.test_bounds[1]))
        lines.append([*cells, f"{len(fold.purged):,}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines)


def _samples(
    times: npt.ArrayLike, horizon: Any, label_end: npt.ArrayLike | None, embargo: Any, window: int
) -> tuple[Array, Array, Any, Array]:
    """Stamps, the ends of the labels' spans, the embargo, and which rows have a label and all rows of their features.

    A row without a label ends where it stands.
    """
    stamps = as_stamps(times, "times")
    check_sorted(stamps, "times")
    if (horizon is None) == (label_end is None):
        raise ValueError(
            "horizon, label_end: give one of the two, how far a label reads ahead; horizon=0 if it is known at once"
        )
    known = np.arange(len(stamps)) >= as_integer(window, "window", 1) - 1
    if label_end is None:
        ends = stamps + as_size(horizon, stamps, "horizon", zero=True, calendar=False)
    else:
        ends = as_stamps(label_end, "label_end", unknown=True)
        if ends.shape != stamps.shape:
            raise ValueError(f"label_end: expected one for each of the {len(stamps)} samples, got shape {ends.shape}")
        if (ends.dtype.kind == "M") != (stamps.dtype.kind == "M"):
            raise TypeError(f"label_end: expected {stamps.dtype}, as times are, got {ends.dtype}")
        known &= ~is_unknown(ends)
        ends = np.where(is_unknown(ends), stamps, ends)
        back = np.flatnonzero(ends < stamps)
        if len(back):
            at = int(back[0])
            raise ValueError(
                f"label_end: row {at} ends at {show_stamp(ends[at])}, before its sample at {show_stamp(stamps[at])}"
            )
    guard = as_size(embargo, stamps, "embargo", zero=True, calendar=False)
    return stamps, ends, guard, known


def _others(rows: int, *parts: Array) -> Array:
    """The rows that are in none of these parts."""
    free = np.ones(rows, bool)
    free[np.concatenate(parts)] = False
    return np.flatnonzero(free)


def _check_filled(fold: Fold) -> Fold:
    """The fold. Raises ValueError for a window without a sample."""
    for name, (bounds, count) in fold._named().items():
        if bounds is not None and count == 0:
            raise ValueError(
                f"fold {fold.number}: no sample is left for {name}, {show_stamp(bounds[0])} to "
                f"{show_stamp(bounds[1])}: {len(fold.purged)} are purged, and {len(fold.outside)} are in no window of "
                "time, without a label, or without the rows of their features (window)"
            )
    return fold
