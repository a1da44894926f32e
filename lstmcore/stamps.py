"""Stamps of samples, datetimes or numbers, and lengths of time that are added to them."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.layers import Array

#: Units of text such as "12 months", in the singular, as numpy calls them.
UNITS = {"year": "Y", "month": "M", "week": "W", "day": "D", "hour": "h", "minute": "m", "second": "s"} | {
    "millisecond": "ms",
    "microsecond": "us",
    "nanosecond": "ns",
}
CALENDAR = ("Y", "M")  # of no fixed length


def as_stamps(value: npt.ArrayLike, what: str, *, unknown: bool = False) -> Array:
    """(n,) datetime64, int64 or float64; NaT or NaN among them only where `unknown` ones are allowed.

    Raises:
        ValueError: Another shape, no stamp at all, NaT, NaN, infinity.
        TypeError: Neither datetimes nor numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind == "O":
        array = _from_objects(array, what)
    if array.dtype.kind not in "Mfiu":
        raise TypeError(f"{what}: expected datetime64 or numbers, got dtype {array.dtype}")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{what}: expected (n,) with at least one stamp, got shape {array.shape}")
    if array.dtype.kind != "M":
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64, copy=False)
    wrong = np.flatnonzero(~np.isfinite(array) & ~(unknown & is_unknown(array)))
    if len(wrong):
        raise ValueError(f"{what}: row {wrong[0]} is {array[wrong[0]]}; every sample needs a stamp")
    return array


def is_unknown(stamps: Array) -> Array:
    """Which are NaT or NaN."""
    found: Array = np.isnat(stamps) if stamps.dtype.kind == "M" else np.isnan(stamps)
    return found


def check_sorted(stamps: Array, what: str) -> None:
    """Raise ValueError for stamps that descend."""
    back = np.flatnonzero(stamps[1:] < stamps[:-1])
    if len(back):
        at = int(back[0]) + 1
        raise ValueError(
            f"{what}: row {at} ({show_stamp(stamps[at])}) is before row {at - 1} ({show_stamp(stamps[at - 1])}); "
            "sort the samples by time"
        )


def _from_objects(array: Array, what: str) -> Array:
    """A list of datetime objects."""
    try:
        return array.astype("datetime64[us]")
    except (TypeError, ValueError):
        raise TypeError(f"{what}: expected datetime64 or numbers, got {type(array.flat[0]).__name__} objects") from None


def as_size(value: Any, stamps: Array, what: str, *, zero: bool = False, calendar: bool = True) -> Any:
    """A length of time that can be added to the stamps: timedelta64, or for numbers a number.

    Args:
        value: timedelta64, datetime.timedelta, text such as "12 months", or a number.
        stamps: What it will be added to.
        what: The argument's name.
        zero: Whether it may be 0.
        calendar: Whether it may be months or years.

    Raises:
        TypeError: A length of another kind than the stamps.
        ValueError: A negative one, or one without a fixed length where it needs one.
    """
    size = _parse(value, what) if isinstance(value, str) else value
    if isinstance(size, datetime.timedelta):
        size = np.timedelta64(size)
    dated = stamps.dtype.kind == "M"
    is_number = isinstance(size, int | float | np.integer | np.floating) and not isinstance(size, bool | np.timedelta64)
    if dated and is_number and size == 0:
        size = np.timedelta64(0)
    if dated != isinstance(size, np.timedelta64) or not (dated or is_number):
        example = "12 months" if calendar else "10 days"
        wanted = f'a timedelta64, or text such as "{example}"' if dated else "a number, as the stamps are"
        hint = "; a label that reads so many rows ahead: label_end=label_ends(times, rows)" if what == "horizon" else ""
        raise TypeError(f"{what}: expected {wanted}, got {value!r}{hint}")
    if (np.isnat(size) if dated else not np.isfinite(size)) or size < 0 or (size == 0 and not zero):
        raise ValueError(f"{what}: expected a length of time {'of at least' if zero else 'above'} 0, got {value!r}")
    if dated and not calendar and is_calendar(size):
        raise ValueError(f"{what}: {size} has no fixed length; give weeks, days or less")
    return size


def _parse(text: str, what: str) -> Any:
    found = re.fullmatch(r"\s*(\d+)\s*([a-z]+?)s?\s*", text)
    if not found or found[2] not in UNITS:
        raise ValueError(f'{what}: expected text such as "12 months"; units are {", ".join(UNITS)}; got {text!r}')
    unit: Any = UNITS[found[2]]  # numpy's stub wants a literal
    return np.timedelta64(int(found[1]), unit)


def is_calendar(size: Any) -> bool:
    """Whether it is a number of months or years."""
    return isinstance(size, np.timedelta64) and np.datetime_data(size)[0] in CALENDAR


def first_edge(stamps: Array, sizes: list[Any], start: Any) -> Any:
    """Where the first window begins: `start` or the first stamp; the first of its month for sizes in months.

    Raises:
        ValueError: Months among sizes of fixed length, or a start inside a month where sizes are months.
        TypeError: A start of another kind than the stamps.
    """
    lengths = [size for size in sizes if size != 0 * size]
    months = [is_calendar(size) for size in lengths]
    if any(months) and not all(months):
        raise ValueError("train, validation, test, step: months and years do not mix with lengths of days or less")
    if start is None:
        return stamps[0].astype("datetime64[M]") if any(months) else stamps[0]
    edge: Any = np.datetime64(start) if stamps.dtype.kind == "M" else start
    if stamps.dtype.kind != "M" and not isinstance(edge, int | float | np.integer | np.floating):
        raise TypeError(f"start: expected a number, as the stamps are, got {start!r}")
    if not any(months):
        return edge
    first: Any = edge.astype("datetime64[M]")
    if edge != first:
        raise ValueError(f"start: expected the first of a month where windows are months, got {start}")
    return first


def end_of(stamps: Array) -> Any:
    """Where a series ends: its last stamp and the usual distance between two."""
    apart = np.diff(stamps)
    apart = apart[apart > 0 * apart]
    return stamps[-1] + np.sort(apart)[len(apart) // 2] if len(apart) else stamps[-1]


def after(stamp: Any) -> Any:
    """The next larger stamp of its kind."""
    if isinstance(stamp, np.datetime64):
        return stamp + np.timedelta64(1)
    return stamp + 1 if isinstance(stamp, np.integer) else np.nextafter(stamp, np.inf)


def show_stamp(stamp: Any) -> str:
    """A datetime without a time of day that is 0, a number without needless digits."""
    if isinstance(stamp, np.datetime64):
        day = stamp.astype("datetime64[D]")
        text = str(day) if day == stamp else str(stamp)
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{stamp:.10g}" if isinstance(stamp, float | np.floating) else str(stamp)
