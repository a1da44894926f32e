"""When samples are known, and from when to when their labels read: what splits are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lstmcore.inputs import as_integer
from lstmcore.layers import Array
from lstmcore.windows.stamps import (
    add,
    as_size,
    as_stamps,
    check_same_kind,
    check_sorted,
    is_unknown,
    show_stamp,
    widened,
)
from lstmcore.windows.zones import Stamps


class Spans(NamedTuple):
    """Samples by their stamps, and the spans of their labels; a row without a label ends where it stands."""

    stamps: Stamps
    ends: Array  # (n,), of the labels' spans
    guarded: Array  # (n,), these and the embargo
    reach: Array  # (n,), stamps of the oldest rows that the features reach over
    known: Array  # (n,) bool, which rows have a label, and all rows of their features


def read_spans(times: Any, horizon: Any, label_end: Any, embargo: Any, window: int) -> Spans:
    """The arguments of `windows.walk_forward`, checked. Raises as it does."""
    zoned = as_stamps(times, "times")
    check_sorted(zoned, "times")
    stamps = zoned.values
    if (horizon is None) == (label_end is None):
        raise ValueError(
            "horizon, label_end: give one of the two, how far a label reads ahead; horizon=0 if it is known at once"
        )
    rows, before = np.arange(len(stamps)), min(as_integer(window, "window", 1) - 1, len(stamps))
    reach, known = stamps[np.maximum(rows - before, 0)], rows >= before
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
    return Spans(zoned, ends, add(ends, guard, "embargo"), reach, known)


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
