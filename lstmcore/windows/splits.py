"""Splits of a time series that do not leak: walk-forward, and k-fold with purge and embargo.

A sample is known at its stamp, and its label reads what happens from there to the label's end.
What a model is trained or chosen with must have ended before the window that it is judged on begins:
a sample whose label reaches into that window is purged, and an embargo keeps a further distance
(M. López de Prado, Advances in Financial Machine Learning, 2018, chapter 7).
Samples are named by their rows: 0, 1, 2, ...
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from lstmcore.inputs import as_flag, as_integer, check_unmasked
from lstmcore.layers import Array
from lstmcore.text import quoted
from lstmcore.windows.folds import Fold, LeakageError, check_filled, others
from lstmcore.windows.spans import Spans, read_spans
from lstmcore.windows.stamps import after, as_size, end_of, first_edge, instant, show_stamp
from lstmcore.windows.zones import call

MAX_FOLDS = 100_000
MAX_ROWS = 1 << 32  # numbers of rows in all folds together: 32 GiB


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
        times: (n,), when each sample is known: datetime64 of units down to ns, numbers, datetime objects, or a column
            of pandas, polars or pyarrow; not descending, ties allowed. `np.arange(n)` makes everything be counted in
            rows. With a time zone, months are those of its calendar; days and hours are 24 hours and 60 minutes.
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
    spans = read_spans(times, horizon, label_end, embargo, window)
    stamps, zone = spans.stamps.values, spans.stamps.zone
    sizes = [as_size(train, stamps, "train"), as_size(validation, stamps, "validation", zero=True)]
    sizes.append(as_size(test, stamps, "test"))
    roll = sizes[2] if step is None else as_size(step, stamps, "step")
    _check_share(min_coverage, "min_coverage")
    expanding = as_flag(expanding, "expanding")
    origin = first_edge(spans.stamps, [*sizes, roll], start)
    most = min(MAX_FOLDS, MAX_ROWS // len(stamps))
    end = end_of(stamps)
    parts = 1
    if stamps.dtype.kind != "M":
        (origin, shift, *sizes), parts = _in_parts([origin, roll, *sizes])
    else:
        shift = roll
    found: list[list[Any]] = []  # of each fold, all of them before the first is cut: it holds every row
    while True:
        begin = origin + len(found) * shift
        if begin < origin:  # numpy wraps around: the series has no stamp there
            break
        edges = [origin if expanding else begin]
        for size in sizes:
            begin = begin + size
            edges.append(begin)
        if parts > 1 or stamps.dtype.kind == "f":
            edges = [_rounded(edge, parts) for edge in edges]
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
    return [_cut(spans, edges, number) for number, edges in enumerate(found, 1)]


def _in_parts(numbers: Sequence[int | float]) -> tuple[list[int], int]:
    """Numbers as multiples of 1 / parts, and the parts.

    Sums of these are exact. Those of floats are rounded, in each fold otherwise: one fold's test would end a little
    behind or before the next one's start, and a row be in both or in none.
    """
    ratios = [number.as_integer_ratio() for number in numbers]
    parts = max(below for _, below in ratios)  # powers of two
    return [above * (parts // below) for above, below in ratios], parts


def _rounded(edge: int, parts: int) -> float:
    """The float next to edge / parts; the largest one beyond all."""
    try:
        return edge / parts
    except OverflowError:
        return math.copysign(sys.float_info.max, edge)


def _reaches(stamps: Array, end: Any, start: Any, stop: Any, share: float) -> bool:
    """Whether the series, which has its `end_of` there, reaches over that share of the window."""
    if stamps.dtype.kind == "M":  # lengths of months and of days cannot be divided
        unit = np.promote_types(stamps.dtype, start.dtype)
        if stop.astype(unit).astype(stop.dtype) != stop:  # numpy wraps around
            raise ValueError(f"times: a window would reach to {stop}, beyond what {unit} holds")
        start, stop = start.astype(unit), stop.astype(unit)
    return bool(stamps[-1] >= start and (end - start) / (stop - start) >= share)


def _check_share(value: Any, what: str) -> None:
    """Raise TypeError for what is no number, ValueError for one that is not above 0 and at most 1."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise TypeError(f"{what}: expected a number, got {quoted(value)}")
    if not 0 < value <= 1:
        raise ValueError(f"{what}: expected a share above 0 and at most 1, got {quoted(value)}")


def _cut(spans: Spans, edges: Sequence[Any], number: int) -> Fold:
    """The fold with these edges: where training, validation and test start, and where the test stops."""
    stamps, guarded = spans.stamps.values, spans.guarded
    at = [int(np.searchsorted(stamps, edge)) for edge in edges]
    train, validation, test = (np.arange(at[k], at[k + 1]) for k in range(3))
    train, validation, test = (rows[spans.known[rows]] for rows in (train, validation, test))
    in_time, seen_in_time = guarded[train] < edges[1], guarded[validation] < edges[2]
    fold = Fold(
        number,
        train[in_time],
        validation[seen_in_time],
        test,
        np.concatenate([train[~in_time], validation[~seen_in_time]]),
        others(len(stamps), train, validation, test),
        (edges[0], edges[1]),
        (edges[1], edges[2]) if edges[1] != edges[2] else None,
        (edges[2], edges[3]),
        spans.stamps.zone,
    )
    return check_filled(fold)


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
    spans = read_spans(times, horizon, label_end, embargo, window)
    stamps, guarded, known, zone = spans.stamps.values, spans.guarded, spans.known, spans.stamps.zone
    count, n = as_integer(folds, "folds", 2), len(stamps)
    edges = np.linspace(0, n, min(count, n) + 1).round().astype(int)
    edges[1:-1] = np.searchsorted(stamps, stamps[edges[1:-1]])
    if count > n or np.any(np.diff(edges) <= 0):
        raise ValueError(f"times: too short for {count} folds: {n} samples at {len(np.unique(stamps))} different times")
    stop = after(stamps[-1])
    every, found = np.arange(n), []
    for number, (a, b) in enumerate(pairwise(edges.tolist()), 1):
        test = every[a:b][known[a:b]]
        train = every[((every < a) | (every >= b)) & known]
        clear = np.where(train < a, guarded[train] < stamps[a], spans.reach[train] > guarded[a:b].max())
        bounds = (stamps[a], stamps[b] if b < n else stop)
        outside = others(n, train, test)
        none = train[:0]
        fold = Fold(number, train[clear], none, test, train[~clear], outside, (stamps[0], stop), None, bounds, zone)
        found.append(check_filled(fold))
    return found


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
        ValueError: A fold whose rows are none of the samples', or that has a time zone where `times` have none, or the
            reverse.
        TypeError: Something that is no Fold.
        LeakageError: A span of training that overlaps one of validation or test, or is within the embargo of it; or
            one of validation and one of test. The text names a pair.
    """
    if not isinstance(fold, Fold):
        raise TypeError(f"fold: expected one Fold, got {type(fold).__name__}")
    zoned, ends, guarded, reach, _ = read_spans(times, horizon, label_end, embargo, window)
    stamps = zoned.values
    if (
        fold.test_bounds
        and isinstance(fold.test_bounds[0], np.datetime64)
        and (fold.zone is None) != (zoned.zone is None)
    ):
        raise ValueError(f"times: they have {call(zoned.zone)}, and the fold has {call(fold.zone)}: not those it is of")
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
    check_unmasked(given, f"fold.{name}")
    rows = np.asarray(given)
    if rows.ndim == 1 and (rows.dtype.kind in "iu" or not len(rows)):
        rows = np.sort(rows)
        if not len(rows) or (rows[0] >= 0 and rows[-1] < count):
            return rows
    raise ValueError(f"fold.{name}: expected row numbers from 0 to {count - 1}, got {quoted(given)}")
