"""Splits of a time series that do not leak: walk-forward, and k-fold with purge and embargo.

A sample is known at its stamp, and its label reads what happens from there to the label's end.
What a model is trained or chosen with must have ended before the window that it is judged on begins:
a sample whose label reaches into that window is purged, and an embargo keeps a further distance
(M. López de Prado, Advances in Financial Machine Learning, 2018, chapter 7).
Samples are named by their rows: 0, 1, 2, ...
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from lstmcore.errors import LstmcoreError
from lstmcore.inputs import as_integer
from lstmcore.layers import Array
from lstmcore.stamps import (
    add,
    after,
    as_size,
    as_stamps,
    check_same_kind,
    check_sorted,
    end_of,
    first_edge,
    instant,
    is_unknown,
    show_stamp,
    widened,
)
from lstmcore.text import quoted
from lstmcore.zones import Stamps

__all__ = [
    "Fold",
    "LeakageError",
    "Stamps",
    "check_no_leakage",
    "label_ends",
    "purged_kfold",
    "show_folds",
    "walk_forward",
]

Bounds = tuple[Any, Any]  # [start, stop), stamps

MAX_FOLDS = 100_000
MAX_ROWS = 1 << 32  # numbers of rows in all folds together: 32 GiB


class LeakageError(LstmcoreError, ValueError):
    """A split in which a label that a model learns from overlaps one that it is judged by."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: rows as ascending int64 arrays; each row is in exactly one of the five.

    Bounds are half-open, [start, stop), in the unit of the stamps, in UTC where they have a time zone; None where
    there is no such window.
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
    zone: datetime.tzinfo | None = None  # in which bounds are shown

    def __str__(self) -> str:
        named = self._named()
        parts = [
            f"{name} {show_stamp(b[0], self.zone)} to {show_stamp(b[1], self.zone)} ({n:,})"
            for name, (b, n) in named.items()
            if b
        ]
        return f"fold {self.number}: {', '.join(parts)}, purged {len(self.purged):,}"

    def to_dict(self) -> dict[str, Any]:
        """Bounds, as text, and counts: what a report holds."""
        found: dict[str, Any] = {"fold": self.number}
        for name, (bounds, count) in self._named().items():
            found[name] = None if bounds is None else [show_stamp(edge, self.zone) for edge in bounds]
            found[f"{name}_samples"] = count
        return found | {"purged_samples": len(self.purged)}

    def _named(self) -> dict[str, tuple[Bounds | None, int]]:
        return {
            "train": (self.train_bounds, len(self.train)),
            "validation": (self.validation_bounds, len(self.validation)),
            "test": (self.test_bounds, len(self.test)),
        }


def walk_forward(
    times: Any,
    train: Any,
    validation: Any,
    test: Any,
    *,
    horizon: Any = None,
    label_end: Any = None,
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
        times: (n,), when each sample is known: datetime64, numbers, datetime objects, or a column of pandas, polars or
            pyarrow; not descending, ties allowed. `np.arange(n)` makes everything be counted in rows. With a time zone,
            months are those of its calendar; days and hours are 24 hours and 60 minutes.
        train: How long the training window is: timedelta64, calendar months and years among them
            (`np.timedelta64(12, "M")`, then in all sizes), text such as "12 months", or a number where stamps are.
        validation: How long the validation window behind it is; may be 0.
        test: How long the test window behind that is.
        horizon: How long each label reads ahead: the label of the sample at t has the span [t, t + horizon]. 0 where
            a label is known at once. Ten days are ten of the calendar: for ten trading days see `label_end`.
        label_end: (n,), instead of `horizon`, where each label's span ends, the end itself part of it; `label_ends`
            makes it from a number of rows. NaT or NaN: the sample has no label, and is outside. With a time zone, any,
            where `times` have one, and without where they have none.
        embargo: How much later than a label's end the next window must begin, besides.
        window: Rows that a sample's features reach over, its own the last. The first window - 1 rows are outside.
            Features of a test sample may reach back into the time of training: they are known by then.
        step: From one test window's start to the next; if None, the length of the test window.
        expanding: Training begins where the series does in every fold, instead of rolling along.
        start: Where the first training window begins; if None, at the first stamp, for months the first of its month.
            With a time zone where `times` have one.
        min_coverage: The share of a test window that the series must reach over; a last window with less is left out.

    Returns:
        The folds, oldest first. A training sample is purged unless its label's end + embargo is before the start of
        validation (without validation, of the test); a validation sample, unless it is before the start of the test.

    Raises:
        ValueError: Stamps that descend or are NaT or NaN, neither `horizon` nor `label_end`, a label that ends before
            its sample, a series that is too short for one fold, or a window without a sample; a step so short that the
            folds would fill the memory; datetimes of which some have a time zone and some have none, or `times` of
            several zones.
        TypeError: Stamps, sizes and label ends of kinds that do not go together.
    """
    zoned, _, guarded, known = _samples(times, horizon, label_end, embargo, window)
    stamps, zone = zoned.values, zoned.zone
    sizes = [as_size(train, stamps, "train"), as_size(validation, stamps, "validation", zero=True)]
    sizes.append(as_size(test, stamps, "test"))
    roll = sizes[2] if step is None else as_size(step, stamps, "step")
    if not 0 < min_coverage <= 1:
        raise ValueError(f"min_coverage: expected a share above 0 and at most 1, got {min_coverage!r}")
    origin = first_edge(zoned, [*sizes, roll], start)
    most = min(MAX_FOLDS, MAX_ROWS // len(stamps))
    end = end_of(stamps)
    found: list[list[Any]] = []  # of each fold, all of them before the first is cut: it holds every row
    while True:
        begin = origin + len(found) * roll
        if begin < origin:  # numpy wraps around: the series has no stamp there
            break
        edges = [origin if expanding else begin]
        for size in sizes:
            begin = begin + size
            edges.append(begin)
        edges = [instant(edge, zone) for edge in edges]
        if not _reaches(stamps, end, edges[2], edges[3], min_coverage):
            break
        found.append(edges)
        if len(found) > most:
            raise ValueError(
                f"step: {roll}, by default the length of the test window, makes more than {most:,} folds of "
                f"{len(stamps):,} samples; give a longer one"
            )
    if not found:
        raise ValueError(
            f"times: too short for one fold, which would reach from {show_stamp(edges[0], zone)} to "
            f"{show_stamp(edges[3], zone)}: the series ends at {show_stamp(stamps[-1], zone)}"
        )
    return [_cut(zoned, guarded, known, edges, number) for number, edges in enumerate(found, 1)]


def _reaches(stamps: Array, end: Any, start: Any, stop: Any, share: float) -> bool:
    """Whether the series, which has its `end_of` there, reaches over that share of the window."""
    if stamps.dtype.kind == "M":  # lengths of months and of days cannot be divided
        unit = np.promote_types(stamps.dtype, start.dtype)
        if stop.astype(unit).astype(stop.dtype) != stop:  # numpy wraps around
            raise ValueError(f"times: a window would reach to {stop}, beyond what {unit} holds")
        start, stop = start.astype(unit), stop.astype(unit)
    return bool(stamps[-1] >= start and (end - start) / (stop - start) >= share)


def _cut(zoned: Stamps, guarded: Array, known: Array, edges: Sequence[Any], number: int) -> Fold:
    """The fold with these edges: where training, validation and test start, and where the test stops."""
    stamps = zoned.values
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
        zoned.zone,
    )
    return _check_filled(fold)


def purged_kfold(
    times: Any,
    folds: int = 5,
    *,
    horizon: Any = None,
    label_end: Any = None,
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
    zoned, _, guarded, known = _samples(times, horizon, label_end, embargo, window)
    stamps = zoned.values
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
        clear = np.where(train < a, guarded[train] < stamps[a], reach[train] > guarded[a:b].max())
        bounds = (stamps[a], stamps[b] if b < n else stop)
        outside = _others(n, train, test)
        none = train[:0]
        fold = Fold(
            number, train[clear], none, test, train[~clear], outside, (stamps[0], stop), None, bounds, zoned.zone
        )
        found.append(_check_filled(fold))
    return found


def label_ends(times: Any, rows: int) -> Array | Stamps:
    """The stamp `rows` rows later: where a label ends that reads so many rows ahead, as `label_end` takes it.

    The last `rows` samples have no label, and NaT here; NaN where times are numbers, which then become float64.
    Of times with a time zone it is a `Stamps`, which has the zone beside the array.

    >>> from lstmcore import windows
    >>> windows.label_ends([1, 4, 9, 16], 2)
    array([ 9., 16., nan, nan])

    Args:
        times: (n,), sorted.
        rows: At least 0.
    """
    zoned = as_stamps(times, "times")
    stamps = zoned.values
    ahead = min(as_integer(rows, "rows", 0), len(stamps))
    if stamps.dtype.kind != "M" and ahead:
        stamps = stamps.astype(np.float64)
    unknown = np.full(ahead, np.datetime64("NaT") if stamps.dtype.kind == "M" else np.nan, stamps.dtype)
    ends: Array = np.concatenate([stamps[ahead:], unknown]) if ahead else stamps
    return ends if zoned.zone is None else Stamps(ends, zoned.zone)


def check_no_leakage(
    fold: Fold,
    times: Any,
    *,
    horizon: Any = None,
    label_end: Any = None,
    embargo: Any = 0,
    window: int = 1,
) -> None:
    """Compare every label that is learned from with every one that is judged by; for a split from anywhere.

    Args:
        fold: Its train, validation and test are looked at, not its bounds.
        times, horizon, label_end, embargo, window: As in `walk_forward`.

    Raises:
        ValueError: A fold whose rows are none of the samples'.
        LeakageError: A span of training that overlaps one of validation or test, or is within the embargo of it; or
            one of validation and one of test. The text names a pair.
    """
    zoned, ends, guarded, _ = _samples(times, horizon, label_end, embargo, window)
    stamps = zoned.values
    reach = stamps[np.maximum(np.arange(len(stamps)) - (window - 1), 0)]
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        learned, judged = (_rows(getattr(fold, name), len(stamps), name) for name in (earlier, later))
        if not len(learned) or not len(judged):
            continue
        # Of the judged samples that begin before a label ends, the one whose label ends last.
        longest = np.maximum.accumulate(guarded[judged])
        begun = np.searchsorted(stamps[judged], guarded[learned], side="right")
        overlaps = (begun > 0) & (longest[np.maximum(begun, 1) - 1] >= reach[learned])
        if overlaps.any():
            row = learned[overlaps][0]
            before = judged[: begun[overlaps][0]]
            other = before[np.argmax(ends[before])]
            show = partial(show_stamp, zone=zoned.zone)
            raise LeakageError(
                f"fold {fold.number}: {int(overlaps.sum())} {earlier} samples overlap the {later} window; such as "
                f"row {row}, {show(reach[row])} to {show(ends[row])}, and row {other}, "
                f"{show(stamps[other])} to {show(ends[other])}"
            )


def _rows(given: Any, count: int, name: str) -> Array:
    """A fold's row numbers, sorted. Raises ValueError for others than 0 ... count - 1."""
    rows = np.sort(np.asarray(given))
    if len(rows) and (rows.ndim != 1 or rows.dtype.kind not in "iu" or rows[0] < 0 or rows[-1] >= count):
        raise ValueError(f"fold.{name}: expected row numbers from 0 to {count - 1}, got {quoted(given)}")
    return rows


def show_folds(folds: Sequence[Fold]) -> str:
    """A table with a line a fold: the windows' starts, and how many samples they hold."""
    header = ["fold", "train from", "samples", "validation from", "samples", "test from", "to", "samples", "purged"]
    lines = [header]
    for fold in folds:
        named = fold._named()
        cells = [str(fold.number)]
        for bounds, count in named.values():
            cells += [show_stamp(bounds[0], fold.zone) if bounds else "-", f"{count:,}"]
        cells.insert(-1, show_stamp(fold.test_bounds[1], fold.zone))
        lines.append([*cells, f"{len(fold.purged):,}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines)


def _samples(times: Any, horizon: Any, label_end: Any, embargo: Any, window: int) -> tuple[Stamps, Array, Array, Array]:
    """Stamps, the ends of the labels' spans, these and the embargo, and which rows have a label and all rows of theirs.

    A row without a label ends where it stands.
    """
    zoned = as_stamps(times, "times")
    check_sorted(zoned, "times")
    stamps = zoned.values
    if (horizon is None) == (label_end is None):
        raise ValueError(
            "horizon, label_end: give one of the two, how far a label reads ahead; horizon=0 if it is known at once"
        )
    known = np.arange(len(stamps)) >= as_integer(window, "window", 1) - 1
    if label_end is None:
        ends = add(stamps, as_size(horizon, stamps, "horizon", zero=True, calendar=False), "horizon")
    else:
        given = as_stamps(label_end, "label_end", unknown=True)
        if len(given) != len(stamps):
            raise ValueError(f"label_end: expected one for each of the {len(stamps)} samples, got {len(given)}")
        check_same_kind(given, zoned, "label_end")
        known &= ~is_unknown(given.values)
        ends = widened(given.values, stamps, "label_end")
        ends = np.where(is_unknown(ends), stamps, ends)
        back = np.flatnonzero(ends < stamps)
        if len(back):
            at = int(back[0])
            raise ValueError(
                f"label_end: row {at} ends at {show_stamp(ends[at], zoned.zone)}, before its sample at "
                f"{show_stamp(stamps[at], zoned.zone)}"
            )
    guard = as_size(embargo, ends, "embargo", zero=True, calendar=False)
    return zoned, ends, add(ends, guard, "embargo"), known


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
                f"fold {fold.number}: no sample is left for {name}, {show_stamp(bounds[0], fold.zone)} to "
                f"{show_stamp(bounds[1], fold.zone)}: {len(fold.purged)} are purged, and {len(fold.outside)} are in no "
                "window of time, without a label, or without the rows of their features (window)"
            )
    return fold
